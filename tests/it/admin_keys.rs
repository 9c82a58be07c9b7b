//! `/api/v1/keys`: creating and showing. The other calls are in the modules below.

mod changes;
mod etag;
mod every;
mod list;
mod pages;
mod patch;
mod refusals;

use serde_json::{Value, json};

use crate::support::{Admin, Answer, Fixture};

/// The fields of a key, in the contract's order.
const FIELDS: [&str; 24] = [
    "id",
    "name",
    "description",
    "owner",
    "environment",
    "tags",
    "metadata",
    "status",
    "fingerprint",
    "role",
    "scopes",
    "ip_allow",
    "limits",
    "quotas",
    "max_concurrent",
    "created_at",
    "created_by",
    "updated_at",
    "expires_at",
    "rotated_at",
    "revoked_at",
    "rotation_due",
    "versions",
    "usage",
];

/// The path of a key.
fn path_of(id: &str) -> String {
    format!("/api/v1/keys/{id}")
}

/// The names of an object's fields, in their order.
fn names(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Where a refusal points to, sorted.
fn pointers(answer: &Answer) -> Vec<String> {
    let body = answer.json();
    let errors = body["errors"].as_array().unwrap_or_else(|| panic!("no errors in {body}"));
    assert!(errors.iter().all(|error| names(error) == ["pointer", "detail"]), "{body}");
    let mut pointers: Vec<_> =
        errors.iter().map(|error| error["pointer"].as_str().unwrap().to_owned()).collect();
    pointers.sort_unstable();
    pointers
}

/// A refusal of what was sent, and where it points to.
fn invalid(answer: &Answer) -> Vec<String> {
    let seen = (answer.status, answer.code());
    assert_eq!(seen, (422, "validation_failed".into()), "{}", String::from_utf8_lossy(&answer.body));
    pointers(answer)
}

/// A key that has something in every field that can be set.
fn full() -> Value {
    json!({
        "name": "CI runner", "description": "builds\nand tests", "owner": "acme", "environment": "test",
        "tags": ["ci", "eu"], "metadata": {"team": "core", "n": [1, null, {"a": true}]},
        "scopes": ["models:read", "files:*"], "ip_allow": ["10.1.2.3/8", "127.0.0.1", "2001:db8::/32"],
        "limits": [
            {"name": "minute", "requests": 600, "window": "60s"},
            {"name": "second", "requests": 20, "window": "1s", "burst": 5},
        ],
        "quotas": [{"name": "monthly", "requests": 100_000, "window": "month"}],
        "max_concurrent": 7, "expires_at": "2099-01-31T12:00:00+02:00",
    })
}

fn create(admin: &Admin, body: &Value) -> Value {
    let answer = admin.post("/api/v1/keys", body);
    assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
    answer.json()["key"].clone()
}

#[test]
fn a_created_key_is_answered_with_its_secret_its_place_and_its_etag() {
    let gateway = Fixture::new().start();
    let answer = gateway.admin.post("/api/v1/keys", &json!({"name": "a"}));
    assert_eq!(answer.status, 201);
    let body = answer.json();
    assert_eq!(names(&body), ["key", "secret"]);
    let id = body["key"]["id"].as_str().unwrap();
    assert_eq!(answer.header("location"), Some(path_of(id).as_str()));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let shown = gateway.admin.get(answer.header("location").unwrap());
    assert_eq!(shown.header("etag"), answer.header("etag"));
    assert_eq!(shown.json(), body["key"]);
    assert!(id.strip_prefix("key_").is_some_and(
        |rest| rest.len() == 26 && rest.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase())
    ));
}

