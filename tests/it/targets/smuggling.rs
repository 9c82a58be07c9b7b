//! Requests whose end, or whose head, two servers could see in two ways.

use std::thread;
use std::time::Duration;

use super::World;
use crate::support::Wire;

/// What a smuggler hopes that the upstream takes for a request of its own.
const SMUGGLED: &str = "GET /v1/smuggled HTTP/1.1\r\nhost: a\r\n\r\n";

/// A request with these fields and this body, and a smuggled one behind it.
fn post(world: &World, fields: &str, body: &str) -> Vec<u8> {
    let secret = &world.secret;
    let head = format!("POST /v1/x HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {secret}\r\n{fields}\r\n");
    // One byte for each character, so that bytes over 0x7F can be written too.
    format!("{head}{body}{SMUGGLED}").chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
}

#[test]
fn a_request_whose_end_is_not_clear_is_refused_whole() {
    let world = World::new("");
    for (fields, body) in [
        ("content-length: 5\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"),
        ("transfer-encoding: chunked\r\ncontent-length: 5\r\n", "0\r\n\r\n"),
        ("content-length: 0\r\nTRANSFER-ENCODING: Chunked\r\n", "0\r\n\r\n"),
        ("content-length: 3\r\ncontent-length: 3\r\n", "abc"),
        ("content-length: 3\r\ncontent-length: 0\r\n", "abc"),
        ("content-length: 3, 3\r\n", "abc"),
        ("content-length: +3\r\n", "abc"),
        ("content-length: -0\r\n", ""),
        ("content-length: 0x3\r\n", "abc"),
        ("content-length: 3 3\r\n", "abc"),
        ("content-length: 3;\r\n", "abc"),
        ("content-length: 3.0\r\n", "abc"),
        ("content-length:\r\n", ""),
        ("content-length: 99999999999999999999\r\n", "abc"),
        ("content-length: \u{b3}\r\n", "abc"),
        ("content_length: 3\r\n", "abc"),
        ("content-length : 3\r\n", "abc"),
        ("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"),
        ("transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n", "0\r\n\r\n"),
        ("transfer-encoding: chunked, chunked\r\n", "0\r\n\r\n"),
        ("transfer-encoding: gzip, chunked\r\n", "0\r\n\r\n"),
        ("transfer-encoding: chunked, identity\r\n", "0\r\n\r\n"),
        ("transfer-encoding: identity\r\n", "0\r\n\r\n"),
        ("transfer-encoding: xchunked\r\n", "0\r\n\r\n"),
        ("transfer-encoding: \"chunked\"\r\n", "0\r\n\r\n"),
        ("transfer-encoding: chunked;a=b\r\n", "0\r\n\r\n"),
        ("transfer-encoding: \x0bchunked\r\n", "0\r\n\r\n"),
        ("transfer-encoding:\r\n chunked\r\n", "0\r\n\r\n"),
        ("transfer-encoding : chunked\r\n", "0\r\n\r\n"),
        ("transfer_encoding: chunked\r\n", "0\r\n\r\n"),
        ("transfer-encoding: \r\n", "0\r\n\r\n"),
        ("connection: content-length\r\ncontent-length: 3\r\n", "abc"),
        ("connection: transfer-encoding\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"),
        ("expect: 100-continue, x\r\ncontent-length: 3\r\n", "abc"),
    ] {
        let request = post(&world, fields, body);
        assert_eq!(world.judge(&request), ("bad_request".to_owned(), None), "{fields}");
    }
    let old = String::from_utf8(post(&world, "transfer-encoding: chunked\r\n", "0\r\n\r\n")).unwrap();
    let old = old.replacen("HTTP/1.1", "HTTP/1.0", 1);
    assert_eq!(world.judge(old.as_bytes()), ("bad_request".to_owned(), None));
}

