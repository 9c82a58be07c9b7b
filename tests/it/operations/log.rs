//! What the process writes: a line for each request, and never a secret.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::PROMPTLY;
use crate::support::{Client, Fixture, Process, TOKEN, config_file, send, serve};

#[test]
fn at_its_most_talkative_the_log_holds_no_secret() {
    let fixture = Fixture::with(
        "[[routes]]\npath = \"/v1\"\nupstream = \"api\"\ncredential = [\"bearer\", \"header:x-api-key\", \"query:api_key\"]\n",
    );
    let config = config_file(&fixture);
    let text =
        fs::read_to_string(&config).unwrap().replace("access = false", "access = true\nlevel = \"trace\"");
    fs::write(&config, text).unwrap();
    let mut server = Process::start(serve(&config).env("RUST_LOG", "trace")).serving();
    let (id, secret) = server.admin.key(&json!({}));
    let rotated = server.admin.post(&format!("/api/v1/keys/{id}/rotate"), &json!({"grace": "1h"})).json();
    let rotated = rotated["secret"].as_str().unwrap().to_owned();
    let unknown = format!("{}x", &secret[..secret.len() - 1]);
    let requests = [
        format!("GET /v1/a HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {secret}\r\n\r\n"),
        format!("GET /v1/b HTTP/1.1\r\nhost: a\r\nx-api-key: {rotated}\r\n\r\n"),
        format!("GET /v1/c?x=1&api_key={secret} HTTP/1.1\r\nhost: a\r\n\r\n"),
        format!("GET /v1/drop?api_key={secret} HTTP/1.1\r\nhost: a\r\n\r\n"),
        format!("GET /v1/rubbish HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {secret}\r\n\r\n"),
        format!("GET /v1/d HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {unknown}\r\n\r\n"),
        format!("GET /v1/e HTTP/1.1\r\nhost: a\r\nauthorization: Basic {secret}\r\n\r\n"),
        format!("GET /v1/f HTTP/1.1\r\nhost: a\r\nauthorization : {secret}\r\n\r\n"),
        format!("GET /nowhere?api_key={secret} HTTP/1.1\r\nhost: a\r\n\r\n"),
        format!("{secret} /v1 HTTP/1.1\r\n\r\n"),
        format!("GET /v1/{secret}/g;{unknown} HTTP/1.1\r\nhost: a\r\n\r\n"),
        format!("GET /v1/h HTTP/1.1\r\nhost: a\r\nx-request-id: {rotated}\r\n\r\n"),
    ];
    for request in &requests {
        send(server.address, request);
    }
    server.admin.call(
        "POST",
        "/api/v1/keys",
        &[],
        &format!("{{\"name\": \"{secret}\", \"owner\": \"{secret}"),
    );
    server.admin.call("POST", "/api/v1/keys/import", &[], &json!({"name": "", "secret": secret}).to_string());
    server.admin.call("DELETE", &format!("/api/v1/roles/{secret}"), &[("x-request-id", &rotated)], "");
    let audit = String::from_utf8(server.admin.get("/api/v1/audit").body).unwrap();
    server.process.signal(Signal::TERM);
    assert_eq!(server.process.wait(PROMPTLY).code(), Some(0));
    let (stdout, stderr) = (server.process.stdout(), server.process.stderr());
    let access = stdout.matches("\"target\":\"access\"").count();
    assert!(access >= requests.len(), "{access} access lines: {stdout}");
    for part in [&secret, &rotated, &unknown, TOKEN].map(|secret| &secret[secret.len() - 20..]) {
        assert!(!stdout.contains(part), "{part} is in the log");
        assert!(!stderr.contains(part), "{part} is on standard error");
        assert!(!audit.contains(part), "{part} is in the audit log");
    }
}

#[test]
fn each_request_has_one_access_line_that_says_how_it_ended() {
    let fixture = Fixture::new();
    let config = config_file(&fixture);
    let text = fs::read_to_string(&config).unwrap().replace("access = false", "access = true");
    fs::write(&config, text).unwrap();
    let mut server = crate::support::Server::start(&config);
    let (id, secret) = server.admin.key(&json!({}));
    let mut client = Client::new(server.address);
    let cases = [
        ("/v1/x?token=hidden", secret.as_str(), 200, "allowed", Some(id.as_str())),
        ("/v1/drop", &secret, 502, "upstream_failed", Some(&id)),
        ("/v1/x", "unknown-secret-0123456789", 401, "invalid_key", None),
        ("/nowhere", &secret, 404, "no_route", None),
    ];
    for (path, secret, status, ..) in cases {
        assert_eq!(client.get(path, secret).status, status);
    }
    server.process.signal(Signal::TERM);
    server.process.wait(PROMPTLY);
    let stdout = server.process.stdout();
    let lines: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let access: Vec<&Value> = lines.iter().filter(|line| line["target"] == "access").collect();
    assert_eq!(access.len(), cases.len(), "{stdout}");
    for (line, (path, _, status, outcome, key)) in access.into_iter().zip(cases) {
        let seen = (
            line["path"].as_str(),
            line["status"].as_u64(),
            line["outcome"].as_str(),
            line["key_id"].as_str(),
        );
        assert_eq!(seen, (path.split('?').next(), Some(status.into()), Some(outcome), key), "{line}");
        assert!(line["request_id"].as_str().is_some_and(|id| id.len() == 26), "{line}");
    }
}
