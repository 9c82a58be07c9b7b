//! What the admin API refuses, and how it says so.

use serde_json::{Value, json};

use super::{create, invalid, path_of};
use crate::support::{Admin, Fixture};

/// Every call of a key, by method and what follows the key's path.
const CALLS: [(&str, &str); 7] = [
    ("GET", ""),
    ("PATCH", ""),
    ("DELETE", ""),
    ("POST", "/enable"),
    ("POST", "/disable"),
    ("POST", "/rotate"),
    ("POST", "/revoke"),
];

fn limits(count: usize) -> Value {
    (0..count).map(|n| json!({"name": format!("l{n}"), "requests": 1, "window": "1s"})).collect()
}

#[test]
fn every_bad_field_is_named_in_one_answer() {
    let gateway = Fixture::new().start();
    let body = json!({
        "name": "", "description": 5, "owner": "No Slug", "environment": "a-b", "tags": ["ok", 7, ""],
        "metadata": "x", "role": "ghost", "scopes": ["ok:read", "Bad Scope"], "ip_allow": ["300.1.1.1", "::1/200"],
        "limits": [{"name": "m", "requests": 0, "window": "soon", "burst": -1, "colour": 1}, 5],
        "quotas": [{"name": "q", "requests": 1.5, "window": "year"}, {"requests": 1, "window": "day"}],
        "max_concurrent": 0, "expires_at": "2020-01-01T00:00:00Z", "colour": "red", "a/b~c": 1,
        "id": "key_x", "secret": "x", "status": "active", "usage": {},
    });
    let expected = [
        "/a~1b~0c",
        "/colour",
        "/description",
        "/environment",
        "/expires_at",
        "/id",
        "/ip_allow/0",
        "/ip_allow/1",
        "/limits/0/burst",
        "/limits/0/colour",
        "/limits/0/requests",
        "/limits/0/window",
        "/limits/1",
        "/max_concurrent",
        "/metadata",
        "/name",
        "/owner",
        "/quotas/0/requests",
        "/quotas/0/window",
        "/quotas/1/name",
        "/role",
        "/scopes/1",
        "/secret",
        "/status",
        "/tags/1",
        "/tags/2",
        "/usage",
    ];
    assert_eq!(invalid(&gateway.admin.post("/api/v1/keys", &body)), expected);
    assert_eq!(gateway.admin.get("/api/v1/keys").json()["total"], 0, "nothing was created");
}

#[test]
fn each_field_has_its_rule() {
    let gateway = Fixture::new().start();
    let (long, tags) = (|n: usize| "x".repeat(n), |n: usize| vec!["t"; n]);
    let cases = [
        ("/name", json!({"name": " \t"})),
        ("/name", json!({"name": long(201)})),
        ("/name", json!({"name": "a\u{0}b"})),
        ("/name", json!({})),
        ("/name", json!({"name": null})),
        ("/description", json!({"description": long(2_001)})),
        ("/owner", json!({"owner": long(65)})),
        ("/owner", json!({"owner": ""})),
        ("/environment", json!({"environment": "Live"})),
        ("/environment", json!({"environment": "a__b"})),
        ("/tags", json!({"tags": tags(51)})),
        ("/tags", json!({"tags": "ci"})),
        ("/tags/0", json!({"tags": [long(65)]})),
        ("/metadata", json!({"metadata": {"k": long(4_096)}})),
        ("/metadata", json!({"metadata": [1]})),
        ("/scopes", json!({"scopes": vec!["a:b"; 101]})),
        ("/scopes/0", json!({"scopes": ["models:re*"]})),
        ("/ip_allow", json!({"ip_allow": vec!["10.0.0.1"; 101]})),
        ("/ip_allow/0", json!({"ip_allow": ["localhost"]})),
        ("/limits", json!({"limits": limits(9)})),
        ("/limits/0/window", json!({"limits": [{"name": "m", "requests": 1, "window": "32d"}]})),
        ("/limits/0/window", json!({"limits": [{"name": "m", "requests": 1, "window": 60}]})),
        ("/limits/0/name", json!({"limits": [{"name": "A B", "requests": 1, "window": "1s"}]})),
        ("/limits/1/name", json!({"limits": [limits(1)[0], limits(1)[0]]})),
        ("/quotas/0/window", json!({"quotas": [{"name": "q", "requests": 1, "window": "hour"}]})),
        ("/max_concurrent", json!({"max_concurrent": "3"})),
        ("/expires_at", json!({"expires_at": "tomorrow"})),
        ("/expires_at", json!({"expires_at": 4_102_444_800_u64})),
    ];
    for (pointer, case) in cases {
        let mut body = if pointer == "/name" { json!({}) } else { json!({"name": "a"}) };
        body.as_object_mut().unwrap().extend(case.as_object().unwrap().clone());
        assert_eq!(invalid(&gateway.admin.post("/api/v1/keys", &body)), [pointer], "{case}");
    }
}

