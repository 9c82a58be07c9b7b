//! The admin listener against those who have no right token: guessers, web pages from elsewhere, slow and greedy
//! clients. Whoever has a right token is served all the while.

mod slow;

use std::sync::Arc;
use std::time::Duration;

use portcullis::app;
use portcullis::clock::{Clock, ManualClock, SystemClock};
use serde_json::{Value, json};

use crate::support::{Admin, Answer, Fixture, Gateway, TOKEN, parse_with, send};

const WRONG: &str = "pca_wrong_token_00000";

fn standing_clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(SystemClock::new().now()))
}

/// A gateway whose `[admin]` has this line as well.
fn with_admin(fixture: &Fixture, line: &str) -> Gateway {
    let text = fixture.text().replace("[admin]\n", &format!("[admin]\n{line}\n"));
    let config = parse_with(&text, fixture.folder.path(), &|_| None);
    let app = app::build(&config, Some(TOKEN)).unwrap();
    let admin = Admin::new(app.admin_address, TOKEN);
    Gateway { address: app.gateway_addresses[0], admin, app: Some(app) }
}

/// A call with these header fields and no others.
fn bare(gateway: &Gateway, method: &str, path: &str, fields: &str) -> Answer {
    let request = format!("{method} {path} HTTP/1.1\r\n{fields}connection: close\r\n\r\n");
    send(gateway.admin.address, request)
}

/// Each operation's method, its path over things that are not there, and what the document says of it.
fn operations(gateway: &Gateway) -> Vec<(String, String, Value)> {
    let document = gateway.admin.get("/api/v1/openapi.json").json();
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let path = path.replace("{id}", "key_00000000000000000000000000").replace("{name}", "nobody");
        for (method, operation) in methods.as_object().unwrap() {
            found.push((method.to_uppercase(), path.clone(), operation.clone()));
        }
    }
    found
}

#[test]
fn wrong_tokens_are_slowed_down_and_a_right_one_never_is() {
    let clock = standing_clock();
    let fixture = Fixture::new().clock(clock.clone());
    let gateway = fixture.start();
    let stranger = Admin::new(gateway.admin.address, WRONG);
    for round in 0..3 {
        for n in 0..30 {
            let answer = stranger.get("/api/v1/keys");
            assert_eq!(gateway.admin.get("/api/v1/keys").status, 200, "a right token in between");
            if n < 10 {
                assert_eq!((answer.status, answer.code().as_str()), (401, "invalid_token"), "{round} {n}");
                continue;
            }
            assert_eq!((answer.status, answer.code().as_str()), (429, "too_many_failures"), "{round} {n}");
            let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=61).contains(&wait), "{wait}");
        }
        clock.advance(Duration::from_mins(1));
    }
    // Who sends no token guesses nothing.
    for _ in 0..30 {
        assert_eq!(bare(&gateway, "GET", "/api/v1/keys", "host: localhost\r\n").status, 401);
    }
    let audit = gateway.admin.get("/api/v1/audit?actor=unknown").json();
    assert!(audit["total"].as_u64().unwrap() <= 4, "{audit}");
    let told: u64 = audit["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["after"]["attempts"].as_u64().unwrap())
        .sum();
    assert_eq!(told, 90, "every attempt is told of");
}

#[test]
fn the_audit_log_grows_ever_more_slowly_while_strangers_try() {
    let clock = standing_clock();
    let fixture = Fixture::new().clock(clock.clone());
    let gateway = fixture.start();
    let stranger = Admin::new(gateway.admin.address, WRONG);
    for _ in 0..200 {
        stranger.get("/api/v1/keys");
        clock.advance(Duration::from_secs(6));
    }
    let entries = gateway.admin.get("/api/v1/audit?actor=unknown").json()["total"].as_u64().unwrap();
    assert!((15..=30).contains(&entries), "{entries} entries in twenty minutes");
    clock.advance(Duration::from_mins(10));
    stranger.get("/api/v1/keys");
    let after = gateway.admin.get("/api/v1/audit?actor=unknown").json()["total"].as_u64().unwrap();
    assert_eq!(after, entries + 1, "after a quiet time the first attempt is written at once");
}

#[test]
fn every_route_but_the_probes_needs_a_token() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    let mut calls: Vec<(String, String)> =
        operations(&gateway).into_iter().map(|(method, path, _)| (method, path)).collect();
    calls.retain(|(_, path)| !["/livez", "/readyz", "/metrics"].contains(&path.as_str()));
    assert!(calls.len() > 25);
    // What is not there is not told either.
    for path in ["/api/v1", "/api/v1/", "/api/v1/nothing", "/api/v1/keys/", "/api/v1/..", "/api/v1//keys"] {
        calls.push(("GET".into(), path.into()));
    }
    for method in ["PUT", "OPTIONS", "TRACE", "QUERY"] {
        calls.push((method.into(), "/api/v1/keys".into()));
    }
    for (method, path) in &calls {
        for fields in
            ["", "authorization: Basic YTpi\r\n", "authorization: Bearer\r\n", "cookie: token=x\r\n"]
        {
            let answer = bare(&gateway, method, path, &format!("host: localhost\r\n{fields}"));
            let place = format!("{method} {path} {fields}");
            assert_eq!((answer.status, answer.code().as_str()), (401, "missing_token"), "{place}");
            assert!(answer.header("www-authenticate").is_some(), "{place}");
        }
    }
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(bare(&gateway, "GET", path, "host: localhost\r\n").status, 200, "{path}");
    }
}

