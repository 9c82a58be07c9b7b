//! `GET /api/v1/keys`: filters, orders and bounds.

use std::sync::Arc;
use std::time::Duration;

use portcullis::clock::{ManualClock, Timestamp};
use serde_json::{Value, json};

use super::{invalid, path_of};
use crate::support::{Admin, Client, Fixture};

/// The names of the keys that a query lists, in its order.
fn listed(admin: &Admin, query: &str) -> Vec<String> {
    let answer = admin.get(&format!("/api/v1/keys?{query}"));
    assert_eq!(answer.status, 200, "{query}: {}", String::from_utf8_lossy(&answer.body));
    let body = answer.json();
    let items = body["items"].as_array().unwrap();
    if body["next_cursor"].is_null() && body["prev_cursor"].is_null() {
        assert_eq!(body["total"], items.len(), "{query}");
    }
    items.iter().map(|key| key["name"].as_str().unwrap().to_owned()).collect()
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

#[test]
fn each_filter_finds_its_keys_and_all_hold_together() {
    let gateway = Fixture::new().start();
    let admin = &gateway.admin;
    let (a, _) =
        admin.key(&json!({"name": "Alpha", "owner": "acme", "tags": ["eu", "ci"], "description": "Größe X"}));
    let (b, _) = admin.key(&json!({"name": "beta", "owner": "acme", "environment": "test", "tags": ["eu"]}));
    let (c, secret) =
        admin.key(&json!({"name": "gamma", "owner": "other", "expires_at": "2099-01-01T00:00:00Z"}));
    let (_, _) = admin.key(&json!({"name": "delta"}));
    admin.post(&format!("{}/disable", path_of(&a)), &json!({}));
    admin.post(&format!("{}/revoke", path_of(&b)), &json!({}));
    admin.patch(&path_of(&c), &json!({"expires_at": "2001-01-01T00:00:00Z"}));
    let tail = secret[secret.len() - 4..].to_lowercase();
    let cases: [(&str, &[&str]); 19] = [
        ("", &["Alpha", "beta", "delta", "gamma"]),
        ("status=active", &["delta"]),
        ("status=disabled", &["Alpha"]),
        ("status=revoked", &["beta"]),
        ("status=expired", &["gamma"]),
        ("owner=acme", &["Alpha", "beta"]),
        ("owner=Acme", &[]),
        ("environment=test", &["beta"]),
        ("environment=live", &["Alpha", "delta", "gamma"]),
        ("role=ghost", &[]),
        ("tag=eu", &["Alpha", "beta"]),
        ("tag=e", &[]),
        ("q=ALPHA", &["Alpha"]),
        ("q=gr%C3%B6%C3%9Fe+x", &["Alpha"]),
        ("q=nothing-like-this", &[]),
        (&format!("q={}", a.to_uppercase()), &["Alpha"]),
        (&format!("q={tail}"), &["gamma"]),
        ("owner=acme&tag=eu&status=revoked&q=BET", &["beta"]),
        ("owner=other&tag=eu", &[]),
    ];
    for (query, expected) in cases {
        assert_eq!(sorted(listed(admin, query)), expected, "{query}");
    }
}

#[test]
fn orders_are_by_creation_name_use_and_requests() {
    let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_800_000_000)));
    let gateway = Fixture::new().clock(clock.clone()).start();
    let admin = &gateway.admin;
    let mut secrets = Vec::new();
    for name in ["Zeta", "alpha", "Beta", "alpha"] {
        clock.advance(Duration::from_secs(1));
        secrets.push(admin.key(&json!({"name": name, "description": secrets.len().to_string()})));
    }
    let mut client = Client::new(gateway.address);
    for (index, requests) in [(2, 1), (0, 3), (1, 2)] {
        clock.advance(Duration::from_secs(1));
        for _ in 0..requests {
            assert_eq!(client.get("/v1", &secrets[index].1).status, 200);
        }
    }
    let order = |query: &str| -> Vec<String> {
        let body = admin.get(&format!("/api/v1/keys?{query}")).json();
        let items = body["items"].as_array().unwrap();
        items.iter().map(|key| key["description"].as_str().unwrap().to_owned()).collect()
    };
    let cases = [
        ("", ["3", "2", "1", "0"]),
        ("sort=-created_at", ["3", "2", "1", "0"]),
        ("sort=created_at", ["0", "1", "2", "3"]),
        ("sort=name", ["3", "1", "2", "0"]),
        ("sort=-last_used_at", ["1", "0", "2", "3"]),
        ("sort=-requests", ["0", "1", "2", "3"]),
    ];
    for (query, expected) in cases {
        assert_eq!(order(query), expected, "{query}");
        assert_eq!(order(&format!("{query}&q=a")), expected, "{query}, walked");
    }
}

