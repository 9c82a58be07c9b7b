//! Answers arrive piece by piece, as the upstream sends them, and end where it ends them.

use std::io::Write;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use super::{PLAIN, World};
use crate::support::{Script, Wire, get, head_of};

/// An upstream that sends `head`, and then each piece only when it is told to.
fn piecewise(head: &'static str, pieces: &'static [&'static str]) -> (Script, mpsc::Sender<()>) {
    let (go, wait) = mpsc::channel();
    let wait = Arc::new(Mutex::new(wait));
    let script = Script::start(move |mut stream| {
        head_of(&mut stream);
        let wait = wait.lock().unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        for piece in pieces {
            if wait.recv().is_err() || stream.write_all(piece.as_bytes()).is_err() {
                return;
            }
        }
    });
    (script, go)
}

#[test]
fn pieces_of_an_answer_arrive_as_they_are_sent() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let events = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    let length = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n";
    let (script, go) = piecewise(chunked, &["3\r\none\r\n", "3\r\ntwo\r\n", "0\r\n\r\n"]);
    let world = World::before(script.address, "");
    let mut wire = Wire::open(world.gateway.address);
    wire.send(get("/v1/x", &world.secret));
    assert!(wire.head().starts_with("HTTP/1.1 200"));
    for piece in ["one", "two", ""] {
        go.send(()).unwrap();
        assert_eq!(wire.chunk(), piece);
    }

    // Until the connection ends: re-framed, so that the client's connection may live on.
    let (script, go) = piecewise(events, &["one", "two"]);
    let world = World::before(script.address, "");
    let mut wire = Wire::open(world.gateway.address);
    wire.send(get("/v1/x", &world.secret));
    assert!(wire.head().to_lowercase().contains("transfer-encoding: chunked"));
    for piece in ["one", "two"] {
        go.send(()).unwrap();
        assert_eq!(wire.chunk(), piece);
    }
    assert_eq!(wire.chunk(), "");

    let (script, go) = piecewise(length, &["one", "two"]);
    let world = World::before(script.address, "");
    let mut wire = Wire::open(world.gateway.address);
    wire.send(get("/v1/x", &world.secret));
    assert!(wire.head().to_lowercase().contains("content-length: 6"));
    for piece in ["one", "two"] {
        go.send(()).unwrap();
        assert_eq!(wire.exactly(3), piece.as_bytes());
    }
}

#[test]
fn an_answer_is_counted_before_its_last_byte_arrives_and_not_before_its_end() {
    let (script, go) =
        piecewise("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", &["3\r\none\r\n", "0\r\n\r\n"]);
    let world = World::before(script.address, "");
    let mut wire = Wire::open(world.gateway.address);
    wire.send(get("/v1/x", &world.secret));
    wire.head();
    go.send(()).unwrap();
    assert_eq!(wire.chunk(), "one");
    assert_eq!(world.usage(), (0, 0));
    go.send(()).unwrap();
    assert_eq!(wire.chunk(), "");
    assert_eq!(world.usage(), (1, 0));
}

#[test]
fn answers_without_a_body_end_with_their_head_and_keep_the_connection() {
    let world = World::new(PLAIN);
    let mut wire = Wire::open(world.gateway.address);
    let head = |path: &str| get(path, &world.secret).replacen("GET", "HEAD", 1);
    for (request, status, length) in [
        (head("/v1/x"), 200, Some("5")),
        (head("/v1/bytes/100000"), 200, Some("100000")),
        (get("/v1/status/204", &world.secret), 204, None),
        (get("/v1/status/304", &world.secret), 304, Some("6")),
        (get("/v1/bytes/0", &world.secret), 200, Some("0")),
        (head("/v1/status/404"), 404, Some("6")),
        (get("/v1/bytes/100000", &world.secret), 200, Some("100000")),
    ] {
        let answer = wire.ask(&request);
        assert_eq!((answer.status, answer.closed), (status, false), "{request}");
        if let Some(length) = length {
            assert_eq!(answer.header("content-length"), Some(length), "{request}");
        }
    }
    assert_eq!(world.usage(), (7, 0));
}

#[test]
fn one_connection_carries_refused_and_passed_requests_in_any_order() {
    let world = World::new(PLAIN);
    let mut wire = Wire::open(world.gateway.address);
    for _ in 0..10 {
        assert_eq!(wire.ask("GET /v1/x HTTP/1.1\r\nhost: a\r\n\r\n").status, 401);
        assert_eq!(wire.ask(get("/v1/x", &world.secret)).body, b"hello");
        assert_eq!(wire.ask(get("/nowhere", &world.secret)).status, 404);
        assert_eq!(wire.ask(get("/v1/stream/1", &world.secret)).body, b"event 0\n");
        let post = "POST /v1/x HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(wire.ask(post).status, 401);
    }
}

#[test]
fn a_client_that_asks_for_the_connections_end_gets_it() {
    let world = World::new(PLAIN);
    let close = |request: String| request.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
    for (request, status) in [
        (close(get("/v1/x", &world.secret)), 200),
        (close(get("/v1/stream/1", &world.secret)), 200),
        (close(get("/v1/x", "unknown")), 401),
        (get("/v1/x", &world.secret).replace("HTTP/1.1", "HTTP/1.0"), 200),
    ] {
        let mut wire = Wire::open(world.gateway.address);
        let answer = wire.ask(&request);
        assert_eq!((answer.status, answer.closed), (status, true), "{request}");
        wire.assert_closed();
    }
}

