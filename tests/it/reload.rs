//! A reload by call or by signal: all of a file or nothing of it, with no request lost, and what it does not change is
//! named.

mod bounds;
mod load;

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Admin, Client, Fixture, Process, Server, config_file, eventually, serve};

/// A server, its configuration file, and what is in it.
struct World {
    server: Server,
    fixture: Fixture,
    config: PathBuf,
    text: String,
}

impl World {
    fn new() -> Self {
        Self::with("\n[[routes]]\npath = \"/v1\"\nupstream = \"api\"\n")
    }

    fn with(routes: &str) -> Self {
        let fixture = Fixture::with(routes);
        let config = config_file(&fixture);
        let text = fs::read_to_string(&config).unwrap();
        let server = Server::start(&config);
        Self { server, fixture, config, text }
    }

    fn write(&self, text: &str) {
        // As an editor and a deployment do: the file is never half of one and half of the other.
        let new = self.config.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, &self.config).unwrap();
    }

    fn reload(&self) -> crate::support::Answer {
        self.server.admin.post("/api/v1/reload", &json!({}))
    }

    fn reloaded(&self, text: &str) -> Value {
        self.write(text);
        let answer = self.reload();
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        answer.json()
    }

    fn lines(&self, part: &str) -> usize {
        self.server.process.stdout().lines().filter(|line| line.contains(part)).count()
    }
}

fn degraded(admin: &Admin) -> Option<Value> {
    let ready = admin.get("/readyz");
    assert_eq!((ready.status, &ready.json()["status"]), (200, &json!("ready")));
    ready.json().get("degraded").cloned()
}

#[test]
fn a_bad_file_is_refused_whole_and_said_in_the_answer_the_log_and_readyz() {
    let world = World::new();
    let (_, secret) = world.server.admin.key(&json!({}));
    let bad = format!(
        "{}\n[[routes]]\npath = \"v2\"\nupstream = \"api\"\n[[routes]]\npath = \"/v3\"\nupstream = \"nobody\"\n",
        world.text
    );
    let line = |text: &str| bad.lines().position(|one| one == text).unwrap() + 1;
    world.write(&bad);
    let answer = world.reload();
    assert_eq!((answer.status, answer.code().as_str()), (422, "validation_failed"));
    let errors = answer.json()["errors"].clone();
    let expected =
        [("/routes/1/path", line("path = \"v2\"")), ("/routes/2/upstream", line("upstream = \"nobody\""))];
    assert_eq!(errors.as_array().unwrap().len(), 2, "{errors}");
    for (error, (pointer, line)) in errors.as_array().unwrap().iter().zip(expected) {
        assert_eq!(error["pointer"], pointer);
        assert!(error["detail"].as_str().unwrap().starts_with(&format!("line {line}: routes[")), "{error}");
    }
    let lacks = degraded(&world.server.admin).unwrap();
    assert_eq!(lacks[0]["part"], "configuration");
    assert!(lacks[0]["detail"].as_str().unwrap().contains("2 faults"), "{lacks}");
    eventually("the log says each fault", || {
        world.lines("/routes/1/path") == 1 && world.lines("configuration not reloaded") == 1
    });
    let mut client = Client::new(world.server.address);
    assert_eq!(client.get("/v1/x", &secret).status, 200);
    assert_eq!(client.get("/v3/x", &secret).status, 404, "nothing of it is in force");
    for text in ["this is not TOML", ""] {
        world.write(text);
        let answer = world.reload();
        assert_eq!(answer.status, 422, "{text}");
        assert_eq!(client.get("/v1/x", &secret).status, 200);
    }
    fs::remove_file(&world.config).unwrap();
    assert!(world.reload().json()["errors"][0]["detail"].as_str().unwrap().contains("cannot be read"));
    world.reloaded(&world.text);
    assert_eq!(degraded(&world.server.admin), None, "a good file ends the complaint");
    let audit = world.server.admin.get("/api/v1/audit?action=config.reload").json();
    let outcomes: Vec<_> =
        audit["items"].as_array().unwrap().iter().map(|one| one["outcome"].clone()).collect();
    let refused = "validation_failed";
    assert_eq!(outcomes, ["done", refused, refused, refused, refused]);
}

