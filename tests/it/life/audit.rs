//! The audit log: an entry for each change, in the change's own transaction, chained by hash.

use std::ops::ControlFlow;

use portcullis::store::audit::Entry;
use redb::{ReadableDatabase, TableDefinition};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{ROUTE, send};
use crate::support::{Fixture, Gateway};

/// The log, oldest first.
fn log(gateway: &Gateway) -> Vec<Entry> {
    let mut entries = Vec::new();
    let store = &gateway.app().core.store;
    store
        .audit(portcullis::store::Direction::Descending, &mut |entry| {
            entries.push(entry);
            ControlFlow::Continue(())
        })
        .unwrap();
    entries.reverse();
    entries
}

fn record(text: Option<&String>) -> Value {
    text.map_or(Value::Null, |text| serde_json::from_str(text).unwrap())
}

/// A key as the log keeps it: what is shown of it, but for what traffic and time make of it.
fn facts(mut key: Value) -> Value {
    for derived in ["rotation_due", "versions", "usage"] {
        key.as_object_mut().unwrap().remove(derived);
    }
    key
}

#[test]
fn every_change_leaves_one_entry_with_what_was_and_what_is() {
    let gateway = Fixture::with(ROUTE).start();
    let first = log(&gateway).len();
    let (id, _) = gateway.admin.key(&json!({"owner": "acme", "scopes": ["models:read"]}));
    let calls = [
        (("PATCH", "", r#"{"description": "b"}"#), "key.update"),
        (("POST", "/rotate", r#"{"grace": "1h"}"#), "key.rotate"),
        (("POST", "/disable", ""), "key.disable"),
        (("POST", "/enable", ""), "key.enable"),
        (("POST", "/revoke", r#"{"reason": "leaked"}"#), "key.revoke"),
        (("DELETE", "", ""), "key.delete"),
    ];
    let mut before = facts(gateway.admin.show(&id));
    let created = &log(&gateway)[first..];
    assert_eq!(
        (created.len(), created[0].action.as_str(), created[0].before.as_ref()),
        (1, "key.create", None)
    );
    assert_eq!(record(created[0].after.as_ref()), before);
    for (number, ((method, rest, body), action)) in calls.into_iter().enumerate() {
        let asked = format!("request-{number}");
        let path = format!("/api/v1/keys/{id}{rest}");
        let answer = gateway.admin.call(method, &path, &[("x-request-id", &asked)], body);
        assert!(answer.status < 300, "{action}");
        let entries = log(&gateway);
        assert_eq!(entries.len(), first + 2 + number, "{action}: one entry a change");
        let entry = &entries[entries.len() - 1];
        assert_eq!(
            (entry.action.as_str(), entry.target.as_str(), entry.outcome.as_str()),
            (action, id.as_str(), "done")
        );
        assert_eq!(entry.request_id.as_deref(), Some(asked.as_str()), "{action}");
        assert_eq!(entry.address.as_deref(), Some("127.0.0.1"), "{action}");
        assert_eq!(entry.actor, before["created_by"].as_str().unwrap(), "{action}");
        assert_eq!(record(entry.before.as_ref()), before, "{action}");
        let after = if method == "DELETE" { Value::Null } else { facts(gateway.admin.show(&id)) };
        assert_eq!(record(entry.after.as_ref()), after, "{action}");
        before = after;
    }
}

#[test]
fn what_was_refused_or_only_read_changes_nothing_in_the_records() {
    let gateway = Fixture::with(ROUTE).start();
    let (id, _) = gateway.admin.key(&json!({}));
    let done = |gateway: &Gateway| log(gateway).iter().filter(|entry| entry.outcome == "done").count();
    let before = (done(&gateway), gateway.admin.get("/api/v1/keys").json());
    let path = format!("/api/v1/keys/{id}");
    for (method, path, header, body) in [
        ("GET", path.as_str(), ("a", "b"), ""),
        ("PATCH", &path, ("if-match", "\"stale\""), "{}"),
        ("PATCH", &path, ("a", "b"), r#"{"name": ""}"#),
        ("POST", "/api/v1/keys", ("a", "b"), "{}"),
        ("DELETE", "/api/v1/keys/key_01k9m2c3d4e5f6g7h8j9k0m1n2", ("a", "b"), ""),
        ("POST", "/api/v1/keys/import", ("a", "b"), "not json"),
    ] {
        gateway.admin.call(method, path, &[header], body);
    }
    assert_eq!((done(&gateway), gateway.admin.get("/api/v1/keys").json()), before);
}

#[test]
fn each_entry_is_chained_to_the_bytes_of_the_one_before() {
    let fixture = Fixture::with(ROUTE);
    let gateway = fixture.start();
    let (id, _) = gateway.admin.key(&json!({}));
    for call in [("POST", "/disable", ""), ("POST", "/enable", ""), ("POST", "/rotate", "")] {
        send(&gateway.admin, &id, call);
    }
    gateway.stop();
    let gateway = fixture.start();
    send(&gateway.admin, &id, ("DELETE", "", ""));
    let entries = log(&gateway);
    gateway.stop();
    let database = redb::Database::open(fixture.store_path()).unwrap();
    let read = database.begin_read().unwrap();
    let table = read.open_table(TableDefinition::<u64, &[u8]>::new("audit")).unwrap();
    let mut previous = [0; 32];
    let mut stored = table.range(1..).unwrap();
    for (number, entry) in entries.iter().enumerate() {
        let (seq, bytes) = stored.next().unwrap().unwrap();
        assert_eq!((seq.value(), entry.seq), (number as u64 + 1, number as u64 + 1));
        assert_eq!(entry.previous_hash, previous, "entry {number} names the hash of the one before");
        assert!(bytes.value().ends_with(&previous), "and that is in its stored bytes");
        previous = Sha256::digest(bytes.value()).into();
        assert_eq!(entry.hash, previous, "its hash is of those bytes");
    }
    assert!(stored.next().is_none() && entries.len() >= 6);
}
