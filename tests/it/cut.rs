//! A revocation ends what its key has running: streams and tunnels are cut, and the answer says how many.

use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Admin, Fixture, Gateway, Script, Stopwatch, Wire, eventually, get, head_of};

/// What is promised.
const ONE_SECOND: Duration = Duration::from_secs(1);

const ROUTES: &str = r#"
    [[routes]]
    path = "/v1"
    upstream = "api"
"#;

fn path(id: &str, call: &str) -> String {
    format!("/api/v1/keys/{id}{call}")
}

/// Revokes the key: its answer.
fn revoke(admin: &Admin, id: &str) -> Value {
    let answer = admin.post(&path(id, "/revoke"), &json!({"reason": "leaked"}));
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    answer.json()
}

/// A chunked answer that runs.
fn streaming(gateway: &Gateway, secret: &str) -> Wire {
    let mut wire = Wire::open(gateway.address);
    wire.send(get("/v1/stream/10000", secret));
    assert!(wire.head().starts_with("HTTP/1.1 200"));
    assert_eq!(wire.chunk(), "event 0\n");
    wire
}

fn usage(admin: &Admin, id: &str) -> (u64, u64) {
    let usage = &admin.show(id)["usage"];
    (usage["requests"].as_u64().unwrap(), usage["denied"].as_u64().unwrap())
}

/// The rest of a cut answer: it must come to its end in time, and must not look complete.
fn assert_cut(wire: &mut Wire, since: &Stopwatch) {
    let rest = String::from_utf8_lossy(&wire.rest()).into_owned();
    assert!(since.elapsed() < ONE_SECOND, "{:?} after the answer", since.elapsed());
    assert!(!rest.contains("\r\n0\r\n") && !rest.starts_with("0\r\n"), "it looks complete: {rest:?}");
}

/// An upstream that upgrades whatever comes, sends back each byte, and says when its connection has ended.
fn echo() -> (Script, std::sync::mpsc::Receiver<()>) {
    let (ended, ends) = std::sync::mpsc::channel();
    let script = Script::start(move |mut stream| {
        head_of(&mut stream);
        let head = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
        stream.write_all(head).unwrap();
        let mut bytes = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut bytes) {
            stream.write_all(&bytes[..read]).unwrap();
        }
        let _ = ended.send(());
    });
    (script, ends)
}

/// An upgraded connection that has carried bytes both ways.
fn tunnel(gateway: &Gateway, secret: &str) -> Wire {
    let mut wire = Wire::open(gateway.address);
    let request = get("/v1/ws", secret);
    wire.send(request.replace("\r\n\r\n", "\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n"));
    assert!(wire.head().starts_with("HTTP/1.1 101"));
    wire.send("ping");
    assert_eq!(wire.exactly(4), b"ping");
    wire
}

#[test]
fn a_revocation_cuts_the_keys_streams_and_no_others() {
    let gateway = Fixture::with(ROUTES).start();
    let (id, secret) = gateway.admin.key(&json!({}));
    let (other, others) = gateway.admin.key(&json!({}));
    let mut cut = [streaming(&gateway, &secret), streaming(&gateway, &secret)];
    let mut stays = streaming(&gateway, &others);
    let answer = revoke(&gateway.admin, &id);
    let since = Stopwatch::start();
    assert_eq!((&answer["cut"], &answer["status"]), (&json!(2), &json!("revoked")));
    for wire in &mut cut {
        assert_cut(wire, &since);
    }
    // Each was let through, and is counted as that, once.
    eventually("they are counted", || usage(&gateway.admin, &id) == (2, 0));
    for _ in 0..20 {
        assert!(stays.chunk().starts_with("event "), "another key's stream goes on");
    }
    assert_eq!(usage(&gateway.admin, &id), (2, 0));
    assert_eq!(revoke(&gateway.admin, &other)["cut"], 1);
    assert_eq!(revoke(&gateway.admin, &id)["cut"], 0, "revoking again finds nothing");
}

#[test]
fn a_revocation_cuts_tunnels_at_both_ends() {
    let (script, ends) = echo();
    let routes = format!("[upstreams.api]\ntargets = [\"{}\"]\n{ROUTES}", script.address);
    let gateway = Fixture::with(&routes).start();
    let (id, secret) = gateway.admin.key(&json!({}));
    let (_, others) = gateway.admin.key(&json!({}));
    let (mut cut, mut stays) = (tunnel(&gateway, &secret), tunnel(&gateway, &others));
    assert_eq!(revoke(&gateway.admin, &id)["cut"], 1);
    let since = Stopwatch::start();
    assert_cut(&mut cut, &since);
    ends.recv_timeout(ONE_SECOND).expect("the upstream's connection ends too");
    eventually("it is counted", || usage(&gateway.admin, &id) == (1, 0));
    stays.send("still");
    assert_eq!(stays.exactly(5), b"still");
}

