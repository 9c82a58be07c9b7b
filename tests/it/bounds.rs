//! What a client may not do: each bound strikes, is answered as it says, and is counted; and what is within it passes.

use std::io::Write;
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::support::{
    Admin, Fixture, Gateway, Process, Stopwatch, Wire, config_file, eventually, get, post, serve,
};

const ROUTE: &str = "[[routes]]\npath = \"/\"\nupstream = \"api\"\n";

fn world(lines: &str) -> (Fixture, Gateway, String) {
    let fixture = Fixture::with(&format!("[gateway]\nlisten = [\"127.0.0.1:0\"]\n{lines}\n{ROUTE}"));
    let gateway = fixture.start();
    let (_, secret) = gateway.admin.key(&json!({}));
    (fixture, gateway, secret)
}

/// How often each bound has struck that has.
fn struck(admin: &Admin) -> Vec<(String, u64)> {
    let metrics = admin.metrics();
    let series = metrics.lines().filter_map(|line| {
        let (name, count) = line.strip_prefix("portcullis_bounds_hit_total{bound=\"")?.split_once("\"} ")?;
        Some((name.to_owned(), count.parse().unwrap()))
    });
    series.filter(|(_, count)| *count > 0).collect()
}

fn assert_struck(gateway: &Gateway, name: &str, count: u64) {
    assert_eq!(struck(&gateway.admin), [(name.to_owned(), count)]);
}

#[test]
fn the_fields_of_a_head_are_counted() {
    let (fixture, gateway, secret) = world("max_request_headers = 10");
    let head = |more: usize| {
        let fields: String = (0..more).map(|n| format!("x-{n}: y\r\n")).collect();
        get("/", &secret).replace("\r\n\r\n", &format!("\r\n{fields}\r\n"))
    };
    let mut wire = Wire::open(gateway.address);
    assert_eq!(wire.ask(head(8)).status, 200);
    let answer = wire.ask(head(9));
    assert_eq!((answer.status, answer.code().as_str(), answer.closed), (431, "header_too_large", true));
    assert!(answer.json()["detail"].as_str().unwrap().contains("10 header fields"), "{answer:?}");
    // Beyond what the reader of heads itself takes, it is the same answer.
    assert_eq!(Wire::open(gateway.address).ask(head(260)).code(), "header_too_large");
    assert_struck(&gateway, "header_count", 2);
    assert_eq!(fixture.upstream.count(), 1);
}

#[test]
fn a_connection_carries_so_many_requests() {
    let (fixture, gateway, secret) = world("max_requests_per_connection = 3");
    let mut wire = Wire::open(gateway.address);
    let closed: Vec<bool> = (0..3).map(|_| wire.ask(get("/", &secret)).closed).collect();
    assert_eq!(closed, [false, false, true], "the last answer says so");
    wire.assert_closed_cleanly();
    // Refusals are requests too.
    let mut wire = Wire::open(gateway.address);
    let closed: Vec<bool> = (0..3).map(|_| wire.ask(get("/", "nobody")).closed).collect();
    assert_eq!(closed, [false, false, true]);
    wire.assert_closed_cleanly();
    assert_struck(&gateway, "requests_per_connection", 2);
    assert_eq!(fixture.upstream.count(), 3);
}

#[test]
fn a_kept_connection_may_wait_so_long() {
    let (_fixture, gateway, secret) = world("idle_timeout = \"1s\"");
    let mut wire = Wire::open(gateway.address);
    assert_eq!(wire.ask(get("/", &secret)).status, 200);
    let watch = Stopwatch::start();
    wire.assert_closed_cleanly();
    assert!((Duration::from_millis(900)..Duration::from_secs(5)).contains(&watch.elapsed()));
    assert_struck(&gateway, "idle_timeout", 1);
}

#[test]
fn heads_are_bounded_in_time_and_size_and_bodies_in_size() {
    let (_fixture, gateway, secret) =
        world("header_timeout = \"300ms\"\nmax_request_header = \"1KiB\"\nmax_request_body = \"10\"");
    Wire::open(gateway.address).assert_closed();
    let mut half = Wire::open(gateway.address);
    half.send("GET / HT");
    assert_eq!(half.answer().code(), "request_timeout");
    assert_struck(&gateway, "header_timeout", 2);
    let long = get(&format!("/{}", "a".repeat(1024)), &secret);
    assert_eq!(Wire::open(gateway.address).ask(long).code(), "header_too_large");
    assert_eq!(Wire::open(gateway.address).ask(post("/", &secret, "eleven byte")).code(), "body_too_large");
    let all = struck(&gateway.admin);
    assert!(all.contains(&("header_size".into(), 1)) && all.contains(&("body_size".into(), 1)), "{all:?}");
}

/// The head of a `POST` whose body is to come.
fn head_of_post(secret: &str, framing: &str) -> String {
    format!("POST / HTTP/1.1\r\nhost: it\r\nauthorization: Bearer {secret}\r\n{framing}\r\n\r\n")
}

