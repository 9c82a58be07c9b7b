//! Usage: what is counted, on whom, and that it is exact.

mod exact;
mod formats;
mod report;

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::support::{Admin, Client, Fixture, Gateway, eventually, send};

/// Routes that end in every way that is counted on a key.
const ROUTES: &str = r#"
[upstreams.api]
targets = ["{upstream}"]
response_timeout = "300ms"
[upstreams.nobody]
targets = ["127.0.0.1:1"]
[[routes]]
path = "/v1"
upstream = "api"
max_request_body = "10"
[[routes]]
path = "/scoped"
upstream = "api"
scopes = ["models:read"]
[[routes]]
path = "/test-only"
upstream = "api"
environments = ["test"]
[[routes]]
path = "/nobody"
upstream = "nobody"
[[routes]]
path = "/limited"
upstream = "api"
limits = [{ name = "day", requests = 1, window = "1d" }]
"#;

/// A report's rows.
fn rows(admin: &Admin, query: &str) -> Vec<Value> {
    let answer = admin.get(&format!("/api/v1/usage?{query}"));
    assert_eq!(answer.status, 200, "{query}: {}", String::from_utf8_lossy(&answer.body));
    answer.json()["items"].as_array().unwrap().clone()
}

/// The sums of a report by group.
fn sums(admin: &Admin, group: &str, query: &str) -> Vec<(String, u64, u64)> {
    let sum = |row: Value| {
        let group = row[group].as_str().unwrap_or("none").to_owned();
        (group, row["requests"].as_u64().unwrap(), row["denied"].as_u64().unwrap())
    };
    rows(admin, &format!("group_by={group}&limit=200&{query}")).into_iter().map(sum).collect()
}

fn usage(admin: &Admin, id: &str) -> (u64, u64) {
    let usage = &admin.show(id)["usage"];
    (usage["requests"].as_u64().unwrap(), usage["denied"].as_u64().unwrap())
}

