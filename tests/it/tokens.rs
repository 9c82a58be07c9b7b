//! Admin tokens: what each may do, whose keys it sees, and how it ends.

use serde_json::json;

use crate::support::{Fixture, PERMISSIONS};

#[test]
fn each_permission_opens_its_own_operations_and_no_other() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    let (id, _) = gateway.admin.key(&json!({}));
    gateway.admin.post("/api/v1/roles", &json!({"name": "r"}));
    gateway.admin.post("/api/v1/owners", &json!({"name": "o"}));
    let key = format!("/api/v1/keys/{id}");
    let post = |what: &str| ("POST", format!("{key}/{what}"));
    // What is sent is refused for another reason (or changes nothing) where the permission is there.
    let operations: Vec<(&str, String, &str)> = vec![
        ("POST", "/api/v1/keys".into(), "api.key.create"),
        ("POST", "/api/v1/keys/import".into(), "api.key.create"),
        ("GET", "/api/v1/keys".into(), "api.key.view"),
        ("GET", key.clone(), "api.key.view"),
        ("GET", format!("{key}/rotation"), "api.key.view"),
        ("GET", format!("{key}/secret"), "api.key.reveal"),
        ("PATCH", key.clone(), "api.key.update"),
        (post("enable").0, post("enable").1, "api.key.update"),
        (post("disable").0, post("disable").1, "api.key.update"),
        (post("rotate").0, post("rotate").1, "api.key.update"),
        (post("revoke").0, format!("{key}x/revoke"), "none"),
        ("GET", "/api/v1/roles".into(), "api.role.view"),
        ("GET", "/api/v1/roles/r".into(), "api.role.view"),
        ("POST", "/api/v1/roles".into(), "api.role.create"),
        ("PATCH", "/api/v1/roles/r".into(), "api.role.update"),
        ("GET", "/api/v1/owners".into(), "api.owner.view"),
        ("POST", "/api/v1/owners".into(), "api.owner.create"),
        ("PATCH", "/api/v1/owners/o".into(), "api.owner.update"),
        ("GET", "/api/v1/usage".into(), "api.usage.view"),
        ("GET", "/api/v1/admin-tokens".into(), "api.admin"),
        ("POST", "/api/v1/admin-tokens".into(), "api.admin"),
    ];
    for permission in PERMISSIONS {
        let (_, admin) = gateway.admin.token(&json!({"permissions": [permission]}));
        for (method, path, needed) in operations.iter().filter(|(_, _, needed)| *needed != "none") {
            let answer = admin.call(method, path, &[], if *method == "GET" { "" } else { "{}" });
            let allowed = permission == *needed || permission == "api.admin";
            assert_eq!(answer.status != 403, allowed, "{permission}: {method} {path}: {}", answer.status);
            assert_ne!(answer.status, 500);
        }
    }
    for (permission, path) in [
        ("api.key.delete", key.clone()),
        ("api.role.delete", "/api/v1/roles/r".into()),
        ("api.owner.delete", "/api/v1/owners/o".into()),
    ] {
        for other in PERMISSIONS.iter().filter(|other| **other != permission && **other != "api.admin") {
            let (_, admin) = gateway.admin.token(&json!({"permissions": [other]}));
            assert_eq!(admin.call("DELETE", &path, &[], "").status, 403, "{other}: DELETE {path}");
        }
        let (_, admin) = gateway.admin.token(&json!({"permissions": [permission]}));
        assert_eq!(admin.call("DELETE", &path, &[], "").status, 204, "DELETE {path}");
    }
}

#[test]
fn a_token_of_one_owner_sees_and_changes_that_owners_keys_alone() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    let (theirs, _) = gateway.admin.key(&json!({"owner": "umbrella"}));
    let (_, acme) = gateway.admin.token(&json!({"owner": "acme"}));
    let (own, _) = acme.key(&json!({}));
    assert_eq!(acme.show(&own)["owner"], "acme");
    let list = acme.get("/api/v1/keys").json();
    assert_eq!((&list["total"], &list["items"][0]["id"]), (&json!(1), &json!(own)));
    assert_eq!(acme.get("/api/v1/keys?owner=umbrella").json()["total"], 0);
    for (method, path) in [
        ("GET", format!("/api/v1/keys/{theirs}")),
        ("PATCH", format!("/api/v1/keys/{theirs}")),
        ("DELETE", format!("/api/v1/keys/{theirs}")),
        ("POST", format!("/api/v1/keys/{theirs}/rotate")),
        ("POST", format!("/api/v1/keys/{theirs}/revoke")),
    ] {
        assert_eq!(acme.call(method, &path, &[], "{}").status, 404, "{method} {path}");
    }
    for (path, body) in [
        ("/api/v1/keys", json!({"name": "x", "owner": "umbrella"})),
        ("/api/v1/roles", json!({"name": "r"})),
        ("/api/v1/owners", json!({"name": "o"})),
        ("/api/v1/admin-tokens", json!({"name": "t", "permissions": ["api.key.view"]})),
    ] {
        assert_eq!(acme.post(path, &body).status, 403, "{path}");
    }
    assert_eq!(acme.patch(&format!("/api/v1/keys/{own}"), &json!({"owner": "umbrella"})).status, 403);
    assert_eq!(gateway.admin.show(&theirs)["status"], "active");
}

#[test]
fn a_revoked_or_expired_token_opens_nothing_and_the_last_master_stays() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    let (id, admin) = gateway.admin.token(&json!({"permissions": ["api.key.*"]}));
    assert_eq!(admin.get("/api/v1/keys").status, 200);
    let path = format!("/api/v1/admin-tokens/{id}");
    assert_eq!(gateway.admin.get(&path).json()["permissions"], json!(["api.key.*"]));
    assert_eq!(gateway.admin.call("DELETE", &path, &[], "").status, 204);
    assert_eq!(admin.get("/api/v1/keys").status, 401);
    let master = "/api/v1/admin-tokens/admt_environment";
    assert_eq!(gateway.admin.call("DELETE", master, &[], "").status, 409);
    let (_, other) = gateway.admin.token(&json!({}));
    assert_eq!(other.call("DELETE", master, &[], "").status, 204);
    assert_eq!(gateway.admin.get("/api/v1/keys").status, 401);
    let list = other.get("/api/v1/admin-tokens");
    assert_eq!(list.json()["total"], 1);
    let text = String::from_utf8(list.body).unwrap();
    assert!(!text.contains("digest") && !text.contains("secret"), "{text}");
}

#[test]
fn terms_that_do_not_hold_are_named() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    let body = json!({"permissions": ["api.ghost"], "owner": "No Slug", "expires_at": "2001-01-01T00:00:00Z", "x": 1});
    let refused = gateway.admin.post("/api/v1/admin-tokens", &body);
    assert_eq!(refused.status, 422);
    let refused = refused.json();
    let mut pointers: Vec<&str> = refused["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["pointer"].as_str().unwrap())
        .collect();
    pointers.sort_unstable();
    assert_eq!(pointers, ["/expires_at", "/name", "/owner", "/permissions/0", "/x"]);
}
