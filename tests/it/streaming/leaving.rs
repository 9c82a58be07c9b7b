//! Clients that leave: counted once, and their places are free again.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::sleep;
use std::time::Duration;

use serde_json::json;

use super::{PLAIN, World};
use crate::support::{Script, Wire, eventually, get, head_of, post};

#[test]
fn a_client_that_leaves_is_counted_once_wherever_it_left() {
    let world = World::new(PLAIN);
    let edit = json!({"max_concurrent": 1});
    assert_eq!(world.gateway.admin.patch(&format!("/api/v1/keys/{}", world.id), &edit).status, 200);
    let upload = post("/v1/x", &world.secret, "a body that never ends");
    for (count, request) in [
        (1, &*get("/v1/hang", &world.secret)),
        (2, &get("/v1/stream/1000", &world.secret)),
        (3, &upload[..upload.len() - 5]),
        (4, &get("/v1/bytes/50000000", &world.secret)),
    ] {
        let mut wire = Wire::open(world.gateway.address);
        wire.send(request);
        if count != 3 {
            eventually("it reached the upstream", || world.upstream().count() >= count.min(3));
        }
        if count == 2 || count == 4 {
            wire.head();
        }
        drop(wire);
        eventually("it was counted", || world.usage() == (count as u64, 0));
    }
    assert_eq!(Wire::open(world.gateway.address).ask(get("/v1/x", &world.secret)).status, 200);
    assert_eq!(world.usage(), (5, 0));
}

