//! Changes made through the new process hold on connections that the old ones still have.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::{END, World, ends};
use crate::support::{
    Client, Fixture, Manager, Process, Stopwatch, Wire, config_file, eventually, get, serve,
};

/// The old process must answer the change in this time.
const SOON: Duration = Duration::from_secs(1);

fn code(client: &mut Client, secret: &str) -> String {
    let answer = client.get("/v1/x", secret);
    if answer.status == 200 { "allowed".to_owned() } else { answer.code() }
}

/// A client whose connection the serving process has.
fn kept(world: &World, secret: &str) -> Client {
    let mut client = Client::new(world.server.address);
    assert_eq!(client.get("/v1/x", secret).status, 200);
    client
}

#[test]
fn a_change_holds_for_the_next_request_on_an_old_connection() {
    let mut world = World::with("[[routes]]\npath = \"/v1\"\nupstream = \"api\"\nscopes = [\"a:b\"]\n");
    let role = world.admin().post("/api/v1/roles", &json!({"name": "reader", "scopes": ["a:b"]}));
    assert_eq!(role.status, 201);
    let keys: Vec<(String, String)> = (0..6).map(|_| world.admin().key(&json!({"role": "reader"}))).collect();
    let (plain, plain_secret) = world.admin().key(&json!({"scopes": ["a:b"]}));
    // Connections of two processes before the one that serves.
    let mut clients: Vec<(Client, Client)> = Vec::new();
    let first: Vec<Client> = keys.iter().map(|(_, secret)| kept(&world, secret)).collect();
    let (mut plain_one, mut plain_two, mut news) =
        (kept(&world, &plain_secret), kept(&world, &plain_secret), kept(&world, &plain_secret));
    let mut stream = Wire::open(world.server.address);
    stream.send(get("/v1/stream/10000", &keys[0].1));
    assert_eq!((stream.head().starts_with("HTTP/1.1 200"), stream.chunk()), (true, "event 0\n".to_owned()));
    let oldest = world.upgrade();
    for (one, (_, secret)) in first.into_iter().zip(&keys) {
        clients.push((one, kept(&world, secret)));
    }
    let older = world.upgrade();
    let watch = Stopwatch::start();
    let mut expect = |index: usize, expected: &str| {
        let (one, two) = &mut clients[index];
        assert_eq!(code(one, &keys[index].1), expected, "in the oldest process");
        assert_eq!(code(two, &keys[index].1), expected, "in the one after it");
    };
    world.change(&keys[0].0, "revoke", &json!({}));
    expect(0, "key_revoked");
    world.change(&keys[1].0, "disable", &json!({}));
    expect(1, "key_disabled");
    world.change(&keys[2].0, "rotate", &json!({}));
    expect(2, "secret_retired");
    assert_eq!(world.admin().call("DELETE", &format!("/api/v1/keys/{}", keys[3].0), &[], "").status, 204);
    expect(3, "invalid_key");
    expect(4, "allowed");
    let patch = json!({"scopes": []}).to_string();
    assert_eq!(world.admin().call("PATCH", "/api/v1/roles/reader", &[], &patch).status, 200);
    expect(5, "insufficient_scope");
    let (_, young) = world.admin().key(&json!({"scopes": ["a:b"]}));
    assert_eq!(code(&mut news, &young), "allowed", "and a new key is known");
    assert_eq!(code(&mut plain_one, &plain_secret), "allowed");
    world.change(&plain, "disable", &json!({}));
    assert_eq!(code(&mut plain_two, &plain_secret), "key_disabled");
    let rest = String::from_utf8_lossy(&stream.rest()).into_owned();
    assert!(!rest.contains("\r\n0\r\n"), "the stream of the revoked key is cut in the old process");
    assert!(watch.elapsed() < Duration::from_secs(20), "and not only by the grace");
    ends(oldest);
    ends(older);
}

