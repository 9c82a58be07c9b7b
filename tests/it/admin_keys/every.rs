//! What holds for every call of the API alike.

use serde_json::{Value, json};

use super::{create, invalid, path_of};
use crate::support::{Admin, Fixture, Gateway, send};

/// Every call of the API, with a key's ID where one is needed.
fn every_call(id: &str) -> Vec<(&'static str, String)> {
    let of_key = [
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/enable"),
        ("POST", "/disable"),
        ("POST", "/rotate"),
        ("POST", "/revoke"),
        ("POST", "/check"),
        ("GET", "/secret"),
    ];
    let others = [
        ("GET", "keys"),
        ("POST", "keys"),
        ("POST", "keys/import"),
        ("GET", "usage"),
        ("GET", "audit"),
        ("GET", "audit/verify"),
        ("GET", "roles"),
        ("POST", "roles"),
        ("GET", "roles/reader"),
        ("PATCH", "roles/reader"),
        ("DELETE", "roles/reader"),
        ("GET", "owners"),
        ("POST", "owners"),
        ("GET", "owners/acme"),
        ("PATCH", "owners/acme"),
        ("DELETE", "owners/acme"),
        ("GET", "admin-tokens"),
        ("POST", "admin-tokens"),
        ("GET", "admin-tokens/admt_environment"),
        ("DELETE", "admin-tokens/admt_environment"),
    ];
    let of_key = of_key.map(|(method, rest)| (method, format!("{}{rest}", path_of(id))));
    let others = others.map(|(method, path)| (method, format!("/api/v1/{path}")));
    of_key.into_iter().chain(others).collect()
}

/// Everything there is, to see that nothing was done.
fn everything(admin: &Admin) -> Vec<Value> {
    let paths = ["keys", "roles", "owners", "admin-tokens"];
    paths.map(|path| admin.get(&format!("/api/v1/{path}")).json()["items"].clone()).into()
}

/// A gateway with one of each thing, and the key's ID.
fn with_one_of_each() -> (Gateway, String) {
    let gateway = Fixture::new().start();
    let id = create(&gateway.admin, &json!({"name": "a"}))["id"].as_str().unwrap().to_owned();
    for (path, name) in [("roles", "reader"), ("owners", "acme")] {
        assert_eq!(gateway.admin.post(&format!("/api/v1/{path}"), &json!({"name": name})).status, 201);
    }
    (gateway, id)
}

#[test]
fn unknown_query_parameters_are_refused_everywhere() {
    let (gateway, id) = with_one_of_each();
    let before = everything(&gateway.admin);
    for (method, path) in every_call(&id) {
        let answer = gateway.admin.call(method, &format!("{path}?force=true&a%2Fb=1"), &[], "{}");
        assert_eq!(invalid(&answer), ["/a~1b", "/force"], "{method} {path}");
    }
    let twice = gateway.admin.get("/api/v1/keys?limit=1&limit=2&x/y=1&x/y=2");
    assert_eq!(invalid(&twice), ["/limit", "/x~1y"]);
    assert_eq!(everything(&gateway.admin), before, "none of the calls did anything");
}

#[test]
fn every_bad_field_of_roles_owners_and_tokens_is_named_in_one_answer() {
    let (gateway, _) = with_one_of_each();
    let before = everything(&gateway.admin);
    let bad_limits = json!([{"name": "m", "requests": 0, "window": "1m"}]);
    let role =
        json!({"name": "No Slug", "description": 1, "scopes": ["Bad"], "limits": bad_limits, "colour": 1});
    let owner = json!({"max_active_keys": 0, "limits": bad_limits, "colour": null, "hue": 1});
    let token = json!({"name": "", "permissions": ["api.everything"], "owner": "No Slug", "colour": 1});
    let patch = json!({"name": "other", "scopes": ["Bad"], "colour": null, "hue": 1});
    let cases: [(&str, &str, &Value, &[&str]); 5] = [
        ("POST", "roles", &role, &["/colour", "/description", "/limits/0/requests", "/name", "/scopes/0"]),
        ("POST", "owners", &owner, &["/colour", "/hue", "/limits/0/requests", "/max_active_keys", "/name"]),
        ("POST", "admin-tokens", &token, &["/colour", "/name", "/owner", "/permissions/0"]),
        ("PATCH", "roles/reader", &patch, &["/colour", "/hue", "/name", "/scopes/0"]),
        ("PATCH", "owners/acme", &patch, &["/colour", "/hue", "/name", "/scopes"]),
    ];
    for (method, path, body, pointers) in cases {
        let answer = gateway.admin.call(method, &format!("/api/v1/{path}"), &[], &body.to_string());
        assert_eq!(invalid(&answer), pointers, "{method} {path}");
    }
    assert_eq!(everything(&gateway.admin), before);
}

#[test]
fn without_a_right_token_nothing_is_answered_and_nothing_is_done() {
    let (gateway, id) = with_one_of_each();
    let before = everything(&gateway.admin);
    let tokens = [
        ("", "missing_token", 401),
        ("authorization: Bearer \r\n", "missing_token", 401),
        ("authorization: Basic YTpi\r\n", "missing_token", 401),
        ("authorization: Bearer wrong_token_0123456789\r\n", "invalid_token", 401),
        ("authorization: Bearer a\r\nauthorization: Bearer b\r\n", "bad_request", 400),
    ];
    let mut wrong = 0;
    for (method, path) in every_call(&id) {
        for (header, code, status) in tokens {
            wrong += usize::from(code == "invalid_token");
            let slowed = code == "invalid_token" && wrong > 10;
            let (code, status) = if slowed { ("too_many_failures", 429) } else { (code, status) };
            let request =
                format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n{header}content-length: 1\r\n\r\n{{");
            let answer = send(gateway.admin.address, request);
            assert_eq!((answer.status, answer.code().as_str()), (status, code), "{method} {path} {header}");
            let challenge = answer.header("www-authenticate").unwrap_or_default();
            assert!(slowed || challenge.starts_with("Bearer realm=\"portcullis-admin\""), "{challenge}");
            assert_eq!(answer.header("cache-control"), Some("no-store"));
        }
    }
    assert_eq!(everything(&gateway.admin), before);
}
