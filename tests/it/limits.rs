//! How much a key may do: rates, quotas, requests at once. The clock stands still unless a test moves it.

mod concurrency;
mod edits;
mod quotas;
mod rates;

use std::sync::Arc;
use std::time::Duration;

use portcullis::clock::{ManualClock, Timestamp};
use serde_json::{Value, json};

use crate::support::{Answer, Fixture, Gateway, get, send};

const ROUTES: &str = r#"
    [[routes]]
    path = "/v1"
    upstream = "api"
    [[routes]]
    path = "/v1/scoped"
    upstream = "api"
    scopes = ["admin"]
    [[routes]]
    path = "/v1/small"
    upstream = "api"
    max_request_body = "10"
    [[routes]]
    path = "/five"
    upstream = "api"
    limits = [{ name = "minute", requests = 5, window = "1m" }]
    [[routes]]
    path = "/three"
    upstream = "api"
    limits = [{ name = "minute", requests = 3, window = "1m" }]
"#;

/// A gateway over a clock that stands.
struct World {
    gateway: Gateway,
    fixture: Fixture,
    clock: Arc<ManualClock>,
}

impl World {
    fn new() -> Self {
        Self::with(ROUTES, "2026-11-21T13:00:00Z")
    }

    fn with(config: &str, now: &str) -> Self {
        let clock = Arc::new(ManualClock::at(at(now)));
        let fixture = Fixture::with(config).clock(Arc::clone(&clock) as _);
        Self { gateway: fixture.start(), fixture, clock }
    }

    fn key(&self, fields: &Value) -> Key<'_> {
        let (id, secret) = self.gateway.admin.key(fields);
        Key { world: self, id, secret }
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

/// A limit's list of one, as a key's field.
fn minute(requests: u32) -> Value {
    json!([{"name": "minute", "requests": requests, "window": "1m"}])
}

/// A key under test.
struct Key<'a> {
    world: &'a World,
    id: String,
    secret: String,
}

impl Key<'_> {
    fn ask(&self, path: &str) -> Answer {
        send(self.world.gateway.address, get(path, &self.secret))
    }

    /// Asks so often, and each request passes.
    #[track_caller]
    fn spend(&self, path: &str, times: usize) {
        for time in 0..times {
            let answer = self.ask(path);
            assert_eq!(answer.status, 200, "request {time} of {times}: {answer:?}");
        }
    }

    /// How many requests pass until one is refused with this code.
    #[track_caller]
    fn left(&self, path: &str, code: &str) -> usize {
        for passed in 0..100 {
            let answer = self.ask(path);
            if answer.status != 200 {
                assert_eq!(answer.code(), code);
                return passed;
            }
        }
        panic!("nothing was refused");
    }

    fn edit(&self, fields: &Value) {
        let answer = self.world.gateway.admin.patch(&format!("/api/v1/keys/{}", self.id), fields);
        assert_eq!(answer.status, 200, "{}", answer.json());
    }

    /// The answer's body to a call such as `rotate`.
    fn act(&self, call: &str, body: &Value) -> Value {
        let answer = self.world.gateway.admin.post(&format!("/api/v1/keys/{}/{call}", self.id), body);
        assert_eq!(answer.status, 200, "{}", answer.json());
        answer.json()
    }
}

/// The headers that say where a key stands: `RateLimit-Policy`, `RateLimit`, `Retry-After`.
fn standing(answer: &Answer) -> (&str, &str, &str) {
    let header = |name| answer.header(name).unwrap_or("");
    (header("ratelimit-policy"), header("ratelimit"), header("retry-after"))
}
