//! What a client gets when its request does not pass: each row of the contract's table, whole.

mod order;
mod whole;

use std::sync::Arc;

use portcullis::clock::{ManualClock, Timestamp};
use serde_json::{Value, json};

use crate::support::{Admin, DeadPort, Fixture, Gateway};

/// The wall clock of these tests: eleven hours before a day ends.
const NOW: &str = "2026-11-21T13:00:00Z";

/// A gateway with a route for each case, under `/v1` with problems and under `/openai` with OpenAI's errors, and a key
/// for each case.
struct World {
    keys: Vec<(&'static str, String)>,
    gateway: Gateway,
    fixture: Fixture,
    clock: Arc<ManualClock>,
    _dead: DeadPort,
}

/// A route where everything can go wrong.
const WORST: &str = r#"
    methods = ["GET", "POST"]
    environments = ["live"]
    scopes = ["models:read"]
    max_request_body = "10"
"#;

fn routes(dead: &DeadPort) -> String {
    let upstreams = format!(
        "[upstreams.api]\ntargets = [\"{{upstream}}\"]\n\
         [upstreams.hasty]\ntargets = [\"{{upstream}}\"]\nresponse_timeout = \"100ms\"\n\
         [upstreams.dead]\ntargets = [\"{}\"]\n",
        dead.address
    );
    let worst_of_test = WORST.replace("live", "test");
    let below = [
        ("", "api", "methods = [\"POST\", \"GET\", \"HEAD\"]"),
        ("/scoped", "api", "scopes = [\"models:read\", \"models:write\"]"),
        ("/test", "api", "environments = [\"test\"]"),
        ("/small", "api", "max_request_body = \"10\""),
        ("/public", "api", "access = \"public\""),
        ("/hasty", "hasty", ""),
        ("/dead", "dead", ""),
        ("/worst", "dead", &worst_of_test),
        ("/worst/live", "dead", WORST),
    ];
    let both = ["/v1", "/openai"].iter().zip(["problem", "openai"]);
    let routes = both.flat_map(|(path, format)| {
        below.map(|(below, upstream, more)| {
            format!(
                "[[routes]]\npath = \"{path}{below}\"\nupstream = \"{upstream}\"\nerror_format = \"{format}\"\n{more}\n"
            )
        })
    });
    upstreams + &routes.collect::<String>()
}

impl World {
    fn new() -> Self {
        let dead = DeadPort::new();
        let clock = Arc::new(ManualClock::at(Timestamp::parse_rfc3339(NOW).unwrap()));
        let fixture = Fixture::with(&routes(&dead)).clock(Arc::clone(&clock) as _);
        let gateway = fixture.start();
        let keys = keys(&gateway.admin);
        Self { keys, gateway, fixture, clock, _dead: dead }
    }

    fn secret(&self, name: &str) -> &str {
        &self.keys.iter().find(|(known, _)| *known == name).unwrap().1
    }
}

/// A key for each standing and each limit.
fn keys(admin: &Admin) -> Vec<(&'static str, String)> {
    let act = |id: &str, call: &str| {
        assert_eq!(admin.post(&format!("/api/v1/keys/{id}/{call}"), &json!({})).status, 200, "{call}");
    };
    let mut keys = Vec::new();
    let mut add = |name, fields: Value| {
        let (id, secret) = admin.key(&fields);
        keys.push((name, secret));
        id
    };
    add("live", json!({"scopes": ["models:read"]}));
    add("elsewhere", json!({"ip_allow": ["203.0.113.7"]}));
    let limit = json!([{"name": "hour", "requests": 1, "window": "1h"}]);
    add("limited", json!({"limits": limit}));
    let quota = json!([{"name": "daily", "requests": 1, "window": "day"}]);
    add("metered", json!({"quotas": quota}));
    add("single", json!({"max_concurrent": 1}));
    act(&add("disabled", json!({})), "disable");
    act(&add("revoked", json!({})), "revoke");
    act(&add("rotated", json!({})), "rotate");
    let expired = add("expired", json!({}));
    let past = json!({"expires_at": "2026-11-21T12:59:59Z"});
    assert_eq!(admin.patch(&format!("/api/v1/keys/{expired}"), &past).status, 200);
    keys
}
