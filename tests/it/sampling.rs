//! Which requests get a line in the log, and which lines there are: changed by a reload, while requests run.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use crate::support::{Client, Fixture, Server, config_file, eventually};

const ROUTES: &str = r#"
[[routes]]
path = "/v1"
upstream = "api"
[[routes]]
path = "/open"
upstream = "api"
access = "public"
"#;

/// A server, and its configuration.
struct World {
    server: Server,
    fixture: Fixture,
    config: PathBuf,
    text: String,
}

impl World {
    fn new(log: &str) -> Self {
        let fixture = Fixture::with(ROUTES);
        let config = config_file(&fixture);
        let text = fs::read_to_string(&config).unwrap();
        fs::write(&config, text.replace("access = false", log)).unwrap();
        let server = Server::start(&config);
        Self { server, fixture, config, text }
    }

    fn reload(&self, log: &str) {
        fs::write(&self.config, self.text.replace("access = false", log)).unwrap();
        let answer = self.server.admin.post("/api/v1/reload", &json!({}));
        assert_eq!((answer.status, &answer.json()["needs_restart"]), (200, &json!([])));
    }

    /// So many requests of a path, and how many lines they got.
    fn lines(&self, path: &str, requests: usize) -> usize {
        let count = |part: &str| self.server.process.stdout().matches(part).count();
        let (line, last) = (format!("\"path\":\"{path}\""), "\"path\":\"/open/status/500\"");
        let (before, before_last) = (count(&line), count(last));
        let mut client = Client::new(self.server.address);
        for _ in 0..requests {
            client.get(path, "");
        }
        // One that always gets a line comes after all of them.
        client.get("/open/status/500", "");
        eventually("the last one has its line", || count(last) > before_last);
        count(&line) - before
    }
}

#[test]
fn good_requests_are_sampled_and_what_fails_has_its_line_all_the_same() {
    let world = World::new("access = true\naccess_sample = 0");
    assert_eq!(world.lines("/open/x", 20), 0);
    assert_eq!(world.lines("/v1/refused", 5), 5, "refusals");
    assert_eq!(world.lines("/nowhere", 5), 5);
    assert_eq!(world.lines("/open/status/404", 5), 5, "the upstream's own");
    assert_eq!(world.lines("/open/drop", 2), 2, "failures");
    world.reload("access = true\naccess_sample = 0.5");
    let some = world.lines("/open/x", 200);
    // Out of this by chance: less than once in 10^12.
    assert!((50..=150).contains(&some), "{some} of 200");
    world.reload("access = true");
    assert_eq!(world.lines("/open/x", 20), 20);
    assert!(world.fixture.upstream.count() >= 240, "sampled or not, they are forwarded");
}

#[test]
fn what_fails_is_sampled_only_where_that_is_said() {
    let world = World::new("access = true\naccess_sample_failed = 0");
    let mut client = Client::new(world.server.address);
    for path in ["/v1/refused", "/nowhere", "/open/status/404", "/open/x"] {
        client.get(path, "");
    }
    let lines = || world.server.process.stdout().matches("\"target\":\"access\"").count();
    eventually("the good one has its line", || lines() == 1);
    let metrics = world.server.admin.metrics();
    assert!(metrics.contains("outcome=\"missing_key\",route=\"/v1\"} 1"), "they are counted all the same");
}

#[test]
fn a_reload_changes_the_level_of_the_log() {
    let world = World::new("access = true");
    world.reload("access = true\nlevel = \"error\"");
    let mut client = Client::new(world.server.address);
    let said = || world.server.process.stdout().matches("request failed at the upstream").count();
    // A line of its own for each request, whatever the level.
    let after = |path: &str, client: &mut Client| {
        client.get(path, "");
        let line = format!("\"path\":\"{path}\"");
        eventually("it has its line", || world.server.process.stdout().contains(&line));
    };
    after("/open/1/drop", &mut client);
    assert_eq!(said(), 0, "a warning is below the level");
    world.reload("access = true\nlevel = \"warn\"");
    after("/open/2/drop", &mut client);
    assert_eq!(said(), 1);
    world.reload("access = true\nlevel = \"error\"");
    after("/open/3/drop", &mut client);
    assert_eq!(said(), 1);
}
