//! A request without a key is answered where it is read, on a connection that has shown no key, and by Pingora on one
//! that has. Nobody can tell the two apart.

use std::collections::HashMap;
use std::io::Write;
use std::net::TcpStream;

use serde_json::json;

use crate::support::{Answer, Fixture, Gateway, Wire};

const ROUTES: &str = r#"
    [[routes]]
    path = "/v1"
    upstream = "api"
    [[routes]]
    path = "/ai"
    upstream = "api"
    error_format = "openai"
    [[routes]]
    path = "/page"
    upstream = "api"
    credential = ["bearer", "query:api_key"]
    [routes.cors]
    origins = ["https://app.example.com"]
    [[routes]]
    path = "/public"
    upstream = "api"
    access = "public"
"#;

/// Strangers' requests: methods, targets and fields.
const STRANGERS: [(&str, &str, &str); 14] = [
    ("GET", "/v1/x", ""),
    ("GET", "/v1/x", "authorization: Bearer unknown\r\n"),
    ("GET", "/v1/x", "Authorization: Bearer pk_live_0123456789abcdefghijklmnopqrstuv\r\n"),
    ("GET", "/v1/x?a=%20&b=`", "authorization: Bearer unknown\r\nx-request-id: mine-1\r\n"),
    ("GET", "/v1/x", "authorization: Bearer a\r\nauthorization: Bearer b\r\n"),
    ("DELETE", "/v1/x", "authorization: Bearer key_01k9m2c3d4e5f6g7h8j9k0m1n2\r\n"),
    ("GET", "/ai/chat", "authorization: Bearer unknown\r\n"),
    ("GET", "/page?api_key=unknown", "origin: https://app.example.com\r\n"),
    ("GET", "/page", "origin: https://evil.example.com\r\n"),
    ("GET", "/v1/x", "content-type: application/grpc\r\n"),
    ("GET", "/v1/x", "accept: \u{e9}\r\n"),
    ("HEAD", "/v1/x", ""),
    ("GET", "/v1/x", "connection: keep-alive\r\n"),
    ("POST", "/v1/x", "content-length: 2\r\n"),
];

fn request((method, target, fields): (&str, &str, &str)) -> String {
    let body = if method == "POST" { "{}" } else { "" };
    format!("{method} {target} HTTP/1.1\r\nhost: it\r\n{fields}\r\n{body}")
}

fn with_key(secret: &str) -> String {
    request(("GET", "/v1/x", &format!("authorization: Bearer {secret}\r\n")))
}

/// What an answer says, without what differs from one answer to the next.
fn said(answer: &Answer, own_id: bool) -> (u16, HashMap<String, String>, serde_json::Value) {
    let mut headers = answer.headers.clone();
    assert!(headers.remove("date").is_some(), "{headers:?}");
    let mut body = if answer.body.is_empty() { json!(null) } else { answer.json() };
    if !own_id {
        assert_eq!(headers.remove("x-request-id").map(|id| id.len()), Some(26));
        for at in ["/request_id", "/error/request_id"] {
            if let Some(id) = body.pointer_mut(at) {
                *id = json!(null);
            }
        }
    }
    (answer.status, headers, body)
}

fn start(routes: &str) -> (Fixture, Gateway, String) {
    let fixture = Fixture::with(routes);
    let gateway = fixture.start();
    let (_, secret) = gateway.admin.key(&json!({}));
    (fixture, gateway, secret)
}

#[test]
fn a_stranger_is_told_the_same_whoever_answers() {
    let (fixture, gateway, secret) = start(ROUTES);
    let mut known = Wire::open(gateway.address);
    assert_eq!(known.ask(with_key(&secret)).status, 200);
    for stranger in STRANGERS {
        let request = request(stranger);
        let own_id = stranger.2.contains("x-request-id");
        let early = said(&Wire::open(gateway.address).ask(&request), own_id);
        let late = said(&known.ask(&request), own_id);
        assert_eq!(early, late, "{stranger:?}");
    }
    assert_eq!(fixture.upstream.count(), 1);
}

#[test]
fn a_connection_may_go_from_refusals_to_answers_and_back() {
    let (fixture, gateway, secret) = start(ROUTES);
    let mut wire = Wire::open(gateway.address);
    for round in 1..=3 {
        for _ in 0..20 {
            assert_eq!(wire.ask(request(STRANGERS[1])).code(), "invalid_key");
        }
        assert_eq!(wire.ask(request(("GET", "/public", ""))).status, 200);
        assert_eq!(wire.ask(with_key(&secret)).status, 200);
        assert_eq!(fixture.upstream.count(), 2 * round);
    }
    let metrics = gateway.admin.metrics();
    assert!(
        metrics.contains(r#"portcullis_requests_total{outcome="invalid_key",route="/v1"} 60"#),
        "{metrics}"
    );
}

#[test]
fn pipelined_strangers_are_answered_in_order() {
    let (fixture, gateway, secret) = start(ROUTES);
    let mut wire = Wire::open(gateway.address);
    let (missing, unknown) = (request(STRANGERS[0]), request(STRANGERS[1]));
    wire.send([missing.as_str(), &unknown, &with_key(&secret), &missing].concat());
    assert_eq!(wire.answer().code(), "missing_key");
    assert_eq!(wire.answer().code(), "invalid_key");
    assert_eq!(wire.answer().status, 200);
    assert_eq!(wire.answer().code(), "missing_key");
    assert_eq!(fixture.upstream.count(), 1);
}

#[test]
fn strangers_requests_count_towards_those_of_their_connection() {
    let routes = format!("[gateway]\nlisten = [\"127.0.0.1:0\"]\nmax_requests_per_connection = 3\n{ROUTES}");
    let (_fixture, gateway, _) = start(&routes);
    let mut wire = Wire::open(gateway.address);
    for last in [false, false, true] {
        let answer = wire.ask(request(STRANGERS[0]));
        assert_eq!((answer.status, answer.closed), (401, last));
    }
    assert!(wire.rest().is_empty());
}

#[test]
fn a_stranger_that_reads_no_answers_is_let_go() {
    let routes = format!("[gateway]\nlisten = [\"127.0.0.1:0\"]\nidle_timeout = \"1s\"\n{ROUTES}");
    let (_fixture, gateway, _) = start(&routes);
    let mut stream = TcpStream::connect(gateway.address).unwrap();
    let many = request(STRANGERS[1]).repeat(1_000);
    // More than all the buffers on the way hold: the gateway waits until it may write, and then no longer.
    let closed = (0..600).any(|_| stream.write_all(many.as_bytes()).is_err());
    assert!(closed, "it never ended");
    assert_eq!(Wire::open(gateway.address).ask(request(STRANGERS[0])).status, 401);
}
