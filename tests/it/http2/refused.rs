//! Requests that are not one clear request: refused, and nothing of them reaches the upstream.

use serde_json::json;

use super::fixture;
use crate::support::{Frames, frame};

/// The fields of a good request, with `change`d ones in place of those of the same name; `""` takes one away.
fn changed<'a>(secret: &'a str, change: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let good = [(":method", "GET"), (":scheme", "http"), (":authority", "a.test"), (":path", "/v1/x")];
    let mut fields: Vec<(&str, &str)> = Vec::new();
    for (name, value) in good {
        match change.iter().find(|(changed, _)| *changed == name) {
            Some((_, "")) => {}
            Some((_, other)) => fields.push((name, other)),
            None => fields.push((name, value)),
        }
    }
    fields.push(("authorization", secret));
    fields.extend(change.iter().filter(|(name, _)| !good.iter().any(|(known, _)| known == name)));
    fields
}

#[test]
fn what_can_be_answered_is_answered_with_a_problem() {
    let fixture = fixture("");
    let gateway = fixture.start();
    let (_, secret) = gateway.admin.key(&json!({}));
    let secret = format!("Bearer {secret}");
    let cases: &[&[(&str, &str)]] = &[
        &[(":method", "TRACE")],
        &[(":method", "get")],
        &[(":method", "PROPFIND")],
        &[(":path", "*")],
        &[(":path", "*"), (":method", "OPTIONS")],
        &[(":path", "/v1/../admin")],
        &[(":path", "/v1/%2e%2e/admin")],
        &[(":path", "/v1//x")],
        &[(":path", "/v1/a%2fb")],
        &[(":path", "/v1/a%00b")],
        &[(":authority", "")],
        &[(":authority", "a.test:99999")],
        &[("content_length", "5")],
        &[("transfer_encoding", "chunked")],
        &[("expect", "200-maybe")],
        &[(":scheme", "ftp")],
        &[("x-blank", " a")],
        &[("x-blank", "a\t")],
    ];
    for (index, change) in cases.iter().enumerate() {
        let mut client = Frames::connect(gateway.address);
        client.request(1, &changed(&secret, change));
        let body = client.outcome(1).unwrap_or_else(|code| panic!("{change:?}: reset with {code:?}"));
        let body = String::from_utf8(body).unwrap();
        // The authority that is not there is refused by the codec, without words.
        let bare = matches!(change[0], (":authority", ""));
        assert!(bare || body.contains("\"bad_request\""), "{index} {change:?}: {body}");
        client.request(3, &changed(&secret, &[]));
        assert_eq!(client.outcome(3).as_deref(), Ok(b"hello".as_slice()), "{change:?}: the connection lives");
    }
    assert_eq!(fixture.upstream.seen().len(), cases.len(), "only the good ones");
    assert!(fixture.upstream.seen().iter().all(|seen| seen.line == "GET /v1/x HTTP/1.1"));
}

#[test]
fn what_is_malformed_is_refused_and_never_forwarded() {
    let fixture = fixture("");
    let gateway = fixture.start();
    let (_, secret) = gateway.admin.key(&json!({}));
    let secret = format!("Bearer {secret}");
    let cases: &[&[(&str, &str)]] = &[
        &[(":method", "")],
        &[(":method", "CONNECT")],
        &[(":path", "")],
        &[(":path", "v1/x")],
        &[(":path", "http://b.test/v1/x")],
        &[(":path", "/v1/ x")],
        &[(":path", "/v1/\u{1}")],
        &[(":path", "/v1/x\\y")],
        &[(":path", "/v1/x\r\nx-a: b")],
        &[(":scheme", "")],
        &[(":status", "200")],
        &[(":protocol", "websocket")],
        &[(":method", "CONNECT"), (":protocol", "websocket")],
        &[(":unknown", "x")],
        &[(":authority", "user@a.test")],
        &[(":authority", "a.test/b")],
        &[("host", "b.test")],
        &[("host", "a.test"), ("host", "a.test")],
        &[("connection", "close")],
        &[("connection", "x-portcullis-key-id")],
        &[("keep-alive", "5")],
        &[("proxy-connection", "x")],
        &[("transfer-encoding", "chunked")],
        &[("upgrade", "websocket")],
        &[("te", "gzip")],
        &[("X-Upper", "case")],
        &[("bad name", "x")],
        &[("", "x")],
        &[("x-bad", "a\r\nb: c")],
        &[("x-bad", "a\0b")],
        &[("content-length", "5")],
        &[("content-length", "+0")],
        &[("content-length", "5, 5")],
        &[("content-length", "0"), ("content-length", "1")],
        &[("content-length", "99999999999999999999")],
    ];
    for change in cases {
        let mut client = Frames::connect(gateway.address);
        client.request(1, &changed(&secret, change));
        let outcome = client.outcome(1);
        let answered =
            |body: &Vec<u8>| body.is_empty() || String::from_utf8_lossy(body).contains("bad_request");
        assert!(outcome.as_ref().map_or(true, answered), "{change:?}: {outcome:?}");
        // PROTOCOL_ERROR, on the stream or, where the codec cannot go on, on the connection.
        assert!(
            outcome.as_ref().map_or_else(|code| matches!(code, Some(1 | 9)), |_| true),
            "{change:?}: {outcome:?}"
        );
    }
    assert!(fixture.upstream.seen().is_empty(), "{:?}", fixture.upstream.seen());
}

#[test]
fn a_body_that_disagrees_with_its_length_is_not_passed_off_as_whole() {
    let fixture = fixture("");
    let gateway = fixture.start();
    let (_, secret) = gateway.admin.key(&json!({}));
    let secret = format!("Bearer {secret}");
    for body in [&b"1234"[..], b"123456"] {
        let mut client = Frames::connect(gateway.address);
        let fields = changed(&secret, &[(":method", "POST"), ("content-length", "5")]);
        client.write(&frame(1, 0x4, 1, &Frames::fields(&fields)));
        client.write(&frame(0, 0x1, 1, body));
        assert!(client.outcome(1).is_err(), "{body:?}");
    }
    assert!(fixture.upstream.seen().iter().all(|seen| seen.body.len() != 5), "none was whole");
}

#[test]
fn cookies_in_pieces_are_one_field_for_the_upstream() {
    let fixture = fixture("");
    let gateway = fixture.start();
    let (_, secret) = gateway.admin.key(&json!({}));
    let secret = format!("Bearer {secret}");
    let mut client = Frames::connect(gateway.address);
    client.request(1, &changed(&secret, &[("cookie", "a=1"), ("cookie", "b=2")]));
    assert_eq!(client.outcome(1).as_deref(), Ok(b"hello".as_slice()));
    assert_eq!(fixture.upstream.last().header("cookie"), Some("a=1; b=2"));
}
