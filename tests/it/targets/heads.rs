//! Heads that are too large or too slow.

use std::thread;
use std::time::Duration;

use super::World;
use crate::support::{Stopwatch, Wire, eventually, get};

const SMALL: &str = "[gateway]\nlisten = [\"127.0.0.1:0\"]\nmax_request_header = \"1KiB\"\n";
const HASTY: &str = "[gateway]\nlisten = [\"127.0.0.1:0\"]\nheader_timeout = \"400ms\"\n";
const HEADER_TIMEOUT: Duration = Duration::from_millis(400);
/// Late enough to be sure that a timeout has begun to run out, early enough that it has not.
const HALF: Duration = Duration::from_millis(100);

/// A head of so many bytes.
fn head_of_bytes(world: &World, bytes: usize) -> String {
    let head = get("/v1/x", &world.secret);
    let more = bytes - head.len() - "x-pad: \r\n".len();
    head.replace("\r\n\r\n", &format!("\r\nx-pad: {}\r\n\r\n", "x".repeat(more)))
}

#[test]
fn a_head_is_bounded_in_bytes_however_it_arrives() {
    let world = World::new(SMALL);
    let (fits, over) = (head_of_bytes(&world, 1_024), head_of_bytes(&world, 1_025));
    assert_eq!(world.judge(fits.as_bytes()), ("200".to_owned(), Some("/v1/x".to_owned())));
    let mut trickled = Wire::open(world.gateway.address);
    trickled.trickle(&fits);
    assert_eq!(trickled.answer().status, 200);
    let endless_line = format!("GET /{}", "x".repeat(1_100));
    let endless_field = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}", "x".repeat(1_100));
    let many_fields = format!("GET / HTTP/1.1\r\nhost: a\r\n{}", "x: y\r\n".repeat(200));
    let before = world.fixture.upstream.count();
    for head in [over, endless_line, endless_field, many_fields, "x".repeat(100_000)] {
        let mut wire = Wire::open(world.gateway.address);
        wire.send(&head);
        let answer = wire.answer();
        assert_eq!((answer.status, answer.code().as_str()), (431, "header_too_large"), "{head}");
        assert!(answer.closed && answer.header("x-request-id").is_some(), "{answer:?}");
        wire.assert_closed();
    }
    assert_eq!(world.fixture.upstream.count(), before);
}

#[test]
fn a_head_is_bounded_in_fields() {
    let world = World::new("");
    let head = |fields: usize| {
        let head = get("/v1/x", &world.secret);
        // Two fields are there already.
        head.replace("\r\n\r\n", &format!("\r\n{}\r\n", "x: y\r\n".repeat(fields - 2)))
    };
    assert_eq!(world.judge(head(128).as_bytes()).0, "200");
    assert_eq!(world.judge(head(129).as_bytes()), ("header_too_large".to_owned(), None));
}

#[test]
fn a_target_that_is_longer_than_any_uri_is_refused_by_us() {
    let world = World::new("[gateway]\nlisten = [\"127.0.0.1:0\"]\nmax_request_header = \"128KiB\"\n");
    let target = |bytes: usize| format!("/v1/{}", "x".repeat(bytes - 4));
    let longest = target(65_534);
    assert_eq!(world.judge_target(&longest, "a"), ("200".to_owned(), Some(longest)));
    assert_eq!(world.judge_target(&target(65_535), "a"), ("bad_request".to_owned(), None));
}

#[test]
fn a_silent_connection_is_closed_within_the_header_timeout() {
    let world = World::new(HASTY);
    let (mut wire, watch) = (Wire::open(world.gateway.address), Stopwatch::start());
    wire.assert_closed();
    let took = watch.elapsed();
    assert!(took >= HALF && took < HEADER_TIMEOUT * 4, "{took:?}");
}

#[test]
fn a_slow_head_is_answered_within_the_header_timeout_however_it_trickles() {
    let world = World::new(HASTY);
    for (part, pause) in [("GET /v1/x HTTP/1.1\r\nhost", 0), ("GET /v1/xxxxxxxxxxxxxxxxxxxxxxxxx", 25)] {
        let (mut wire, watch) = (Wire::open(world.gateway.address), Stopwatch::start());
        for byte in part.bytes() {
            // What comes after the answer is nobody's.
            wire.send_some([byte]);
            if pause > 0 && watch.elapsed() < HEADER_TIMEOUT * 2 {
                thread::sleep(Duration::from_millis(pause));
            }
        }
        let answer = wire.answer();
        assert_eq!((answer.status, answer.code().as_str(), answer.closed), (408, "request_timeout", true));
        wire.assert_closed();
        let took = watch.elapsed();
        assert!(took >= HALF && took < HEADER_TIMEOUT * 6, "{took:?}");
    }
    assert_eq!(world.fixture.upstream.count(), 0);
}