#[test]
fn an_http_1_0_client_gets_what_it_can_read() {
    let world = World::new(PLAIN);
    let ask = |path: &str| {
        let mut wire = Wire::open(world.gateway.address);
        wire.send(get(path, &world.secret).replacen("HTTP/1.1", "HTTP/1.0", 1));
        let head = wire.head().to_lowercase();
        assert!(head.contains("connection: close"), "{head}");
        assert!(!head.contains("transfer-encoding"), "RFC 9112 section 6.1: {head}");
        String::from_utf8(wire.rest()).unwrap()
    };
    assert_eq!(ask("/v1/x"), "hello");
    assert_eq!(ask("/v1/stream/2"), "event 0\nevent 1\n");
}

#[test]
fn an_http_1_0_client_gets_one_answer_and_none_before_it() {
    let script = Script::start(|mut stream| {
        let head = head_of(&mut stream).to_lowercase();
        assert!(!head.contains("expect:"), "{head}");
        let early = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\n";
        write!(stream, "{early}HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
    });
    let world = World::before(script.address, "");
    let request = get("/v1/x", &world.secret).replacen("HTTP/1.1", "HTTP/1.0", 1);
    for request in [request.clone(), request.replacen("\r\n", "\r\nexpect: 100-continue\r\n", 1)] {
        let mut wire = Wire::open(world.gateway.address);
        wire.send(&request);
        let head = wire.head();
        assert!(head.starts_with("HTTP/1.1 200 ") || head.starts_with("HTTP/1.0 200 "), "{head}");
    }
}

#[test]
fn an_answer_that_can_have_no_body_says_nothing_of_its_length() {
    let script = Script::start(|mut stream| {
        for field in
            ["content-length: 5", "transfer-encoding: chunked", "upgrade: h2c\r\nconnection: upgrade"]
        {
            head_of(&mut stream);
            write!(stream, "HTTP/1.1 204 No Content\r\n{field}\r\n\r\n").unwrap();
        }
    });
    let world = World::before(script.address, "");
    for _ in 0..3 {
        let mut wire = Wire::open(world.gateway.address);
        wire.send(get("/v1/x", &world.secret));
        let head = wire.head().to_lowercase();
        assert!(head.starts_with("http/1.1 204 "), "{head}");
        for name in ["content-length", "transfer-encoding", "upgrade"] {
            assert!(!head.contains(name), "{head}");
        }
    }
}

#[test]
fn an_interim_answer_says_nothing_of_a_body_or_of_the_upstreams_connection() {
    let script = Script::start(|mut stream| {
        head_of(&mut stream);
        let early = "HTTP/1.1 103 Early Hints\r\nlink: <x>\r\ncontent-length: 5\r\nupgrade: x\r\nconnection: foo\r\nfoo: b\r\n\r\n";
        write!(stream, "{early}HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
    });
    let world = World::before(script.address, "");
    let mut wire = Wire::open(world.gateway.address);
    wire.send(get("/v1/x", &world.secret));
    let head = wire.head().to_lowercase();
    assert!(head.starts_with("http/1.1 103 ") && head.contains("link: <x>"), "{head}");
    for name in ["content-length", "upgrade", "foo"] {
        assert!(!head.contains(name), "{head}");
    }
    assert!(wire.head().starts_with("HTTP/1.1 200 "));
}

#[test]
fn an_answer_of_two_lengths_is_a_failure_of_the_upstream() {
    for (lengths, good) in [
        ("content-length: 2, 2", false),
        ("content-length: 2\r\ncontent-length: 3", false),
        ("content-length: +2", false),
        ("content-length: 2\r\ncontent-length: 2", true),
    ] {
        let script = Script::start(move |mut stream| {
            head_of(&mut stream);
            write!(stream, "HTTP/1.1 200 OK\r\n{lengths}\r\n\r\nok").unwrap();
        });
        let world = World::before(script.address, "");
        let mut wire = Wire::open(world.gateway.address);
        wire.send(get("/v1/x", &world.secret));
        let head = wire.head().to_lowercase();
        assert!(head.starts_with(if good { "http/1.1 200 " } else { "http/1.1 502 " }), "{lengths}: {head}");
        assert_eq!(head.matches("content-length: ").count(), 1, "{lengths}: {head}");
    }
}

#[test]
fn fields_of_the_upstreams_connection_do_not_reach_the_client() {
    let script = Script::start(|mut stream| {
        while !head_of(&mut stream).is_empty() {
            let answer = "HTTP/1.1 200 OK\r\nconnection: x-internal, keep-alive\r\nkeep-alive: timeout=600\r\n\
                          proxy-connection: keep-alive\r\nx-internal: 1\r\nx-other: 2\r\ncontent-length: 2\r\n\r\nok";
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let world = World::before(script.address, "");
    let answer = Wire::open(world.gateway.address).ask(get("/v1/x", &world.secret));
    assert_eq!((answer.status, answer.header("x-other")), (200, Some("2")));
    for name in ["keep-alive", "proxy-connection", "x-internal"] {
        assert_eq!(answer.header(name), None, "RFC 9110 section 7.6.1: {name}");
    }
}

#[test]
fn an_answer_has_the_gateways_version_and_not_the_upstreams() {
    let script = Script::start(|mut stream| {
        head_of(&mut stream);
        stream.write_all(b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
    });
    let world = World::before(script.address, "");
    let mut wire = Wire::open(world.gateway.address);
    for _ in 0..3 {
        wire.send(get("/v1/x", &world.secret));
        assert!(wire.head().starts_with("HTTP/1.1 200 OK\r\n"), "RFC 9110 section 2.5");
        assert_eq!(wire.exactly(2), b"ok");
    }
}
