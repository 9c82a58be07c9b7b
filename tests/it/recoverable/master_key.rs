//! The master key: what is refused at start, and how it is changed.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::json;

use super::{MASTER, OFF, ON, OTHER, missing, revealed};
use crate::support::{Client, Fixture, Process, START, Server, TOKEN, config_file, serve};

/// The binary with these words and variables, in the configuration's folder.
fn portcullis(config: &Path, words: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.current_dir(config.parent().unwrap()).args(words).env("PORTCULLIS_ADMIN_TOKEN", TOKEN);
    command.env_remove("RUST_LOG").env_remove("MASTER").envs(variables.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(config: &Path, words: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = portcullis(config, words, variables).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// A reseal with the configuration in this folder.
fn reseal(config: &Path, words: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let words = [&["store", "reseal", "--config", "portcullis.toml"], words].concat();
    run(config, &words, variables)
}

fn started(config: &Path, master: &str) -> Server {
    Process::start(serve(config).env("MASTER", master)).serving()
}

/// A start that must fail with one line.
fn refused(config: &Path, variables: &[(&str, &str)]) -> String {
    let words = ["serve", "--config", "portcullis.toml"];
    let mut process = Process::start(&mut portcullis(config, &words, variables));
    let status = process.wait(START);
    let said = process.stderr();
    assert_eq!((status.code(), said.lines().count()), (Some(1), 1), "{said}");
    said
}

fn configured() -> (Fixture, PathBuf) {
    let fixture = Fixture::with(ON);
    let config = config_file(&fixture);
    (fixture, config)
}

#[test]
fn a_missing_or_malformed_master_key_is_named_and_not_repeated() {
    let (fixture, config) = configured();
    let short = "c2hvcnQta2V5LWhlcmU=";
    let cases: [(&[(&str, &str)], &str); 4] = [
        (&[], "is not set"),
        (&[("MASTER", "")], "32 bytes in base64"),
        (&[("MASTER", short)], "32 bytes in base64"),
        (&[("MASTER", "not base64 at all, but long enough!!")], "32 bytes in base64"),
    ];
    for (variables, words) in cases {
        let checked = run(&config, &["check", "--config", "portcullis.toml"], variables);
        assert_eq!(checked.0, Some(1));
        for said in [refused(&config, variables), checked.2] {
            assert!(said.contains("keys.master_key_env") && said.contains("`MASTER`"), "{said}");
            assert!(said.contains(words), "{said}");
            assert!(!said.contains(short) && !said.contains("long enough"), "{said}");
        }
    }
    assert!(!fixture.store_path().exists(), "nothing was made");
}

#[test]
fn a_wrong_master_key_is_refused_and_the_right_one_goes_on() {
    let (fixture, config) = configured();
    let server = started(&config, MASTER);
    let (id, secret) = server.admin.key(&json!({}));
    drop(server);
    let said = refused(&config, &[("MASTER", OTHER)]);
    assert!(said.contains("keys.master_key_env") && said.contains("`MASTER`"), "{said}");
    assert!(said.contains("another master key") && said.contains("portcullis.redb"), "{said}");
    assert!(!said.contains(OTHER) && !said.contains(MASTER), "{said}");
    let server = started(&config, MASTER);
    assert_eq!(revealed(&server.admin, &id), secret);
    // A store that has no sealed secret yet has its master key all the same.
    assert_eq!(server.admin.call("DELETE", &super::path(&id), &[], "").status, 204);
    drop(server);
    refused(&config, &[("MASTER", OTHER)]);
    drop(fixture);
}

#[test]
fn the_master_key_is_changed_by_a_command() {
    let (_fixture, config) = configured();
    let server = started(&config, MASTER);
    let keys: Vec<(String, String)> = (0..30).map(|_| server.admin.key(&json!({}))).collect();
    let change = ["--old-master-key-env", "OLD"];
    let both = [("OLD", MASTER), ("MASTER", OTHER)];
    let (status, _, said) = reseal(&config, &change, &both);
    assert!(status == Some(1) && said.contains("in use"), "while the gateway runs: {said}");
    drop(server);
    let (status, _, said) = reseal(&config, &change, &[("OLD", &OTHER.replace('/', "A")), ("MASTER", OTHER)]);
    assert!(status == Some(1) && said.contains("`OLD` does not hold the master key"), "{said}");
    for (words, variables) in [
        (&change[..], &[("MASTER", OTHER)][..]),
        (&[], &both),
        (&["--old-master-key-env", "OLD", "--erase"], &both),
    ] {
        assert_eq!(reseal(&config, words, variables).0, Some(2), "{words:?}");
    }
    let (status, out, said) = reseal(&config, &change, &both);
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(out, "30 sealed with the master key of `MASTER`\n");
    let (status, out, _) = reseal(&config, &change, &both);
    assert!(status == Some(0) && out.contains("already"), "{out}");
    refused(&config, &[("MASTER", MASTER)]);
    let server = started(&config, OTHER);
    for (id, secret) in &keys {
        assert_eq!(&revealed(&server.admin, id), secret);
    }
    let log = server.admin.get("/api/v1/audit?action=master_key.reseal").json();
    assert_eq!((&log["total"], &log["items"][0]["target"]), (&json!(1), &json!("30 keys")));
    assert_eq!(server.admin.get("/api/v1/audit/verify").json()["broken_at"], serde_json::Value::Null);
}

#[test]
fn sealed_secrets_are_erased_by_a_command_and_the_keys_go_on() {
    let (_fixture, config) = configured();
    let server = started(&config, MASTER);
    let (id, secret) = server.admin.key(&json!({}));
    drop(server);
    // The master key is lost, so the configuration asks for none.
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace(ON, OFF)).unwrap();
    let (status, out, said) = reseal(&config, &["--erase", "--output", "json"], &[]);
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&out).unwrap(), json!({"erased": 1}));
    std::fs::write(&config, text).unwrap();
    let server = started(&config, OTHER);
    assert_eq!(Client::new(server.address).get("/v1/x", &secret).status, 200);
    missing(&server.admin, &id, "made while keys.recoverable was false");
    let (id, secret) = server.admin.key(&json!({}));
    assert_eq!(revealed(&server.admin, &id), secret, "another master key is the store's now");
}