#[test]
fn an_old_process_that_hangs_cannot_hold_up_a_change_nor_answer_against_it() {
    let mut world = World::new();
    let (id, secret) = world.admin().key(&json!({}));
    let mut client = kept(&world, &secret);
    let mut old = world.upgrade();
    old.process.signal(Signal::STOP);
    let watch = Stopwatch::start();
    world.change(&id, "revoke", &json!({}));
    assert!(watch.elapsed() < SOON * 3, "{:?}", watch.elapsed());
    assert!(client.try_get("/v1/x", &secret).is_err(), "it is dead");
    assert_eq!(old.process.wait(END).code(), None);
    eventually("what it counted is merged", || world.usage(&id) == 1 && world.usage_files() == 1);
}

#[test]
fn several_that_hang_are_waited_for_at_once() {
    let mut world = World::new();
    let (id, secret) = world.admin().key(&json!({}));
    let mut old: Vec<_> = (0..6)
        .map(|_| {
            let client = kept(&world, &secret);
            let old = world.upgrade();
            old.process.signal(Signal::STOP);
            (old, client)
        })
        .collect();
    let watch = Stopwatch::start();
    world.change(&id, "revoke", &json!({}));
    assert!(watch.elapsed() < SOON * 4, "{:?}", watch.elapsed());
    for (old, client) in &mut old {
        assert!(client.try_get("/v1/x", &secret).is_err(), "it is dead");
        assert_eq!(old.process.wait(END).code(), None);
    }
}

/// Of a key's secrets the last 16 are remembered; one that leaked must not live on as one that is not.
#[test]
fn a_secret_that_a_rotation_makes_forgotten_ends_in_the_old_process_too() {
    let mut world = World::new();
    let (id, first) = world.admin().key(&json!({}));
    (0..15).for_each(|_| world.change(&id, "rotate", &json!({"grace": "1h"})));
    let mut client = kept(&world, &first);
    let old = world.upgrade();
    world.change(&id, "rotate", &json!({}));
    assert_eq!(code(&mut client, &first), "invalid_key");
    assert_eq!(code(&mut Client::new(world.server.address), &first), "invalid_key");
    ends(old);
}

/// Ends a process that is no child of this one.
struct Stray(Pid);

impl Drop for Stray {
    fn drop(&mut self) {
        // One that has ended is as good.
        let _ = kill_process(self.0, Signal::KILL);
    }
}

#[test]
fn a_signal_starts_the_new_process_and_the_manager_is_told_which_it_is() {
    let fixture = Fixture::new();
    let config = config_file(&fixture);
    let manager = Manager::beside(&fixture);
    let mut server = Process::start(manager.starts(&mut serve(&config))).serving();
    let own = server.process.pid().as_raw_nonzero();
    assert!(manager.told().starts_with(&format!("MAINPID={own}\nREADY=1\n")));
    let (id, secret) = server.admin.key(&json!({}));
    let mut client = Client::new(server.address);
    assert_eq!(client.get("/v1/x", &secret).status, 200);
    // A file that cannot be read any more: the child fails, and the old process goes on.
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, "nonsense").unwrap();
    server.process.signal(Signal::USR2);
    eventually("it says so", || server.process.stdout().contains("the new process failed"));
    assert_eq!(client.get("/v1/x", &secret).header("connection"), Some("keep-alive"));
    fs::write(&config, text).unwrap();
    server.process.signal(Signal::USR2);
    // The old process says it too: it may end before the new one does.
    let told = [manager.told(), manager.told()];
    let pid = |told: &String| told.strip_prefix("MAINPID=").unwrap().lines().next().unwrap().parse().unwrap();
    let pids: [i32; 2] = [pid(&told[0]), pid(&told[1])];
    let _stray = Stray(Pid::from_raw(pids[0]).unwrap());
    assert!(pids[0] != own.get() && pids[0] == pids[1], "{told:?}");
    let ready = told.iter().filter(|told| told.contains("\nREADY=1\n")).count();
    assert_eq!(ready, 1, "{told:?}");
    assert_eq!(client.get("/v1/x", &secret).status, 200);
    assert_eq!(client.get("/v1/x", &secret).status, 200, "on a new connection, to the new process");
    // Its output goes where the old one's went, so that does not end.
    eventually("the old process ends", || server.process.has_ended());
    eventually("all is counted", || server.admin.show(&id)["usage"]["requests"] == 4);
    assert_eq!(client.get("/v1/x", &secret).status, 200);
}
