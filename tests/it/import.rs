//! Import: keys from elsewhere, whose clients go on with the secrets that they have.

mod lines;

use portcullis::app::offline;
use portcullis::manage::Actor;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{Admin, Answer, Client, Fixture, Gateway};

fn import(admin: &Admin, lines: &str) -> Answer {
    admin.call("POST", "/api/v1/keys/import", &[], lines)
}

/// The report of an import that was carried out: how many, and which lines were refused.
fn report(admin: &Admin, lines: &str) -> (u64, Vec<u64>) {
    let answer = import(admin, lines);
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let body = answer.json();
    let fields: Vec<_> = body.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["imported", "refused"]);
    let refused = body["refused"].as_array().unwrap();
    assert!(
        refused.iter().all(|one| one["detail"].as_str().is_some_and(|detail| !detail.is_empty())),
        "{body}"
    );
    (body["imported"].as_u64().unwrap(), refused.iter().map(|one| one["line"].as_u64().unwrap()).collect())
}

fn passes(gateway: &Gateway, secret: &str) -> bool {
    Client::new(gateway.address).get("/v1/x", secret).status == 200
}

fn hash(secret: &str) -> String {
    Sha256::digest(secret).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn an_imported_secret_works_at_once_and_after_a_restart_whether_given_or_hashed() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    let (given, hashed) = ("sk-given-to-the-import-0123456789", "sk-known-by-its-hash-0123456789");
    let lines = format!(
        "{}\n{}\n",
        json!({"name": "given", "secret": given}),
        json!({"name": "hashed", "secret_sha256": hash(hashed).to_uppercase()})
    );
    assert_eq!(report(&gateway.admin, &lines), (2, vec![]));
    assert!(passes(&gateway, given) && passes(&gateway, hashed) && !passes(&gateway, &hash(hashed)));
    gateway.stop();
    let gateway = fixture.start();
    assert!(passes(&gateway, given) && passes(&gateway, hashed));
    let items = gateway.admin.get("/api/v1/keys?sort=name").json()["items"].clone();
    assert_eq!((&items[0]["fingerprint"], &items[1]["fingerprint"]), (&json!("…6789"), &json!("…")));
    assert_eq!((&items[0]["usage"]["requests"], &items[1]["usage"]["requests"]), (&json!(2), &json!(2)));
}

#[test]
fn a_secret_of_any_form_of_visible_ascii_is_taken() {
    let gateway = Fixture::new().start();
    let own = Fixture::new().start().admin.key(&json!({})).1;
    let cases = [
        ("x".repeat(20), true),
        ("x".repeat(512), true),
        ("!#$%&()*+-./:;<=>?@[]^_`{|}~\\".to_owned(), true),
        (own.clone(), true),
        ("sk_live_4eC39HqLyjWDarjtT1zdp7dc".to_owned(), true),
        ("x".repeat(19), false),
        ("x".repeat(513), false),
        ("twenty characters, yes".to_owned(), false),
        ("twenty-characters,yes".to_owned(), false),
        ("twenty-characters\"yes".to_owned(), false),
        ("zwanzig-zeichen-größer".to_owned(), false),
        ("twenty-characters\tyes".to_owned(), false),
        (String::new(), false),
    ];
    for (secret, taken) in cases {
        let line = json!({"name": "a", "secret": secret}).to_string();
        let expected = if taken { (1, vec![]) } else { (0, vec![1]) };
        assert_eq!(report(&gateway.admin, &line), expected, "{secret}");
        if taken {
            assert!(passes(&gateway, &secret), "{secret}");
        }
    }
    let shown = gateway.admin.get("/api/v1/keys?q=pc_live").json()["items"][0]["fingerprint"].clone();
    assert_eq!(
        shown,
        format!("pc_live_…{}", &own[own.len() - 4..]),
        "one of ours shows what one of ours shows"
    );
}

