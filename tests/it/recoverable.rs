//! `keys.recoverable`: newest secrets are kept sealed, and shown again to those who may see them.

mod master_key;
mod stored;

use portcullis::app;
use serde_json::{Value, json};

use crate::support::{Admin, Answer, Client, Fixture, Gateway, TOKEN, parse_with};

/// 32 bytes in base64.
const MASTER: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OTHER: &str = "//8CAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

const ON: &str = r#"
[keys]
recoverable = true
master_key_env = "MASTER"
[[routes]]
path = "/v1"
upstream = "api"
"#;

const OFF: &str = r#"
[keys]
recoverable = false
master_key_env = "MASTER"
[[routes]]
path = "/v1"
upstream = "api"
"#;

/// Starts a gateway over the fixture's store, with this configuration and the master key where it asks for one.
fn start(fixture: &Fixture, text: &str) -> Gateway {
    let text = fixture.text().replace(ON, text);
    let env = |name: &str| (name == "MASTER").then(|| MASTER.to_owned());
    let app = app::build(&parse_with(&text, fixture.folder.path(), &env), Some(TOKEN)).unwrap();
    Gateway { address: app.gateway_addresses[0], admin: Admin::new(app.admin_address, TOKEN), app: Some(app) }
}

fn path(id: &str) -> String {
    format!("/api/v1/keys/{id}")
}

fn reveal(admin: &Admin, id: &str) -> Answer {
    admin.get(&format!("{}/secret", path(id)))
}

/// The secret that is shown again.
fn revealed(admin: &Admin, id: &str) -> String {
    let answer = reveal(admin, id);
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    answer.json()["secret"].as_str().unwrap().to_owned()
}

/// It is not there, for the reason that the words name.
fn missing(admin: &Admin, id: &str, words: &str) {
    let answer = reveal(admin, id);
    assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"));
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains(words), "{detail}");
}

fn post(admin: &Admin, id: &str, call: &str, body: &Value) -> Answer {
    let answer = admin.post(&format!("{}/{call}", path(id)), body);
    assert_eq!(answer.status, 200, "{call}: {}", String::from_utf8_lossy(&answer.body));
    answer
}

fn import(admin: &Admin, line: &Value) {
    let report = admin.call("POST", "/api/v1/keys/import", &[], &line.to_string()).json();
    assert_eq!(report["imported"], 1, "{report}");
}

fn id_of(admin: &Admin, name: &str) -> String {
    admin.get(&format!("/api/v1/keys?q={name}")).json()["items"][0]["id"].as_str().unwrap().to_owned()
}

#[test]
fn the_newest_secret_is_shown_again_whatever_made_it() {
    let fixture = Fixture::with(ON);
    let gateway = start(&fixture, ON);
    let (id, first) = gateway.admin.key(&json!({}));
    let answer = reveal(&gateway.admin, &id);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let fingerprint = &gateway.admin.show(&id)["fingerprint"];
    assert_eq!(answer.json(), json!({"secret": first, "version": 1, "fingerprint": fingerprint}));
    let second = post(&gateway.admin, &id, "rotate", &json!({"grace": "1h"})).json()["secret"].clone();
    let answer = reveal(&gateway.admin, &id).json();
    assert_eq!((&answer["secret"], &answer["version"]), (&second, &json!(2)));
    let foreign = r"sk-from-elsewhere-\0123456789";
    import(&gateway.admin, &json!({"name": "plain", "secret": foreign}));
    let plain = id_of(&gateway.admin, "plain");
    assert_eq!(revealed(&gateway.admin, &plain), foreign);
    let hash = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    import(&gateway.admin, &json!({"name": "hashed", "secret_sha256": hash}));
    let hashed = id_of(&gateway.admin, "hashed");
    missing(&gateway.admin, &hashed, "imported as a hash");
    post(&gateway.admin, &id, "disable", &Value::Null);
    gateway.stop();
    let gateway = start(&fixture, ON);
    assert_eq!(json!(revealed(&gateway.admin, &id)), second, "after a restart, and disabled");
    assert_eq!(revealed(&gateway.admin, &plain), foreign);
    post(&gateway.admin, &id, "enable", &Value::Null);
    let again = revealed(&gateway.admin, &id);
    assert_eq!(Client::new(gateway.address).get("/v1/x", &again).status, 200);
}

