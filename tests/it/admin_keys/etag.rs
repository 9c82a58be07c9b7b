//! Entity tags: of what an admin can change, and what keeps two writers apart.

use std::sync::Barrier;
use std::thread;

use serde_json::json;

use super::path_of;
use crate::support::{Admin, Client, Fixture};

fn etag(admin: &Admin, id: &str) -> String {
    admin.get(&path_of(id)).header("etag").unwrap().to_owned()
}

#[test]
fn traffic_does_not_move_the_etag_and_every_change_does() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    let (id, secret) = gateway.admin.key(&json!({}));
    let first = etag(&gateway.admin, &id);
    assert!(first.starts_with('"') && first.ends_with('"') && first.len() > 2, "{first}");
    let mut client = Client::new(gateway.address);
    for _ in 0..5 {
        assert_eq!(client.get("/v1/x", &secret).status, 200);
    }
    assert_eq!(gateway.admin.show(&id)["usage"]["requests"], 5);
    assert_eq!(etag(&gateway.admin, &id), first);
    let (other, _) = gateway.admin.key(&json!({}));
    assert_eq!(gateway.admin.post(&format!("{}/disable", path_of(&other)), &json!({})).status, 200);
    assert_eq!(etag(&gateway.admin, &id), first, "another key's change is not this one's");
    let mut seen = vec![first];
    let changes =
        [("PATCH", ""), ("POST", "/disable"), ("POST", "/enable"), ("POST", "/rotate"), ("POST", "/revoke")];
    for (method, rest) in changes {
        let body = if method == "PATCH" { r#"{"description": "b"}"# } else { "{}" };
        let answer = gateway.admin.call(method, &format!("{}{rest}", path_of(&id)), &[], body);
        assert_eq!(answer.status, 200, "{rest}");
        let now = etag(&gateway.admin, &id);
        assert_eq!(answer.header("etag"), Some(now.as_str()), "{rest}");
        assert!(!seen.contains(&now), "{rest}: {now} in {seen:?}");
        seen.push(now);
    }
    let last = seen.pop().unwrap();
    gateway.stop();
    assert_eq!(etag(&fixture.start().admin, &id), last, "a restart does not move it");
}

#[test]
fn a_change_with_another_etag_changes_nothing() {
    let gateway = Fixture::new().start();
    let (id, _) = gateway.admin.key(&json!({}));
    let stale = etag(&gateway.admin, &id);
    assert_eq!(gateway.admin.patch(&path_of(&id), &json!({"description": "b"})).status, 200);
    let before = gateway.admin.show(&id);
    let present = etag(&gateway.admin, &id);
    let calls = [
        ("PATCH", ""),
        ("POST", "/disable"),
        ("POST", "/enable"),
        ("POST", "/rotate"),
        ("POST", "/revoke"),
        ("DELETE", ""),
    ];
    let weak = format!("W/{present}");
    for tag in [stale.as_str(), &weak, "\"nonsense\"", "", "r1"] {
        for (method, rest) in calls {
            let path = format!("{}{rest}", path_of(&id));
            let answer = gateway.admin.call(method, &path, &[("if-match", tag)], "{}");
            let seen = (answer.status, answer.code());
            assert_eq!(seen, (412, "precondition_failed".into()), "{method} {rest} {tag:?}");
            assert_eq!(answer.header("etag"), Some(present.as_str()));
        }
    }
    assert_eq!(gateway.admin.show(&id), before);
}

#[test]
fn a_change_with_the_present_etag_is_made() {
    let gateway = Fixture::new().start();
    let (id, _) = gateway.admin.key(&json!({}));
    let forms: [fn(&str) -> String; 3] =
        [str::to_owned, |tag| format!("\"other\", {tag}"), |_| "*".to_owned()];
    for (number, form) in forms.into_iter().enumerate() {
        let tag = form(&etag(&gateway.admin, &id));
        let body = json!({"description": number.to_string()}).to_string();
        let answer = gateway.admin.call("PATCH", &path_of(&id), &[("if-match", &tag)], &body);
        assert_eq!(
            (answer.status, &answer.json()["description"]),
            (200, &json!(number.to_string())),
            "{tag}"
        );
    }
    let tag = etag(&gateway.admin, &id);
    assert_eq!(gateway.admin.call("DELETE", &path_of(&id), &[("if-match", &tag)], "").status, 204);
}

#[test]
fn a_revoked_key_asked_to_be_revoked_again_still_checks_the_etag() {
    let gateway = Fixture::new().start();
    let (id, _) = gateway.admin.key(&json!({}));
    let stale = etag(&gateway.admin, &id);
    let path = format!("{}/revoke", path_of(&id));
    assert_eq!(gateway.admin.post(&path, &json!({})).status, 200);
    assert_eq!(gateway.admin.call("POST", &path, &[("if-match", &stale)], "{}").status, 412);
    let present = etag(&gateway.admin, &id);
    assert_eq!(gateway.admin.call("POST", &path, &[("if-match", &present)], "{}").status, 200);
}

#[test]
fn of_two_writers_with_one_etag_exactly_one_wins() {
    let gateway = Fixture::new().start();
    let (id, _) = gateway.admin.key(&json!({}));
    for round in 0..10 {
        let (tag, start) = (etag(&gateway.admin, &id), Barrier::new(8));
        let write = |writer: usize| {
            let body = json!({"metadata": {"round": round, "writer": writer}}).to_string();
            start.wait();
            gateway.admin.call("PATCH", &path_of(&id), &[("if-match", &tag)], &body).status
        };
        let statuses: Vec<u16> = thread::scope(|scope| {
            let writers: Vec<_> = (0..8).map(|writer| scope.spawn(move || write(writer))).collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        let winner = statuses.iter().position(|status| *status == 200).unwrap();
        assert_eq!(statuses.iter().filter(|status| **status == 412).count(), 7, "{statuses:?}");
        assert_eq!(gateway.admin.show(&id)["metadata"], json!({"round": round, "writer": winner}));
    }
}