#[test]
fn a_head_that_is_not_clear_is_refused_whole() {
    let world = World::new("");
    let bearer = format!("authorization: Bearer {}\r\n", world.secret);
    for head in [
        "GET /v1/x HTTP/1.1\nhost: a\r\n{k}\r\n",
        "GET /v1/x HTTP/1.1\r\nhost: a\n{k}\r\n",
        "GET /v1/x HTTP/1.1\r\nhost: a\r\n{k}\n",
        "GET /v1/x HTTP/1.1\r\nhost: a\r\nx: a\rb: c\r\n{k}\r\n",
        "GET /v1/x HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n{k}\r\n",
        "GET /v1/x HTTP/1.1\r\nhost: a\r\nx\0: b\r\n{k}\r\n",
        "GET /v1/x HTTP/1.1\r\nhost: a\r\nx: a\r\n b\r\n{k}\r\n",
        "GET /v1/x HTTP/1.1\r\n host: a\r\n{k}\r\n",
        "GET /v1/x HTTP/1.1\r\nhost: a\r\nno colon\r\n{k}\r\n",
        "GET /v1/x HTTP/1.1\r\nhost: a\r\n: x\r\n{k}\r\n",
        "GET /v1/x HTTP/1.1\r\nhost : a\r\n{k}\r\n",
        "GET /v1/x HTTP/1.1\r\nhost: a\r\nx(y): z\r\n{k}\r\n",
        "GET /v1/x HTTP/1.1\r\nhost: a\r\nhost: a\r\n{k}\r\n",
        "GET /v1/x HTTP/1.1\r\nhost: a\r\nHost: internal.test\r\n{k}\r\n",
        "GET /v1/x HTTP/1.1\r\n{k}\r\n",
        "GET  /v1/x HTTP/1.1\r\nhost: a\r\n{k}\r\n",
        "GET /v1/x  HTTP/1.1\r\nhost: a\r\n{k}\r\n",
        "GET\t/v1/x\tHTTP/1.1\r\nhost: a\r\n{k}\r\n",
        " GET /v1/x HTTP/1.1\r\nhost: a\r\n{k}\r\n",
        "GET /v1/x HTTP/1.1 \r\nhost: a\r\n{k}\r\n",
        "GET /v1/x\r\nhost: a\r\n{k}\r\n",
        "GET /v1/x HTTP/0.9\r\nhost: a\r\n{k}\r\n",
        "GET /v1/x HTTP/1.2\r\nhost: a\r\n{k}\r\n",
        "GET /v1/x HTTP/2.0\r\nhost: a\r\n{k}\r\n",
        "GET /v1/x http/1.1\r\nhost: a\r\n{k}\r\n",
        "get /v1/x HTTP/1.1\r\nhost: a\r\n{k}\r\n",
        "TRACE /v1/x HTTP/1.1\r\nhost: a\r\n{k}\r\n",
        "CONNECT /v1/x HTTP/1.1\r\nhost: a\r\n{k}\r\n",
        "G\u{0}T /v1/x HTTP/1.1\r\nhost: a\r\n{k}\r\n",
        "GET /v1/x HTTP/1.1\r\nhost: a\r\nconnection: host\r\n{k}\r\n",
        "GET /v1/x HTTP/1.1\r\nhost: a\r\nconnection: \"x-forwarded-for\"\r\n{k}\r\n",
        "GET /v1/x HTTP/1.1\r\nhost: a\r\nconnection: a,b,c,d,e,f,g,h,i,j\r\n{k}\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let request = head.replace("{k}", &bearer);
        assert_eq!(world.judge(request.as_bytes()), ("bad_request".to_owned(), None), "{head}");
    }
}

#[test]
fn a_body_whose_chunks_are_not_clear_is_refused_and_never_complete_upstream() {
    let world = World::new("");
    for body in [
        "zz\r\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
        "+3\r\nabc\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nabc0\r\n\r\n",
        "3 3\r\nabc\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFFF\r\nabc\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "3;a=b\nabc\r\n0\r\n\r\n",
        "0\n\n",
        "0\r\nx: y\n\r\n",
        "\r\n\r\n",
        " \r\n\r\n",
        ";a\r\nabc\r\n0\r\n\r\n",
        "\r\nabc\r\n0\r\n\r\n",
        "3;\nabc\r\nxyz\r\n0\r\n\r\n",
        "3;\x00\r\nabc\r\n0\r\n\r\n",
        "0\r\nGET /v1/trailer HTTP/1.1\r\n\r\n",
        "0\r\nx: y\r\n folded\r\n\r\n",
        "0\r\nno colon\r\n\r\n",
    ] {
        let request = post(&world, "transfer-encoding: chunked\r\n", body);
        assert_eq!(world.judge(&request), ("bad_request".to_owned(), None), "{body:?}");
        // The same, where the body comes after its head was forwarded.
        let at = request.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let mut wire = Wire::open(world.gateway.address);
        wire.send(&request[..at]);
        thread::sleep(Duration::from_millis(20));
        wire.send_some(&request[at..]);
        let answer = wire.answer();
        assert_eq!((answer.status, answer.code().as_str()), (400, "bad_request"), "{body:?}");
        wire.assert_closed();
    }
    assert_eq!(world.fixture.upstream.count(), 0);
}

