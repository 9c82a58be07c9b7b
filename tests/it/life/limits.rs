//! Edits of limits and quotas: what was spent stays spent.

use std::sync::Arc;
use std::time::Duration;

use portcullis::clock::{ManualClock, Timestamp};
use serde_json::{Value, json};

use super::{ROUTE, send, verdict};
use crate::support::{Client, Fixture};

/// 2026-11-21T13:00:00Z
const START: Timestamp = Timestamp::from_secs(1_795_266_000);

/// How many of the next requests pass before one is refused with this code.
fn left(client: &mut Client, secret: &str, code: &str) -> usize {
    for passed in 0..100 {
        let answer = client.get("/v1/x", secret);
        if answer.status != 200 {
            assert_eq!(verdict(&answer), (429, code.into()));
            return passed;
        }
    }
    panic!("a hundred requests passed")
}

fn quota(requests: u64) -> Value {
    json!([{"name": "q", "requests": requests, "window": "day"}])
}

#[test]
fn an_edit_of_a_limit_keeps_what_was_spent() {
    let clock = Arc::new(ManualClock::at(START));
    let gateway = Fixture::with(ROUTE).clock(clock).start();
    let limit = |requests: u64| json!({"limits": [{"name": "m", "requests": requests, "window": "1m"}]});
    // What there is at first, how many are spent, what it is edited to, how many are left.
    for (first, spent, second, expected) in [(5, 5, 10, 5), (10, 6, 5, 0), (10, 4, 5, 1), (5, 0, 7, 7)] {
        let mut fields = limit(first);
        fields["scopes"] = json!(["*"]);
        let (id, secret) = gateway.admin.key(&fields);
        let mut client = Client::new(gateway.address);
        for _ in 0..spent {
            assert_eq!(client.get("/v1/x", &secret).status, 200);
        }
        send(&gateway.admin, &id, ("PATCH", "", &limit(second).to_string()));
        assert_eq!(left(&mut client, &secret, "rate_limited"), expected, "{first} → {second} after {spent}");
    }
}

#[test]
fn an_edit_of_a_quota_keeps_what_was_used() {
    let clock = Arc::new(ManualClock::at(START));
    let gateway = Fixture::with(ROUTE).clock(clock).start();
    for (first, used, second, expected) in [(5, 5, 8, 3), (10, 6, 5, 0), (10, 4, 5, 1)] {
        let (id, secret) = gateway.admin.key(&json!({"scopes": ["*"], "quotas": quota(first)}));
        let mut client = Client::new(gateway.address);
        for _ in 0..used {
            assert_eq!(client.get("/v1/x", &secret).status, 200);
        }
        send(&gateway.admin, &id, ("PATCH", "", &json!({"quotas": quota(second)}).to_string()));
        assert_eq!(left(&mut client, &secret, "quota_exceeded"), expected, "{first} → {second} after {used}");
    }
}

#[test]
fn a_quota_that_is_added_counts_what_its_window_saw_up_to_the_last_request() {
    let gateway = Fixture::with(ROUTE).clock(Arc::new(ManualClock::at(START))).start();
    let (id, secret) = gateway.admin.key(&json!({"scopes": ["*"]}));
    let mut client = Client::new(gateway.address);
    for _ in 0..5 {
        assert_eq!(client.get("/v1/x", &secret).status, 200);
    }
    send(&gateway.admin, &id, ("PATCH", "", &json!({"quotas": quota(7)}).to_string()));
    assert_eq!(left(&mut client, &secret, "quota_exceeded"), 2);
}

#[test]
fn a_quota_is_kept_over_restarts_and_over_the_loss_of_the_usage_file() {
    let clock = Arc::new(ManualClock::at(START));
    let fixture = Fixture::with(ROUTE).clock(clock.clone());
    let gateway = fixture.start();
    let (_, secret) = gateway.admin.key(&json!({"scopes": ["*"], "quotas": quota(6)}));
    let spend = |address, requests: usize| {
        let mut client = Client::new(address);
        for _ in 0..requests {
            assert_eq!(client.get("/v1/x", &secret).status, 200);
        }
    };
    spend(gateway.address, 2);
    gateway.stop();
    let gateway = fixture.start();
    spend(gateway.address, 2);
    gateway.stop();
    std::fs::remove_file(fixture.folder.path().join("portcullis.usage")).unwrap();
    let gateway = fixture.start();
    assert_eq!(left(&mut Client::new(gateway.address), &secret, "quota_exceeded"), 2);
    // 13:00 and 11 hours: the next day in UTC.
    clock.advance(Duration::from_hours(11) - Duration::from_millis(1));
    assert_eq!(left(&mut Client::new(gateway.address), &secret, "quota_exceeded"), 0);
    clock.advance(Duration::from_millis(1));
    assert_eq!(left(&mut Client::new(gateway.address), &secret, "quota_exceeded"), 6);
}

#[test]
fn refused_requests_use_up_no_quota() {
    let gateway = Fixture::with(ROUTE).clock(Arc::new(ManualClock::at(START))).start();
    let fields = json!({
        "scopes": ["*"], "quotas": quota(5),
        "limits": [{"name": "s", "requests": 3, "window": "1d"}],
    });
    let (id, secret) = gateway.admin.key(&fields);
    let mut client = Client::new(gateway.address);
    assert_eq!(left(&mut client, &secret, "rate_limited"), 3);
    for _ in 0..5 {
        assert_eq!(client.get("/v1/x", &secret).code(), "rate_limited");
    }
    send(&gateway.admin, &id, ("PATCH", "", r#"{"limits": null}"#));
    assert_eq!(left(&mut client, &secret, "quota_exceeded"), 2);
}
