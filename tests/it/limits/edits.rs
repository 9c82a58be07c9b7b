//! What was spent stays spent, whatever is done to the key.

use serde_json::{Value, json};

use super::{World, minute};

fn limit(requests: u32, window: &str, burst: Option<u32>) -> Value {
    json!([{"name": "limit", "requests": requests, "window": window, "burst": burst.unwrap_or(requests)}])
}

#[test]
fn an_edit_of_a_live_limit_keeps_what_was_spent() {
    let world = World::new();
    for (before, spent, after, left) in [
        (limit(5, "1m", None), 5, limit(10, "1m", None), 5),
        (limit(10, "1m", None), 6, limit(5, "1m", None), 0),
        (limit(10, "1m", None), 3, limit(20, "1m", None), 17),
        (limit(10, "1m", None), 3, limit(4, "1m", None), 1),
        (limit(5, "1m", None), 5, limit(5, "1h", None), 0),
        (limit(5, "1h", None), 2, limit(5, "1m", None), 3),
        (limit(5, "1h", None), 5, limit(10, "2h", None), 5),
        (limit(60, "1m", Some(5)), 5, limit(60, "1m", Some(8)), 3),
        (limit(60, "1m", Some(8)), 5, limit(60, "1m", Some(4)), 0),
        (limit(60, "1m", Some(8)), 5, limit(120, "1m", Some(8)), 3),
    ] {
        let key = world.key(&json!({"limits": before}));
        key.spend("/v1/x", spent);
        key.edit(&json!({"limits": after}));
        assert_eq!(key.left("/v1/x", "rate_limited"), left, "{before} {spent} {after}");
    }
}

#[test]
fn an_edit_back_and_forth_gives_nothing_away() {
    let world = World::new();
    let key = world.key(&json!({"limits": minute(5)}));
    key.spend("/v1/x", 5);
    for requests in [10, 5, 1_000, 5] {
        key.edit(&json!({"limits": minute(requests)}));
    }
    assert_eq!(key.left("/v1/x", "rate_limited"), 0);
    key.edit(&json!({"limits": null}));
    key.spend("/v1/x", 1);
    key.edit(&json!({"limits": minute(5)}));
    assert_eq!(key.left("/v1/x", "rate_limited"), 0);
}

#[test]
fn a_lowered_limit_locks_out_no_longer_than_it_would_by_itself() {
    let world = World::new();
    for (before, spent, after, wait) in [
        (limit(100, "1m", None), 90, limit(5, "1m", None), 12),
        (limit(100, "1m", None), 90, limit(1, "1m", None), 60),
        (limit(60, "1m", Some(90)), 90, limit(60, "1m", Some(5)), 1),
        (limit(60, "1h", None), 60, limit(60, "1m", None), 1),
    ] {
        let key = world.key(&json!({"limits": before}));
        key.spend("/v1/x", spent);
        key.edit(&json!({"limits": after}));
        let refused = key.ask("/v1/x");
        assert_eq!(refused.header("retry-after"), Some(&*wait.to_string()), "{before} {after} {refused:?}");
        world.pass(wait);
        assert_eq!(key.left("/v1/x", "rate_limited"), 1, "{before} {after}");
    }
}

#[test]
fn a_limit_that_takes_the_place_of_a_routes_default_keeps_what_was_spent() {
    let world = World::new();
    let key = world.key(&json!({}));
    key.spend("/five/x", 3);
    key.edit(&json!({"limits": minute(10)}));
    assert_eq!(key.left("/five/x", "rate_limited"), 7);
}

#[test]
fn a_routes_default_that_takes_the_place_of_a_limit_keeps_what_was_spent() {
    let world = World::new();
    // How often the default was met before the key got its own.
    for before in [0, 1, 4] {
        let key = world.key(&json!({}));
        key.spend("/five/x", before);
        key.edit(&json!({"limits": minute(10)}));
        key.spend("/five/x", 4 - before);
        key.edit(&json!({"limits": null}));
        assert_eq!(key.left("/five/x", "rate_limited"), 1, "{before} before");
        // And there again.
        key.edit(&json!({"limits": minute(10)}));
        assert_eq!(key.left("/five/x", "rate_limited"), 5, "{before} before");
    }
}

#[test]
fn a_roles_limit_keeps_what_was_spent_before_it_and_after_it() {
    let world = World::new();
    let role = json!({"name": "ten", "limits": minute(10)});
    assert_eq!(world.gateway.admin.post("/api/v1/roles", &role).status, 201);
    let key = world.key(&json!({}));
    key.spend("/five/x", 1);
    key.edit(&json!({"role": "ten"}));
    key.spend("/five/x", 1);
    key.edit(&json!({"name": "renamed"}));
    key.spend("/five/x", 1);
    let twenty = json!({"limits": minute(20)});
    assert_eq!(world.gateway.admin.patch("/api/v1/roles/ten", &twenty).status, 200);
    let answer = key.ask("/five/x");
    assert_eq!(answer.header("ratelimit"), Some(r#""minute";r=16;t=12"#));
    key.edit(&json!({"role": null}));
    assert_eq!(key.left("/five/x", "rate_limited"), 1);
}

#[test]
fn a_rotation_keeps_what_was_spent_and_both_secrets_share_it() {
    let world = World::new();
    let quotas = json!([{"name": "daily", "requests": 100, "window": "day"}]);
    let key = world.key(&json!({"limits": minute(5), "quotas": quotas}));
    key.spend("/v1/x", 2);
    let rotated = key.act("rotate", &json!({"grace": "1h"}));
    let new =
        super::Key { world: &world, id: key.id.clone(), secret: rotated["secret"].as_str().unwrap().into() };
    new.spend("/v1/x", 1);
    key.spend("/v1/x", 1);
    let last = new.ask("/v1/x");
    assert_eq!(last.header("ratelimit"), Some(r#""minute";r=0;t=60, "daily";r=95;t=39600"#));
    assert_eq!(
        (key.ask("/v1/x").code(), new.ask("/v1/x").code()),
        ("rate_limited".into(), "rate_limited".into())
    );
}

#[test]
fn being_switched_off_and_on_again_keeps_what_was_spent() {
    let world = World::new();
    let key = world.key(&json!({"limits": minute(5)}));
    key.spend("/v1/x", 4);
    key.act("disable", &json!({}));
    assert_eq!(key.ask("/v1/x").code(), "key_disabled");
    key.act("enable", &json!({}));
    key.edit(&json!({"name": "renamed", "scopes": ["a"]}));
    assert_eq!(key.left("/v1/x", "rate_limited"), 1);
}

#[test]
fn an_edit_holds_for_the_very_next_request() {
    let world = World::new();
    let key = world.key(&json!({}));
    for _ in 0..10 {
        key.spend("/v1/x", 1);
        key.edit(&json!({"ip_allow": ["203.0.113.7"]}));
        assert_eq!(key.ask("/v1/x").code(), "ip_not_allowed");
        key.edit(&json!({"ip_allow": null}));
    }
}
