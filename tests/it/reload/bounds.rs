//! Bounds that a reload changes: they hold for what begins after it, on connections that were there before too.

use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::support::{Fixture, Gateway, Stopwatch, Wire, eventually, get, parse_with, post};

const ROUTES: &str = "[[routes]]\npath = \"/\"\nupstream = \"api\"\n";

struct World {
    fixture: Fixture,
    gateway: Gateway,
    secret: String,
}

impl World {
    fn new(lines: &str) -> Self {
        let fixture = Fixture::with(&format!("[gateway]\nlisten = [\"127.0.0.1:0\"]\n#\n{lines}\n{ROUTES}"));
        let gateway = fixture.start();
        let (_, secret) = gateway.admin.key(&json!({}));
        Self { fixture, gateway, secret }
    }

    /// Puts these lines of `[gateway]` in force beside those of the start.
    fn reload(&self, lines: &str) {
        let text = self.fixture.text().replacen('#', lines, 1);
        let config = parse_with(&text, self.fixture.folder.path(), &|_| None);
        let done = self.gateway.app().reload(&config).unwrap();
        assert_eq!(done.needs_restart, [""; 0]);
    }

    fn open(&self) -> Wire {
        Wire::open(self.gateway.address)
    }

    fn request(&self) -> String {
        get("/x", &self.secret)
    }
}

#[test]
fn heads_have_the_new_bounds_on_connections_that_were_there_before_too() {
    let world = World::new("");
    let (mut small, mut slow) = (world.open(), world.open());
    for wire in [&mut small, &mut slow] {
        assert_eq!(wire.ask(world.request()).status, 200);
    }
    let long = get(&format!("/{}", "a".repeat(1024)), &world.secret);
    assert_eq!(small.ask(&long).status, 200);
    world.reload("max_request_header = \"1KiB\"\nheader_timeout = \"300ms\"");
    assert_eq!(small.ask(&long).code(), "header_too_large");
    for kept in [Some(slow), None] {
        let mut wire = kept.unwrap_or_else(|| world.open());
        let watch = Stopwatch::start();
        wire.send("GET /x HT");
        assert_eq!(wire.answer().code(), "request_timeout");
        assert!(watch.elapsed() < Duration::from_secs(5), "{:?}", watch.elapsed());
    }
    world.reload("max_request_headers = 8");
    let fields = "x: y\r\n".repeat(8);
    let many = world.request().replace("\r\n\r\n", &format!("\r\n{fields}\r\n"));
    assert_eq!(world.open().ask(&many).status, 431);
    world.reload("");
    let mut wire = world.open();
    assert_eq!((wire.ask(many).status, wire.ask(long).status), (200, 200), "and back");
}

#[test]
fn connections_wait_and_last_as_long_as_the_new_bounds_say() {
    let world = World::new("");
    let mut wire = world.open();
    assert_eq!(wire.ask(world.request()).status, 200);
    world.reload("idle_timeout = \"1s\"\nmax_requests_per_connection = 3");
    assert!(!wire.ask(world.request()).closed);
    let watch = Stopwatch::start();
    wire.assert_closed();
    assert!(watch.elapsed() < Duration::from_secs(10), "it waits no longer: {:?}", watch.elapsed());
    let mut wire = world.open();
    let closed: Vec<bool> = (0..3).map(|_| wire.ask(world.request()).closed).collect();
    assert_eq!(closed, [false, false, true]);
}

#[test]
fn the_number_of_connections_follows_the_bound_up_and_down() {
    let world = World::new("max_connections = 2");
    let mut held = [world.open(), world.open()];
    for wire in &mut held {
        assert_eq!(wire.ask(world.request()).status, 200);
    }
    world.open().assert_closed();
    let config = |most: u32| {
        let text = world.fixture.text().replace("max_connections = 2", &format!("max_connections = {most}"));
        let config = parse_with(&text, world.fixture.folder.path(), &|_| None);
        assert_eq!(world.gateway.app().reload(&config).unwrap().needs_restart, [""; 0]);
    };
    config(3);
    let mut third = world.open();
    assert_eq!(third.ask(world.request()).status, 200);
    world.open().assert_closed();
    config(1);
    for wire in held.iter_mut().chain([&mut third]) {
        assert_eq!(wire.ask(world.request()).status, 200, "who has a place keeps it");
    }
    world.open().assert_closed();
    drop((held, third));
    eventually("there is one place", || {
        let mut wire = world.open();
        wire.send_some(world.request());
        wire.rest_for_now().starts_with(b"HTTP/1.1 200")
    });
}

#[test]
fn bodies_have_the_new_bounds() {
    let world = World::new("");
    world.reload("body_timeout = \"300ms\"\nmax_request_body = \"10\"");
    let head = post("/x", &world.secret, "123456789");
    let mut wire = world.open();
    wire.send(&head[..head.len() - 4]);
    assert_eq!(wire.answer().code(), "request_timeout");
    assert_eq!(world.open().ask(post("/x", &world.secret, "eleven byte")).code(), "body_too_large");
    world.reload("body_timeout = \"1m\"");
    let mut wire = world.open();
    wire.send(&head[..head.len() - 4]);
    thread::sleep(Duration::from_millis(600));
    wire.send(&head[head.len() - 4..]);
    assert_eq!(wire.answer().status, 200);
}

#[test]
fn http2_is_spoken_from_the_reload_on() {
    let world = World::new("");
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut settings = preface.as_bytes().to_vec();
    settings.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
    let spoken = || {
        let mut wire = world.open();
        wire.send_some(&settings);
        // The other side's SETTINGS come first.
        wire.rest_for_now().get(3) == Some(&4)
    };
    assert!(!spoken());
    world.reload("h2c = true");
    assert!(spoken());
}

#[test]
fn a_stop_waits_for_as_long_as_the_file_says_last() {
    let world = World::new("shutdown_grace = \"1h\"");
    let text = world.fixture.text().replace("\"1h\"", "\"200ms\"");
    let config = parse_with(&text, world.fixture.folder.path(), &|_| None);
    assert_eq!(world.gateway.app().reload(&config).unwrap().needs_restart, [""; 0]);
    let mut wire = world.open();
    wire.send(get("/hang", &world.secret));
    eventually("it runs", || world.fixture.upstream.count() == 1);
    let watch = Stopwatch::start();
    world.gateway.stop();
    assert!(watch.elapsed() < Duration::from_secs(10), "{:?}", watch.elapsed());
}
