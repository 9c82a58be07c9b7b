//! Which failure answers where several hold, and what a retiring secret is told.

use std::time::Duration;

use serde_json::{Value, json};

use super::World;
use crate::support::{Admin, Answer, Wire, eventually, get, post};

/// A key that fails in every way at once, repaired step by step.
struct Ladder<'a> {
    world: &'a World,
    key: String,
}

impl Ladder<'_> {
    fn admin(&self) -> &Admin {
        &self.world.gateway.admin
    }

    fn edit(&self, fields: &Value) {
        let answer = self.admin().patch(&format!("/api/v1/keys/{}", self.key), fields);
        assert_eq!(answer.status, 200, "{}", answer.json());
    }

    fn act(&self, call: &str, body: &Value) -> Value {
        let answer = self.admin().post(&format!("/api/v1/keys/{}/{call}", self.key), body);
        assert_eq!(answer.status, 200, "{}", answer.json());
        answer.json()
    }

    fn ask(&self, request: impl AsRef<[u8]>) -> Answer {
        Wire::open(self.world.gateway.address).ask(request)
    }

    #[track_caller]
    fn says(&self, code: &str, request: impl AsRef<[u8]>) {
        assert_eq!(self.ask(request).code(), code);
    }
}

const ALL_SPENT: &str = r#"{
    "limits": [{"name": "hour", "requests": 2, "window": "1h"}],
    "quotas": [{"name": "daily", "requests": 2, "window": "day"}],
    "max_concurrent": 1
}"#;

/// A request with a body that is too large, for a route whose upstream cannot be reached.
fn doomed(path: &str, secret: &str) -> String {
    post(path, secret, "eleven byte")
}

#[test]
fn of_several_failures_the_first_of_the_contracts_order_answers() {
    let world = World::new();
    let spent: Value = serde_json::from_str(ALL_SPENT).unwrap();
    let (key, old) = world.gateway.admin.key(&spent);
    let ladder = Ladder { world: &world, key };
    // One request that ended and one that runs: rate, quota and places are all spent.
    assert_eq!(ladder.ask(get("/v1/x", &old)).status, 200);
    let mut running = Wire::open(world.gateway.address);
    let before = world.fixture.upstream.count();
    running.send(get("/v1/hang", &old));
    eventually("the second request runs", || world.fixture.upstream.count() > before);
    let new = ladder.act("rotate", &json!({}))["secret"].as_str().unwrap().to_owned();
    ladder.edit(&json!({"ip_allow": ["203.0.113.7"], "expires_at": "2026-11-21T12:00:00Z"}));
    ladder.act("disable", &json!({}));

    before_the_key(&ladder, &old);
    ladder.says("key_expired", doomed("/v1/worst/x", &old));
    ladder.edit(&json!({"expires_at": null}));
    ladder.says("key_disabled", doomed("/v1/worst/x", &old));
    ladder.act("enable", &json!({}));
    ladder.says("secret_retired", doomed("/v1/worst/x", &old));
    ladder.says("ip_not_allowed", doomed("/v1/worst/x", &new));
    ladder.edit(&json!({"ip_allow": ["127.0.0.0/8"]}));
    ladder.says("environment_not_allowed", doomed("/v1/worst/x", &new));
    ladder.says("insufficient_scope", doomed("/v1/worst/live/x", &new));
    ladder.edit(&json!({"scopes": ["models:*"]}));
    ladder.says("rate_limited", doomed("/v1/worst/live/x", &new));
    ladder.edit(&json!({"limits": null}));
    ladder.says("quota_exceeded", doomed("/v1/worst/live/x", &new));
    ladder.edit(&json!({"quotas": null}));
    ladder.says("too_many_concurrent", doomed("/v1/worst/live/x", &new));
    ladder.edit(&json!({"max_concurrent": 2}));
    ladder.says("body_too_large", doomed("/v1/worst/live/x", &new));
    ladder.says("upstream_unreachable", get("/v1/worst/live/x", &new));
}

