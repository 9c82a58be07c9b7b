//! Rates: how much passes, when more does, what is said of it, and what is charged.

use serde_json::json;

use super::{World, minute, standing};
use crate::support::{post, send};

#[test]
fn a_rate_passes_what_it_says_and_then_one_request_at_a_time() {
    let world = World::new();
    let key = world.key(&json!({"limits": minute(5)}));
    let policy = r#""minute";q=5;w=60"#;
    for (left, reset) in [(4, 12), (3, 24), (2, 36), (1, 48), (0, 60)] {
        let answer = key.ask("/v1/x");
        assert_eq!(answer.status, 200);
        assert_eq!(standing(&answer), (policy, &*format!(r#""minute";r={left};t={reset}"#), ""));
    }
    let refused = key.ask("/v1/x");
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limited"));
    assert_eq!(standing(&refused), (policy, r#""minute";r=0;t=60"#, "12"));
    assert_eq!(world.fixture.upstream.count(), 5);

    world.clock.advance(std::time::Duration::from_millis(11_500));
    assert_eq!(standing(&key.ask("/v1/x")), (policy, r#""minute";r=0;t=49"#, "1"));
    world.clock.advance(std::time::Duration::from_millis(500));
    assert_eq!(key.left("/v1/x", "rate_limited"), 1);
    world.pass(60);
    assert_eq!(key.left("/v1/x", "rate_limited"), 5);
    world.pass(100_000);
    assert_eq!(key.left("/v1/x", "rate_limited"), 5, "what was not used is not saved up");
}

#[test]
fn a_burst_is_what_passes_at_once() {
    let world = World::new();
    let limits = json!([{"name": "steady", "requests": 60, "window": "1m", "burst": 3}]);
    let key = world.key(&json!({"limits": limits}));
    let policy = r#""steady";q=60;w=60"#;
    assert_eq!(standing(&key.ask("/v1/x")), (policy, r#""steady";r=2;t=1"#, ""));
    key.spend("/v1/x", 2);
    assert_eq!(standing(&key.ask("/v1/x")), (policy, r#""steady";r=0;t=3"#, "1"));
    world.pass(2);
    assert_eq!(key.left("/v1/x", "rate_limited"), 2);
}

#[test]
fn a_jump_of_the_wall_clock_neither_fills_nor_empties_a_rate() {
    let world = World::new();
    let key = world.key(&json!({"limits": minute(2)}));
    key.spend("/v1/x", 1);
    world.clock.set_wall(super::at("2026-11-22T13:00:00Z"));
    key.spend("/v1/x", 1);
    assert_eq!(key.ask("/v1/x").code(), "rate_limited");
    world.clock.set_wall(super::at("2026-11-20T13:00:00Z"));
    world.pass(30);
    assert_eq!(key.left("/v1/x", "rate_limited"), 1);
}

#[test]
fn all_limits_are_looked_at_before_any_is_charged() {
    let world = World::new();
    let limits = json!([
        {"name": "wide", "requests": 10, "window": "1h"},
        {"name": "narrow", "requests": 2, "window": "1m"},
    ]);
    let quotas = json!([{"name": "daily", "requests": 5, "window": "day"}]);
    let key = world.key(&json!({"limits": limits, "quotas": quotas}));
    let left = |answer: &crate::support::Answer| {
        let numbers = standing(answer).1.split("r=").skip(1);
        numbers.map(|text| text.split(';').next().unwrap().parse().unwrap()).collect::<Vec<u32>>()
    };
    assert_eq!(left(&key.ask("/v1/x")), [9, 1, 4]);
    assert_eq!(left(&key.ask("/v1/x")), [8, 0, 3]);
    for _ in 0..3 {
        let refused = key.ask("/v1/x");
        assert_eq!((refused.code().as_str(), left(&refused)), ("rate_limited", vec![8, 0, 3]));
        assert!(refused.json()["detail"].as_str().unwrap().contains("narrow"), "{refused:?}");
    }
    world.pass(60);
    assert_eq!(left(&key.ask("/v1/x")), [7, 1, 2]);
    key.spend("/v1/x", 1);
    world.pass(60);
    key.spend("/v1/x", 1);
    let refused = key.ask("/v1/x");
    assert_eq!((refused.code().as_str(), left(&refused)), ("quota_exceeded", vec![5, 1, 0]));
}

#[test]
fn a_request_that_is_refused_for_another_reason_is_not_charged() {
    let world = World::new();
    let quotas = json!([{"name": "daily", "requests": 2, "window": "day"}]);
    let key = world.key(&json!({"limits": minute(2), "quotas": quotas, "max_concurrent": 1}));
    for _ in 0..3 {
        let lacking = key.ask("/v1/scoped/x");
        assert_eq!(lacking.code(), "insufficient_scope");
        assert_eq!(standing(&lacking).1, r#""minute";r=2;t=0, "daily";r=2;t=39600"#);
        let large = post("/v1/small/x", &key.secret, "eleven byte");
        let refused = send(world.gateway.address, large);
        assert_eq!(refused.code(), "body_too_large");
        assert_eq!(standing(&refused).1, r#""minute";r=2;t=0, "daily";r=2;t=39600"#);
    }
    key.spend("/v1/x", 2);
    let usage = &world.gateway.admin.show(&key.id)["usage"];
    assert_eq!((&usage["requests"], &usage["denied"]), (&json!(2), &json!(6)));
}

#[test]
fn a_routes_default_counts_each_key_on_that_route_alone() {
    let world = World::new();
    let (one, two) = (world.key(&json!({})), world.key(&json!({})));
    assert_eq!(one.left("/five/x", "rate_limited"), 5);
    assert_eq!(one.left("/three/x", "rate_limited"), 3);
    assert_eq!(two.left("/five/x", "rate_limited"), 5);
    assert_eq!(standing(&one.ask("/v1/x")), ("", "", ""), "no limit, no headers");
}

#[test]
fn a_keys_own_limits_replace_every_routes_default() {
    let world = World::new();
    let key = world.key(&json!({"limits": [{"name": "own", "requests": 4, "window": "1m"}]}));
    key.spend("/five/x", 1);
    key.spend("/three/x", 1);
    assert_eq!(standing(&key.ask("/five/x")), (r#""own";q=4;w=60"#, r#""own";r=1;t=45"#, ""));
    assert_eq!(key.left("/three/x", "rate_limited"), 1);
    assert_eq!(key.ask("/five/x").code(), "rate_limited");
}

#[test]
fn under_many_threads_exactly_what_a_rate_and_a_quota_say_passes() {
    let world = World::new();
    let rate = json!({"limits": [{"name": "hour", "requests": 50, "window": "1h"}]});
    let quota = json!({"quotas": [{"name": "daily", "requests": 50, "window": "day"}]});
    for fields in [rate, quota] {
        let key = world.key(&fields);
        let passed: usize = std::thread::scope(|scope| {
            let ask = || (0..4).filter(|_| key.ask("/v1/x").status == 200).count();
            let threads: Vec<_> = (0..32).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(passed, 50, "{fields}");
        let usage = &world.gateway.admin.show(&key.id)["usage"];
        assert_eq!((&usage["requests"], &usage["denied"]), (&json!(50), &json!(78)), "{fields}");
    }
}
