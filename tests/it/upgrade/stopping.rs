//! A stop in the middle of an upgrade waits for nobody, and nobody takes over after it.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use super::{END, World, upgrading};
use crate::support::{
    Client, Fixture, Manager, Process, Server, Stopwatch, Wire, config_file, eventually, get, serve, within,
};

/// A stop is to be over in this time, on a machine that is busy too: a new process would be waited for for longer.
const SOON: Duration = Duration::from_secs(8);
/// Attempts to stop a new process between its being given the store and its serving.
const ATTEMPTS: usize = 20;

/// Stops the serving process while a request runs, which ends as it should.
fn stops_soon(world: &mut World, secret: &str) {
    let mut running = Wire::open(world.server.address);
    running.send(get("/v1/slow/1000", secret));
    eventually("it runs", || world.fixture.upstream.seen().iter().any(|one| one.target().contains("slow")));
    let watch = Stopwatch::start();
    world.server.process.signal(Signal::TERM);
    assert!(running.head().starts_with("HTTP/1.1 200"), "what runs is finished");
    assert_eq!(world.server.process.wait(END).code(), Some(0), "{}", world.server.process.stdout());
    assert!(watch.elapsed() < SOON, "{:?}", watch.elapsed());
}

#[test]
fn a_stop_does_not_wait_for_a_process_that_asks_and_says_nothing() {
    for says in [&[][..], &[1, 1, 0, 0, 0, 1][..]] {
        let mut world = World::new();
        let (_, secret) = world.admin().key(&json!({}));
        let mut line =
            UnixStream::connect(world.fixture.store_path().with_extension("upgrade.sock")).unwrap();
        line.write_all(says).unwrap();
        if !says.is_empty() {
            eventually("it is heard", || world.server.process.stdout().contains("a new process takes over"));
        }
        // What it would wait for is asked for under the lock that a reload's answer to the manager takes too.
        world.server.process.signal(Signal::HUP);
        stops_soon(&mut world, &secret);
    }
}

#[test]
fn a_stop_does_not_wait_for_a_new_process_that_has_the_store_and_hangs() {
    let caught = (0..ATTEMPTS).any(|_| {
        let mut world = World::new();
        let (id, secret) = world.admin().key(&json!({}));
        assert_eq!(Client::new(world.server.address).get("/v1/x", &secret).status, 200);
        let aside = world.fixture.folder.path().join("portcullis.usage.1");
        let mut new = upgrading(&world.config);
        within(END, "the store is given", || fs::exists(&aside).unwrap().then_some(()));
        new.signal(Signal::STOP);
        // What it said by then is heard.
        thread::sleep(Duration::from_millis(100));
        if world.server.process.stdout().contains("a new process serves") {
            return false;
        }
        stops_soon(&mut world, &secret);
        assert_eq!(new.wait(END).code(), None, "it would serve as one that nobody knows of");
        let said = world.server.process.stdout();
        assert!(!said.contains("a new process serves") && !said.contains("does not open again"), "{said}");
        assert_eq!(world.usage_files(), 1, "its file has its name again");
        world.server = Server::start(&world.config);
        assert_eq!(world.usage(&id), 2);
        true
    });
    assert!(caught, "none hung while it had the store");
}

/// The manager takes for stopping the process that it knows as the main one, whoever says it.
#[test]
fn only_the_process_that_serves_says_that_it_stops() {
    let fixture = Fixture::with("[[routes]]\npath = \"/v1\"\nupstream = \"api\"\n");
    let (config, manager) = (config_file(&fixture), Manager::beside(&fixture));
    let mut old = Process::start(manager.starts(&mut serve(&config))).serving();
    assert!(manager.told().contains("\nREADY=1\n"));
    let (_, secret) = old.admin.key(&json!({}));
    let mut running = Wire::open(old.address);
    running.send(get("/v1/slow/1000", &secret));
    eventually("it runs", || fixture.upstream.count() == 1);
    let mut new = Process::start(manager.starts(serve(&config).arg("--upgrade"))).serving();
    let told = [manager.told(), manager.told()];
    assert!(told.iter().all(|told| told.starts_with("MAINPID=")), "{told:?}");
    old.process.signal(Signal::TERM);
    assert!(running.head().starts_with("HTTP/1.1 200"), "what runs is finished");
    assert_eq!(old.process.wait(END).code(), Some(0));
    new.process.signal(Signal::TERM);
    assert_eq!(new.process.wait(END).code(), Some(0));
    assert!(manager.told().starts_with("STOPPING=1\n"));
}
