//! Collectors that do not do what they should: requests do not notice, and what is lost is counted.

use std::time::Duration;

use rustix::process::Signal;

use super::ROUTES;
use crate::support::{
    Admin, Client, Collector, DeadPort, Fixture, Mood, Process, Stopwatch, config_file, eventually, serve,
};

/// A series of `portcullis_trace_spans_total`.
fn spans(admin: &Admin, result: &str) -> u64 {
    let metrics = admin.metrics();
    let name = format!("portcullis_trace_spans_total{{result=\"{result}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
}

#[test]
fn a_dead_collector_costs_no_request_and_is_spoken_of_once() {
    let dead = DeadPort::new();
    let table = format!("[traces]\nenabled = true\nendpoint = \"http://{}/v1/traces\"\n", dead.address);
    let fixture = Fixture::with(&format!("{ROUTES}{table}"));
    let mut server = Process::start(&mut serve(&config_file(&fixture))).serving();
    let mut client = Client::new(server.address);
    // In two batches at least, so that it could be spoken of twice.
    for count in 1..=2 {
        for _ in 0..20 {
            assert_eq!(client.get("/open/x", "").status, 200);
        }
        eventually("they are lost", || spans(&server.admin, "not_sent") == count * 40);
    }
    server.process.signal(Signal::TERM);
    assert_eq!(server.process.wait(Duration::from_secs(10)).code(), Some(0));
    let output = server.process.stdout();
    assert_eq!(output.matches("spans do not reach their collector").count(), 1, "{output}");
}

#[test]
fn a_collector_is_sent_nothing_of_the_environment() {
    let collector = Collector::start();
    let fixture = Fixture::with(&format!("{ROUTES}{}", collector.table("headers = { x-ours = \"1\" }")));
    let mut command = serve(&config_file(&fixture));
    command.env("OTEL_EXPORTER_OTLP_HEADERS", "x-of-the-environment=1");
    let server = Process::start(&mut command).serving();
    assert_eq!(Client::new(server.address).get("/open/x", "").status, 200);
    collector.served(1);
    assert!(collector.holds("x-ours") && !collector.holds("x-of-the-environment"));
}

#[test]
fn a_collector_that_hangs_costs_no_request_and_the_queue_has_a_bound() {
    let collector = Collector::start();
    collector.becomes(Mood::Hangs);
    let fixture = Fixture::with(&format!(
        "[gateway]\nlisten = [\"127.0.0.1:0\"]\nshutdown_grace = \"1m\"\n{ROUTES}{}",
        collector.table("queue = 3\ntimeout = \"1m\"")
    ));
    let gateway = fixture.start();
    let mut client = Client::new(gateway.address);
    assert_eq!(client.get("/open/x", "").status, 200);
    eventually("it is called", || collector.calls() == 1);
    let watch = Stopwatch::start();
    for _ in 0..10 {
        assert_eq!(client.get("/open/x", "").status, 200);
    }
    assert!(watch.elapsed() < Duration::from_secs(5), "nobody waits for it");
    eventually("what has no room is dropped", || spans(&gateway.admin, "queue_full") == 2 * 7);
    let watch = Stopwatch::start();
    gateway.stop();
    assert!(watch.elapsed() < Duration::from_secs(20), "nor does a stop, for long");
}

#[test]
fn a_collector_that_is_back_gets_what_comes_then() {
    let collector = Collector::start();
    collector.becomes(Mood::Refuses);
    let fixture = Fixture::with(&format!("{ROUTES}{}", collector.table("")));
    let gateway = fixture.start();
    let mut client = Client::new(gateway.address);
    client.get("/open/lost", "");
    eventually("it is lost", || spans(&gateway.admin, "not_sent") == 2);
    collector.becomes(Mood::Takes);
    client.get("/open/x", "");
    assert_eq!(collector.served(1)[0].attributes["url.path"], "/open/x");
    eventually("it is counted", || spans(&gateway.admin, "sent") == 2);
}

#[test]
fn a_stop_sends_what_waits() {
    let collector = Collector::start();
    let fixture = Fixture::with(&format!("{ROUTES}{}", collector.table("")));
    let gateway = fixture.start();
    let mut client = Client::new(gateway.address);
    for _ in 0..5 {
        client.get("/open/x", "");
    }
    gateway.stop();
    assert_eq!(collector.spans().iter().filter(|span| span.kind == 2).count(), 5, "before it ends");
}
