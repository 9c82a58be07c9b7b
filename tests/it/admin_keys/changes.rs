//! Enable, disable, rotate, revoke and delete, as the admin API answers them.

use serde_json::{Value, json};

use super::{create, invalid, names, path_of};
use crate::support::{Admin, Fixture};

fn change(admin: &Admin, id: &str, what: &str, body: &Value) -> Value {
    let answer = admin.post(&format!("{}/{what}", path_of(id)), body);
    assert_eq!(answer.status, 200, "{what}: {}", String::from_utf8_lossy(&answer.body));
    assert!(answer.header("etag").is_some(), "{what}");
    answer.json()
}

#[test]
fn disabling_and_enabling_loses_nothing() {
    let gateway = Fixture::new().start();
    let before = create(&gateway.admin, &super::full());
    let id = before["id"].as_str().unwrap();
    for (what, status) in
        [("disable", "disabled"), ("disable", "disabled"), ("enable", "active"), ("enable", "active")]
    {
        let after = change(&gateway.admin, id, what, &json!({}));
        let mut expected = before.clone();
        expected["status"] = status.into();
        expected["updated_at"] = after["updated_at"].clone();
        assert_eq!(after, expected, "{what}");
    }
    let empty = gateway.admin.call("POST", &format!("{}/disable", path_of(id)), &[], "");
    assert_eq!(empty.status, 200, "a call without fields needs no body");
    for body in [json!({"reason": "x"}), json!([]), json!("x")] {
        let answer = gateway.admin.post(&format!("{}/enable", path_of(id)), &body);
        assert_eq!(invalid(&answer).len(), 1, "{body}");
    }
}

#[test]
fn a_rotation_adds_a_version_and_ends_the_one_before() {
    let gateway = Fixture::new().start();
    let (id, first) = gateway.admin.key(&json!({"environment": "test"}));
    let answer = change(&gateway.admin, &id, "rotate", &json!({"grace": "1h"}));
    assert_eq!(names(&answer), ["key", "secret"]);
    let (key, second) = (&answer["key"], answer["secret"].as_str().unwrap());
    assert!(second.starts_with("pc_test_") && second != first);
    assert_eq!(key["id"], id.as_str());
    assert_eq!(key["fingerprint"], format!("pc_test_…{}", &second[second.len() - 4..]));
    let versions = key["versions"].as_array().unwrap();
    let seen: Vec<_> =
        versions.iter().map(|v| (v["version"].as_u64().unwrap(), v["state"].as_str().unwrap())).collect();
    assert_eq!(seen, [(1, "retiring"), (2, "active")]);
    assert!(versions[0]["expires_at"].is_string() && versions[1]["expires_at"].is_null());
    assert_eq!(key["rotated_at"], versions[1]["created_at"]);
    let key = &change(&gateway.admin, &id, "rotate", &Value::Null)["key"];
    let states: Vec<_> =
        key["versions"].as_array().unwrap().iter().map(|v| v["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["retired", "retired", "active"], "a rotation without grace ends them all");
}

#[test]
fn a_bad_grace_is_refused_and_rotates_nothing() {
    let gateway = Fixture::new().start();
    let (id, _) = gateway.admin.key(&json!({}));
    let path = format!("{}/rotate", path_of(&id));
    let cases = [
        (json!({"grace": "soon"}), "/grace"),
        (json!({"grace": 3600}), "/grace"),
        (json!({"grace": "-1s"}), "/grace"),
        (json!({"grace": "366d"}), "/grace"),
        (json!({"graze": "1h"}), "/graze"),
        (json!(["1h"]), ""),
    ];
    for (body, pointer) in cases {
        assert_eq!(invalid(&gateway.admin.post(&path, &body)), [pointer], "{body}");
    }
    assert_eq!(gateway.admin.show(&id)["versions"].as_array().unwrap().len(), 1);
}

#[test]
fn no_more_than_sixteen_secrets_are_in_their_grace() {
    let gateway = Fixture::new().start();
    let (id, _) = gateway.admin.key(&json!({}));
    let path = format!("{}/rotate", path_of(&id));
    for _ in 0..15 {
        change(&gateway.admin, &id, "rotate", &json!({"grace": "1h"}));
    }
    let answer = gateway.admin.post(&path, &json!({"grace": "1h"}));
    assert_eq!((answer.status, answer.code().as_str()), (409, "conflict"));
    let key = &change(&gateway.admin, &id, "rotate", &json!({}))["key"];
    let versions = key["versions"].as_array().unwrap();
    assert_eq!(
        (versions.len(), &versions[0]["version"], &versions[15]["version"]),
        (16, &json!(2), &json!(17))
    );
}

#[test]
fn revoking_is_for_good_and_doing_it_again_changes_nothing() {
    let gateway = Fixture::new().start();
    let (id, _) = gateway.admin.key(&json!({}));
    let mut key = change(&gateway.admin, &id, "revoke", &json!({"reason": "leaked"}));
    assert_eq!(key["status"], "revoked");
    assert!(key["revoked_at"].is_string());
    assert_eq!(change(&gateway.admin, &id, "revoke", &json!({"reason": "again"})), key);
    for what in ["enable", "disable", "rotate"] {
        let answer = gateway.admin.post(&format!("{}/{what}", path_of(&id)), &json!({}));
        assert_eq!((answer.status, answer.code().as_str()), (409, "conflict"), "{what}");
    }
    // Of the call, and not of the key.
    assert_eq!(key.as_object_mut().unwrap().remove("cut"), Some(json!(0)));
    assert_eq!(gateway.admin.show(&id), key);
    let (other, _) = gateway.admin.key(&json!({}));
    let path = format!("{}/revoke", path_of(&other));
    for (body, pointer) in [
        (json!({"reason": 5}), "/reason"),
        (json!({"reason": "x".repeat(501)}), "/reason"),
        (json!({"why": "x"}), "/why"),
    ] {
        assert_eq!(invalid(&gateway.admin.post(&path, &body)), [pointer], "{body}");
    }
    assert_eq!(gateway.admin.show(&other)["status"], "active");
}

#[test]
fn of_many_revocations_at_once_one_counts() {
    let gateway = Fixture::new().start();
    let (id, _) = gateway.admin.key(&json!({}));
    let revoke = |n: usize| change(&gateway.admin, &id, "revoke", &json!({"reason": format!("reason {n}")}));
    let answers: Vec<Value> = std::thread::scope(|scope| {
        let revokers: Vec<_> = (0..8).map(|n| scope.spawn(move || revoke(n))).collect();
        revokers.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let last = gateway.admin.show(&id);
    for answer in answers {
        assert_eq!(
            (&answer["revoked_at"], &answer["revoked_reason"]),
            (&last["revoked_at"], &last["revoked_reason"])
        );
    }
}

#[test]
fn a_deleted_key_is_gone() {
    let gateway = Fixture::new().start();
    let (id, _) = gateway.admin.key(&json!({}));
    let answer = gateway.admin.call("DELETE", &path_of(&id), &[], "");
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    assert_eq!(gateway.admin.get(&path_of(&id)).status, 404);
    assert_eq!(gateway.admin.call("DELETE", &path_of(&id), &[], "").status, 404);
    assert_eq!(gateway.admin.get("/api/v1/keys").json()["total"], 0);
}