#[test]
fn metrics_need_a_token_where_that_was_said() {
    let fixture = Fixture::new();
    let gateway = with_admin(&fixture, "metrics_open = false");
    let answer = bare(&gateway, "GET", "/metrics", "host: localhost\r\n");
    assert_eq!((answer.status, answer.code().as_str()), (401, "missing_token"));
    assert!(answer.header("www-authenticate").is_some());
    assert_eq!(gateway.admin.get("/metrics").status, 200);
}

#[test]
fn a_foreign_host_is_refused_before_anything_else_and_probes_are_not() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    let port = gateway.admin.address.port();
    let right = format!("authorization: Bearer {TOKEN}\r\n");
    let get = |path: &str, host: &str| bare(&gateway, "GET", path, &format!("{host}{right}"));
    for host in ["127.0.0.1", "localhost", "LocalHost", "[::1]"] {
        for host in
            [format!("host: {host}\r\n"), format!("host: {host}:{port}\r\n"), format!("host: {host}:1\r\n")]
        {
            assert_eq!(get("/api/v1/keys", &host).status, 200, "{host}");
        }
    }
    for host in [
        "host: evil.example\r\n".to_owned(),
        format!("host: evil.example:{port}\r\n"),
        "host: localhost.evil.example\r\n".into(),
        "host: 127.0.0.1.evil.example\r\n".into(),
        "host: 10.0.0.1\r\n".into(),
        "host: localhost\r\nhost: evil.example\r\n".into(),
        "host: \r\n".into(),
        String::new(),
    ] {
        for path in ["/api/v1/keys", "/api/v1/nothing", "/metrics", "/"] {
            let answer = get(path, &host);
            let place = format!("{path} {host:?}");
            // Some of it is no HTTP request at all.
            let malformed = answer.status == 400 && answer.body.is_empty();
            assert!(malformed || answer.status == 421, "{place}: {}", answer.status);
            assert!(malformed || answer.code() == "host_not_allowed", "{place}");
        }
    }
    let absolute = format!(
        "GET http://evil.example/api/v1/keys HTTP/1.1\r\nhost: localhost\r\n{right}connection: close\r\n\r\n"
    );
    assert_eq!(send(gateway.admin.address, absolute).status, 421);
    for path in ["/livez", "/readyz"] {
        assert_eq!(get(path, "host: 10.0.0.1\r\n").status, 200, "{path}");
    }
}

#[test]
fn more_names_can_be_given() {
    let fixture = Fixture::new();
    let gateway = with_admin(&fixture, r#"hosts = ["Admin.Example", "*.corp.example"]"#);
    for (host, status) in [
        ("admin.example", 200),
        ("ADMIN.example:443", 200),
        ("a.b.corp.example", 200),
        ("127.0.0.1", 200),
        ("corp.example", 421),
        ("admin.example.evil.example", 421),
    ] {
        let answer = bare(&gateway, "GET", "/metrics", &format!("host: {host}\r\n"));
        assert_eq!(answer.status, status, "{host}");
    }
}

#[test]
fn no_body_is_larger_than_its_operation_takes() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    let mut tried = 0;
    for (method, path, operation) in operations(&gateway) {
        let Some(about) = operation["requestBody"]["description"].as_str() else { continue };
        let most: usize = about.split(' ').find_map(|word| word.parse().ok()).unwrap();
        assert!(most <= 16 << 20, "{method} {path}");
        let fits = gateway.admin.call(&method, &path, &[], &" ".repeat(most));
        assert_ne!(fits.status, 413, "{method} {path}");
        let over = gateway.admin.call(&method, &path, &[], &" ".repeat(most + 1));
        assert_eq!((over.status, over.code().as_str()), (413, "body_too_large"), "{method} {path}");
        tried += 1;
    }
    assert!(tried >= 12, "{tried}");
    let chunk = "8000\r\n".to_owned() + &" ".repeat(0x8000) + "\r\n";
    let chunked = format!(
        "POST /api/v1/roles HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\ntransfer-encoding: chunked\r\n\r\n{}",
        chunk.repeat(33)
    );
    assert_eq!(send(gateway.admin.address, chunked).status, 413);
}

#[test]
fn no_page_is_longer_than_the_bound() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    let mut tried = 0;
    for (method, path, operation) in operations(&gateway) {
        if !operation["parameters"].to_string().contains("parameters/limit") {
            continue;
        }
        tried += 1;
        for (limit, status) in [
            ("1", 200),
            ("200", 200),
            ("0", 422),
            ("201", 422),
            ("-1", 422),
            ("1e2", 422),
            ("99999999999999999999", 422),
        ] {
            let answer = gateway.admin.get(&format!("{path}?limit={limit}"));
            assert_eq!(answer.status, status, "{method} {path} {limit}");
            if status == 422 {
                assert_eq!(answer.json()["errors"][0]["pointer"], json!("/limit"), "{path}");
            }
        }
    }
    assert_eq!(tried, 6);
}
