//! Quotas: so many requests in a calendar window in UTC, whatever happens to the process.

use serde_json::{Value, json};

use super::{ROUTES, World, at, standing};
use crate::support::{get, send};

fn quota(requests: u32, window: &str) -> Value {
    json!([{"name": "plan", "requests": requests, "window": window}])
}

#[test]
fn a_quota_counts_in_calendar_windows_in_utc() {
    for (window, now, last, next, seconds) in [
        ("day", "2026-11-21T13:00:00Z", "2026-11-21T23:59:59.999Z", "2026-11-22T00:00:00Z", 86_400),
        ("week", "2026-11-18T00:00:00Z", "2026-11-22T23:59:59.999Z", "2026-11-23T00:00:00Z", 604_800),
        ("month", "2026-11-01T00:00:00Z", "2026-11-30T23:59:59.999Z", "2026-12-01T00:00:00Z", 2_592_000),
        ("month", "2028-02-10T00:00:00Z", "2028-02-29T23:59:59.999Z", "2028-03-01T00:00:00Z", 2_505_600),
        ("day", "2026-12-31T00:00:00Z", "2026-12-31T23:59:59.999Z", "2027-01-01T00:00:00Z", 86_400),
    ] {
        let world = World::with(ROUTES, now);
        let key = world.key(&json!({"quotas": quota(2, window)}));
        let until = at(next).since(at(now)).as_secs();
        let first = key.ask("/v1/x");
        let policy = format!(r#""plan";q=2;w={seconds}"#);
        assert_eq!(standing(&first), (&*policy, &*format!(r#""plan";r=1;t={until}"#), ""), "{window}");
        key.spend("/v1/x", 1);
        let refused = key.ask("/v1/x");
        assert_eq!(refused.code(), "quota_exceeded", "{window}");
        assert_eq!(standing(&refused).2, until.to_string(), "{window}");
        world.clock.set_wall(at(last));
        assert_eq!(standing(&key.ask("/v1/x")).2, "1", "{window}");
        world.clock.set_wall(at(next));
        assert_eq!(key.left("/v1/x", "quota_exceeded"), 2, "{window}");
    }
}

#[test]
fn several_quotas_are_charged_together_or_not_at_all() {
    let world = World::new();
    let quotas = json!([
        {"name": "daily", "requests": 2, "window": "day"},
        {"name": "monthly", "requests": 3, "window": "month"},
    ]);
    let key = world.key(&json!({"quotas": quotas}));
    assert_eq!(key.left("/v1/x", "quota_exceeded"), 2);
    assert_eq!(key.ask("/v1/x").header("ratelimit"), Some(r#""daily";r=0;t=39600, "monthly";r=1;t=817200"#));
    world.clock.set_wall(at("2026-11-22T00:00:00Z"));
    assert_eq!(key.left("/v1/x", "quota_exceeded"), 1, "the month is used up");
    world.clock.set_wall(at("2026-12-01T00:00:00Z"));
    assert_eq!(key.left("/v1/x", "quota_exceeded"), 2);
}

#[test]
fn what_was_used_of_a_quota_outlives_the_process_however_it_ends() {
    let mut world = World::new();
    let quotas = json!([{"name": "daily", "requests": 9, "window": "day"}]);
    let (id, secret) = world.gateway.admin.key(&json!({"quotas": quotas}));
    let mut left = 9;
    for stopped in [true, false, true] {
        for _ in 0..2 {
            left -= 1;
            let answer = send(world.gateway.address, get("/v1/x", &secret));
            assert_eq!(answer.header("ratelimit"), Some(&*format!(r#""daily";r={left};t=39600"#)));
        }
        let app = world.gateway.app.take().unwrap();
        if stopped {
            app.stop().unwrap();
        } else {
            // Cut off, as a kill would: nothing is merged.
            drop(app);
        }
        world.gateway = world.fixture.start();
    }
    let key = super::Key { world: &world, id, secret };
    assert_eq!(key.left("/v1/x", "quota_exceeded"), 3);
    assert_eq!(world.gateway.admin.show(&key.id)["usage"]["requests"], 9);
    world.clock.set_wall(at("2026-11-22T00:00:00Z"));
    assert_eq!(key.left("/v1/x", "quota_exceeded"), 9);
}

#[test]
fn a_quota_that_is_added_or_changed_counts_what_was_used_in_its_window() {
    let world = World::new();
    let key = world.key(&json!({}));
    key.spend("/v1/x", 3);
    key.edit(&json!({"quotas": quota(5, "day")}));
    assert_eq!(key.left("/v1/x", "quota_exceeded"), 2);
    key.edit(&json!({"quotas": quota(8, "day")}));
    assert_eq!(key.left("/v1/x", "quota_exceeded"), 3);
    key.edit(&json!({"quotas": quota(4, "day")}));
    assert_eq!(key.left("/v1/x", "quota_exceeded"), 0);
    key.edit(&json!({"quotas": quota(9, "month")}));
    assert_eq!(key.left("/v1/x", "quota_exceeded"), 1);
    key.edit(&json!({"quotas": null}));
    key.spend("/v1/x", 2);
    key.edit(&json!({"quotas": quota(12, "day")}));
    assert_eq!(key.left("/v1/x", "quota_exceeded"), 1, "what passed without a quota counts too");
}

#[test]
fn a_rotation_keeps_the_quota() {
    let world = World::new();
    let key = world.key(&json!({"quotas": quota(3, "month")}));
    key.spend("/v1/x", 2);
    let rotated = key.act("rotate", &json!({}));
    let new =
        super::Key { world: &world, id: key.id.clone(), secret: rotated["secret"].as_str().unwrap().into() };
    assert_eq!(new.left("/v1/x", "quota_exceeded"), 1);
}
