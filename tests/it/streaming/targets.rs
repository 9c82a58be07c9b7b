//! Several targets: requests are shared out, and a dead target beside a live one costs none.

use std::net::SocketAddr;
use std::thread;

use super::World;
use crate::support::{DeadPort, Script, SilentPort, Upstream, Wire, get, head_of, post};

fn world(targets: &str, more: &str) -> World {
    World::new(&format!(
        "[upstreams.api]\ntargets = [{targets}]\n{more}\n[[routes]]\npath = \"/v1\"\nupstream = \"api\"\n"
    ))
}

fn target(address: SocketAddr, weight: u32) -> String {
    format!("{{ address = \"{address}\", weight = {weight} }}")
}

fn ask(world: &World, request: &str) -> u16 {
    Wire::open(world.gateway.address).ask(request).status
}

#[test]
fn requests_go_round_by_weight() {
    for (weights, counts) in [((1, 1), (6, 6)), ((2, 1), (8, 4)), ((5, 1), (10, 2))] {
        let (one, two) = (Upstream::start(), Upstream::start());
        let world =
            world(&format!("{}, {}", target(one.address, weights.0), target(two.address, weights.1)), "");
        for _ in 0..12 {
            assert_eq!(ask(&world, &get("/v1/x", &world.secret)), 200);
        }
        assert_eq!((one.count(), two.count()), counts, "{weights:?}");
    }
}

#[test]
fn the_least_busy_target_gets_the_next_request() {
    let (one, two) = (Upstream::start(), Upstream::start());
    let targets = format!("{}, {}", target(one.address, 1), target(two.address, 1));
    let world = world(&targets, "balance = \"least-connections\"");
    let mut hanging = Wire::open(world.gateway.address);
    hanging.send(get("/v1/hang", &world.secret));
    crate::support::eventually("it runs", || one.count() + two.count() == 1);
    let (busy, idle) = if one.count() == 1 { (&one, &two) } else { (&two, &one) };
    for _ in 0..6 {
        assert_eq!(ask(&world, &get("/v1/x", &world.secret)), 200);
    }
    assert_eq!((busy.count(), idle.count()), (1, 6));
}

#[test]
fn a_dead_target_beside_a_live_one_never_costs_a_request() {
    let (live, dead) = (Upstream::start(), DeadPort::new());
    for balance in ["round-robin", "least-connections"] {
        for (dead_weight, live_weight) in [(1, 1), (10, 1), (1, 10)] {
            let targets =
                format!("{}, {}", target(dead.address, dead_weight), target(live.address, live_weight));
            let world = world(&targets, &format!("balance = \"{balance}\""));
            let requests = [get("/v1/slow/3", &world.secret), post("/v1/x", &world.secret, "body")];
            let statuses: Vec<u16> = thread::scope(|scope| {
                let run = || (0..10).map(|i| ask(&world, &requests[i % 2])).collect::<Vec<_>>();
                let threads: Vec<_> = (0..8).map(|_| scope.spawn(run)).collect();
                threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
            });
            let lost = statuses.iter().filter(|status| **status != 200).count();
            assert_eq!(lost, 0, "{balance}, weights {dead_weight} and {live_weight}");
            assert_eq!(world.usage(), (80, 0));
        }
    }
}

#[test]
fn a_target_that_does_not_answer_a_connect_costs_time_and_no_request() {
    let (live, silent) = (Upstream::start(), SilentPort::new());
    let targets = format!("{}, {}", target(silent.address, 1), target(live.address, 1));
    let world = world(&targets, "connect_timeout = \"200ms\"");
    for _ in 0..4 {
        assert_eq!(ask(&world, &post("/v1/x", &world.secret, "body")), 200);
    }
    assert_eq!(live.count(), 4);
}

#[test]
fn a_target_that_died_with_a_kept_connection_costs_no_request() {
    let live = Upstream::start();
    // It answers once, and after that nobody listens there any more.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let dying = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        drop(listener);
        head_of(&mut stream);
        std::io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
        head_of(&mut stream);
    });
    let world = world(&format!("{}, {}", target(address, 1), target(live.address, 1)), "");
    for _ in 0..8 {
        assert_eq!(ask(&world, &get("/v1/x", &world.secret)), 200);
    }
    dying.join().unwrap();
}

#[test]
fn where_all_targets_are_dead_the_client_is_told_so_once() {
    let dead = [DeadPort::new(), DeadPort::new(), DeadPort::new()];
    let targets: Vec<String> = dead.iter().map(|dead| target(dead.address, 1)).collect();
    let world = world(&targets.join(", "), "");
    let answer = Wire::open(world.gateway.address).ask(get("/v1/x", &world.secret));
    assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_unreachable"));
    assert_eq!(world.usage(), (1, 0));
}

#[test]
fn connections_to_the_upstream_are_used_again() {
    let connections = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = std::sync::Arc::clone(&connections);
    let script = Script::start(move |mut stream| {
        counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        while !head_of(&mut stream).is_empty() {
            std::io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                .unwrap();
        }
    });
    let world = World::before(script.address, "");
    for _ in 0..10 {
        assert_eq!(ask(&world, &get("/v1/x", &world.secret)), 200);
    }
    // One that comes before the last one's connection is back in the pool has a connection of its own.
    let connections = connections.load(std::sync::atomic::Ordering::SeqCst);
    assert!(connections <= 3, "{connections} connections for 10 requests");
}