#[test]
fn a_replayed_creation_and_the_sealed_secret_are_the_same() {
    let fixture = Fixture::with(ON);
    let gateway = start(&fixture, ON);
    let once = [("idempotency-key", "8e03978e-40d5-43dd-bc93-6894a57f9324")];
    let create = || gateway.admin.call("POST", "/api/v1/keys", &once, r#"{"name": "a"}"#).json();
    let (first, again) = (create(), create());
    assert_eq!(first, again);
    let id = first["key"]["id"].as_str().unwrap();
    assert_eq!(json!(revealed(&gateway.admin, id)), first["secret"]);
}

#[test]
fn a_revoked_or_deleted_keys_secret_is_gone() {
    let fixture = Fixture::with(ON);
    let gateway = start(&fixture, ON);
    let (revoked, _) = gateway.admin.key(&json!({}));
    let (deleted, _) = gateway.admin.key(&json!({}));
    let (kept, secret) = gateway.admin.key(&json!({}));
    import(
        &gateway.admin,
        &json!({"name": "dead", "secret": "sk-dead-0123456789abcdef", "status": "revoked"}),
    );
    let store = &gateway.app().core.store;
    assert_eq!(store.sealed_count().unwrap(), 3);
    post(&gateway.admin, &revoked, "revoke", &Value::Null);
    assert_eq!(gateway.admin.call("DELETE", &path(&deleted), &[], "").status, 204);
    assert_eq!(store.sealed_count().unwrap(), 1);
    missing(&gateway.admin, &revoked, "revoked");
    assert_eq!(reveal(&gateway.admin, &deleted).status, 404);
    assert_eq!(revealed(&gateway.admin, &kept), secret);
}

#[test]
fn while_it_is_off_nothing_is_shown_and_nothing_new_is_kept() {
    let fixture = Fixture::with(ON);
    let gateway = start(&fixture, OFF);
    let (before, _) = gateway.admin.key(&json!({}));
    missing(&gateway.admin, &before, "keys.recoverable is false");
    gateway.stop();
    let gateway = start(&fixture, ON);
    missing(&gateway.admin, &before, "made while keys.recoverable was false");
    let (kept, secret) = gateway.admin.key(&json!({}));
    let (turned, _) = gateway.admin.key(&json!({}));
    let rotated = post(&gateway.admin, &before, "rotate", &Value::Null).json()["secret"].clone();
    assert_eq!(json!(revealed(&gateway.admin, &before)), rotated, "a rotation makes it recoverable");
    gateway.stop();
    let gateway = start(&fixture, OFF);
    missing(&gateway.admin, &kept, "keys.recoverable is false");
    post(&gateway.admin, &turned, "rotate", &json!({"grace": "1h"}));
    assert_eq!(
        gateway.app().core.store.sealed_count().unwrap(),
        2,
        "the older secret went with the rotation"
    );
    gateway.stop();
    let gateway = start(&fixture, ON);
    assert_eq!(revealed(&gateway.admin, &kept), secret);
    missing(&gateway.admin, &turned, "made while keys.recoverable was false");
}

#[test]
fn only_the_permission_opens_it_and_every_try_is_in_the_audit_log() {
    let fixture = Fixture::with(ON);
    let gateway = start(&fixture, ON);
    let (id, secret) = gateway.admin.key(&json!({"owner": "acme"}));
    let token = |terms: &Value| {
        let made = gateway.admin.post("/api/v1/admin-tokens", terms).json();
        let actor = made["admin_token"]["id"].as_str().unwrap().to_owned();
        (actor, Admin::new(gateway.admin.address, made["secret"].as_str().unwrap()))
    };
    let rest = json!(["api.key.create", "api.key.update", "api.key.delete", "api.key.view"]);
    let (without, may_not) = token(&json!({"name": "a", "permissions": rest}));
    let answer = reveal(&may_not, &id);
    assert_eq!((answer.status, answer.code().as_str()), (403, "permission_denied"));
    assert!(answer.json()["detail"].as_str().unwrap().contains("api.key.reveal"));
    let reveals = json!(["api.key.reveal"]);
    let (foreign, elsewhere) = token(&json!({"name": "b", "permissions": reveals, "owner": "umbrella"}));
    assert_eq!(reveal(&elsewhere, &id).status, 404);
    let (with, may) = token(&json!({"name": "c", "permissions": reveals, "owner": "acme"}));
    assert_eq!(revealed(&may, &id), secret);
    assert_eq!(revealed(&may, &id), secret);
    let log = gateway.admin.get(&format!("/api/v1/audit?action=key.reveal&target={id}"));
    let text = String::from_utf8(log.body.clone()).unwrap();
    assert!(!text.contains(&secret[secret.len() - 30..]));
    let entries: Vec<_> = log.json()["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry["actor"].clone(), entry["outcome"].clone(), entry["after"]["version"].clone()))
        .collect();
    let entry = |actor: &str, outcome: &str, version: Value| (json!(actor), json!(outcome), version);
    assert_eq!(
        entries,
        [
            entry(&with, "done", json!(1)),
            entry(&with, "done", json!(1)),
            entry(&foreign, "not_found", Value::Null),
            entry(&without, "permission_denied", Value::Null),
        ]
    );
}