#[test]
fn unused_since_lists_what_was_not_used_from_then_on() {
    let start = Timestamp::from_secs(1_800_000_000);
    let clock = Arc::new(ManualClock::at(start));
    let gateway = Fixture::new().clock(clock.clone()).start();
    let admin = &gateway.admin;
    let used: Vec<_> = ["early", "late", "refused"].map(|name| admin.key(&json!({"name": name}))).into();
    admin.key(&json!({"name": "never"}));
    let mut client = Client::new(gateway.address);
    client.get("/v1", &used[0].1);
    admin.post(&format!("{}/disable", path_of(&used[2].0)), &json!({}));
    clock.advance(Duration::from_hours(1));
    client.get("/v1", &used[1].1);
    assert_eq!(client.get("/v1", &used[2].1).status, 401);
    let cases: [(u64, &[&str]); 4] = [
        (0, &["never", "refused"]),
        (1, &["early", "never", "refused"]),
        (3_600, &["early", "never", "refused"]),
        (3_601, &["early", "late", "never", "refused"]),
    ];
    for (after, expected) in cases {
        let since = start.plus(Duration::from_secs(after));
        assert_eq!(sorted(listed(admin, &format!("unused_since={since}"))), expected, "{since}");
    }
}

#[test]
fn a_page_holds_fifty_keys_unless_told_otherwise() {
    let gateway = Fixture::new().start();
    let lines: String =
        (0..205).map(|n| format!("{{\"name\":\"k{n}\",\"secret\":\"foreign-secret-{n:08}\"}}\n")).collect();
    assert_eq!(gateway.admin.call("POST", "/api/v1/keys/import", &[], &lines).json()["imported"], 205);
    for (query, expected) in
        [("", 50), ("limit=1", 1), ("limit=200", 200), ("q=k&limit=200", 200), ("q=k", 50)]
    {
        let body = gateway.admin.get(&format!("/api/v1/keys?{query}")).json();
        assert_eq!(body["items"].as_array().unwrap().len(), expected, "{query}");
        assert_eq!((&body["total"], &body["prev_cursor"]), (&json!(205), &Value::Null), "{query}");
    }
}

#[test]
fn every_bad_parameter_is_named_in_one_answer() {
    let gateway = Fixture::new().start();
    let cases: [(&str, &[&str]); 13] = [
        ("limit=0", &["/limit"]),
        ("limit=201", &["/limit"]),
        ("limit=-1", &["/limit"]),
        ("limit=ten", &["/limit"]),
        ("limit=", &["/limit"]),
        ("status=Active", &["/status"]),
        ("sort=-name", &["/sort"]),
        ("unused_since=yesterday", &["/unused_since"]),
        ("cursor=x", &["/cursor"]),
        ("cursor=", &["/cursor"]),
        ("owner=", &["/owner"]),
        ("q=", &["/q"]),
        ("limit=0&status=x&sort=x&cursor=x&page=2", &["/cursor", "/limit", "/page", "/sort", "/status"]),
    ];
    for (query, pointers) in cases {
        assert_eq!(invalid(&gateway.admin.get(&format!("/api/v1/keys?{query}"))), pointers, "{query}");
    }
}
