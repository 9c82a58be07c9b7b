//! Dry runs: the answer is what a real request would get, rule by rule, and nothing is charged.

use serde_json::{Value, json};

use crate::support::{Fixture, send};

#[test]
fn a_dry_run_says_what_a_request_would_get_and_charges_nothing() {
    let fixture = Fixture::with(
        r#"
        [[routes]]
        host = "api.example.com"
        path = "/v1"
        methods = ["GET"]
        upstream = "api"
        scopes = ["models:read"]
        environments = ["live"]
    "#,
    );
    let gateway = fixture.start();
    let limits = json!([{"name": "minute", "requests": 1, "window": "1h"}]);
    let good = json!({"scopes": ["models:*"], "ip_allow": ["127.0.0.1", "203.0.113.0/24"], "limits": limits});
    let (id, secret) = gateway.admin.key(&good);
    let check = |fields: Value| -> Value {
        let mut asked = json!({"method": "GET", "host": "api.example.com", "path": "/v1/x"});
        asked.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let answer = gateway.admin.post(&format!("/api/v1/keys/{id}/check"), &asked);
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        answer.json()
    };
    for _ in 0..3 {
        let passed = check(json!({}));
        assert_eq!((&passed["allowed"], &passed["code"]), (&json!(true), &Value::Null));
        let rules: Vec<&str> =
            passed["steps"].as_array().unwrap().iter().map(|step| step["rule"].as_str().unwrap()).collect();
        assert_eq!(
            rules,
            ["route", "status", "address", "environment", "scopes", "rates", "quotas", "concurrency"]
        );
    }
    assert_eq!(check(json!({"host": "other.example.com"}))["code"], "no_route");
    assert_eq!(check(json!({"method": "POST"}))["code"], "method_not_allowed");
    assert_eq!(check(json!({"path": "/v1/../x"}))["code"], "bad_request");
    assert_eq!(check(json!({"address": "198.51.100.1"}))["code"], "ip_not_allowed");
    let request =
        format!("GET /v1/x HTTP/1.1\r\nhost: api.example.com\r\nauthorization: Bearer {secret}\r\n\r\n");
    assert_eq!(send(gateway.address, &request).status, 200);
    let spent = check(json!({}));
    assert_eq!((&spent["allowed"], &spent["code"]), (&json!(false), &json!("rate_limited")));
    gateway.admin.patch(&format!("/api/v1/keys/{id}"), &json!({"scopes": ["files:read"]}));
    let lacking = check(json!({}));
    assert_eq!(lacking["code"], "insufficient_scope");
    let failed: Vec<&Value> =
        lacking["steps"].as_array().unwrap().iter().filter(|step| step["passed"] == false).collect();
    assert_eq!((&failed[0]["rule"], &failed[1]["rule"]), (&json!("scopes"), &json!("rates")));
    gateway.admin.post(&format!("/api/v1/keys/{id}/revoke"), &Value::Null);
    assert_eq!(check(json!({}))["code"], "key_revoked");
    assert_eq!(gateway.admin.post(&format!("/api/v1/keys/{id}/check"), &json!({"path": 7})).status, 422);
}
