//! A disk that takes no more: keys are still checked, nothing is changed, nothing is lost, and it heals by itself.

use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Resource, Rlimit, Signal, prlimit};
use serde_json::json;

use super::PROMPTLY;
use crate::support::{Client, Fixture, Process, Server, TOKEN, config_file, eventually};

/// Starts a server for which a write beyond its file size limit is an error, and not a signal that ends it.
fn start(config: &Path) -> Server {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$0\" serve --config \"$1\"", env!("CARGO_BIN_EXE_portcullis")]);
    command.arg(config).env("PORTCULLIS_ADMIN_TOKEN", TOKEN).env_remove("RUST_LOG");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Process::start(&mut command).serving()
}

/// From here on the server's disk takes nothing beyond the first bytes of a file.
fn fill(server: &Server) {
    set_limit(server, Some(4_096));
}

fn empty(server: &Server) {
    set_limit(server, None);
}

fn set_limit(server: &Server, bytes: Option<u64>) {
    prlimit(Some(server.process.pid()), Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
}

#[test]
fn while_the_store_fails_keys_are_checked_and_writes_change_nothing_and_then_it_heals() {
    let fixture = Fixture::new();
    let mut server = start(&config_file(&fixture));
    let (id, secret) = server.admin.key(&json!({}));
    let (off, disabled) = server.admin.key(&json!({}));
    assert_eq!(server.admin.post(&format!("/api/v1/keys/{off}/disable"), &json!({})).status, 200);
    let before = server.admin.get("/api/v1/keys").json();
    let mut client = Client::new(server.address);
    for round in 1..=3_u64 {
        fill(&server);
        for (method, path, body) in [
            ("POST", "/api/v1/keys".to_owned(), r#"{"name": "new"}"#),
            ("PATCH", format!("/api/v1/keys/{id}"), r#"{"name": "edited"}"#),
            ("POST", format!("/api/v1/keys/{id}/disable"), "{}"),
            ("POST", format!("/api/v1/keys/{off}/enable"), "{}"),
            ("DELETE", format!("/api/v1/keys/{id}"), ""),
        ] {
            let answer = server.admin.call(method, &path, &[], body);
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (503, "store_unavailable"),
                "{method} {path}"
            );
            assert!(answer.header("retry-after").is_some());
            assert_eq!(client.get("/v1/x", &secret).status, 200, "after {method} {path}");
            assert_eq!(client.get("/v1/x", &disabled).code(), "key_disabled", "after {method} {path}");
        }
        let ready = server.admin.get("/readyz");
        assert_eq!(
            (ready.status, &ready.json()["status"]),
            (200, &json!("ready")),
            "keys are checked, so it serves"
        );
        assert_eq!(ready.json()["degraded"][0]["part"], "store", "{}", ready.json());
        assert_eq!(server.admin.get("/livez").status, 200);
        empty(&server);
        eventually("it heals without being asked to write", || {
            server.admin.get("/readyz").json().get("degraded").is_none()
        });
        assert_eq!(
            server.admin.show(&id)["usage"]["requests"],
            5 * round,
            "what was counted meanwhile is there"
        );
        assert_eq!(server.admin.show(&off)["usage"]["denied"], 5 * round);
    }
    let mut after = server.admin.get("/api/v1/keys").json();
    for key in after["items"].as_array_mut().unwrap() {
        let usage = json!({"requests": 0, "denied": 0, "last_used_at": null});
        (key["usage"], key["versions"][0]["requests"], key["versions"][0]["last_used_at"]) =
            (usage, json!(0), json!(null));
    }
    assert_eq!(after, before, "nothing was changed");
    assert_eq!(server.admin.post("/api/v1/keys", &json!({"name": "new"})).status, 201);
    server.process.signal(Signal::TERM);
    assert_eq!(server.process.wait(PROMPTLY).code(), Some(0), "{}", server.process.stderr());
}

#[test]
fn a_stop_while_the_store_fails_says_so_and_keeps_the_usage() {
    let fixture = Fixture::new();
    let config = config_file(&fixture);
    let mut server = start(&config);
    let (id, secret) = server.admin.key(&json!({}));
    fill(&server);
    let mut client = Client::new(server.address);
    for _ in 0..7 {
        assert_eq!(client.get("/v1/x", &secret).status, 200);
    }
    server.process.signal(Signal::TERM);
    assert_eq!(server.process.wait(PROMPTLY).code(), Some(1));
    let said = server.process.stderr();
    assert!(said.lines().count() == 1 && said.contains("usage") && said.contains("kept"), "{said}");
    assert_eq!(start(&config).admin.show(&id)["usage"]["requests"], 7);
}

#[test]
fn a_start_on_a_full_disk_says_so_and_calls_nothing_damaged() {
    let fixture = Fixture::new();
    let config = config_file(&fixture);
    let refused = || {
        let mut command = Command::new("sh");
        let script = "trap '' XFSZ; ulimit -S -f 8; exec \"$0\" serve --config \"$1\"";
        command.args(["-c", script, env!("CARGO_BIN_EXE_portcullis")]).arg(&config);
        let said = super::refusals::refused(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
        assert!(said.contains("portcullis.redb") && said.contains("disk's space"), "{said}");
        assert!(!said.contains("damaged") && !said.contains("backup"), "{said}");
    };
    refused();
    assert!(!fixture.store_path().exists(), "half a store is in its place");
    let server = Server::start(&config);
    let (id, _) = server.admin.key(&json!({}));
    drop(server);
    refused();
    assert_eq!(
        Server::start(&config).admin.show(&id)["status"],
        "active",
        "and it starts where there is room"
    );
}

/// A reload that cannot be written into the audit log is none by call; who may signal the process may do more than that.
#[test]
fn while_the_store_fails_a_reload_by_call_is_refused_and_one_by_signal_takes_force() {
    let fixture = Fixture::new();
    let config = config_file(&fixture);
    let server = start(&config);
    let (_, secret) = server.admin.key(&json!({}));
    let text = std::fs::read_to_string(&config).unwrap();
    // Of a route that the store knows: a new one needs a number in its ledger.
    std::fs::write(&config, text.replace("upstream = \"api\"", "upstream = \"api\"\naccess = \"public\""))
        .unwrap();
    let mut client = Client::new(server.address);
    let status = |client: &mut Client| client.get("/v1/x", "unknown-secret-0123456789").status;
    fill(&server);
    let answer = server.admin.post("/api/v1/reload", &json!({}));
    assert_eq!((answer.status, answer.code().as_str()), (503, "store_unavailable"));
    assert_eq!(status(&mut client), 401, "nothing of it is in force");
    server.process.signal(Signal::HUP);
    eventually("the file is in force", || status(&mut client) == 200);
    empty(&server);
    eventually("it heals", || server.admin.get("/readyz").json().get("degraded").is_none());
    assert_eq!(server.admin.post("/api/v1/reload", &json!({})).status, 200);
    assert_eq!(client.get("/v1/x", &secret).status, 200);
}
