//! The commands that talk to a running gateway, as scripts call them: one JSON document on standard output, what is said
//! to people on standard error, and the exit status.

use std::process::{Command, Output};

use serde_json::Value;

use crate::support::{Fixture, Server, TOKEN, config_file};

/// Runs the binary with these words against an admin API.
fn run(url: &str, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(words).env("PORTCULLIS_ADMIN_TOKEN", TOKEN).env("PORTCULLIS_ADMIN_URL", url);
    command.output().unwrap()
}

/// A gateway, and where its admin API is.
fn serving() -> (Fixture, Server, String) {
    let fixture = Fixture::new();
    let server = Server::start(&config_file(&fixture));
    let url = format!("http://{}", server.admin.address);
    (fixture, server, url)
}

/// What a command that succeeds writes as JSON.
fn json(url: &str, words: &[&str]) -> Value {
    let output = run(url, &[words, &["--output", "json"]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{words:?}: {said}");
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{words:?}: {error}: {}", String::from_utf8_lossy(&output.stdout)))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

#[test]
fn every_command_on_keys_writes_one_json_document() {
    let (_fixture, _server, url) = serving();
    let made = json(&url, &["keys", "create", "--name", "ci", "--owner", "acme", "--scope", "models:read"]);
    assert!(text(&made["secret"]).starts_with("pc_live_"));
    let id = text(&made["key"]["id"]).to_owned();
    assert_eq!(json(&url, &["keys", "list"])["items"][0]["id"], id);
    assert_eq!(json(&url, &["keys", "show", &id])["name"], "ci");
    assert_eq!(json(&url, &["keys", "update", &id, "--name", "cd"])["name"], "cd");
    assert_eq!(json(&url, &["keys", "disable", &id])["status"], "disabled");
    assert_eq!(json(&url, &["keys", "enable", &id])["status"], "active");
    let rotated = json(&url, &["keys", "rotate", &id, "--grace", "1h"]);
    assert_ne!(rotated["secret"], made["secret"]);
    assert_eq!(json(&url, &["keys", "rotation", &id])["versions"].as_array().unwrap().len(), 2);
    let check = ["keys", "check", &id, "--path", "/v1/x"];
    assert_eq!(json(&url, &check)["allowed"], true);
    assert_eq!(json(&url, &["usage", "--group-by", "key"])["items"], Value::Array(vec![]));
    assert_eq!(json(&url, &["keys", "revoke", &id, "--reason", "lost"])["status"], "revoked");
    assert_eq!(json(&url, &["keys", "delete", &id, "--yes"])["deleted"], id);
    assert_eq!(json(&url, &["keys", "list"])["total"], 0);
    assert_eq!(json(&url, &["audit", "list"])["items"][0]["action"], "key.delete");
}

#[test]
fn every_command_on_roles_owners_and_tokens_writes_one_json_document() {
    let (_fixture, _server, url) = serving();
    for (kind, set) in [("roles", ["--scope", "models:read"]), ("owners", ["--max-active-keys", "2"])] {
        assert_eq!(json(&url, &[&[kind, "create", "one"][..], &set].concat())["name"], "one");
        assert_eq!(json(&url, &[kind, "list"])["items"][0]["name"], "one");
        assert_eq!(json(&url, &[kind, "show", "one"])["name"], "one");
        assert_eq!(json(&url, &[kind, "update", "one", "--description", "d"])["description"], "d");
        assert_eq!(json(&url, &[kind, "delete", "one"])["deleted"], "one");
    }
    let made = json(&url, &["admin-tokens", "create", "--name", "t", "--permission", "api.key.view"]);
    let id = text(&made["admin_token"]["id"]).to_owned();
    assert!(text(&made["secret"]).starts_with("pca_"));
    assert!(json(&url, &["admin-tokens", "list"])["items"].as_array().unwrap().len() >= 2);
    assert_eq!(json(&url, &["admin-tokens", "revoke", &id])["deleted"], id);
}

#[test]
fn a_secret_is_alone_on_standard_output_and_what_fails_is_said_in_a_line() {
    let (_fixture, server, url) = serving();
    let made = run(&url, &["keys", "create", "--name", "ci"]);
    let secret = String::from_utf8(made.stdout).unwrap();
    assert!(secret.starts_with("pc_live_") && secret.lines().count() == 1, "{secret}");
    assert!(!String::from_utf8_lossy(&made.stderr).contains(secret.trim()));
    let id = "key_01k9m2c3d4e5f6g7h8j9k0m1n2";
    let nobody = "http://127.0.0.1:9";
    let cases: [(&str, &[&str], i32); 5] = [
        (&url, &["keys", "show", id], 1),
        (&url, &["keys", "update", id], 2),
        (&url, &["keys", "creat"], 2),
        (&url, &["roles", "delete", "nobody"], 1),
        (nobody, &["keys", "list"], 1),
    ];
    for (url, words, status) in cases {
        let output = run(url, words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{words:?}: {said}");
        assert!(output.stdout.is_empty() && !said.is_empty(), "{words:?}: {said}");
        assert!(status == 2 || said.lines().count() == 1, "{words:?}: {said}");
        assert!(!said.contains(TOKEN) && !said.contains("panicked"), "{words:?}: {said}");
    }
    drop(server);
}
