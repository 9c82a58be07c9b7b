//! A new process takes over from one that runs: no request lost, no connection refused, each request counted once, and
//! whatever fails on the way, one of the two serves as before.

mod activation;
mod faults;
mod following;
mod load;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Admin, Client, Fixture, Process, Server, config_file, eventually, serve};

/// How long an old process may take to end once its last request has.
const END: Duration = Duration::from_secs(10);

/// A folder with a configuration, and the process that serves from it.
struct World {
    fixture: Fixture,
    config: PathBuf,
    server: Server,
}

impl World {
    fn new() -> Self {
        Self::with("[[routes]]\npath = \"/v1\"\nupstream = \"api\"\n")
    }

    fn with(text: &str) -> Self {
        let fixture = Fixture::with(text);
        let config = config_file(&fixture);
        let server = Server::start(&config);
        Self { fixture, config, server }
    }

    /// A new process has taken over; the old one, which may still run.
    fn upgrade(&mut self) -> Server {
        let new = upgrade(&self.config);
        std::mem::replace(&mut self.server, new)
    }

    fn admin(&self) -> &Admin {
        &self.server.admin
    }

    fn usage(&self, id: &str) -> u64 {
        self.admin().show(id)["usage"]["requests"].as_u64().unwrap()
    }

    /// The usage files beside the store: of this process, and of those before it.
    fn usage_files(&self) -> usize {
        let of_usage =
            |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with("portcullis.usage");
        fs::read_dir(self.fixture.folder.path()).unwrap().flatten().filter(of_usage).count()
    }

    fn change(&self, id: &str, call: &str, body: &Value) {
        let answer = self.admin().post(&format!("/api/v1/keys/{id}/{call}"), body);
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    }
}

fn upgrading(config: &Path) -> Process {
    Process::start(serve(config).arg("--upgrade"))
}

fn upgrade(config: &Path) -> Server {
    upgrading(config).serving()
}

fn ends(mut old: Server) {
    assert_eq!(old.process.wait(END).code(), Some(0), "{}", old.process.stdout());
}

#[test]
fn a_new_process_has_the_same_places_and_the_old_one_finishes_what_it_has() {
    let mut world = World::new();
    let (id, secret) = world.admin().key(&json!({}));
    let mut idle = Client::new(world.server.address);
    assert_eq!(idle.get("/v1/x", &secret).status, 200);
    let mut stream = crate::support::Wire::open(world.server.address);
    stream.send(crate::support::get("/v1/stream/40", &secret));
    assert!(stream.head().starts_with("HTTP/1.1 200"));
    let (gateway, admin) = (world.server.address, world.admin().address);
    let old = world.upgrade();
    assert_eq!((world.server.address, world.admin().address), (gateway, admin));
    assert_eq!(Client::new(gateway).get("/v1/x", &secret).status, 200);
    let last = idle.get("/v1/x", &secret);
    assert_eq!((last.status, last.header("connection")), (200, Some("close")), "a last answer says so");
    assert_eq!(world.usage_files(), 2, "the old process counts in a file of its own");
    for event in 0..40 {
        assert_eq!(stream.chunk(), format!("event {event}\n"));
    }
    assert_eq!(stream.chunk(), "", "its end is whole");
    drop(stream);
    ends(old);
    eventually("all is counted", || world.usage(&id) == 4);
    eventually("the old one's file is merged and gone", || world.usage_files() == 1);
    assert_eq!(world.admin().get("/readyz").status, 200);
    world.admin().key(&json!({}));
}

#[test]
fn without_a_running_gateway_there_is_nothing_to_upgrade() {
    let fixture = Fixture::new();
    let config = config_file(&fixture);
    for _ in 0..2 {
        let mut alone = upgrading(&config);
        assert_eq!(alone.wait(END).code(), Some(1));
        let said = alone.stderr();
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains("no gateway runs") && said.contains("start without --upgrade"), "{said}");
        // Nor where one ran.
        let mut server = Server::start(&config);
        server.process.signal(rustix::process::Signal::TERM);
        assert_eq!(server.process.wait(END).code(), Some(0));
    }
}

#[test]
fn a_quota_counts_over_processes() {
    let mut world = World::new();
    let quota = json!({"quotas": [{"name": "day", "requests": 10, "window": "day"}]});
    let (id, secret) = world.admin().key(&quota);
    let left = |answer: &crate::support::Answer| {
        let text = answer.header("ratelimit").unwrap().to_owned();
        text.split_once("r=").unwrap().1.split(';').next().unwrap().parse::<u64>().unwrap()
    };
    let (mut one, mut two) = (Client::new(world.server.address), Client::new(world.server.address));
    assert_eq!(left(&one.get("/v1/x", &secret)), 9);
    assert_eq!(left(&two.get("/v1/x", &secret)), 8);
    let old = world.upgrade();
    let mut new = Client::new(world.server.address);
    assert_eq!(left(&new.get("/v1/x", &secret)), 7, "what the old process charged is charged");
    assert_eq!(one.get("/v1/x", &secret).status, 200);
    assert_eq!(two.get("/v1/x", &secret).status, 200);
    ends(old);
    eventually("it is merged", || world.usage_files() == 1 && world.usage(&id) == 5);
    assert_eq!(left(&new.get("/v1/x", &secret)), 4, "and what it charged after that");
    let old = world.upgrade();
    assert_eq!(left(&Client::new(world.server.address).get("/v1/x", &secret)), 3);
    drop((new, one, two, old));
    world.server.process.kill();
    world.server = Server::start(&world.config);
    let mut client = Client::new(world.server.address);
    for expected in [2, 1, 0] {
        assert_eq!(left(&client.get("/v1/x", &secret)), expected);
    }
    assert_eq!(client.get("/v1/x", &secret).code(), "quota_exceeded");
}