#[test]
fn a_key_that_was_created_long_ago_stands_among_those_of_its_time() {
    let gateway = Fixture::new().start();
    let (first, _) = gateway.admin.key(&json!({"name": "now"}));
    let line = |name: &str, more: Value| {
        let mut line = json!({"name": name, "secret": format!("sk-imported-0123456789-{name}")});
        line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        line.to_string()
    };
    let lines = [
        line("b", json!({"created_at": "2021-05-06T07:08:09Z"})),
        line("c", json!({"created_at": "2024-01-01T00:00:00.123Z"})),
        line("a", json!({"created_at": "1970-01-01T00:00:00Z"})),
        line("d", json!({})),
        line("e", json!({"created_at": "2999-01-01T00:00:00Z"})),
    ];
    assert_eq!(report(&gateway.admin, &lines.join("\n")), (5, vec![]));
    let names = |sort: &str| -> Vec<String> {
        let page = gateway.admin.get(&format!("/api/v1/keys?sort={sort}")).json();
        let items = page["items"].as_array().unwrap();
        let times: Vec<_> = items.iter().map(|key| key["created_at"].as_str().unwrap()).collect();
        assert!(
            if sort == "created_at" { times.is_sorted() } else { times.iter().rev().is_sorted() },
            "{times:?}"
        );
        items.iter().map(|key| key["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("created_at"), ["a", "b", "c", "now", "d", "e"]);
    assert_eq!(names("-created_at"), ["e", "d", "now", "c", "b", "a"]);
    assert_eq!(gateway.admin.show(&first)["name"], "now");
}

#[test]
fn a_line_may_set_any_field_of_a_key() {
    let gateway = Fixture::new().start();
    let secret = "sk-with-everything-0123456789";
    let line = json!({
        "name": "full", "secret": secret, "id": "key_01k9m2c3d4e5f6g7h8j9k0m1n2", "description": "d",
        "owner": "acme", "environment": "test", "tags": ["t"], "metadata": {"k": 1}, "scopes": ["a:b"],
        "ip_allow": ["127.0.0.1"], "limits": [{"name": "m", "requests": 5, "window": "1m"}],
        "quotas": [{"name": "q", "requests": 5, "window": "day"}], "max_concurrent": 2,
        "expires_at": "2001-01-01T00:00:00Z", "created_at": "2000-01-01T00:00:00Z",
    });
    assert_eq!(report(&gateway.admin, &line.to_string()), (1, vec![]));
    let key = gateway.admin.show("key_01k9m2c3d4e5f6g7h8j9k0m1n2");
    for field in [
        "name",
        "description",
        "owner",
        "environment",
        "tags",
        "metadata",
        "scopes",
        "quotas",
        "max_concurrent",
        "expires_at",
        "created_at",
    ] {
        assert_eq!(key[field], line[field], "{field}");
    }
    assert_eq!((&key["status"], &key["ip_allow"]), (&json!("expired"), &json!(["127.0.0.1/32"])));
    assert_eq!(Client::new(gateway.address).get("/v1/x", secret).code(), "key_expired");
}

#[test]
fn the_status_of_a_line_is_kept() {
    let gateway = Fixture::new().start();
    for (status, code) in [("active", ""), ("disabled", "key_disabled"), ("revoked", "key_revoked")] {
        let secret = format!("sk-that-was-{status}-0123456789");
        let line = json!({"name": status, "secret": secret, "status": status}).to_string();
        assert_eq!(report(&gateway.admin, &line), (1, vec![]));
        let answer = Client::new(gateway.address).get("/v1/x", &secret);
        let seen = if answer.status == 200 { String::new() } else { answer.code() };
        assert_eq!(seen, code, "{status}");
        assert_eq!(gateway.admin.get(&format!("/api/v1/keys?status={status}")).json()["total"], 1);
    }
}

#[test]
fn a_key_that_was_shown_can_be_imported_elsewhere_with_its_secret() {
    let (one, other) = (Fixture::new().start(), Fixture::new().start());
    let (id, secret) = one.admin.key(&json!({"owner": "acme", "scopes": ["a:*"], "limits": [
        {"name": "m", "requests": 5, "window": "1m"}], "metadata": {"k": [1]}}));
    let mut line = one.admin.show(&id);
    line["secret"] = json!(secret);
    assert_eq!(report(&other.admin, &line.to_string()), (1, vec![]));
    assert!(passes(&other, &secret));
    let (mut before, mut after) = (one.admin.show(&id), other.admin.show(&id));
    for key in [&mut before, &mut after] {
        for derived in ["updated_at", "usage", "versions"] {
            key[derived] = Value::Null;
        }
    }
    assert_eq!(after, before);
}

#[test]
fn offline_lines_are_imported_into_a_store_that_no_gateway_has_open() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    let (_, existing) = gateway.admin.key(&json!({}));
    let error = offline::open(&fixture.config()).unwrap_err().to_string();
    assert!(error.contains("portcullis.redb") && error.contains("in use"), "{error}");
    gateway.stop();
    // More than are read at once at the next start.
    let lines: Vec<String> = (0..1_300)
        .map(|n| {
            json!({"name": format!("k{n}"), "secret_sha256": hash(&format!("offline-secret-{n:08}"))})
                .to_string()
        })
        .chain([json!({"name": "dup", "secret": existing}).to_string(), "not json".into()])
        .collect();
    let core = offline::open(&fixture.config()).unwrap();
    let report =
        core.manage.import_keys(&Actor::local("offline"), lines.iter().map(String::as_str), 11).unwrap();
    let refused: Vec<u64> = report.refused.iter().map(|(line, _)| *line).collect();
    assert_eq!((report.imported, refused), (1_300, vec![1_311, 1_312]));
    drop(core);
    let gateway = fixture.start();
    assert_eq!(gateway.admin.get("/api/v1/keys").json()["total"], 1_301);
    assert_eq!(gateway.admin.get("/api/v1/keys?q=k1299").json()["items"][0]["created_by"], "offline");
    for n in [0, 511, 512, 1_023, 1_024, 1_299] {
        assert!(passes(&gateway, &format!("offline-secret-{n:08}")), "{n}");
    }
    assert!(passes(&gateway, &existing));
}
