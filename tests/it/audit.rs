//! The audit log as an auditor reads it: changes and refused attempts, in order, in an unbroken chain.

use serde_json::{Value, json};

use crate::support::{Admin, Fixture, Gateway};

fn entries(gateway: &Gateway, query: &str) -> Vec<Value> {
    let answer = gateway.admin.get(&format!("/api/v1/audit?{query}"));
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    answer.json()["items"].as_array().unwrap().clone()
}

#[test]
fn every_change_and_every_refused_attempt_is_in_the_log() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    let (id, _) = gateway.admin.key(&json!({"name": "first"}));
    let path = format!("/api/v1/keys/{id}");
    gateway.admin.call("PATCH", &path, &[("x-request-id", "req-7")], r#"{"name": "second"}"#);
    gateway.admin.patch(&path, &json!({"limits": "none"}));
    gateway.admin.post(&format!("{path}/revoke"), &json!({"reason": "leaked"}));
    gateway.admin.post(&format!("{path}/enable"), &Value::Null);
    Admin::new(gateway.admin.address, "pca_wrong_token_00000").get("/api/v1/keys");
    let log = entries(&gateway, "limit=6");
    let short: Vec<(&str, &str)> =
        log.iter().map(|e| (e["action"].as_str().unwrap(), e["outcome"].as_str().unwrap())).collect();
    assert_eq!(
        short,
        [
            ("admin_token.use", "invalid_token"),
            ("key.enable", "conflict"),
            ("key.revoke", "done"),
            ("key.update", "validation_failed"),
            ("key.update", "done"),
            ("key.create", "done"),
        ]
    );
    let edit = &log[4];
    assert_eq!((&edit["before"]["name"], &edit["after"]["name"]), (&json!("first"), &json!("second")));
    assert_eq!((&edit["target"], &edit["request_id"]), (&json!(id), &json!("req-7")));
    assert_eq!((&edit["actor"], &edit["address"]), (&json!("admt_environment"), &json!("127.0.0.1")));
    for pair in log.windows(2) {
        assert_eq!(pair[0]["previous_hash"], pair[1]["hash"]);
    }
    assert_eq!(entries(&gateway, &format!("target={id}&outcome=done")).len(), 3);
    assert_eq!(entries(&gateway, "action=key.revoke")[0]["after"]["status"], "revoked");
    assert_eq!(entries(&gateway, "from=2100-01-01T00:00:00Z").len(), 0);
    let verified = gateway.admin.get("/api/v1/audit/verify").json();
    assert_eq!((&verified["intact"], &verified["broken_at"]), (&json!(true), &Value::Null));
}

#[test]
fn a_reading_that_the_token_may_not_is_in_the_log() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    let (id, _) = gateway.admin.key(&json!({}));
    let terms = json!({"name": "weak", "permissions": ["api.key.create"]});
    let made = gateway.admin.post("/api/v1/admin-tokens", &terms).json();
    let weak = Admin::new(gateway.admin.address, made["secret"].as_str().unwrap());
    let readings = [
        ("keys".to_owned(), "key.view"),
        (format!("keys/{id}"), "key.view"),
        (format!("keys/{id}/rotation"), "key.view"),
        ("roles".to_owned(), "role.view"),
        ("owners/acme".to_owned(), "owner.view"),
        ("usage".to_owned(), "usage.view"),
        ("audit".to_owned(), "audit.view"),
        ("audit/verify".to_owned(), "audit.view"),
        ("admin-tokens".to_owned(), "admin_token.view"),
    ];
    for (path, action) in readings {
        assert_eq!(weak.get(&format!("/api/v1/{path}")).status, 403, "{path}");
        let newest = &entries(&gateway, "limit=1")[0];
        let seen = (&newest["action"], &newest["outcome"], &newest["actor"]);
        assert_eq!(seen, (&json!(action), &json!("permission_denied"), &made["admin_token"]["id"]), "{path}");
        assert_eq!(newest["target"] == *id, path.contains(&id), "{path}");
    }
}

#[test]
fn the_log_is_paged_in_both_directions_and_exported_as_lines() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    for _ in 0..7 {
        gateway.admin.key(&json!({}));
    }
    let seqs = |page: &Value| -> Vec<u64> {
        page["items"].as_array().unwrap().iter().map(|entry| entry["seq"].as_u64().unwrap()).collect()
    };
    let page = |cursor: &Value| {
        let cursor = cursor.as_str().map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        gateway.admin.get(&format!("/api/v1/audit?limit=3&action=key.create{cursor}")).json()
    };
    let first = page(&Value::Null);
    assert_eq!(
        (seqs(&first), &first["prev_cursor"], &first["total"]),
        (vec![8, 7, 6], &Value::Null, &json!(7))
    );
    let second = page(&first["next_cursor"]);
    assert_eq!(seqs(&second), [5, 4, 3]);
    gateway.admin.key(&json!({}));
    let third = page(&second["next_cursor"]);
    assert_eq!((seqs(&third), &third["next_cursor"]), (vec![2], &Value::Null));
    assert_eq!(seqs(&page(&third["prev_cursor"])), [5, 4, 3]);
    assert_eq!(seqs(&page(&second["prev_cursor"])), [8, 7, 6]);
    let lines = gateway.admin.call("GET", "/api/v1/audit", &[("accept", "application/x-ndjson")], "");
    let text = String::from_utf8(lines.body).unwrap();
    assert_eq!(text.lines().count(), 9);
    assert!(text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
}

#[test]
fn a_flood_of_wrong_tokens_does_not_flood_the_log() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    let stranger = Admin::new(gateway.admin.address, "pca_wrong_token_00000");
    for n in 0..50 {
        assert_eq!(stranger.get("/api/v1/keys").status, if n < 10 { 401 } else { 429 });
    }
    assert!(entries(&gateway, "actor=unknown").len() <= 3);
}