/// One request of a kind, and how it is counted.
fn request(path: &str, secret: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {secret}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

#[test]
fn a_request_counts_once_with_its_final_outcome() {
    let gateway = Fixture::with(ROUTES).start();
    let (id, secret) = gateway.admin.key(&json!({}));
    let cases = [
        ("/v1/x", "", 200, "allowed"),
        ("/v1/status/500", "", 500, "allowed"),
        ("/v1/status/404", "", 404, "allowed"),
        ("/v1/hang", "", 504, "upstream_timeout"),
        ("/v1/drop", "", 502, "upstream_failed"),
        ("/v1/rubbish", "", 502, "upstream_failed"),
        ("/nobody", "", 502, "upstream_unreachable"),
        ("/v1/x", "more than ten", 413, "body_too_large"),
        ("/scoped", "", 403, "insufficient_scope"),
        ("/test-only", "", 403, "environment_not_allowed"),
        ("/limited", "", 200, "allowed"),
        ("/limited", "", 429, "rate_limited"),
    ];
    let mut expected: Vec<(String, u64, u64)> = Vec::new();
    for (path, body, status, outcome) in cases {
        let answer = send(gateway.address, request(path, &secret, body));
        assert_eq!(answer.status, status, "{path}");
        let let_through = outcome == "allowed" || outcome.starts_with("upstream");
        let place = expected.iter().position(|(name, ..)| name == outcome).unwrap_or_else(|| {
            expected.push((outcome.to_owned(), 0, 0));
            expected.len() - 1
        });
        let (_, requests, denied) = &mut expected[place];
        *if let_through { requests } else { denied } += 1;
        expected.sort();
        assert_eq!(sums(&gateway.admin, "outcome", &format!("key={id}")), expected, "{path} {status}");
        let whole = expected.iter().fold((0, 0), |sum, one| (sum.0 + one.1, sum.1 + one.2));
        assert_eq!(usage(&gateway.admin, &id), whole, "{path} {status}");
    }
}

#[test]
fn what_no_key_is_known_for_counts_on_none() {
    let gateway = Fixture::with(ROUTES).start();
    let (id, secret) = gateway.admin.key(&json!({}));
    let unknown = format!("{}000000", &secret[..secret.len() - 6]);
    let two = format!("{secret}\r\nauthorization: Bearer {secret}");
    for (path, secret) in [("/v1", ""), ("/v1", &unknown), ("/v1", &two), ("/nowhere", &secret)] {
        assert!(send(gateway.address, request(path, secret, "")).status >= 400);
    }
    assert_eq!(usage(&gateway.admin, &id), (0, 0));
    assert_eq!(rows(&gateway.admin, ""), Vec::<Value>::new());
}

#[test]
fn refusals_of_a_known_key_count_as_denied_whatever_its_state() {
    let gateway = Fixture::with(ROUTES).start();
    let (id, secret) = gateway.admin.key(&json!({}));
    let path = format!("/api/v1/keys/{id}");
    let steps = [
        ("POST", "/rotate", "", "secret_retired"),
        ("POST", "/disable", "", "key_disabled"),
        ("PATCH", "", r#"{"expires_at": "2001-01-01T00:00:00Z"}"#, "key_expired"),
        ("POST", "/revoke", "", "key_revoked"),
    ];
    for (number, (method, rest, body, code)) in (1..).zip(steps) {
        assert_eq!(gateway.admin.call(method, &format!("{path}{rest}"), &[], body).status, 200);
        assert_eq!(send(gateway.address, request("/v1", &secret, "")).code(), code);
        assert_eq!(usage(&gateway.admin, &id), (0, number), "{code}");
        assert_eq!(
            sums(&gateway.admin, "outcome", &format!("key={id}&outcome={code}")),
            [(code.into(), 0, 1)]
        );
    }
    assert_eq!(gateway.admin.show(&id)["usage"]["last_used_at"], Value::Null, "a refusal is no use");
}

#[test]
fn each_version_of_a_secret_counts_for_itself() {
    let gateway = Fixture::new().start();
    let (id, first) = gateway.admin.key(&json!({}));
    let rotate = format!("/api/v1/keys/{id}/rotate");
    let mut client = Client::new(gateway.address);
    client.get("/v1", &first);
    let second =
        gateway.admin.post(&rotate, &json!({"grace": "1h"})).json()["secret"].as_str().unwrap().to_owned();
    for secret in [&first, &first, &second] {
        assert_eq!(client.get("/v1", secret).status, 200);
    }
    gateway.admin.post(&rotate, &json!({}));
    assert_eq!(client.get("/v1", &first).status, 401);
    let key = gateway.admin.show(&id);
    let versions = key["versions"].as_array().unwrap();
    let requests: Vec<_> = versions.iter().map(|version| version["requests"].as_u64().unwrap()).collect();
    assert_eq!(requests, [3, 1, 0]);
    assert!(versions[0]["last_used_at"].is_string() && versions[1]["last_used_at"].is_string());
    assert_eq!(versions[2]["last_used_at"], Value::Null);
    assert_eq!(key["usage"]["last_used_at"], versions[1]["last_used_at"]);
    assert_eq!(usage(&gateway.admin, &id), (4, 1));
}

#[test]
fn the_usage_of_a_deleted_key_stays_with_its_owner() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    let (id, secret) = gateway.admin.key(&json!({"owner": "acme"}));
    let mut client = Client::new(gateway.address);
    for _ in 0..3 {
        client.get("/v1", &secret);
    }
    assert_eq!(gateway.admin.call("DELETE", &format!("/api/v1/keys/{id}"), &[], "").status, 204);
    assert_eq!(client.get("/v1", &secret).status, 401);
    let check = |gateway: &Gateway| {
        for (group, query, name) in [
            ("key", format!("key={id}"), id.as_str()),
            ("key", String::new(), &id),
            ("owner", "owner=acme".to_owned(), "acme"),
            ("owner", String::new(), "acme"),
            ("route", String::new(), "/v1"),
        ] {
            assert_eq!(sums(&gateway.admin, group, &query), [(name.to_owned(), 3, 0)], "{group} {query}");
        }
    };
    check(&gateway);
    gateway.stop();
    check(&fixture.start());
}

#[test]
fn a_client_that_leaves_is_counted_once() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    let (id, secret) = gateway.admin.key(&json!({}));
    for (number, path) in (1..).zip(["/v1/hang", "/v1/stream/200"]) {
        let mut stream = TcpStream::connect(gateway.address).unwrap();
        stream.write_all(request(path, &secret, "").as_bytes()).unwrap();
        eventually("the upstream has it", || fixture.upstream.count() as u64 == number);
        if path.contains("stream") {
            stream.read_exact(&mut [0; 200]).unwrap();
        }
        drop(stream);
        eventually("it is counted", || usage(&gateway.admin, &id).0 == number);
    }
    assert_eq!(usage(&gateway.admin, &id), (2, 0));
}