#[test]
fn the_command_line_prints_a_secret_alone() {
    let (_fixture, config) = configured();
    let server = started(&config, MASTER);
    let (id, secret) = server.admin.key(&json!({}));
    let url = format!("http://{}", server.admin.address);
    let call = |words: &[&str]| run(&config, words, &[("PORTCULLIS_ADMIN_URL", &url)]);
    assert_eq!(call(&["keys", "reveal", &id]), (Some(0), format!("{secret}\n"), String::new()));
    let (status, out, said) = call(&["keys", "reveal", "key_01k9m2c3d4e5f6g7h8j9k0m1n2"]);
    assert!(status == Some(1) && out.is_empty() && said.contains("not_found"), "{said}");
}

#[test]
fn a_backup_holds_sealed_secrets_and_a_restored_store_opens_them() {
    let (fixture, config) = configured();
    let server = started(&config, MASTER);
    let (id, secret) = server.admin.key(&json!({}));
    let once = [("idempotency-key", "8e03978e-40d5-43dd-bc93-6894a57f9324")];
    let create = |server: &Server| server.admin.call("POST", "/api/v1/keys", &once, r#"{"name": "a"}"#);
    assert_eq!(create(&server).status, 201);
    drop(server);
    let with_key = |words: &[&str]| run(&config, words, &[("MASTER", MASTER)]);
    let of_store = ["--config", "portcullis.toml"];
    let backup = [&["store", "backup", "--out", "a.backup"], &of_store[..]].concat();
    let restore = [&["store", "restore", "a.backup", "--force"], &of_store[..]].concat();
    let check = [&["store", "check"], &of_store[..]].concat();
    for words in [&check, &backup, &restore, &check] {
        let (status, _, said) = with_key(words);
        assert_eq!(status, Some(0), "{words:?}: {said}");
    }
    let bytes = std::fs::read(fixture.folder.path().join("a.backup")).unwrap();
    assert!(!bytes.windows(30).any(|window| window == &secret.as_bytes()[secret.len() - 30..]));
    refused(&config, &[("MASTER", OTHER)]);
    let server = started(&config, MASTER);
    assert_eq!(revealed(&server.admin, &id), secret);
    // Answers kept for repeated calls are for a day, and in no backup.
    assert_eq!(create(&server).header("idempotency-replayed"), None);
}
