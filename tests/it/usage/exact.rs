//! The count is exact: under many clients, over restarts, and at a stop with running requests.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use portcullis::clock::{Clock, ManualClock, Timestamp};
use serde_json::json;

use super::{rows, sums, usage};
use crate::support::{Client, Fixture, Gateway, eventually};

const CLIENTS: usize = 32;
const REQUESTS: usize = 40;

/// Each of the secrets' clients sends its requests. Every second one is refused by the route's scope.
fn traffic(gateway: &Gateway, secrets: &[String]) {
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let secret = &secrets[number % secrets.len()];
            scope.spawn(move || {
                let mut client = Client::new(gateway.address);
                for request in 0..REQUESTS {
                    let (path, status) = if request % 2 == 0 { ("/v1", 200) } else { ("/scoped", 403) };
                    assert_eq!(client.get(path, secret).status, status);
                }
            });
        }
    });
}

#[test]
fn thirty_two_clients_at_once_are_counted_exactly_and_over_a_restart_in_the_middle() {
    let fixture = Fixture::with(super::ROUTES);
    let mut gateway = fixture.start();
    let (ids, secrets): (Vec<_>, Vec<_>) = (0..4).map(|_| gateway.admin.key(&json!({}))).unzip();
    let each = (CLIENTS * REQUESTS / 2 / ids.len()) as u64;
    for round in 1..=3 {
        traffic(&gateway, &secrets);
        // Nothing is waited for: whoever has its answer finds it counted.
        for id in &ids {
            assert_eq!(usage(&gateway.admin, id), (round * each, round * each), "round {round}");
        }
        assert_eq!(fixture.upstream.count() as u64, round * each * 4, "what passed is what the upstream got");
        let all = 4 * round * each;
        let outcomes = sums(&gateway.admin, "outcome", "");
        assert_eq!(outcomes, [("allowed".into(), all, 0), ("insufficient_scope".into(), 0, all)]);
        gateway.stop();
        gateway = fixture.start();
    }
}

#[test]
fn a_request_that_runs_at_a_stop_is_finished_and_counted() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    let (id, secret) = gateway.admin.key(&json!({}));
    let address = gateway.address;
    thread::scope(|scope| {
        let clients: Vec<_> =
            (0..8).map(|_| scope.spawn(|| Client::new(address).get("/v1/slow/400", &secret))).collect();
        eventually("all of them run", || fixture.upstream.count() == 8);
        gateway.stop();
        for client in clients {
            let answer = client.join().unwrap();
            assert_eq!((answer.status, &answer.body[..]), (200, &b"slow"[..]));
        }
    });
    assert_eq!(usage(&fixture.start().admin, &id), (8, 0));
}

#[test]
fn a_request_that_outlasts_the_grace_is_cut_and_counted() {
    let fixture = Fixture::with(
        r#"
        [gateway]
        listen = ["127.0.0.1:0"]
        shutdown_grace = "200ms"
        [[routes]]
        path = "/v1"
        upstream = "api"
        "#,
    );
    let gateway = fixture.start();
    let (id, secret) = gateway.admin.key(&json!({"max_concurrent": 3}));
    let address = gateway.address;
    thread::scope(|scope| {
        let clients: Vec<_> =
            (0..3).map(|_| scope.spawn(|| Client::new(address).try_get("/v1/hang", &secret))).collect();
        eventually("all of them run", || fixture.upstream.count() == 3);
        gateway.stop();
        for client in clients {
            assert!(client.join().unwrap().is_err(), "an answer to a request that was cut");
        }
    });
    let gateway = fixture.start();
    assert_eq!(usage(&gateway.admin, &id), (3, 0));
    assert_eq!(rows(&gateway.admin, "group_by=outcome").len(), 1);
}

#[test]
fn a_clock_that_leaps_to_and_fro_costs_no_count_and_counts_none_twice() {
    let start = Timestamp::parse_rfc3339("2026-03-31T23:30:00Z").unwrap();
    let clock = Arc::new(ManualClock::at(start));
    let fixture = Fixture::new().clock(clock.clone());
    let mut gateway = fixture.start();
    let (id, secret) = gateway.admin.key(&json!({}));
    let hours = [0, 1, 5, 2, 0, 48, 1, 800, 0, 5];
    for (round, hour) in (1..).zip(hours) {
        clock.set_wall(start.plus(Duration::from_hours(hour)));
        let mut client = Client::new(gateway.address);
        for _ in 0..3 {
            let answer = client.get("/v1", &secret);
            assert_eq!(answer.status, 200, "{hour} h: {}", String::from_utf8_lossy(&answer.body));
        }
        // What the background does each second: it merges, and frees the counters of hours that are over.
        gateway.app().core.ledger.turn(clock.now()).unwrap();
        assert_eq!(usage(&gateway.admin, &id), (3 * round, 0), "{hour} h");
        if round % 3 == 0 {
            gateway.stop();
            gateway = fixture.start();
        }
    }
    let query = "from=2026-03-01T00:00:00Z&to=2026-06-01T00:00:00Z&step=hour";
    let counted: Vec<u64> =
        rows(&gateway.admin, query).iter().map(|row| row["requests"].as_u64().unwrap()).collect();
    assert_eq!(counted, [9, 6, 3, 6, 3, 3], "each request in the hour that the clock showed");
}
