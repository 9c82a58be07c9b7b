//! Bytes on their way: nothing waits for the whole of anything, and an answer's end is its end.

mod answers;
mod bodies;
mod expect;
mod failures;
mod leaving;
mod targets;
mod websocket;

use serde_json::json;

use crate::support::{Fixture, Gateway, Upstream};

/// One route, to an upstream that remembers.
const PLAIN: &str = r#"
    [[routes]]
    path = "/v1"
    upstream = "api"
"#;

/// A gateway with one key, before one upstream.
struct World {
    fixture: Fixture,
    gateway: Gateway,
    id: String,
    secret: String,
}

impl World {
    /// `{upstream}` in the text is the address of an upstream that remembers.
    fn new(config: &str) -> Self {
        let fixture = Fixture::with(config);
        let gateway = fixture.start();
        let (id, secret) = gateway.admin.key(&json!({}));
        Self { fixture, gateway, id, secret }
    }

    /// Before an upstream at this address. `more` goes into its table.
    fn before(address: std::net::SocketAddr, more: &str) -> Self {
        Self::new(&format!(
            "[upstreams.api]\ntargets = [\"{address}\"]\n{more}\n[[routes]]\npath = \"/v1\"\nupstream = \"api\"\n"
        ))
    }

    /// Before several upstreams, each with more for its table: the first has the route `/0`, and so on.
    fn before_each(upstreams: &[(std::net::SocketAddr, &str)]) -> Self {
        let table = |(index, (address, more)): (usize, &(std::net::SocketAddr, &str))| {
            format!(
                "[upstreams.u{index}]\ntargets = [\"{address}\"]\n{more}\n\
                 [[routes]]\npath = \"/{index}\"\nupstream = \"u{index}\"\n"
            )
        };
        let tables: Vec<String> = upstreams.iter().enumerate().map(table).collect();
        // The upstream that remembers has a route too: one without is a fault.
        Self::new(&format!("{PLAIN}\n{}", tables.concat()))
    }

    fn upstream(&self) -> &Upstream {
        &self.fixture.upstream
    }

    /// How many requests of the key were let through, and how many were denied.
    fn usage(&self) -> (u64, u64) {
        let usage = &self.gateway.admin.show(&self.id)["usage"];
        (usage["requests"].as_u64().unwrap(), usage["denied"].as_u64().unwrap())
    }

    /// How often the key's requests ended so.
    fn outcome(&self, outcome: &str) -> u64 {
        let path = format!("/api/v1/usage?key={}&group_by=outcome", self.id);
        let report = self.gateway.admin.get(&path).json();
        let rows = report["items"].as_array().unwrap_or_else(|| panic!("{report}"));
        rows.iter()
            .filter(|row| row["outcome"] == outcome)
            .map(|row| row["requests"].as_u64().unwrap() + row["denied"].as_u64().unwrap())
            .sum()
    }
}
