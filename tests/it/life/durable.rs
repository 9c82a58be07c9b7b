//! A restart keeps everything: after every kind of change, the store opens and says the same.

use serde_json::{Value, json};

use super::{ROUTE, send, verdict};
use crate::support::{Client, Fixture, Gateway};

/// Everything that can be read of a gateway's keys.
fn picture(gateway: &Gateway, ids: &[String]) -> Vec<(u16, Option<String>, Value)> {
    let show = |id: &String| {
        let answer = gateway.admin.get(&format!("/api/v1/keys/{id}"));
        let body = if answer.status == 200 { answer.json() } else { Value::Null };
        (answer.status, answer.header("etag").map(str::to_owned), body)
    };
    let mut picture: Vec<_> = ids.iter().map(show).collect();
    picture.push((0, None, gateway.admin.get("/api/v1/keys?limit=200").json()));
    picture.push((0, None, gateway.admin.get("/api/v1/usage?group_by=key&step=hour").json()));
    picture
}

#[test]
fn a_store_of_this_version_opens_after_every_kind_of_change() {
    let fixture = Fixture::with(ROUTE);
    let mut gateway = fixture.start();
    let full = json!({
        "name": "größe", "description": "a\nb", "owner": "acme", "environment": "test", "tags": ["a"],
        "metadata": {"k": [1, null, "ü"]}, "scopes": ["models:*"], "ip_allow": ["127.0.0.0/8", "::/0"],
        "limits": [{"name": "m", "requests": 9, "window": "1m", "burst": 3}], "max_concurrent": 2,
        "quotas": [{"name": "q", "requests": 9, "window": "week"}], "expires_at": "2099-01-01T00:00:00Z",
    });
    let (id, _) = gateway.admin.key(&full);
    let (other, secret) = gateway.admin.key(&json!({"scopes": ["models:read"]}));
    let ids = [id.clone(), other.clone()];
    let changes = [
        ("PATCH", "", r#"{"metadata": {"new": 1}, "limits": [], "quotas": null, "tags": []}"#),
        ("PATCH", "", r#"{"owner": null, "expires_at": null, "max_concurrent": null, "ip_allow": []}"#),
        ("POST", "/rotate", r#"{"grace": "30d"}"#),
        ("POST", "/rotate", ""),
        ("POST", "/disable", ""),
        ("POST", "/enable", ""),
        ("POST", "/disable", ""),
        ("POST", "/revoke", r#"{"reason": "leaked"}"#),
        ("DELETE", "", ""),
    ];
    for call in changes {
        send(&gateway.admin, &id, call);
        let before = picture(&gateway, &ids);
        gateway.stop();
        gateway = fixture.start();
        assert_eq!(picture(&gateway, &ids), before, "{call:?}");
        assert_eq!(Client::new(gateway.address).get("/v1/x", &secret).status, 200, "{call:?}");
    }
    let imported = r#"{"name": "i", "secret": "foreign-secret-0123456789", "scopes": ["*"]}"#;
    assert_eq!(gateway.admin.call("POST", "/api/v1/keys/import", &[], imported).json()["imported"], 1);
    let before = picture(&gateway, &ids);
    gateway.stop();
    gateway = fixture.start();
    assert_eq!(picture(&gateway, &ids), before, "import");
}

#[test]
fn what_a_key_may_and_may_not_do_is_the_same_after_a_restart() {
    let fixture = Fixture::with(ROUTE);
    let gateway = fixture.start();
    let mut keys = Vec::new();
    for change in super::changes() {
        let (id, secret) = change.made(&gateway.admin);
        // Something to have used up, for quotas; a rate starts anew with the process.
        Client::new(gateway.address).get("/v1/x", &secret);
        send(&gateway.admin, &id, change.call);
        if change.after.1 != "rate_limited" {
            keys.push((secret, change));
        }
    }
    gateway.stop();
    let gateway = fixture.start();
    for (secret, change) in keys {
        let answer = Client::new(gateway.address).get("/v1/x", &secret);
        let expected = (change.after.0, change.after.1.to_owned());
        assert_eq!(verdict(&answer), expected, "{}", change.name());
    }
}

#[test]
fn keys_of_one_millisecond_keep_their_order_over_restarts() {
    let fixture = Fixture::new();
    let mut made = Vec::new();
    for _ in 0..3 {
        let gateway = fixture.start();
        made.extend((0..30).map(|_| gateway.admin.key(&json!({})).0));
        gateway.stop();
    }
    let body = fixture.start().admin.get("/api/v1/keys?sort=created_at&limit=200").json();
    let listed: Vec<_> =
        body["items"].as_array().unwrap().iter().map(|key| key["id"].as_str().unwrap()).collect();
    assert_eq!(listed, made);
}