#[test]
fn a_body_that_is_no_json_is_a_bad_request_and_is_not_repeated() {
    let gateway = Fixture::new().start();
    let id = create(&gateway.admin, &json!({"name": "a"}))["id"].as_str().unwrap().to_owned();
    let deep = "[".repeat(100_000);
    let bodies = ["{", "{\"name\": \"pc_live_SECRET\"", "name=a", "\u{1}", "{} {}", "{'name': 'a'}", &deep];
    let key = path_of(&id);
    let rotate = format!("{key}/rotate");
    for (method, path) in [("POST", "/api/v1/keys"), ("PATCH", &key), ("POST", &rotate)] {
        for body in bodies {
            let answer = gateway.admin.call(method, path, &[], body);
            assert_eq!((answer.status, answer.code().as_str()), (400, "bad_request"), "{method} {body:.40}");
            assert!(!String::from_utf8_lossy(&answer.body).contains("SECRET"));
        }
    }
    for (method, path) in [("POST", "/api/v1/keys"), ("PATCH", &key), ("POST", "/api/v1/roles")] {
        assert_eq!(
            gateway.admin.call(method, path, &[], "").code(),
            "bad_request",
            "no body: {method} {path}"
        );
    }
    for (body, pointers) in [("[]", [""]), ("null", [""]), ("\"a\"", [""])] {
        assert_eq!(invalid(&gateway.admin.call("POST", "/api/v1/keys", &[], body)), pointers, "{body:?}");
    }
}

#[test]
fn a_body_over_its_bound_is_refused() {
    let gateway = Fixture::new().start();
    let body = json!({"name": "a", "description": "x".repeat(1 << 20)}).to_string();
    let answer = gateway.admin.call("POST", "/api/v1/keys", &[], &body);
    assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"));
    assert_eq!(gateway.admin.get("/api/v1/keys").json()["total"], 0);
}

#[test]
fn what_is_not_there_is_not_found() {
    let gateway = Fixture::new().start();
    let gone = create(&gateway.admin, &json!({"name": "a"}))["id"].as_str().unwrap().to_owned();
    assert_eq!(gateway.admin.call("DELETE", &path_of(&gone), &[], "").status, 204);
    let ids = [
        gone.as_str(),
        "key_01k9m2c3d4e5f6g7h8j9k0m1n2",
        "KEY_01K9M2C3D4E5F6G7H8J9K0M1N2",
        "key_",
        "key_01k9m2c3d4e5f6g7h8j9k0m1n2x",
        "x",
        "%00",
        "key_%2e%2e",
    ];
    for id in ids {
        for (method, rest) in CALLS {
            let answer = gateway.admin.call(method, &format!("/api/v1/keys/{id}{rest}"), &[], "{}");
            assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"), "{method} {id}{rest}");
        }
    }
    for path in ["/api/v1/nothing", "/api/v1", "/api/v2/keys", "/nothing", "/api/v1/keys/"] {
        let answer = gateway.admin.get(path);
        assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"), "{path}");
    }
    let answer = gateway.admin.call("PUT", &path_of(&gone), &[], "{}");
    assert_eq!((answer.status, answer.code().as_str()), (405, "method_not_allowed"));
    let allowed: Vec<_> = answer.header("allow").unwrap().split(',').map(str::trim).collect();
    assert!(["GET", "PATCH", "DELETE"].iter().all(|method| allowed.contains(method)), "{allowed:?}");
}

#[test]
fn a_refusal_is_a_problem_with_the_requests_id() {
    let gateway = Fixture::new().start();
    let answer = gateway.admin.call("GET", "/api/v1/keys/x", &[("x-request-id", "mine-1")], "");
    let body = answer.json();
    for name in ["type", "title", "detail", "code", "request_id"] {
        assert!(body[name].as_str().is_some_and(|text| !text.is_empty()), "{name} of {body}");
    }
    assert_eq!((body["status"].as_u64(), body["request_id"].as_str()), (Some(404), Some("mine-1")));
    assert_eq!(answer.header("x-request-id"), Some("mine-1"));
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let made = gateway.admin.get("/api/v1/keys/x");
    assert_eq!(made.json()["request_id"].as_str(), made.header("x-request-id"));
}

#[test]
fn a_keys_secret_opens_no_admin_call() {
    let gateway = Fixture::new().start();
    let (id, secret) = gateway.admin.key(&json!({}));
    let stranger = Admin::new(gateway.admin.address, &secret);
    assert_eq!(stranger.get(&path_of(&id)).code(), "invalid_token");
}