#[test]
fn the_upstream_notices_that_the_client_has_left() {
    let ended = Arc::new(AtomicUsize::new(0));
    let ends = Arc::clone(&ended);
    let script = Script::start(move |mut stream| {
        head_of(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n");
        // The end of what the gateway sends is the end of the connection.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
        ends.fetch_add(1, Ordering::SeqCst);
    });
    let world = World::before(script.address, "");
    let mut wire = Wire::open(world.gateway.address);
    wire.send(get("/v1/x", &world.secret));
    wire.head();
    assert_eq!(wire.chunk(), "one");
    drop(wire);
    eventually("the upstream's connection ended", || ended.load(Ordering::SeqCst) == 1);
    assert_eq!(world.usage(), (1, 0));
}

/// A second is how long a client may take nothing.
fn impatient() -> World {
    World::new(&format!("[gateway]\nlisten = [\"127.0.0.1:0\"]\nidle_timeout = \"1s\"\n{PLAIN}"))
}

#[test]
fn the_upstream_notices_that_the_client_has_left_after_a_part_of_its_next_request() {
    let (left, leaves) = mpsc::channel();
    let left = Mutex::new(left);
    let script = Script::start(move |mut stream| {
        head_of(&mut stream);
        let end = stream.read(&mut [0; 1]);
        left.lock().unwrap().send(matches!(end, Ok(0))).unwrap();
    });
    let world = World::before(script.address, "");
    for part in ["G", "GET /v1/y HTTP/1.1\r\nhost: a\r\n\r\n"] {
        let mut wire = Wire::open(world.gateway.address);
        wire.send(get("/v1/x", &world.secret));
        sleep(Duration::from_millis(100));
        wire.send(part);
        sleep(Duration::from_millis(100));
        drop(wire);
        assert_eq!(leaves.recv_timeout(Duration::from_secs(10)), Ok(true), "{part:?}");
    }
}

#[test]
fn a_client_that_takes_nothing_of_its_answer_is_let_go_and_the_upstream_with_it() {
    let world = impatient();
    let edit = json!({"max_concurrent": 1});
    assert_eq!(world.gateway.admin.patch(&format!("/api/v1/keys/{}", world.id), &edit).status, 200);
    let mut wire = Wire::open(world.gateway.address);
    wire.send(get("/v1/bytes/50000000", &world.secret));
    wire.head();
    // It stays, and reads no more: its place is free all the same, and the connection over.
    eventually("its place is free", || {
        Wire::open(world.gateway.address).ask(get("/v1/x", &world.secret)).status == 200
    });
    let struck = r#"portcullis_bounds_hit_total{bound="idle_timeout"} 1"#;
    eventually("the bound is counted", || world.gateway.admin.metrics().contains(struck));
    assert!(wire.rest().len() < 50_000_000);
}

#[test]
fn a_client_that_takes_its_answer_slowly_gets_all_of_it() {
    let world = impatient();
    let mut stream = TcpStream::connect(world.gateway.address).unwrap();
    stream.write_all(get("/v1/bytes/20000000", &world.secret).as_bytes()).unwrap();
    let mut piece = [0; 10_000];
    // Far fewer bytes a second than a socket holds.
    for _ in 0..120 {
        stream.read_exact(&mut piece).unwrap();
        sleep(Duration::from_millis(50));
    }
    let mut all = 120 * piece.len();
    while all < 20_000_000 {
        let read = stream.read(&mut piece).unwrap();
        assert!(read > 0, "it was cut off after {all} bytes");
        all += read;
    }
    assert!(!world.gateway.admin.metrics().contains(r#"bound="idle_timeout"} 1"#));
}

#[test]
fn a_client_that_takes_no_answers_is_let_go_whatever_they_are() {
    let world = impatient();
    let known = get("/v1/x", &world.secret);
    let head = known.replacen("GET", "HEAD", 1);
    let missing = "GET /v1/x HTTP/1.1\r\nhost: it\r\n\r\n";
    let missing_head = "HEAD /v1/x HTTP/1.1\r\nhost: it\r\n\r\n";
    for (first, then) in [(missing_head, missing_head), (&*known, missing), (&*known, &*head)] {
        let mut stream = TcpStream::connect(world.gateway.address).unwrap();
        stream.write_all(first.as_bytes()).unwrap();
        let many = then.repeat(1_000);
        let closed = (0..600).any(|_| stream.write_all(many.as_bytes()).is_err());
        assert!(closed, "{then:?}");
    }
    // It is nobody's failure but the client's.
    assert!(
        !world.gateway.admin.metrics().contains("portcullis_upstream_errors_total{"),
        "{}",
        world.gateway.admin.metrics()
    );
}

#[test]
fn a_stop_counts_what_it_cuts_off() {
    let config = format!("[gateway]\nlisten = [\"127.0.0.1:0\"]\nshutdown_grace = \"100ms\"\n{PLAIN}");
    let World { fixture, gateway, id, secret } = World::new(&config);
    let mut wire = Wire::open(gateway.address);
    wire.send(get("/v1/hang", &secret));
    eventually("it runs", || fixture.upstream.count() == 1);
    gateway.stop();
    wire.assert_closed();
    let again = fixture.start();
    assert_eq!(again.admin.show(&id)["usage"]["requests"], 1);
}

#[test]
fn a_stop_lets_a_running_answer_end() {
    let World { fixture, gateway, id, secret } = World::new(PLAIN);
    let (mut slow, mut idle) = (Wire::open(gateway.address), Wire::open(gateway.address));
    assert_eq!(idle.ask(get("/v1/x", &secret)).status, 200);
    slow.send(get("/v1/slow/200", &secret));
    eventually("it runs", || fixture.upstream.count() == 2);
    let stopped = std::thread::spawn(move || gateway.stop());
    let answer = slow.answer();
    assert_eq!((answer.status, &answer.body[..]), (200, &b"slow"[..]));
    slow.assert_closed();
    idle.assert_closed();
    stopped.join().unwrap();
    assert_eq!(fixture.start().admin.show(&id)["usage"]["requests"], 2);
}

#[test]
fn requests_that_come_before_the_answer_are_answered_in_their_order() {
    let world = World::new(PLAIN);
    let mut wire = Wire::open(world.gateway.address);
    for (path, count) in [("/v1/slow/300", 1), ("/v1/stream/3", 3)] {
        wire.send(get(path, &world.secret));
        eventually("it runs", || world.upstream().count() == count);
        wire.send(get("/v1/next", &world.secret));
        assert_eq!(wire.answer().status, 200, "{path}");
        assert_eq!(wire.answer().status, 200, "what came after {path}");
    }
    // In one piece; each is judged by itself.
    let refused = get("/v1/x", "unknown-secret-0123456789");
    wire.send([get("/v1/slow/50", &world.secret), refused, post("/v1/x", &world.secret, "body")].concat());
    assert_eq!([200, 401, 200].map(|_| wire.answer().status), [200, 401, 200]);
    assert_eq!(world.usage(), (6, 0));
}