#[test]
fn a_body_that_stops_is_answered() {
    let (_fixture, gateway, secret) = world("body_timeout = \"400ms\"");
    for (framing, start) in [
        ("content-length: 100", "some"),
        ("transfer-encoding: chunked", "4\r\nsome\r\n"),
        ("content-length: 9", ""),
    ] {
        let mut wire = Wire::open(gateway.address);
        wire.send(head_of_post(&secret, framing));
        wire.send(start);
        let answer = wire.answer();
        assert_eq!((answer.status, answer.code().as_str(), answer.closed), (408, "request_timeout", true));
    }
    assert_struck(&gateway, "body_timeout", 3);
}

#[test]
fn a_body_that_trickles_is_answered_and_one_that_hurries_is_not() {
    let (fixture, gateway, secret) = world("min_body_rate = \"1000\"\nbody_grace = \"500ms\"");
    for framing in ["content-length: 1000", "transfer-encoding: chunked"] {
        let mut wire = Wire::open(gateway.address);
        wire.send(head_of_post(&secret, framing));
        let piece = if framing.starts_with('c') { "x" } else { "1\r\nx\r\n" };
        let watch = Stopwatch::start();
        let answered = (0..40).any(|_| {
            wire.send_some(piece);
            thread::sleep(Duration::from_millis(50));
            gateway_answered(&gateway, framing)
        });
        assert!(answered, "{framing}");
        assert!(watch.elapsed() > Duration::from_millis(450), "the grace: {:?}", watch.elapsed());
        let answer = wire.answer();
        assert_eq!((answer.status, answer.code().as_str(), answer.closed), (408, "request_timeout", true));
    }
    assert_struck(&gateway, "body_rate", 2);
    assert_eq!(fixture.upstream.count(), 0, "no whole request");
    // As slow, and fast enough.
    let mut wire = Wire::open(gateway.address);
    wire.send(head_of_post(&secret, "content-length: 8000"));
    for _ in 0..16 {
        wire.send("x".repeat(500));
        thread::sleep(Duration::from_millis(60));
    }
    assert_eq!(wire.answer().status, 200);
    // A client that has sent all it had to is not measured while its answer is late.
    let mut wire = Wire::open(gateway.address);
    assert_eq!(wire.ask(post("/slow/1500", &secret, "x")).status, 200);
    assert_struck(&gateway, "body_rate", 2);
}

/// Whether the trickling request has been refused: the first by length, the second by chunks.
fn gateway_answered(gateway: &Gateway, framing: &str) -> bool {
    let expected = if framing.starts_with('c') { 1 } else { 2 };
    struck(&gateway.admin).contains(&("body_rate".into(), expected))
}

#[test]
fn a_slow_upstream_is_not_the_clients_fault() {
    let upstream = crate::support::Script::start(|mut stream| {
        crate::support::head_of(&mut stream);
        // Long enough that what fits on the way is too little for the time.
        thread::sleep(Duration::from_secs(7));
        let (mut left, mut bytes) = (32 << 20, vec![0; 1 << 20]);
        while left > 0 {
            left -= std::io::Read::read(&mut stream, &mut bytes).unwrap();
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
    });
    let fixture = Fixture::with(&format!(
        "[gateway]\nlisten = [\"127.0.0.1:0\"]\nmin_body_rate = \"1MiB\"\nbody_grace = \"2s\"\n\
         [upstreams.api]\ntargets = [\"{}\"]\n{ROUTE}",
        upstream.address
    ));
    let gateway = fixture.start();
    let (_, secret) = gateway.admin.key(&json!({}));
    let mut wire = Wire::open(gateway.address);
    wire.send(head_of_post(&secret, &format!("content-length: {}", 32 << 20)));
    wire.send_some(vec![b'x'; 32 << 20]);
    assert_eq!(wire.answer().status, 200);
}

/// CPU time of a process so far, in clock ticks.
fn ticks(process: &Process) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid().as_raw_pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn without_file_descriptors_it_neither_ends_nor_spins_and_recovers() {
    let fixture = Fixture::new();
    let mut command = std::process::Command::new("sh");
    let plain = serve(&config_file(&fixture));
    command.args(["-c", "ulimit -n 80; exec \"$0\" \"$@\""]).arg(plain.get_program()).args(plain.get_args());
    command.env("PORTCULLIS_ADMIN_TOKEN", crate::support::TOKEN).current_dir(fixture.folder.path());
    command.stdin(std::process::Stdio::null());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let server = Process::start(&mut command).serving();
    let (_, secret) = server.admin.key(&json!({}));
    let mut first = Wire::open(server.address);
    assert_eq!(first.ask(get("/v1", &secret)).status, 200);
    let crowd: Vec<Wire> = (0..150).map(|_| Wire::open(server.address)).collect();
    eventually("it says so", || server.process.stdout().contains("connections cannot be accepted"));
    // One who is in is served on, by the upstream connection that is kept.
    assert_eq!(first.ask(get("/v1", &secret)).status, 200);
    let before = ticks(&server.process);
    thread::sleep(Duration::from_secs(1));
    let spent = ticks(&server.process) - before;
    assert!(spent < 30, "{spent} ticks of CPU in a second of nothing");
    drop(crowd);
    eventually("it serves again", || {
        let mut wire = Wire::open(server.address);
        wire.send_some(get("/v1", &secret));
        wire.rest_for_now().starts_with(b"HTTP/1.1 200")
    });
    let said = server.process.stdout().matches("connections cannot be accepted").count();
    assert!(said < 20, "said {said} times");
}