#[test]
fn a_line_feed_in_a_chunks_line_hides_no_request() {
    let world = World::new("");
    let secret = &world.secret;
    let hidden = format!("GET /v1/hidden HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {secret}\r\n\r\n");
    let head = format!(
        "POST /v1/x HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {secret}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    let outer = format!("{head}2;\nxx\r\n{:x}\r\n0\r\n\r\n", hidden.len() + 5);
    let mut wire = Wire::open(world.gateway.address);
    wire.send(&outer);
    wire.send_some(&hidden);
    assert_eq!(wire.answer().code(), "bad_request");
    wire.assert_closed();
    assert_eq!(world.fixture.upstream.count(), 0);
}

#[test]
fn what_a_client_sends_behind_a_body_is_its_next_request() {
    let world = World::new("");
    let secret = &world.secret;
    let next = format!("GET /v1/next HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {secret}\r\n\r\n");
    for (fields, body) in [
        ("content-length: 5\r\n", "hello"),
        ("transfer-encoding: chunked\r\n", "2\r\nhe\r\n3\r\nllo\r\n0\r\nx: y\r\n\r\n"),
    ] {
        let head =
            format!("POST /v1/x HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {secret}\r\n{fields}\r\n");
        let all = format!("{head}{body}{next}\r\n{next}");
        for cut in (1..all.len()).step_by(7).chain([head.len(), head.len() + 1, head.len() + body.len()]) {
            let mut wire = Wire::open(world.gateway.address);
            wire.send(&all[..cut]);
            if cut % 4 == 0 {
                thread::sleep(Duration::from_millis(5));
            }
            wire.send(&all[cut..]);
            for target in ["/v1/x", "/v1/next", "/v1/next"] {
                let answer = wire.answer();
                assert_eq!(answer.status, 200, "{fields} cut at {cut}: {answer:?}");
                let seen = world.fixture.upstream.last();
                let expected = if target == "/v1/x" { &b"hello"[..] } else { b"" };
                // The last may be ahead of the answer by one.
                assert!(seen.target() != target || seen.body == expected, "{fields} cut at {cut}: {seen:?}");
            }
        }
    }
    let mut bodies: Vec<Vec<u8>> = world.fixture.upstream.seen().into_iter().map(|seen| seen.body).collect();
    bodies.sort_unstable();
    bodies.dedup();
    assert_eq!(bodies, [b"".to_vec(), b"hello".to_vec()]);
}

#[test]
fn what_follows_a_request_in_the_same_packet_is_never_forwarded_unjudged() {
    let world = World::new("");
    for (fields, body, expected) in [
        ("content-length: 5\r\n", "hello", &b"hello"[..]),
        ("content-length: 0\r\n", "", b""),
        ("", "", b""),
        ("transfer-encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n", b"hello"),
        ("transfer-encoding: chunked\r\n", "0\r\n\r\n", b""),
    ] {
        let before = world.fixture.upstream.count();
        let mut wire = Wire::open(world.gateway.address);
        let answer = wire.ask(post(&world, fields, body));
        assert_eq!(answer.status, 200, "{fields}");
        // The smuggled request has no key: it is the next one, and is answered with 401.
        assert_eq!(wire.answer().status, 401, "{fields}");
        assert_eq!(world.fixture.upstream.count(), before + 1, "{fields}");
        let seen = world.fixture.upstream.last();
        assert_eq!((seen.target(), &seen.body[..]), ("/v1/x", expected), "{fields}");
    }
}

#[test]
fn what_follows_a_refused_request_in_the_same_packet_is_never_forwarded() {
    let world = World::new("");
    let secret = &world.secret;
    let good = format!("GET /v1/second HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {secret}\r\n\r\n");
    // As the body of a refused request, whole or in part, it is no request.
    for first in [
        format!("POST /v1/x HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", good.len()),
        "POST /v1/x HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc".to_owned(),
        "POST /v1/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(),
        "GET /v1/x HTTP/1.1\r\n\r\n".to_owned(),
        "GET /v1/../x HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
    ] {
        let mut wire = Wire::open(world.gateway.address);
        let answer = wire.ask(format!("{first}{good}"));
        assert!(matches!(answer.status, 400 | 401), "{first}{answer:?}");
        wire.assert_closed();
    }
    assert_eq!(world.fixture.upstream.count(), 0);
}
