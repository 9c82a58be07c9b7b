//! Each row of the table: status, code, each header, the body's members, what becomes of the connection.

use serde_json::Value;

use super::World;
use crate::support::{Answer, Wire, eventually, get, post};

/// What becomes of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Kept,
    Closed,
}

/// A row of the table. In requests, `{p}` is the path that the routes of a format are under.
struct Row {
    request: String,
    status: u16,
    code: &'static str,
    /// Those headers that not all rows have.
    headers: Vec<(&'static str, &'static str)>,
    after: After,
}

/// Headers that an answer has only where its row says so.
const TELLING: [&str; 7] =
    ["www-authenticate", "allow", "retry-after", "ratelimit", "ratelimit-policy", "deprecation", "sunset"];

const MISSING: (&str, &str) = ("www-authenticate", r#"Bearer realm="portcullis""#);
const AMBIGUOUS: (&str, &str) = ("www-authenticate", r#"Bearer realm="portcullis", error="invalid_request""#);
const INVALID: (&str, &str) = ("www-authenticate", r#"Bearer realm="portcullis", error="invalid_token""#);
const ENVIRONMENT: (&str, &str) =
    ("www-authenticate", r#"Bearer realm="portcullis", error="insufficient_scope""#);
const SCOPE: (&str, &str) = (
    "www-authenticate",
    r#"Bearer realm="portcullis", error="insufficient_scope", scope="models:read models:write""#,
);

fn row(
    request: impl Into<String>,
    status: u16,
    code: &'static str,
    headers: &[(&'static str, &'static str)],
) -> Row {
    let after = match code {
        "bad_request" | "body_too_large" => After::Closed,
        code if code.starts_with("upstream_") => After::Closed,
        _ => After::Kept,
    };
    Row { request: request.into(), status, code, headers: headers.to_vec(), after }
}

fn plain(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: it\r\n{fields}\r\n")
}

fn rows_before_the_key(world: &World) -> Vec<Row> {
    let live = world.secret("live");
    let two = format!("authorization: Bearer {live}\r\nauthorization: Basic eA==\r\n");
    vec![
        row(plain("{p}/x", "a b: c\r\n"), 400, "bad_request", &[]),
        row(plain("{p}/../x", ""), 400, "bad_request", &[]),
        row("TRACE {p}/x HTTP/1.1\r\nhost: it\r\n\r\n", 400, "bad_request", &[]),
        row(plain("/nowhere", ""), 404, "no_route", &[]),
        row(
            "DELETE {p}/x HTTP/1.1\r\nhost: it\r\n\r\n",
            405,
            "method_not_allowed",
            &[("allow", "GET, HEAD, POST")],
        ),
        row(plain("{p}/x", ""), 401, "missing_key", &[MISSING]),
        row(plain("{p}/x", "authorization: Basic eA==\r\n"), 401, "missing_key", &[MISSING]),
        row(plain("{p}/x", "authorization: Bearer\r\n"), 401, "missing_key", &[MISSING]),
        row(plain("{p}/x", &two), 400, "ambiguous_credential", &[AMBIGUOUS]),
        row(get("{p}/x", "sk-unheard-of-0123456789"), 401, "invalid_key", &[INVALID]),
        row(get("{p}/x", "a,b"), 401, "invalid_key", &[INVALID]),
    ]
}

fn rows_of_keys(world: &World) -> Vec<Row> {
    let with = |path: &str, key: &str| get(path, world.secret(key));
    let hour = [("ratelimit-policy", r#""hour";q=1;w=3600"#), ("ratelimit", r#""hour";r=0;t=3600"#)];
    let daily = [("ratelimit-policy", r#""daily";q=1;w=86400"#), ("ratelimit", r#""daily";r=0;t=39600"#)];
    vec![
        row(with("{p}/x", "disabled"), 401, "key_disabled", &[INVALID]),
        row(with("{p}/x", "expired"), 401, "key_expired", &[INVALID]),
        row(with("{p}/x", "revoked"), 401, "key_revoked", &[INVALID]),
        row(with("{p}/x", "rotated"), 401, "secret_retired", &[INVALID]),
        row(with("{p}/x", "elsewhere"), 403, "ip_not_allowed", &[]),
        row(with("{p}/test/x", "live"), 403, "environment_not_allowed", &[ENVIRONMENT]),
        row(with("{p}/scoped/x", "live"), 403, "insufficient_scope", &[SCOPE]),
        row(with("{p}/x", "limited"), 429, "rate_limited", &[hour[0], hour[1], ("retry-after", "3600")]),
        row(with("{p}/x", "metered"), 429, "quota_exceeded", &[daily[0], daily[1], ("retry-after", "39600")]),
        row(with("{p}/x", "single"), 429, "too_many_concurrent", &[("retry-after", "1")]),
        row(post("{p}/small/x", world.secret("live"), "eleven byte"), 413, "body_too_large", &[]),
        row(with("{p}/dead/x", "live"), 502, "upstream_unreachable", &[]),
        row(with("{p}/drop", "live"), 502, "upstream_failed", &[]),
        row(with("{p}/hasty/slow/2000", "live"), 504, "upstream_timeout", &[]),
    ]
}

#[test]
fn every_refusal_says_what_the_contract_says_in_both_formats() {
    let world = World::new();
    // The limits are spent, and the one place is taken, by requests that pass.
    for key in ["limited", "metered"] {
        assert_eq!(Wire::open(world.gateway.address).ask(get("/v1/x", world.secret(key))).status, 200);
    }
    let mut hanging = Wire::open(world.gateway.address);
    let before = world.fixture.upstream.count();
    hanging.send(get("/v1/hang", world.secret("single")));
    eventually("the place is taken", || world.fixture.upstream.count() > before);

    for row in rows_before_the_key(&world).into_iter().chain(rows_of_keys(&world)) {
        for prefix in ["/v1", "/openai"] {
            let request = row.request.replace("{p}", prefix);
            let mut wire = Wire::open(world.gateway.address);
            let answer = wire.ask(&request);
            let says = format!("{request}\n{answer:?}");
            check_head(&row, &answer, &says);
            // Where no route is known there is no format but the usual one.
            match prefix {
                "/openai" if !matches!(row.code, "bad_request" | "no_route") && row.status != 405 => {
                    check_openai(&row, &answer, &says);
                }
                _ => check_problem(&row, &answer, &says),
            }
            match row.after {
                After::Kept => {
                    assert_eq!(wire.ask(plain("/v1/public/x", "")).status, 200, "not kept: {says}");
                }
                After::Closed => wire.assert_closed(),
            }
        }
    }
}

fn check_head(row: &Row, answer: &Answer, says: &str) {
    assert_eq!(answer.status, row.status, "{says}");
    assert_eq!(answer.closed, row.after == After::Closed, "{says}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{says}");
    for name in TELLING {
        let expected = row.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        assert_eq!(answer.header(name), expected, "{name}: {says}");
    }
    assert_eq!(answer.header("server"), None, "{says}");
}

fn check_problem(row: &Row, answer: &Answer, says: &str) {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{says}");
    let body = answer.json();
    let members: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = vec!["type", "title", "status", "detail", "code", "request_id"];
    expected.extend((row.code == "invalid_key").then_some("hint"));
    assert_eq!(members, expected, "{says}");
    assert_eq!(
        (&body["status"], &body["code"]),
        (&Value::from(row.status), &Value::from(row.code)),
        "{says}"
    );
    assert_eq!(body["type"], format!("urn:portcullis:problem:{}", row.code), "{says}");
    assert_eq!(body["request_id"].as_str(), answer.header("x-request-id"), "{says}");
    for text in ["title", "detail"] {
        assert!(body[text].as_str().is_some_and(|text| text.len() > 5), "{says}");
    }
}

fn check_openai(row: &Row, answer: &Answer, says: &str) {
    assert_eq!(answer.header("content-type"), Some("application/json"), "{says}");
    let body = answer.json();
    assert_eq!(body.as_object().unwrap().len(), 1, "{says}");
    let error = &body["error"];
    let kind = match row.status {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    };
    assert_eq!((&error["type"], &error["code"]), (&Value::from(kind), &Value::from(row.code)), "{says}");
    assert!(error["message"].as_str().is_some_and(|text| text.len() > 5), "{says}");
    assert_eq!(error["request_id"].as_str(), answer.header("x-request-id"), "{says}");
    assert_eq!(error["hint"].is_string(), row.code == "invalid_key", "{says}");
}

#[test]
fn an_answer_keeps_the_clients_request_id_if_it_is_sane() {
    let world = World::new();
    let long = "a".repeat(128);
    let cases = [
        ("x-request-id: abc-123/4\r\n", Some("abc-123/4")),
        (&*format!("x-request-id: {long}\r\n"), Some(&*long)),
        (&*format!("x-request-id: a{long}\r\n"), None),
        ("x-request-id: a b\r\n", None),
        ("x-request-id: a\"b\r\n", None),
        ("x-request-id: a\r\nx-request-id: b\r\n", None),
        ("x-request-id:\r\n", None),
        ("", None),
    ];
    for (fields, kept) in cases {
        let own = format!("authorization: Bearer {}\r\n{fields}", world.secret("live"));
        for (path, fields) in [("/v1/x", &*own), ("/v1/x", fields), ("/nowhere", fields), ("/v1/cut", &*own)]
        {
            let request = plain(path, fields);
            let mut wire = Wire::open(world.gateway.address);
            wire.send(&request);
            let head = wire.head().to_lowercase();
            let id = head.lines().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap_or_default();
            match kept {
                Some(kept) => assert_eq!(id, kept, "{request}"),
                None => assert!(
                    id.len() == 26 && id.bytes().all(|b| b.is_ascii_alphanumeric()),
                    "{request}{head}"
                ),
            }
        }
    }
}

#[test]
fn a_refusal_of_a_head_request_has_no_body_and_keeps_the_connection() {
    let world = World::new();
    let mut wire = Wire::open(world.gateway.address);
    let refused = wire.ask("HEAD /v1/x HTTP/1.1\r\nhost: it\r\n\r\n");
    assert_eq!((refused.status, refused.closed), (401, false));
    assert_ne!(refused.header("content-length"), Some("0"));
    // Had there been a body, this answer would begin with it.
    assert_eq!(wire.ask(get("/v1/x", world.secret("live"))).status, 200);
}
