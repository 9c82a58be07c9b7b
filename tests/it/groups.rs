//! Roles, owners and listings, from outside.

use serde_json::{Value, json};

use crate::support::{Fixture, Gateway, send};

fn get(gateway: &Gateway, path: &str, secret: &str) -> u16 {
    send(gateway.address, format!("GET {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {secret}\r\n\r\n"))
        .status
}

const SCOPED: &str = r#"
    [[routes]]
    path = "/v1"
    upstream = "api"
    scopes = ["models:read"]
"#;

#[test]
fn an_edit_of_a_role_holds_for_all_its_keys_on_the_next_request() {
    let fixture = Fixture::with(SCOPED);
    let gateway = fixture.start();
    let admin = &gateway.admin;
    let made = admin.post("/api/v1/roles", &json!({"name": "reader", "scopes": ["models:*"]}));
    assert_eq!((made.status, made.header("location")), (201, Some("/api/v1/roles/reader")));
    let secrets: Vec<String> = (0..3).map(|_| admin.key(&json!({"role": "reader"})).1).collect();
    let all = |status| secrets.iter().for_each(|secret| assert_eq!(get(&gateway, "/v1", secret), status));
    all(200);
    assert_eq!(fixture.upstream.last().header("x-portcullis-scopes"), Some("models:*"));
    let edited = admin.patch("/api/v1/roles/reader", &json!({"scopes": ["files:read"]}));
    assert_eq!(edited.status, 200);
    all(403);
    let limit = json!([{"name": "minute", "requests": 2, "window": "1m"}]);
    admin.patch("/api/v1/roles/reader", &json!({"scopes": ["models:read"], "limits": limit}));
    all(200);
    all(200);
    all(429);
    gateway.stop();
    let gateway = fixture.start();
    assert_eq!(get(&gateway, "/v1", &secrets[0]), 200);
}

#[test]
fn a_role_in_use_stays_and_one_that_is_not_there_is_refused() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    let admin = &gateway.admin;
    let refused = admin.post("/api/v1/keys", &json!({"name": "x", "role": "ghost"}));
    assert_eq!((refused.status, refused.json()["errors"][0]["pointer"].as_str()), (422, Some("/role")));
    admin.post("/api/v1/roles", &json!({"name": "reader"}));
    assert_eq!(admin.post("/api/v1/roles", &json!({"name": "reader"})).status, 409);
    let (id, _) = admin.key(&json!({"role": "reader"}));
    assert_eq!(admin.call("DELETE", "/api/v1/roles/reader", &[], "").status, 409);
    admin.patch(&format!("/api/v1/keys/{id}"), &json!({"role": null}));
    assert_eq!(admin.call("DELETE", "/api/v1/roles/reader", &[], "").status, 204);
    assert_eq!(admin.get("/api/v1/roles/reader").status, 404);
    assert_eq!(admin.get("/api/v1/roles").json()["total"], 0);
}

#[test]
fn an_owners_cap_counts_active_keys_alone() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    let admin = &gateway.admin;
    admin.post("/api/v1/owners", &json!({"name": "acme", "max_active_keys": 2}));
    let (first, _) = admin.key(&json!({"owner": "acme"}));
    admin.key(&json!({"owner": "acme"}));
    let over = admin.post("/api/v1/keys", &json!({"name": "x", "owner": "acme"}));
    assert_eq!((over.status, over.code().as_str()), (409, "key_limit_reached"));
    assert!(over.json()["detail"].as_str().unwrap().contains('2'));
    admin.post(&format!("/api/v1/keys/{first}/disable"), &Value::Null);
    admin.key(&json!({"owner": "acme"}));
    let back = admin.post(&format!("/api/v1/keys/{first}/enable"), &Value::Null);
    assert_eq!((back.status, back.code().as_str()), (409, "key_limit_reached"));
    let (other, _) = admin.key(&json!({"owner": "umbrella"}));
    let moved = admin.patch(&format!("/api/v1/keys/{other}"), &json!({"owner": "acme"}));
    assert_eq!(moved.status, 409);
}

#[test]
fn an_owners_limit_is_shared_by_all_its_keys() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    let admin = &gateway.admin;
    let limit = json!([{"name": "team", "requests": 3, "window": "1h"}]);
    let (_, a) = admin.key(&json!({"owner": "acme"}));
    admin.post("/api/v1/owners", &json!({"name": "acme", "limits": limit}));
    let (_, b) = admin.key(&json!({"owner": "acme"}));
    let (_, stranger) = admin.key(&json!({"owner": "umbrella"}));
    let statuses: Vec<u16> = [&a, &b, &a, &b, &a].iter().map(|secret| get(&gateway, "/v1", secret)).collect();
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    assert_eq!(get(&gateway, "/v1", &stranger), 200);
    admin.call("DELETE", "/api/v1/owners/acme", &[], "");
    assert_eq!(get(&gateway, "/v1", &a), 200);
}

#[test]
fn listings_sort_by_use_and_find_by_text_also_after_a_restart() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    let (busy, secret) = gateway.admin.key(&json!({"name": "Busy Bee", "description": "hive"}));
    let (idle, _) = gateway.admin.key(&json!({"name": "idle", "tags": ["spare"]}));
    (0..3).for_each(|_| assert_eq!(get(&gateway, "/v1", &secret), 200));
    let ids = |gateway: &Gateway, query: &str| -> Vec<String> {
        let answer = gateway.admin.get(&format!("/api/v1/keys?{query}")).json();
        assert_eq!(answer["total"], answer["items"].as_array().unwrap().len());
        answer["items"].as_array().unwrap().iter().map(|key| key["id"].as_str().unwrap().to_owned()).collect()
    };
    let check = |gateway: &Gateway| {
        assert_eq!(ids(gateway, "sort=-requests"), [busy.clone(), idle.clone()]);
        assert_eq!(ids(gateway, "sort=-last_used_at"), [busy.clone(), idle.clone()]);
        assert_eq!(ids(gateway, "sort=name"), [busy.clone(), idle.clone()]);
        assert_eq!(ids(gateway, "q=HIVE").as_slice(), std::slice::from_ref(&busy));
        assert_eq!(ids(gateway, "q=busy+b").as_slice(), std::slice::from_ref(&busy));
        assert_eq!(ids(gateway, &format!("q={}", &idle[4..])).as_slice(), std::slice::from_ref(&idle));
        assert_eq!(ids(gateway, "tag=spare").as_slice(), std::slice::from_ref(&idle));
        assert!(ids(gateway, "role=nobody").is_empty());
        assert_eq!(ids(gateway, "unused_since=2020-01-01T00:00:00Z").as_slice(), std::slice::from_ref(&idle));
    };
    check(&gateway);
    gateway.stop();
    check(&fixture.start());
}
