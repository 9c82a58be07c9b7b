//! Web pages: what a preflight is granted, and which answers a page may read.

use serde_json::json;

use crate::support::{Answer, Fixture, Gateway, Script, head_of, send};

const ROUTES: &str = r#"
    [[routes]]
    path = "/v1"
    upstream = "api"
    methods = ["GET", "POST"]
    limits = [{ name = "minute", requests = 2, window = "1m" }]
    cors = { origins = ["https://app.example.com", "https://*.preview.example.com"], headers = ["Authorization", "X-Trace"], expose_headers = ["X-Total"], max_age = "10m", credentials = true }
    [[routes]]
    path = "/open"
    upstream = "api"
    cors = true
    [[routes]]
    path = "/closed"
    upstream = "api"
    [[routes]]
    path = "/own"
    upstream = "api"
    access = "public"
    methods = ["OPTIONS"]
"#;

const APP: &str = "https://app.example.com";

fn ask(gateway: &Gateway, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let fields: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    send(gateway.address, format!("{method} {path} HTTP/1.1\r\nhost: it\r\n{fields}\r\n"))
}

fn preflight(gateway: &Gateway, path: &str, origin: &str, method: &str) -> Answer {
    let headers = [
        ("origin", origin),
        ("access-control-request-method", method),
        ("access-control-request-headers", "authorization,x-own"),
    ];
    ask(gateway, "OPTIONS", path, &headers)
}

#[test]
fn a_preflight_is_answered_without_a_key_and_without_the_upstream() {
    let fixture = Fixture::with(ROUTES);
    let gateway = fixture.start();
    let answer = preflight(&gateway, "/v1/models", APP, "POST");
    assert_eq!(answer.status, 204, "{answer:?}");
    assert!(!answer.closed);
    assert_eq!(answer.header("content-length"), None);
    assert_eq!(answer.header("access-control-allow-origin"), Some(APP));
    assert_eq!(answer.header("access-control-allow-methods"), Some("GET, POST"));
    assert_eq!(answer.header("access-control-allow-headers"), Some("authorization, x-trace"));
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
    assert_eq!(answer.header("access-control-max-age"), Some("600"));
    let vary = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
    assert_eq!(answer.header("vary"), Some(vary));
    assert!(answer.header("x-request-id").is_some());
    let answer = preflight(&gateway, "/open", "https://anybody.test", "DELETE");
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("access-control-allow-methods"), Some("GET, HEAD, POST, PUT, PATCH, DELETE"));
    assert_eq!(answer.header("access-control-allow-headers"), Some("authorization, x-own"));
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    assert_eq!(fixture.upstream.count(), 0);
    let metrics = gateway.admin.metrics();
    assert!(metrics.contains(r#"portcullis_requests_total{outcome="allowed",route="/open"} 1"#), "{metrics}");
}

#[test]
fn a_page_of_another_origin_is_granted_nothing() {
    let fixture = Fixture::with(ROUTES);
    let gateway = fixture.start();
    for origin in ["https://evil.com", "https://app.example.com.evil.com", "null", "http://app.example.com"] {
        for answer in
            [preflight(&gateway, "/v1", origin, "GET"), ask(&gateway, "GET", "/v1", &[("origin", origin)])]
        {
            let granted = answer.headers.keys().any(|name| name.starts_with("access-control-"));
            assert!(!granted, "{origin}: {answer:?}");
            assert!(answer.header("vary").unwrap().starts_with("Origin"), "{answer:?}");
        }
    }
    let preview = preflight(&gateway, "/v1", "https://pr-7.preview.example.com", "GET");
    assert_eq!(preview.header("access-control-allow-origin"), Some("https://pr-7.preview.example.com"));
}

#[test]
fn a_preflight_passes_only_where_a_route_has_cors() {
    let fixture = Fixture::with(ROUTES);
    let gateway = fixture.start();
    assert_eq!(preflight(&gateway, "/closed", APP, "GET").status, 401);
    assert_eq!(preflight(&gateway, "/nowhere", APP, "GET").status, 404);
    // No route takes the method that is to come, nor OPTIONS.
    assert_eq!(preflight(&gateway, "/v1", APP, "DELETE").status, 405);
    assert_eq!(preflight(&gateway, "/v1", APP, "TRACE").status, 405);
    // Without the field it is an OPTIONS request like any other.
    assert_eq!(ask(&gateway, "OPTIONS", "/open", &[("origin", APP)]).status, 401);
    // A GET with the field is no preflight.
    let headers = [("origin", APP), ("access-control-request-method", "GET")];
    assert_eq!(ask(&gateway, "GET", "/open", &headers).status, 401);
    assert_eq!(fixture.upstream.count(), 0);
}

#[test]
fn a_page_can_read_refusals_and_limits() {
    let fixture = Fixture::with(ROUTES);
    let gateway = fixture.start();
    let (id, secret) = gateway.admin.key(&json!({}));
    let bearer = format!("Bearer {secret}");
    let refused = ask(&gateway, "GET", "/v1", &[("origin", APP)]);
    assert_eq!(refused.code(), "missing_key");
    let keyed = || ask(&gateway, "GET", "/v1", &[("origin", APP), ("authorization", &bearer)]);
    let (first, second, third) = (keyed(), keyed(), keyed());
    assert_eq!((first.status, second.status), (200, 200));
    assert_eq!(third.code(), "rate_limited");
    for answer in [refused, first, third] {
        assert_eq!(answer.header("access-control-allow-origin"), Some(APP), "{answer:?}");
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
        assert_eq!(answer.header("vary"), Some("Origin"));
        let exposed = answer.header("access-control-expose-headers").unwrap();
        for name in ["RateLimit", "RateLimit-Policy", "Retry-After", "X-Request-Id", "x-total"] {
            assert!(exposed.split(", ").any(|one| one == name), "{name}: {exposed}");
        }
    }
    // Preflights cost a key nothing.
    preflight(&gateway, "/v1", APP, "GET");
    let usage = &gateway.admin.show(&id)["usage"];
    assert_eq!((&usage["requests"], &usage["denied"]), (&json!(2), &json!(1)));
}

#[test]
fn what_the_upstream_says_of_cors_is_replaced() {
    let upstream = Script::start(|mut stream| {
        use std::io::Write;
        head_of(&mut stream);
        let _ = stream.write_all(
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\naccess-control-allow-origin: *\r\n\
              access-control-allow-private-network: true\r\nvary: Accept\r\nconnection: close\r\n\r\n",
        );
    });
    let fixture = Fixture::with(&format!(
        "[upstreams.api]\ntargets = [\"{}\"]\n{}",
        upstream.address,
        "[[routes]]\npath = \"/\"\nupstream = \"api\"\naccess = \"public\"\ncors = { origins = [\"https://app.example.com\"] }\n"
    ));
    let gateway = fixture.start();
    let answer = ask(&gateway, "GET", "/", &[("origin", APP)]);
    assert_eq!(answer.header("access-control-allow-origin"), Some(APP));
    assert_eq!(answer.header("access-control-allow-private-network"), None);
    assert_eq!(answer.header("vary"), Some("Accept, Origin"));
    let answer = ask(&gateway, "GET", "/", &[("origin", "https://evil.com")]);
    assert_eq!(answer.header("access-control-allow-origin"), None);
}