#[test]
fn what_a_reload_changes_takes_force_and_what_it_does_not_is_named() {
    let world = World::new();
    let (_, secret) = world.server.admin.key(&json!({}));
    let mut client = Client::new(world.server.address);
    let done = world.reloaded(&world.text);
    assert_eq!(done, json!({"routes": 1, "upstreams": 1, "needs_restart": []}));
    // A limit, a route, a trusted proxy, the log's level, its access lines.
    let changed = world
        .text
        .replace("[gateway]\n", "[gateway]\ntrusted_proxies = [\"127.0.0.0/8\"]\n")
        .replace("access = false", "access = true\nlevel = \"debug\"")
        + "limits = [{ name = \"hour\", requests = 2, window = \"1h\" }]\n";
    assert_eq!(world.reloaded(&changed)["needs_restart"], json!([]));
    let forwarded = [("x-forwarded-for", "203.0.113.7"), ("authorization", &format!("Bearer {secret}"))];
    let answer = client.try_send("GET", "/v1/x", &forwarded, "").unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.header("ratelimit").unwrap().contains("\"hour\";r=1"));
    assert_eq!(
        world.fixture.upstream.last().header("x-forwarded-for"),
        Some("203.0.113.7, 127.0.0.1"),
        "a trusted proxy's word is kept"
    );
    assert_eq!(client.get("/v1/x", &secret).status, 200);
    assert_eq!(client.get("/v1/x", &secret).code(), "rate_limited");
    eventually("each has its line", || world.lines("\"target\":\"access\"") == 3);
    assert_eq!(world.reloaded(&world.text)["needs_restart"], json!([]));
    assert_eq!(client.get("/v1/x", &secret).status, 200, "the limit is gone");
    assert_eq!(world.lines("\"target\":\"access\""), 3, "and so are the lines");
    let fixed = world.text.replace("[gateway]\n", "[gateway]\nthreads = 1\ncore_dumps = true\n").replace(
        "[store]\npath = \"portcullis.redb\"",
        "[store]\npath = \"other.redb\"\n[keys]\nprefix = \"xy\"",
    );
    let named = json!(["gateway.threads", "gateway.core_dumps", "store", "keys.prefix"]);
    for _ in 0..2 {
        assert_eq!(world.reloaded(&fixed)["needs_restart"], named, "as long as they differ from the start");
    }
    eventually("the log names them", || world.lines("gateway.core_dumps") == 2);
    assert!(!world.fixture.folder.path().join("other.redb").exists());
    assert_eq!(client.get("/v1/x", &secret).status, 200);
}

#[test]
fn an_upstream_that_stays_as_it_is_keeps_its_connections_and_health_and_one_that_goes_loses_its_series() {
    let health = "health = { path = \"/healthz\", interval = \"100ms\" }";
    let world = World::with(&format!(
        "[upstreams.api]\ntargets = [\"{{upstream}}\"]\n[upstreams.dead]\ntargets = [\"127.0.0.1:1\"]\n{health}\n\
         [[routes]]\npath = \"/v1\"\nupstream = \"api\"\n[[routes]]\npath = \"/dead\"\nupstream = \"dead\"\naccess = \"public\"\n"
    ));
    let metrics = || world.server.admin.metrics();
    let dead = "portcullis_upstream_target_healthy{target=\"127.0.0.1:1\",upstream=\"dead\"} 0";
    eventually("it is found dead", || metrics().contains(dead));
    let mut client = Client::new(world.server.address);
    for _ in 0..5 {
        world.reloaded(&world.text);
        assert_eq!(client.get("/dead/x", "").code(), "no_healthy_upstream", "what is known stays known");
    }
    // Another setting of it, and what its checks found stays.
    world.reloaded(&world.text.replace(health, &format!("{health}\nkeepalive = 7")));
    assert_eq!(client.get("/dead/x", "").code(), "no_healthy_upstream");
    assert!(metrics().contains(dead), "its series goes on");
    let (gone, _) = world.text.split_once("[[routes]]\npath = \"/dead\"").unwrap();
    world.reloaded(&gone.replace(&format!("[upstreams.dead]\ntargets = [\"127.0.0.1:1\"]\n{health}\n"), ""));
    assert!(!metrics().contains("127.0.0.1:1\""), "{}", metrics());
}

#[test]
fn a_hang_up_in_the_middle_of_the_start_does_not_end_it() {
    for millis in [0, 1, 2, 5, 10, 20, 40, 80] {
        let fixture = Fixture::new();
        let config = config_file(&fixture);
        let process = Process::start(&mut serve(&config));
        // Not before the process has begun to run its own code: what came before that was not for it.
        eventually("it begins", || {
            let maps =
                fs::read_to_string(format!("/proc/{}/status", process.pid().as_raw_nonzero())).unwrap();
            let caught =
                maps.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or("0").trim().to_owned();
            u64::from_str_radix(&caught, 16).unwrap_or(0) & 1 != 0
        });
        thread::sleep(Duration::from_millis(millis));
        process.signal(Signal::HUP);
        let server = process.serving();
        eventually("it is heard once it can be", || {
            server.process.stdout().contains("configuration reloaded")
        });
    }
}
