//! The main way, end to end.

use serde_json::json;

use crate::support::{Fixture, send};

#[test]
fn a_key_opens_its_route_and_nothing_else_does() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    let (id, secret) = gateway.admin.key(&json!({"owner": "acme", "scopes": ["models:read"]}));

    let refused = send(gateway.address, "GET /v1/x HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!((refused.status, refused.code().as_str()), (401, "missing_key"));
    assert_eq!(fixture.upstream.count(), 0);

    let request = format!("GET /v1/x?y=1 HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {secret}\r\n\r\n");
    let passed = send(gateway.address, &request);
    assert_eq!((passed.status, &passed.body[..]), (200, &b"hello"[..]));
    let seen = fixture.upstream.last();
    assert_eq!(seen.target(), "/v1/x?y=1");
    assert_eq!(seen.header("authorization"), None);
    assert_eq!(seen.header("x-portcullis-key-id"), Some(id.as_str()));
    assert_eq!(seen.header("x-portcullis-owner"), Some("acme"));
    assert_eq!(seen.header("x-portcullis-scopes"), Some("models:read"));
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(gateway.admin.show(&id)["usage"]["requests"], 1);
    gateway.stop();

    let again = fixture.start();
    assert_eq!(again.admin.show(&id)["usage"]["requests"], 1);
    assert_eq!(send(again.address, &request).status, 200);
}
