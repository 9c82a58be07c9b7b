//! Reloads in a row under load.

use std::thread;

use rustix::process::Signal;
use serde_json::json;

use super::World;
use crate::support::{Crowd, Stopwatch, Upstream, eventually, rounds};

/// Reloads to and fro between two upstreams, by call and by signal.
#[test]
fn reloads_under_fifty_clients_lose_no_request_and_refuse_no_connection() {
    let rounds = rounds(10);
    let world = World::new();
    let (id, secret) = world.server.admin.key(&json!({}));
    let other = Upstream::start();
    let there = world.text.replace(&world.fixture.upstream.address.to_string(), &other.address.to_string());
    let (crowd, watch) = (Crowd::default(), Stopwatch::start());
    thread::scope(|scope| {
        crowd.begin(scope, world.server.address, &secret);
        for round in 0..rounds {
            let to_and_fro = [(&there, &other), (&world.text, &world.fixture.upstream)];
            let (text, upstream) = to_and_fro[round % 2];
            crowd.is_answered(200);
            world.write(text);
            if round % 4 < 2 {
                assert_eq!(world.reload().status, 200);
            } else {
                world.server.process.signal(Signal::HUP);
            }
            let before = upstream.count();
            eventually("requests go there", || upstream.count() > before + 10);
        }
        crowd.is_answered(200);
        crowd.end();
    });
    let (answered, took) = (crowd.answered(), watch.elapsed());
    println!("{rounds} reloads, {answered} requests answered, {} failed, in {took:?}", crowd.failed().len());
    assert_eq!(crowd.failed(), [""; 0], "of {answered}");
    let usage = world.server.admin.show(&id)["usage"].clone();
    assert_eq!(
        (&usage["requests"], &usage["denied"]),
        (&json!(answered), &json!(0)),
        "each is counted, once"
    );
}