/// What is judged before any key is known.
fn before_the_key(ladder: &Ladder<'_>, secret: &str) {
    let two = format!("authorization: Bearer {secret}\r\nauthorization: Bearer unknown-0123456789\r\n");
    let request = |line: &str, fields: &str| format!("{line} HTTP/1.1\r\nhost: it\r\n{fields}\r\n");
    ladder.says("bad_request", request("PATCH /nowhere", &format!("{two}no colon\r\n")));
    ladder.says("bad_request", request("PATCH /nowhere/../x", &two));
    ladder.says("no_route", request("PATCH /nowhere", &two));
    ladder.says("method_not_allowed", request("PATCH /v1/worst/x", &two));
    ladder.says("missing_key", request("GET /v1/worst/x", ""));
    ladder.says("ambiguous_credential", request("GET /v1/worst/x", &two));
    ladder.says("invalid_key", doomed("/v1/worst/x", "unknown-0123456789"));
}

#[test]
fn revoked_comes_before_expired_before_disabled() {
    let world = World::new();
    let (key, secret) = world.gateway.admin.key(&json!({}));
    let ladder = Ladder { world: &world, key };
    ladder.act("disable", &json!({}));
    ladder.says("key_disabled", get("/v1/x", &secret));
    ladder.edit(&json!({"expires_at": "2026-11-21T12:00:00Z"}));
    ladder.says("key_expired", get("/v1/x", &secret));
    ladder.act("revoke", &json!({}));
    ladder.says("key_revoked", get("/v1/x", &secret));
}

#[test]
fn a_revoked_key_is_refused_on_the_next_request_of_a_connection_that_it_opened() {
    let world = World::new();
    for _ in 0..20 {
        let (key, secret) = world.gateway.admin.key(&json!({}));
        let mut wire = Wire::open(world.gateway.address);
        assert_eq!(wire.ask(get("/v1/x", &secret)).status, 200);
        Ladder { world: &world, key }.act("revoke", &json!({}));
        assert_eq!(wire.ask(get("/v1/x", &secret)).code(), "key_revoked");
    }
}

#[test]
fn a_key_ends_at_its_expiry_and_not_before() {
    let world = World::new();
    let (_, secret) = world.gateway.admin.key(&json!({"expires_at": "2026-11-21T13:00:10Z"}));
    let ask = || Wire::open(world.gateway.address).ask(get("/v1/x", &secret));
    world.clock.advance(Duration::from_millis(9_999));
    assert_eq!(ask().status, 200);
    world.clock.advance(Duration::from_millis(1));
    assert_eq!(ask().code(), "key_expired");
}

#[test]
fn every_answer_to_a_retiring_secret_says_until_when_it_works() {
    let world = World::new();
    let (key, old) = world.gateway.admin.key(&json!({"max_concurrent": 5}));
    let ladder = Ladder { world: &world, key };
    let new = ladder.act("rotate", &json!({"grace": "2h"}))["secret"].as_str().unwrap().to_owned();
    let headers = |answer: &Answer| {
        let header = |name| answer.header(name).map(str::to_owned);
        (answer.status, header("deprecation"), header("sunset"))
    };
    let sunset = "Sat, 21 Nov 2026 15:00:00 GMT";
    let requests = |secret: &str| {
        [
            (200, get("/v1/x", secret)),
            (503, get("/v1/status/503", secret)),
            (403, get("/v1/scoped/x", secret)),
            (413, post("/v1/small/x", secret, "eleven byte")),
            (502, get("/v1/dead/x", secret)),
            (504, get("/v1/hasty/slow/2000", secret)),
        ]
    };
    for (status, request) in requests(&old) {
        let expected = (status, Some("@1795266000".to_owned()), Some(sunset.to_owned()));
        assert_eq!(headers(&ladder.ask(&request)), expected, "{request}");
    }
    for (status, request) in requests(&new) {
        assert_eq!(headers(&ladder.ask(&request)), (status, None, None), "{request}");
    }
    world.clock.advance(Duration::from_hours(2));
    let over = ladder.ask(get("/v1/x", &old));
    assert_eq!(over.code(), "secret_retired");
    assert_eq!(headers(&over), (401, None, None));
}
