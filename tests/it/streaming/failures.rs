//! Upstreams that fail: what the client is told, and that what was cut off never looks whole.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::World;
use crate::support::{DeadPort, Script, SilentPort, Upstream, Wire, get, head_of, post};

/// An upstream that answers each request with these bytes, and then closes the connection.
fn says(answer: &'static str) -> SocketAddr {
    let script = Script::start(move |mut stream| {
        head_of(&mut stream);
        stream.write_all(answer.as_bytes()).unwrap();
    });
    script.address
}

#[test]
fn each_failure_before_an_answer_has_its_code() {
    let (usual, dead, silent) = (Upstream::start().address, DeadPort::new(), SilentPort::new());
    let cases = [
        (dead.address, "x", 502, "upstream_unreachable"),
        (silent.address, "x", 504, "upstream_timeout"),
        (usual, "hang", 504, "upstream_timeout"),
        (usual, "drop", 502, "upstream_failed"),
        (usual, "rubbish", 502, "upstream_failed"),
        (says("HTTP/1.1 200 OK\r\ncontent-le"), "x", 502, "upstream_failed"),
        (says("HTTP/1.1 20x OK\r\n\r\n"), "x", 502, "upstream_failed"),
        (says("HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n"), "x", 502, "upstream_failed"),
        (
            says("HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd"),
            "x",
            502,
            "upstream_failed",
        ),
        (says("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n"), "x", 502, "upstream_failed"),
        (says("\x16\x03\x01\x00"), "x", 502, "upstream_failed"),
    ];
    let hasty = "connect_timeout = \"100ms\"\nresponse_timeout = \"100ms\"";
    let patience = |code| if code == "upstream_timeout" { hasty } else { "" };
    let world = World::before_each(&cases.map(|(address, _, _, code)| (address, patience(code))));
    for (index, (_, path, status, code)) in cases.into_iter().enumerate() {
        let path = format!("/{index}/{path}");
        for request in [get(&path, &world.secret), post(&path, &world.secret, "body")] {
            let before = world.outcome(code);
            let answer = Wire::open(world.gateway.address).ask(&request);
            assert_eq!(answer.status, status, "{code} {request}{answer:?}");
            assert_eq!(answer.code(), code, "{request}");
            assert_eq!(world.outcome(code), before + 1, "{request}");
        }
    }
    assert_eq!(world.usage(), (22, 0), "what was let through is counted, whatever the upstream did");
}

#[test]
fn an_answer_that_is_cut_off_never_looks_whole() {
    let answers = [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nonly",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nonly\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nonly\r\n9\r\npart",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nonly\r\nzz\r\n",
    ];
    let world = World::before_each(&answers.map(|answer| (says(answer), "")));
    for (index, answer) in answers.into_iter().enumerate() {
        let mut wire = Wire::open(world.gateway.address);
        wire.send(get(&format!("/{index}"), &world.secret));
        let head = wire.head().to_lowercase();
        assert!(head.starts_with("http/1.1 200"), "{head}");
        let rest = String::from_utf8(wire.rest()).unwrap();
        assert!(!rest.ends_with("0\r\n\r\n"), "it looks whole: {rest:?}");
        assert!(!head.contains("content-length: 10") || rest.len() < 10, "it looks whole: {rest:?}");
        assert!(
            head.contains("content-length") || head.contains("chunked"),
            "it has no end of its own: {head}"
        );
        assert_eq!(world.outcome("upstream_failed"), index as u64 + 1, "{answer:?}");
    }
    assert_eq!(world.usage(), (4, 0));
}

#[test]
fn an_answer_that_stalls_is_cut_off_after_the_response_timeout() {
    let script = Script::start(|mut stream| {
        head_of(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nonly").unwrap();
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let world = World::before(script.address, "response_timeout = \"300ms\"");
    let mut wire = Wire::open(world.gateway.address);
    wire.send(get("/v1/x", &world.secret));
    wire.head();
    assert_eq!(wire.rest(), b"only");
    assert_eq!(world.outcome("upstream_timeout"), 1);
}

#[test]
fn the_response_timeout_is_for_each_piece_and_not_for_the_whole() {
    let world = World::before(Upstream::start().address, "response_timeout = \"400ms\"");
    let answer = Wire::open(world.gateway.address).ask(get("/v1/stream/10", &world.secret));
    assert_eq!((answer.status, answer.body.len()), (200, 10 * "event 0\n".len()));
}

#[test]
fn a_slow_upload_is_not_the_upstreams_slowness() {
    let world = World::before(Upstream::start().address, "response_timeout = \"300ms\"");
    let request = post("/v1/x", &world.secret, "slow upload");
    let mut wire = Wire::open(world.gateway.address);
    let body = request.len() - "slow upload".len();
    wire.send(&request[..body]);
    for piece in request.as_bytes()[body..].chunks(2) {
        std::thread::sleep(std::time::Duration::from_millis(80));
        wire.send(piece);
    }
    assert_eq!(wire.answer().status, 200);
}

#[test]
fn a_request_that_may_have_run_is_not_sent_again() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&attempts);
    let script = Script::start(move |mut stream| {
        if !head_of(&mut stream).is_empty() {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });
    let world = World::before(script.address, "");
    for (attempt, request) in
        [get("/v1/x", &world.secret), post("/v1/x", &world.secret, "body")].iter().enumerate()
    {
        assert_eq!(Wire::open(world.gateway.address).ask(request).code(), "upstream_failed");
        assert_eq!(attempts.load(Ordering::SeqCst), attempt + 1, "{request}");
    }
}

#[test]
fn a_post_on_a_connection_that_dies_is_not_sent_again() {
    let posts = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&posts);
    // Each connection answers one request, and is gone when the next one has come.
    let script = Script::start(move |mut stream| {
        for answers in [true, false] {
            let head = head_of(&mut stream);
            counter.fetch_add(usize::from(head.starts_with("POST ")), Ordering::SeqCst);
            if answers {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
            }
        }
    });
    let world = World::before(script.address, "");
    let post = post("/v1/x", &world.secret, "");
    assert_eq!(Wire::open(world.gateway.address).ask(get("/v1/x", &world.secret)).status, 200);
    assert_eq!(Wire::open(world.gateway.address).ask(&post).code(), "upstream_failed");
    assert_eq!(posts.load(Ordering::SeqCst), 1);
    // A GET may be: it goes to a fresh connection.
    for _ in 0..4 {
        assert_eq!(Wire::open(world.gateway.address).ask(get("/v1/x", &world.secret)).status, 200);
    }
}
