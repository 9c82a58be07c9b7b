//! Rotation with a grace, on a clock of the test's.

use std::sync::Arc;
use std::time::Duration;

use portcullis::clock::{ManualClock, Timestamp};
use serde_json::{Value, json};

use super::{ROUTE, send, verdict};
use crate::support::{Admin, Client, Fixture};

/// 2026-11-21T13:00:00Z
const START: u64 = 1_795_266_000;

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Timestamp::from_millis(START * 1_000 + 250)))
}

fn rotate(admin: &Admin, id: &str, grace: &'static str) -> String {
    let body = json!({"grace": grace}).to_string();
    send(admin, id, ("POST", "/rotate", &body)).json()["secret"].as_str().unwrap().to_owned()
}

fn states(admin: &Admin, id: &str) -> Vec<Value> {
    admin.show(id)["versions"].as_array().unwrap().iter().map(|version| version["state"].clone()).collect()
}

#[test]
fn a_retiring_secret_works_until_its_grace_ends_and_says_so() {
    let clock = clock();
    let fixture = Fixture::with(ROUTE).clock(clock.clone());
    let gateway = fixture.start();
    let (id, old) = gateway.admin.key(&json!({"scopes": ["*"]}));
    let mut client = Client::new(gateway.address);
    assert_eq!(client.get("/v1/x", &old).header("deprecation"), None);
    let new = rotate(&gateway.admin, &id, "1h");
    for _ in 0..2 {
        let answer = client.get("/v1/x", &old);
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("deprecation"), Some(format!("@{START}").as_str()));
        assert_eq!(answer.header("sunset"), Some("Sat, 21 Nov 2026 14:00:00 GMT"));
        let answer = client.get("/v1/x", &new);
        assert_eq!((answer.status, answer.header("deprecation"), answer.header("sunset")), (200, None, None));
        clock.advance(Duration::from_mins(30) - Duration::from_millis(1));
    }
    clock.advance(Duration::from_millis(1));
    assert_eq!(states(&gateway.admin, &id), ["retiring", "active"]);
    assert_eq!(client.get("/v1/x", &old).status, 200, "the last moment of the grace");
    clock.advance(Duration::from_millis(1));
    assert_eq!(verdict(&client.get("/v1/x", &old)), (401, "secret_retired".into()));
    assert_eq!(states(&gateway.admin, &id), ["retired", "active"]);
    assert_eq!(client.get("/v1/x", &new).status, 200);
    gateway.stop();
    let again = fixture.start();
    let mut client = Client::new(again.address);
    assert_eq!(verdict(&client.get("/v1/x", &old)), (401, "secret_retired".into()));
    assert_eq!(client.get("/v1/x", &new).status, 200);
}

#[test]
fn a_grace_runs_on_through_a_restart() {
    let clock = clock();
    let fixture = Fixture::with(ROUTE).clock(clock.clone());
    let gateway = fixture.start();
    let (id, old) = gateway.admin.key(&json!({"scopes": ["*"]}));
    rotate(&gateway.admin, &id, "1h");
    gateway.stop();
    clock.advance(Duration::from_mins(59));
    let gateway = fixture.start();
    let mut client = Client::new(gateway.address);
    let answer = client.get("/v1/x", &old);
    assert_eq!((answer.status, answer.header("deprecation")), (200, Some(format!("@{START}").as_str())));
    clock.advance(Duration::from_mins(1));
    assert_eq!(verdict(&client.get("/v1/x", &old)), (401, "secret_retired".into()));
}

#[test]
fn each_rotation_keeps_the_graces_before_it_unless_it_has_none_itself() {
    let clock = clock();
    let gateway = Fixture::with(ROUTE).clock(clock.clone()).start();
    let (id, first) = gateway.admin.key(&json!({"scopes": ["*"]}));
    let second = rotate(&gateway.admin, &id, "2h");
    clock.advance(Duration::from_mins(1));
    let third = rotate(&gateway.admin, &id, "1h");
    let mut client = Client::new(gateway.address);
    let mut passes = |secrets: [&str; 3]| secrets.map(|secret| client.get("/v1/x", secret).status == 200);
    assert_eq!(passes([&first, &second, &third]), [true, true, true]);
    clock.advance(Duration::from_hours(1));
    assert_eq!(passes([&first, &second, &third]), [true, false, true]);
    let fourth = rotate(&gateway.admin, &id, "0s");
    assert_eq!(passes([&first, &third, &fourth]), [false, false, true]);
    assert_eq!(states(&gateway.admin, &id), ["retired", "retired", "retired", "active"]);
}

#[test]
fn the_graces_of_a_disabled_and_of_a_revoked_key_open_nothing() {
    let gateway = Fixture::with(ROUTE).clock(clock()).start();
    let (id, old) = gateway.admin.key(&json!({"scopes": ["*"]}));
    let new = rotate(&gateway.admin, &id, "1h");
    let mut client = Client::new(gateway.address);
    for (call, code) in [(("POST", "/disable", ""), "key_disabled"), (("POST", "/revoke", ""), "key_revoked")]
    {
        send(&gateway.admin, &id, call);
        for secret in [&old, &new] {
            assert_eq!(verdict(&client.get("/v1/x", secret)), (401, code.into()));
        }
    }
}

#[test]
fn a_rotation_is_due_by_the_age_of_the_newest_secret() {
    let clock = clock();
    let gateway =
        Fixture::with(&format!("[keys]\nrotate_after = \"7d\"\n{ROUTE}")).clock(clock.clone()).start();
    let (id, _) = gateway.admin.key(&json!({}));
    let due = |expected: bool| assert_eq!(gateway.admin.show(&id)["rotation_due"], expected);
    due(false);
    clock.advance(Duration::from_hours(7 * 24) - Duration::from_millis(1));
    due(false);
    clock.advance(Duration::from_millis(1));
    due(true);
    rotate(&gateway.admin, &id, "1h");
    due(false);
}

#[test]
fn a_rotation_is_due_by_the_keys_environment() {
    let clock = clock();
    let rule = "[keys]\nrotate_after = { default = \"3d\", live = \"1d\", sandbox = \"never\" }";
    let gateway = Fixture::with(&format!("{rule}\n{ROUTE}")).clock(clock.clone()).start();
    let ids = ["live", "test", "sandbox"].map(|name| gateway.admin.key(&json!({"environment": name})).0);
    let due = |expected: [bool; 3]| {
        let due = ids.each_ref().map(|id| gateway.admin.show(id)["rotation_due"].as_bool().unwrap());
        assert_eq!(due, expected);
    };
    due([false, false, false]);
    clock.advance(Duration::from_hours(24));
    due([true, false, false]);
    clock.advance(Duration::from_hours(2 * 24));
    due([true, true, false]);
    clock.advance(Duration::from_hours(3650 * 24));
    due([true, true, false]);
    rotate(&gateway.admin, &ids[0], "1h");
    due([false, true, false]);
}