#[test]
fn a_secret_has_the_contracts_form_with_a_right_checksum() {
    const BASE62: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let gateway =
        Fixture::with("[keys]\nprefix = \"acme\"\n[[routes]]\npath = \"/v1\"\nupstream = \"api\"\n").start();
    for (environment, start) in [(json!(null), "acme_live_"), (json!("eu_west"), "acme_eu_west_")] {
        let (id, secret) = gateway.admin.key(&json!({"environment": environment}));
        let random = secret.strip_prefix(start).unwrap_or_else(|| panic!("{secret} starts otherwise"));
        assert_eq!(random.len(), 38, "{secret}");
        assert!(random.bytes().all(|b| b.is_ascii_alphanumeric()), "{secret}");
        let (head, sum) = secret.split_at(secret.len() - 6);
        let digit = |b: u8| BASE62.iter().position(|c| *c == b).unwrap() as u64;
        let read = sum.bytes().fold(0, |sum, b| sum * 62 + digit(b));
        assert_eq!(read, u64::from(crc32fast::hash(head.as_bytes())), "{secret}");
        let fingerprint = format!("{start}…{}", &secret[secret.len() - 4..]);
        assert_eq!(gateway.admin.show(&id)["fingerprint"], fingerprint);
    }
}

#[test]
fn a_key_shows_exactly_the_contracts_fields() {
    let gateway = Fixture::new().start();
    let key = create(&gateway.admin, &full());
    assert_eq!(names(&key), FIELDS);
    assert_eq!(names(&key["limits"][0]), ["name", "requests", "window", "burst"]);
    assert_eq!(names(&key["quotas"][0]), ["name", "requests", "window"]);
    let version = ["version", "fingerprint", "state", "created_at", "expires_at", "last_used_at", "requests"];
    assert_eq!(names(&key["versions"][0]), version);
    assert_eq!(names(&key["usage"]), ["requests", "denied", "last_used_at"]);
    let listed = &gateway.admin.get("/api/v1/keys").json()["items"][0];
    assert_eq!(listed, &key, "a list shows what the key's own answer shows");
}

#[test]
fn a_key_that_sets_everything_shows_it_in_normal_form() {
    let gateway = Fixture::new().start();
    let key = create(&gateway.admin, &full());
    let expected = json!({
        "name": "CI runner", "description": "builds\nand tests", "owner": "acme", "environment": "test",
        "tags": ["ci", "eu"], "metadata": {"team": "core", "n": [1, null, {"a": true}]}, "status": "active",
        "role": null, "scopes": ["models:read", "files:*"],
        "ip_allow": ["10.0.0.0/8", "127.0.0.1/32", "2001:db8::/32"],
        "limits": [
            {"name": "minute", "requests": 600, "window": "1m", "burst": 600},
            {"name": "second", "requests": 20, "window": "1s", "burst": 5},
        ],
        "quotas": [{"name": "monthly", "requests": 100_000, "window": "month"}],
        "max_concurrent": 7, "expires_at": "2099-01-31T10:00:00Z", "rotated_at": null, "revoked_at": null,
        "rotation_due": false, "usage": {"requests": 0, "denied": 0, "last_used_at": null},
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&key[name], value, "{name}");
    }
    assert_eq!(key["created_at"], key["updated_at"]);
    assert!(key["created_by"].as_str().unwrap().starts_with("admt_"), "{key}");
}

#[test]
fn a_key_that_sets_nothing_has_the_defaults() {
    let gateway = Fixture::new().start();
    let key = create(&gateway.admin, &json!({"name": "a", "owner": null, "limits": null}));
    let defaults = json!({
        "description": "", "owner": null, "environment": "live", "tags": [], "metadata": {}, "role": null,
        "scopes": [], "ip_allow": [], "limits": [], "quotas": [], "max_concurrent": null, "expires_at": null,
        "status": "active", "rotated_at": null, "revoked_at": null,
    });
    for (name, value) in defaults.as_object().unwrap() {
        assert_eq!(&key[name], value, "{name}");
    }
    assert_eq!(key["versions"][0]["version"], 1);
    assert_eq!(key["versions"][0]["state"], "active");
    assert_eq!(key["versions"][0]["created_at"], key["created_at"]);
}