#[test]
fn each_later_request_has_the_header_timeout_from_its_own_first_byte() {
    let world = World::new(HASTY);
    let request = get("/v1/x", &world.secret);
    let mut wire = Wire::open(world.gateway.address);
    assert_eq!(wire.ask(&request).status, 200);
    // A kept connection may be silent for longer than a head may take.
    thread::sleep(HEADER_TIMEOUT + HALF);
    wire.send(&request[..10]);
    thread::sleep(HALF);
    wire.send(&request[10..]);
    assert_eq!(wire.answer().status, 200);
    wire.send(&request[..10]);
    let answer = wire.answer();
    assert_eq!((answer.status, answer.closed), (408, true));
    assert_eq!(world.fixture.upstream.count(), 2);
}

#[test]
fn empty_lines_before_a_request_are_passed_over_however_they_arrive() {
    let world = World::new("");
    let request = get("/v1/x", &world.secret);
    for parts in [
        vec!["\r\n", &request],
        vec!["\r", "\n", &request],
        vec!["\r", &format!("\n{request}")],
        vec![&format!("\r\n{request}")],
    ] {
        let mut wire = Wire::open(world.gateway.address);
        for _ in 0..2 {
            for part in &parts {
                wire.send(part);
                thread::sleep(Duration::from_millis(10));
            }
            assert_eq!(wire.answer().status, 200, "{parts:?}");
        }
    }
}

#[test]
fn connections_over_the_most_are_closed_at_once_and_the_others_are_served() {
    let world = World::new("[gateway]\nlisten = [\"127.0.0.1:0\"]\nmax_connections = 2\n");
    let request = get("/v1/x", &world.secret);
    let mut places = [Wire::open(world.gateway.address), Wire::open(world.gateway.address)];
    for wire in &mut places {
        assert_eq!(wire.ask(&request).status, 200);
    }
    let watch = Stopwatch::start();
    Wire::open(world.gateway.address).assert_closed();
    assert!(watch.elapsed() < Duration::from_secs(1), "{:?}", watch.elapsed());
    let [mut kept, left] = places;
    assert_eq!(kept.ask(&request).status, 200);
    drop(left);
    eventually("the place of the connection that left is free", || {
        let mut wire = Wire::open(world.gateway.address);
        wire.send_some(&request);
        wire.rest_for_now().starts_with(b"HTTP/1.1 200")
    });
}

#[test]
fn what_is_let_in_is_understood_behind_too() {
    let world = World::new("");
    let bearer = format!("authorization: Bearer {}\r\n", world.secret);
    let many = "x: y\r\n".repeat(100);
    for head in [
        "GET /v1/x HTTP/1.1\r\nhost: a_b~c-d.e:65535\r\n{k}\r\n",
        "GET /v1/x HTTP/1.1\r\nhost: [::ffff:1.2.3.4]:80\r\n{k}\r\n",
        "GET /v1/x HTTP/1.1\r\nhost: ...\r\n{k}\r\n",
        "GET /v1/x HTTP/1.1\r\nhost: a\r\n!#$%&'*+-.^_`|~09azAZ: x\r\n{k}\r\n",
        "GET /v1/x HTTP/1.1\r\nhost: a\r\nx: \u{e9}\t\u{ff}\r\n{k}\r\n",
        "GET /v1/x HTTP/1.1\r\nhost: a\r\nx:\r\ny: \r\nz:\t\r\n{k}\r\n",
        "GET /v1/x HTTP/1.1\r\nhost: a\r\nconnection: ,a,,b,c,d,e,f,g,h,close,\r\n{k}\r\n",
        "GET /v1/x HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n{k}\r\n",
        "GET /v1/x HTTP/1.1\r\nhost: a\r\ncontent-length: 0000000000000000000\r\n{k}\r\n",
        "DELETE /v1/x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: \t CHUNKED \r\n{k}\r\n0\r\n\r\n",
        "OPTIONS /v1/x HTTP/1.1\r\nhost: a\r\nexpect: 100-Continue\r\n{k}\r\n",
        &format!("PATCH /v1/x HTTP/1.1\r\nhost: a\r\n{many}{{k}}\r\n"),
    ] {
        let request = head.replace("{k}", &bearer);
        assert_eq!(world.judge(request.as_bytes()), ("200".to_owned(), Some("/v1/x".to_owned())), "{head}");
    }
}

#[test]
fn a_head_that_breaks_off_reaches_nobody() {
    let world = World::new("");
    let request = get("/v1/x", &world.secret);
    for cut in [1, 20, request.len() - 1] {
        let mut wire = Wire::open(world.gateway.address);
        wire.send(&request[..cut]);
        wire.finish();
        wire.assert_closed();
    }
    assert_eq!(world.fixture.upstream.count(), 0);
}
