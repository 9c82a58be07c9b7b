//! What goes wrong on the way: a new process that fails, and both that die.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::{END, World, ends, upgrading};
use crate::support::{Client, Server, TOKEN, eventually};

/// Rounds of `kill -9`.
const ROUNDS: u64 = 12;

/// A new process with this configuration fails, and says so.
fn fails(world: &World, text: &str, says: &str) {
    let config = world.fixture.folder.path().join("other.toml");
    fs::write(&config, text).unwrap();
    let mut new = upgrading(&config);
    assert_eq!(new.wait(END).code(), Some(1), "{}", new.stderr());
    assert!(new.stderr().contains(says), "{}", new.stderr());
}

#[test]
fn a_new_process_that_fails_changes_nothing() {
    const PEPPER: &str = "[keys]\npepper_env = \"PATH\"\n";
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("gateway.sock");
    let gateway = format!(
        "[gateway]\nlisten = [\"127.0.0.1:0\", \"unix:{}\"]\nunix_mode = \"0600\"\n",
        socket.display()
    );
    let mut world =
        World::with(&format!("{gateway}{PEPPER}[[routes]]\npath = \"/v1\"\nupstream = \"api\"\n"));
    let quota = json!({"quotas": [{"name": "day", "requests": 1000, "window": "day"}]});
    let (id, secret) = world.admin().key(&quota);
    let text = fs::read_to_string(&world.config).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = format!("127.0.0.1:{}", taken.local_addr().unwrap().port());
    let mut client = Client::new(world.server.address);
    let mut asked = 0;
    for round in 0..3 {
        for (text, says) in [
            (text.replace("path = \"/v1\"", "path = \"v1\""), "routes[0].path"),
            (text.replacen("127.0.0.1:0", &busy, 1), "cannot listen on"),
            // It has the store by then.
            (text.replace(PEPPER, ""), "pepper"),
        ] {
            fails(&world, &text, says);
            assert!(UnixStream::connect(&socket).is_ok(), "{says}: the socket is there");
            eventually("it takes writes", || {
                world.admin().post("/api/v1/keys", &json!({"name": "x"})).status == 201
            });
            let answer = client.get("/v1/x", &secret);
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("connection"), Some("keep-alive"), "{says}: as ever");
            asked += 1;
        }
        eventually("it counts as ever", || world.usage(&id) == asked);
        assert_eq!(world.usage_files(), 1, "round {round}");
        assert_eq!(world.admin().get("/readyz").json().get("degraded"), None);
    }
    fs::write(&world.config, text.replace("0600", "0660")).unwrap();
    let old = world.upgrade();
    assert_eq!(client.get("/v1/x", &secret).status, 200);
    ends(old);
    assert!(UnixStream::connect(&socket).is_ok(), "it is the new process's");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    eventually("all is counted", || world.usage(&id) == asked + 1 && world.usage_files() == 1);
    let remaining = Client::new(world.server.address).get("/v1/x", &secret);
    let expected = format!("\"day\";r={};", 1000 - asked - 2);
    assert!(
        remaining.header("ratelimit").unwrap().contains(&expected),
        "{:?}",
        remaining.header("ratelimit")
    );
}

#[test]
fn nothing_that_was_counted_is_lost_when_both_are_killed_in_the_middle() {
    let mut world = World::new();
    let (id, secret) = world.admin().key(&json!({}));
    let answered = AtomicU64::new(0);
    for round in 0..ROUNDS {
        let (address, over) = (world.server.address, AtomicBool::new(false));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut client = Client::new(address);
                    while !over.load(Ordering::SeqCst) {
                        match client.try_get("/v1/x", &secret) {
                            Ok(answer) if answer.status == 200 => answered.fetch_add(1, Ordering::SeqCst),
                            Ok(answer) => panic!("{}", answer.status),
                            // Both are dead.
                            Err(_) => break,
                        };
                    }
                });
            }
            let before = answered.load(Ordering::SeqCst);
            eventually("requests pass", || answered.load(Ordering::SeqCst) > before + 20);
            let mut new = upgrading(&world.config);
            thread::sleep(Duration::from_millis(40 * round));
            if round % 2 == 0 {
                new.kill();
                world.server.process.kill();
            } else {
                world.server.process.kill();
                new.kill();
            }
            over.store(true, Ordering::SeqCst);
        });
        world.server = Server::start(&world.config);
        let (least, most) = (answered.load(Ordering::SeqCst), world.fixture.upstream.count() as u64);
        let counted = world.usage(&id);
        assert!(least <= counted && counted <= most, "round {round}: {least} <= {counted} <= {most}");
        assert_eq!(world.usage_files(), 1, "round {round}: what was left is merged at the start");
    }
}

fn takes_writes(world: &World) -> bool {
    let token = format!("Bearer {TOKEN}");
    let mut admin = Client::new(world.admin().address);
    let made = admin.try_send("POST", "/api/v1/keys", &[("authorization", &token)], "{\"name\":\"x\"}");
    made.is_ok_and(|answer| answer.status == 201)
}

#[test]
fn a_new_process_that_is_killed_leaves_one_that_serves_or_has_taken_over() {
    let mut world = World::new();
    let (id, secret) = world.admin().key(&json!({}));
    let (mut asked, mut went_on) = (0, 0);
    for round in 0..ROUNDS {
        let mut client = Client::new(world.server.address);
        assert_eq!(client.get("/v1/x", &secret).status, 200);
        asked += 1;
        let mut new = upgrading(&world.config);
        thread::sleep(Duration::from_millis(25 * round));
        new.kill();
        // Where the new one served by then, the old one ends without a request, and a service manager starts another.
        let mut ended = false;
        eventually("it takes writes, or ends", || {
            ended = world.server.process.has_ended();
            ended || takes_writes(&world)
        });
        if ended {
            world.server = Server::start(&world.config);
        } else {
            assert_eq!(client.get("/v1/x", &secret).header("connection"), Some("keep-alive"));
            (asked, went_on) = (asked + 1, went_on + 1);
        }
        eventually("all is counted", || world.usage(&id) == asked);
        eventually("and no file is left", || world.usage_files() == 1);
    }
    assert!(went_on > 0, "none was killed early enough to show anything");
}

#[test]
fn an_old_process_without_its_successor_begins_no_request() {
    let mut world = World::new();
    let (_, secret) = world.admin().key(&json!({}));
    let mut client = Client::new(world.server.address);
    assert_eq!(client.get("/v1/x", &secret).status, 200);
    let old = world.upgrade();
    world.server.process.kill();
    // Whoever could tell it of a revocation is gone.
    ends(old);
    assert!(client.try_get("/v1/x", &secret).is_err());
    world.server = Server::start(&world.config);
    assert_eq!(Client::new(world.server.address).get("/v1/x", &secret).status, 200);
}
