//! `PATCH /api/v1/keys/{id}`: RFC 7396.

use serde_json::{Value, json};

use super::{create, full, invalid, path_of};
use crate::support::Fixture;

#[test]
fn a_patch_changes_what_it_names_and_nothing_else() {
    let gateway = Fixture::new().start();
    let before = create(&gateway.admin, &full());
    let path = path_of(before["id"].as_str().unwrap());
    let cases = [
        ("name", json!("new name"), json!("new name")),
        ("description", json!(""), json!("")),
        ("owner", json!("beta"), json!("beta")),
        ("tags", json!(["x"]), json!(["x"])),
        ("scopes", json!(["*"]), json!(["*"])),
        ("ip_allow", json!(["192.0.2.1"]), json!(["192.0.2.1/32"])),
        ("quotas", json!([]), json!([])),
        ("max_concurrent", json!(1), json!(1)),
        ("expires_at", json!("2001-01-01T00:00:00Z"), json!("2001-01-01T00:00:00Z")),
        (
            "limits",
            json!([{"name": "hour", "requests": 3, "window": "1h"}]),
            json!([{"name": "hour", "requests": 3, "window": "1h", "burst": 3}]),
        ),
    ];
    let mut expected = before;
    for (field, value, shown) in cases {
        let answer = gateway.admin.patch(&path, &json!({field: value}));
        assert_eq!(answer.status, 200, "{field}");
        expected[field] = shown;
        let seen = answer.json();
        expected["updated_at"] = seen["updated_at"].clone();
        expected["status"] = if field == "expires_at" { json!("expired") } else { seen["status"].clone() };
        assert_eq!(seen, expected, "{field}");
        assert_eq!(gateway.admin.get(&path).json(), expected, "{field}");
        if field == "expires_at" {
            expected["expires_at"] = Value::Null;
            assert_eq!(gateway.admin.patch(&path, &json!({"expires_at": null})).json()["status"], "active");
        }
    }
}

#[test]
fn null_clears_a_field() {
    let gateway = Fixture::new().start();
    let key = create(&gateway.admin, &full());
    let path = path_of(key["id"].as_str().unwrap());
    let cases = [
        ("description", json!("")),
        ("owner", Value::Null),
        ("tags", json!([])),
        ("metadata", json!({})),
        ("role", Value::Null),
        ("scopes", json!([])),
        ("ip_allow", json!([])),
        ("limits", json!([])),
        ("quotas", json!([])),
        ("max_concurrent", Value::Null),
        ("expires_at", Value::Null),
    ];
    for (field, cleared) in cases {
        let answer = gateway.admin.patch(&path, &json!({field: null}));
        assert_eq!((answer.status, &answer.json()[field]), (200, &cleared), "{field}");
    }
    assert_eq!(invalid(&gateway.admin.patch(&path, &json!({"name": null}))), ["/name"], "a key has a name");
}

#[test]
fn metadata_is_merged_and_null_takes_an_entry_away() {
    let gateway = Fixture::new().start();
    let body = json!({"name": "a", "metadata": {"keep": 1, "drop": 2, "deep": {"a": 1, "b": [1, 2]}}});
    let path = path_of(create(&gateway.admin, &body)["id"].as_str().unwrap());
    let patch =
        json!({"metadata": {"drop": null, "new": true, "deep": {"a": null, "c": "x"}, "never": null}});
    let answer = gateway.admin.patch(&path, &patch);
    assert_eq!(answer.json()["metadata"], json!({"keep": 1, "new": true, "deep": {"b": [1, 2], "c": "x"}}));
    let big = json!({"metadata": {"new": "x".repeat(4_096)}});
    assert_eq!(invalid(&gateway.admin.patch(&path, &big)), ["/metadata"], "the merged whole has the bound");
}

#[test]
fn an_empty_patch_changes_no_field() {
    let gateway = Fixture::new().start();
    let mut key = create(&gateway.admin, &full());
    let answer = gateway.admin.patch(&path_of(key["id"].as_str().unwrap()), &json!({}));
    assert_eq!(answer.status, 200);
    let seen = answer.json();
    key["updated_at"] = seen["updated_at"].clone();
    assert_eq!(seen, key);
}

#[test]
fn what_cannot_be_changed_is_named_with_all_else_that_is_wrong() {
    let gateway = Fixture::new().start();
    let before = create(&gateway.admin, &full());
    let path = path_of(before["id"].as_str().unwrap());
    let cases = [
        (json!({"environment": "live"}), vec!["/environment"]),
        (json!({"environment": "test"}), vec!["/environment"]),
        (json!({"environment": null}), vec!["/environment"]),
        (json!({"secret": "x"}), vec!["/secret"]),
        (json!({"status": "disabled"}), vec!["/status"]),
        (json!({"id": "key_x"}), vec!["/id"]),
        (json!({"versions": null}), vec!["/versions"]),
        (json!({"expire_at": null}), vec!["/expire_at"]),
        (
            json!({"environment": "x", "secret": 1, "status": null, "name": "", "scopes": ["A"], "colour": 1}),
            vec!["/colour", "/environment", "/name", "/scopes/0", "/secret", "/status"],
        ),
        (json!({"name": "good", "limits": [{"name": "m"}]}), vec!["/limits/0/requests", "/limits/0/window"]),
        (json!([]), vec![""]),
        (json!("name"), vec![""]),
        (Value::Null, vec![""]),
    ];
    for (patch, pointers) in cases {
        assert_eq!(invalid(&gateway.admin.patch(&path, &patch)), pointers, "{patch}");
    }
    assert_eq!(gateway.admin.get(&path).json(), before, "no refused patch did a part of it");
}

/// Found by fuzzing: such a number was read less exactly than it was written, and moved with each edit.
#[test]
fn numbers_in_metadata_stay_what_they_are() {
    let gateway = Fixture::new().start();
    let metadata = json!({"n": [1.234_567_890_123_456_7e42, 0.1, -0.0, 5e-324, u64::MAX]});
    let (id, _) = gateway.admin.key(&json!({"metadata": metadata}));
    for round in 0..3 {
        let answer = gateway.admin.patch(&path_of(&id), &json!({"description": format!("round {round}")}));
        assert_eq!(answer.json()["metadata"], metadata, "round {round}");
    }
}
