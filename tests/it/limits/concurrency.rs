//! Requests at once: never more than the key may have, and a place is free again as soon as an answer has ended.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::World;
use crate::support::{DeadPort, Script, Wire, eventually, get, head_of};

#[test]
fn one_more_request_than_allowed_is_refused_until_one_ends() {
    let world = World::new();
    let key = world.key(&json!({"max_concurrent": 2}));
    let mut running: Vec<Wire> = (0..2).map(|_| Wire::open(world.gateway.address)).collect();
    for wire in &mut running {
        wire.send(get("/v1/hang", &key.secret));
    }
    eventually("both run", || world.fixture.upstream.count() == 2);
    let refused = key.ask("/v1/x");
    assert_eq!((refused.status, refused.code().as_str()), (429, "too_many_concurrent"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    running.pop();
    eventually("the client that left gave its place back", || key.ask("/v1/x").status == 200);
    assert_eq!(world.fixture.upstream.count(), 3, "what was refused was not forwarded");
}

#[test]
fn the_places_are_the_keys_whatever_is_done_to_it() {
    let world = World::new();
    let key = world.key(&json!({"max_concurrent": 1}));
    let mut running = Wire::open(world.gateway.address);
    running.send(get("/v1/hang", &key.secret));
    eventually("it runs", || world.fixture.upstream.count() == 1);
    key.edit(&json!({"name": "renamed"}));
    let rotated = key.act("rotate", &json!({"grace": "1h"}));
    let new =
        super::Key { world: &world, id: key.id.clone(), secret: rotated["secret"].as_str().unwrap().into() };
    assert_eq!(new.ask("/v1/x").code(), "too_many_concurrent");
    new.edit(&json!({"max_concurrent": 2}));
    new.spend("/v1/x", 1);
    new.edit(&json!({"max_concurrent": 1}));
    assert_eq!(key.ask("/v1/x").code(), "too_many_concurrent");
    new.edit(&json!({"max_concurrent": null}));
    new.spend("/v1/x", 1);
}

/// Answers as the path asks, and in ways that the usual upstream does not know.
fn odd_answers() -> Script {
    Script::start(|mut stream| {
        loop {
            let head = head_of(&mut stream);
            let answer: &[u8] = match head.split(' ').nth(1) {
                Some("/v1/length") => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
                Some("/v1/chunks") => {
                    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
                }
                Some("/v1/empty") => b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
                Some("/v1/nothing") => b"HTTP/1.1 204 No Content\r\n\r\n",
                Some("/v1/same") => b"HTTP/1.1 304 Not Modified\r\n\r\n",
                Some("/v1/early") => {
                    b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
                }
                Some("/v1/until-close") => {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nok");
                    return;
                }
                Some("/v1/cut") => {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok");
                    return;
                }
                _ => return,
            };
            if stream.write_all(answer).is_err() {
                return;
            }
        }
    })
}

#[test]
fn a_place_is_free_for_the_very_next_request_after_any_answer() {
    let (odd, dead) = (odd_answers(), DeadPort::new());
    let config = format!(
        "[upstreams.api]\ntargets = [\"{}\"]\n[upstreams.dead]\ntargets = [\"{}\"]\n\
         [[routes]]\npath = \"/v1\"\nupstream = \"api\"\n[[routes]]\npath = \"/v1/dead\"\nupstream = \"dead\"\n",
        odd.address, dead.address
    );
    let world = World::with(&config, "2026-11-21T13:00:00Z");
    let key = world.key(&json!({"max_concurrent": 1}));
    let paths = ["length", "chunks", "empty", "nothing", "same", "until-close", "drop", "dead"];
    for round in 0..20 {
        for path in paths {
            for method in ["GET", "HEAD"] {
                let request = get(&format!("/v1/{path}"), &key.secret).replacen("GET", method, 1);
                let status = Wire::open(world.gateway.address).ask(&request).status;
                assert_ne!(status, 429, "{method} {path}, round {round}");
            }
        }
        let mut cut = Wire::open(world.gateway.address);
        cut.send(get("/v1/cut", &key.secret));
        assert!(cut.head().starts_with("HTTP/1.1 200"), "cut, round {round}");
        assert_eq!(cut.rest(), b"ok");
    }
    let mut kept = Wire::open(world.gateway.address);
    for _ in 0..100 {
        assert_eq!(kept.ask(get("/v1/chunks", &key.secret)).body, b"ok");
    }
    kept.send(get("/v1/early", &key.secret));
    assert!(kept.head().starts_with("HTTP/1.1 103"));
    assert_eq!(kept.answer().body, b"ok");
    assert_eq!(kept.ask(get("/v1/length", &key.secret)).status, 200);
}

#[test]
fn under_many_threads_there_are_never_more_at_the_upstream_than_allowed() {
    const PLACES: usize = 3;
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (running, peak) = (Arc::clone(&now), Arc::clone(&most));
    let script = Script::start(move |mut stream| {
        while !head_of(&mut stream).is_empty() {
            peak.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // The first ones stay until the limit was reached once.
            eventually("as many as may are here", || peak.load(Ordering::SeqCst) >= PLACES);
            thread::sleep(Duration::from_millis(1));
            running.fetch_sub(1, Ordering::SeqCst);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let config = format!(
        "[upstreams.api]\ntargets = [\"{}\"]\n[[routes]]\npath = \"/v1\"\nupstream = \"api\"\n",
        script.address
    );
    let world = World::with(&config, "2026-11-21T13:00:00Z");
    let key = world.key(&json!({"max_concurrent": PLACES}));
    let passed: usize = thread::scope(|scope| {
        let ask = || {
            let mut wire = Wire::open(world.gateway.address);
            let statuses = (0..20).map(|_| wire.ask(get("/v1/x", &key.secret)).status);
            statuses.filter(|status| assert_known(*status)).count()
        };
        let threads: Vec<_> = (0..32).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(most.load(Ordering::SeqCst), PLACES, "at once");
    assert_eq!(now.load(Ordering::SeqCst), 0);
    let usage = &world.gateway.admin.show(&key.id)["usage"];
    assert_eq!((&usage["requests"], &usage["denied"]), (&json!(passed), &json!(640 - passed)));
    // No place was lost on the way: all are there again.
    let mut wires: Vec<_> = (0..PLACES).map(|_| Wire::open(world.gateway.address)).collect();
    for wire in &mut wires {
        wire.send(get("/v1/x", &key.secret));
    }
    assert!(wires.iter_mut().all(|wire| wire.answer().status == 200));
}

/// Whether it passed; what neither passed nor was refused for its number fails the test.
fn assert_known(status: u16) -> bool {
    assert!(matches!(status, 200 | 429), "{status}");
    status == 200
}
