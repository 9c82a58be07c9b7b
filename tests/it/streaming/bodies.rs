//! Request bodies: streamed, bounded, and refused so that the client gets to see why.

use std::io::Write;
use std::sync::mpsc;

use super::World;
use crate::support::{Script, Wire, eventually, get, head_of, post};

fn exactly(stream: &mut std::net::TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    std::io::Read::read_exact(stream, &mut bytes).unwrap();
    bytes
}

#[test]
fn the_upstream_sees_the_first_part_of_a_body_before_the_rest_is_sent() {
    for (fields, first, second) in [
        ("content-length: 6", "one", "two"),
        ("transfer-encoding: chunked", "3\r\none\r\n", "3\r\ntwo\r\n0\r\n\r\n"),
    ] {
        let (seen, sees) = mpsc::channel();
        let (parts, seen) = ((first.len(), second.len()), std::sync::Mutex::new(seen));
        let script = Script::start(move |mut stream| {
            head_of(&mut stream);
            let seen = seen.lock().unwrap();
            for part in [parts.0, parts.1] {
                seen.send(exactly(&mut stream, part)).unwrap();
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
        });
        let world = World::before(script.address, "");
        let secret = &world.secret;
        let mut wire = Wire::open(world.gateway.address);
        wire.send(format!(
            "PUT /v1/x HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {secret}\r\n{fields}\r\n\r\n"
        ));
        wire.send(first);
        assert_eq!(sees.recv().unwrap(), first.as_bytes(), "{fields}");
        wire.send(second);
        assert_eq!(sees.recv().unwrap(), second.as_bytes(), "{fields}");
        assert_eq!(wire.answer().status, 200);
    }
}

const LIMITED: &str = r#"
    [gateway]
    listen = ["127.0.0.1:0"]
    max_request_body = "1000"
    [[routes]]
    path = "/v1"
    upstream = "api"
    [[routes]]
    path = "/v1/small"
    upstream = "api"
    max_request_body = "10"
    [[routes]]
    path = "/v1/any"
    upstream = "api"
    max_request_body = "0"
    [[routes]]
    path = "/public"
    upstream = "api"
    access = "public"
"#;

/// A chunked request with a body of so many bytes, in chunks of seven.
fn chunked(path: &str, secret: &str, bytes: usize) -> String {
    let full = "7\r\nxxxxxxx\r\n".repeat(bytes / 7);
    let rest = bytes % 7;
    let last = if rest == 0 { String::new() } else { format!("{rest}\r\n{}\r\n", "x".repeat(rest)) };
    let chunks = full + &last;
    format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {secret}\r\ntransfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"
    )
}

#[test]
fn a_body_is_bounded_by_its_stated_length_and_by_its_real_one() {
    let world = World::new(LIMITED);
    let (mut passed, mut denied) = (0, 0);
    for (path, most) in [("/v1/x", 1_000), ("/v1/small/x", 10), ("/public/x", 1_000)] {
        for (bytes, expected) in [(0, 200), (most, 200), (most + 1, 413), (most * 50, 413)] {
            for request in
                [post(path, &world.secret, &"x".repeat(bytes)), chunked(path, &world.secret, bytes)]
            {
                let before = world.upstream().count();
                let mut wire = Wire::open(world.gateway.address);
                let answer = wire.ask(&request);
                assert_eq!(answer.status, expected, "{path} {bytes} {answer:?}");
                if expected == 413 {
                    assert_eq!((answer.code().as_str(), answer.closed), ("body_too_large", true));
                    assert!(
                        answer.json()["detail"].as_str().unwrap().contains(&most.to_string()),
                        "{answer:?}"
                    );
                    wire.assert_closed();
                    assert_eq!(
                        world.upstream().count(),
                        before,
                        "the upstream got a whole request: {path} {bytes}"
                    );
                } else {
                    assert_eq!(world.upstream().last().body.len(), bytes);
                }
                if path != "/public/x" {
                    *(if expected == 413 { &mut denied } else { &mut passed }) += 1;
                }
            }
        }
    }
    assert_eq!(world.usage(), (passed, denied));
    let large = "x".repeat(100_000);
    assert_eq!(Wire::open(world.gateway.address).ask(post("/v1/any/x", &world.secret, &large)).status, 200);
}

#[test]
fn a_client_that_is_refused_while_it_uploads_gets_to_see_why() {
    let world = World::new(LIMITED);
    let body = "x".repeat(200_000);
    for (request, status) in [
        (post("/v1/x", "sk-unknown-0123456789", &body), 401),
        (post("/nowhere", &world.secret, &body), 404),
        (post("/v1/x", &world.secret, &body), 413),
        (chunked("/v1/x", &world.secret, 50_000), 413),
        (post("/v1/any/../x", &world.secret, &body), 400),
    ] {
        let mut wire = Wire::open(world.gateway.address);
        // Only a client that reads after it has sent everything finds out whether the answer was lost to a reset.
        wire.send(&request);
        let answer = wire.answer();
        assert_eq!((answer.status, answer.closed), (status, true));
        wire.assert_closed_cleanly();
    }
    assert_eq!(world.upstream().count(), 0);
}

#[test]
fn an_answer_that_comes_before_the_body_has_ended_is_passed_on() {
    let script = Script::start(|mut stream| {
        head_of(&mut stream);
        stream.write_all(b"HTTP/1.1 409 Conflict\r\ncontent-length: 4\r\n\r\nlate").unwrap();
        // It goes on reading, as a server does that wants its answer to be seen.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let world = World::before(script.address, "");
    let secret = &world.secret;
    let mut wire = Wire::open(world.gateway.address);
    wire.send(format!(
        "POST /v1/x HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {secret}\r\ncontent-length: 1000\r\n\r\nsome"
    ));
    let answer = wire.answer();
    assert_eq!((answer.status, &answer.body[..], answer.closed), (409, &b"late"[..], true));
}

#[test]
fn a_retried_request_is_not_charged_twice_for_its_body() {
    // Each connection answers one request, and is gone when the next one has come.
    let script = Script::start(|mut stream| {
        for answers in [true, false] {
            let head = head_of(&mut stream);
            let length = head
                .to_lowercase()
                .split("content-length: ")
                .nth(1)
                .map_or(0, |rest| rest.split('\r').next().unwrap().parse().unwrap());
            exactly(&mut stream, length);
            if answers {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
            }
        }
    });
    let config = format!(
        "[upstreams.api]\ntargets = [\"{}\"]\n[[routes]]\npath = \"/v1\"\nupstream = \"api\"\nmax_request_body = \"1000\"\n",
        script.address
    );
    let world = World::new(&config);
    let request = post("/v1/x", &world.secret, &"x".repeat(600)).replacen("POST", "PUT", 1);
    for _ in 0..6 {
        let answer = Wire::open(world.gateway.address).ask(&request);
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(world.usage(), (6, 0));
}

#[test]
fn a_body_that_breaks_off_is_never_complete_upstream() {
    let world = World::new(LIMITED);
    let whole = post("/v1/x", &world.secret, "one two three");
    let chunks = chunked("/v1/x", &world.secret, 50);
    for request in [&whole[..whole.len() - 1], &chunks[..chunks.len() - 2]] {
        let mut wire = Wire::open(world.gateway.address);
        wire.send(request);
        wire.finish();
        wire.assert_closed();
    }
    eventually("both are counted", || world.usage().0 + world.usage().1 == 2);
    assert_eq!(world.upstream().count(), 0);
    assert_eq!(Wire::open(world.gateway.address).ask(get("/v1/x", &world.secret)).status, 200);
}