#[test]
fn a_deletion_cuts_as_well_and_disabling_cuts_nothing() {
    let gateway = Fixture::with(ROUTES).start();
    let (id, secret) = gateway.admin.key(&json!({}));
    let mut wire = streaming(&gateway, &secret);
    assert_eq!(gateway.admin.post(&path(&id, "/disable"), &json!({})).status, 200);
    for _ in 0..20 {
        assert!(wire.chunk().starts_with("event "));
    }
    assert_eq!(gateway.admin.call("DELETE", &path(&id, ""), &[], "").status, 204);
    assert_cut(&mut wire, &Stopwatch::start());
}

#[test]
fn a_short_request_may_end_and_one_that_hangs_is_cut() {
    let fixture = Fixture::with(ROUTES);
    let gateway = fixture.start();
    let (id, secret) = gateway.admin.key(&json!({}));
    let (mut short, mut hangs) = (Wire::open(gateway.address), Wire::open(gateway.address));
    hangs.send(get("/v1/hang", &secret));
    short.send(get("/v1/slow/150", &secret));
    eventually("both run", || fixture.upstream.count() == 2);
    assert_eq!(revoke(&gateway.admin, &id)["cut"], 1);
    let since = Stopwatch::start();
    let answer = short.answer();
    assert_eq!((answer.status, &answer.body[..]), (200, &b"slow"[..]));
    assert_eq!(short.ask(get("/v1/x", &secret)).code(), "key_revoked");
    hangs.assert_closed();
    assert!(since.elapsed() < ONE_SECOND);
    eventually("both are counted", || usage(&gateway.admin, &id) == (2, 1));
}

#[test]
fn a_connection_is_cut_for_the_key_that_it_serves_and_for_none_that_it_served() {
    let gateway = Fixture::with(ROUTES).start();
    let (first, secret) = gateway.admin.key(&json!({}));
    let (second, others) = gateway.admin.key(&json!({}));
    let mut wire = Wire::open(gateway.address);
    assert_eq!(wire.ask(get("/v1/x", &secret)).status, 200);
    wire.send(get("/v1/stream/10000", &others));
    wire.head();
    assert_eq!(revoke(&gateway.admin, &first)["cut"], 0);
    for _ in 0..10 {
        assert!(wire.chunk().starts_with("event "));
    }
    assert_eq!(revoke(&gateway.admin, &second)["cut"], 1);
    assert_cut(&mut wire, &Stopwatch::start());
}

/// Streams begin all the while: none that began before the revocation's answer outlives it.
#[test]
fn no_stream_slips_through_beside_a_revocation() {
    let gateway = Fixture::with(ROUTES).start();
    for round in 0..8 {
        let (id, secret) = gateway.admin.key(&json!({}));
        thread::scope(|scope| {
            let opened: Vec<_> = (0..8)
                .map(|client: u64| {
                    let (gateway, secret) = (&gateway, &secret);
                    scope.spawn(move || {
                        thread::sleep(Duration::from_millis(3 * client + round));
                        let mut wire = Wire::open(gateway.address);
                        let request = get("/v1/stream/10000", secret);
                        wire.send_some(request.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n"));
                        wire
                    })
                })
                .collect();
            thread::sleep(Duration::from_millis(12));
            revoke(&gateway.admin, &id);
            let since = Stopwatch::start();
            for wire in opened {
                let mut wire = wire.join().unwrap();
                let all = String::from_utf8_lossy(&wire.rest()).into_owned();
                assert!(since.elapsed() < ONE_SECOND, "round {round}: {:?}", since.elapsed());
                let refused = all.starts_with("HTTP/1.1 401") && all.contains("key_revoked");
                assert!(refused || !all.contains("\r\n0\r\n"), "round {round}: {all}");
            }
        });
    }
}

/// An upstream's answer that ends where its connection does is given to the client in chunks, so that its cut is seen.
#[test]
fn the_cut_of_an_answer_without_a_length_is_seen_too() {
    let script = Script::start(|mut stream| {
        head_of(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\npiece").unwrap();
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let routes = format!("[upstreams.api]\ntargets = [\"{}\"]\n{ROUTES}", script.address);
    let gateway = Fixture::with(&routes).start();
    let (id, secret) = gateway.admin.key(&json!({}));
    let mut wire = Wire::open(gateway.address);
    wire.send(get("/v1/x", &secret));
    let head = wire.head().to_lowercase();
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    assert_eq!(wire.chunk(), "piece");
    assert_eq!(revoke(&gateway.admin, &id)["cut"], 1);
    assert_cut(&mut wire, &Stopwatch::start());
}
