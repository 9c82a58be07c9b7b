//! Where a secret must never be: on disk, in the audit log, in metrics, in any answer but its own.

use std::fs;
use std::ops::ControlFlow;

use serde_json::json;

use super::{ROUTE, send};
use crate::support::{Client, Fixture, Gateway, TOKEN};

/// Whether `bytes` hold `text`.
fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// What of a secret nobody may know: all of it, and its random part.
fn private_parts(secret: &str) -> Vec<String> {
    let tail = &secret[secret.len().saturating_sub(30)..];
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    vec![secret.to_owned(), tail.to_owned(), hex(tail.as_bytes()), tail.chars().rev().collect()]
}

/// Secrets that were made, rotated, imported and refused.
fn secrets(gateway: &Gateway) -> Vec<String> {
    let (id, first) = gateway.admin.key(&json!({"scopes": ["*"]}));
    let rotated = send(&gateway.admin, &id, ("POST", "/rotate", r#"{"grace": "1h"}"#)).json();
    let rotated = rotated["secret"].as_str().unwrap().to_owned();
    let imported = "sk-imported-from-elsewhere-0123456789abcdef".to_owned();
    let refused = "sk-refused-because-of-its-name-0123456789".to_owned();
    let lines =
        format!("{}\n{}\n", json!({"name": "i", "secret": imported}), json!({"name": "", "secret": refused}));
    let report = gateway.admin.call("POST", "/api/v1/keys/import", &[], &lines);
    assert_eq!(report.json()["imported"], 1);
    let unknown = "sk-unknown-to-this-gateway-0123456789abcdef".to_owned();
    let mut client = Client::new(gateway.address);
    for (secret, status) in [(&first, 200), (&rotated, 200), (&imported, 403), (&unknown, 401)] {
        assert_eq!(client.get("/v1/x", secret).status, status);
    }
    send(&gateway.admin, &id, ("POST", "/revoke", ""));
    vec![first, rotated, imported, refused, unknown, TOKEN.to_owned()]
}

#[test]
fn no_secret_is_in_a_file_the_audit_log_a_metric_or_a_debug_text() {
    let fixture = Fixture::with(ROUTE);
    let gateway = fixture.start();
    let parts: Vec<String> = secrets(&gateway).iter().flat_map(|secret| private_parts(secret)).collect();
    let mut texts = Vec::new();
    for path in ["/metrics", "/api/v1/keys?limit=200", "/api/v1/usage?group_by=key", "/readyz"] {
        texts.push((path.to_owned(), gateway.admin.get(path).body));
    }
    let core = &gateway.app().core;
    core.store
        .audit(portcullis::store::Direction::Descending, &mut |entry| {
            texts.push(("audit".into(), format!("{entry:?}").into_bytes()));
            ControlFlow::Continue(())
        })
        .unwrap();
    texts.push(("debug".into(), format!("{core:?}").into_bytes()));
    texts.push(("tokens".into(), format!("{:?}", core.store.tokens().unwrap()).into_bytes()));
    let files = || {
        let entries = fs::read_dir(fixture.folder.path()).unwrap().map(Result::unwrap);
        entries.map(|entry| (entry.path().display().to_string(), fs::read(entry.path()).unwrap()))
    };
    texts.extend(files());
    gateway.stop();
    texts.extend(files());
    assert!(texts.len() > 12, "{} texts", texts.len());
    for (name, text) in &texts {
        for part in &parts {
            assert!(!holds(text, part), "{part} is in {name}");
        }
    }
}

#[test]
fn only_the_answer_that_makes_a_secret_shows_it() {
    let gateway = Fixture::with(ROUTE).start();
    let made = gateway.admin.post("/api/v1/keys", &json!({"name": "a"}));
    let id = made.json()["key"]["id"].as_str().unwrap().to_owned();
    let first = made.json()["secret"].as_str().unwrap().to_owned();
    let rotated = send(&gateway.admin, &id, ("POST", "/rotate", ""));
    let second = rotated.json()["secret"].as_str().unwrap().to_owned();
    for answer in [&made, &rotated] {
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    let calls = [("GET", "", ""), ("PATCH", "", "{}"), ("POST", "/disable", ""), ("POST", "/revoke", "")];
    let mut later = vec![gateway.admin.get("/api/v1/keys")];
    later.extend(calls.map(|call| send(&gateway.admin, &id, call)));
    later.push(rotated.clone());
    for (number, answer) in later.iter().enumerate() {
        assert!(!holds(&answer.body, &first[first.len() - 30..]), "answer {number}");
    }
    later.pop();
    for answer in &later {
        assert!(!holds(&answer.body, &second[second.len() - 30..]));
        assert!(answer.json().get("secret").is_none());
    }
    for secret in [&first, &second] {
        let refused = Client::new(gateway.address).get("/v1/x", secret);
        assert!(!holds(&refused.body, &secret[secret.len() - 30..]), "a refusal repeats it");
    }
}

#[test]
fn a_pepper_leaves_the_plain_hash_of_a_new_secret_nowhere() {
    use sha2::Digest;
    let secret = "imported-under-a-pepper-0123456789".to_owned();
    let digest = sha2::Sha256::digest(&secret);
    for (peppered, keys) in [(false, ""), (true, "[keys]\npepper_env = \"PEPPER\"\n")] {
        let fixture = Fixture::with(&format!("{keys}{ROUTE}"));
        let env = |name: &str| (name == "PEPPER").then(|| "0123456789abcdef-pepper".to_owned());
        let config = crate::support::parse_with(&fixture.text(), fixture.folder.path(), &env);
        let app = portcullis::app::build(&config, Some(TOKEN)).unwrap();
        let admin = crate::support::Admin::new(app.admin_address, TOKEN);
        let line = json!({"name": "i", "secret": secret, "scopes": ["*"]}).to_string();
        assert_eq!(admin.call("POST", "/api/v1/keys/import", &[], &line).json()["imported"], 1);
        assert_eq!(Client::new(app.gateway_addresses[0]).get("/v1/x", &secret).status, 200);
        app.stop().unwrap();
        let store = fs::read(fixture.store_path()).unwrap();
        let found = store.windows(32).any(|window| window == &digest[..]);
        assert_eq!(found, !peppered, "peppered: {peppered}");
        assert!(!holds(&store, "0123456789abcdef-pepper"));
    }
}
