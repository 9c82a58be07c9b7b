//! The spans of a request: who belongs to whom, what they say, and what they never say.

use std::collections::HashMap;

use serde_json::json;

use super::{PARENT, ROUTES, TRACE, parent};
use crate::support::{Client, Collector, DeadPort, Fixture, Gateway, Told};

/// A gateway that sends its spans.
struct World {
    collector: Collector,
    fixture: Fixture,
    gateway: Gateway,
    key: (String, String),
}

impl World {
    fn new(more: &str) -> Self {
        let collector = Collector::start();
        let fixture = Fixture::with(&format!("{ROUTES}{}", collector.table(more)));
        let gateway = fixture.start();
        let key = gateway.admin.key(&json!({}));
        Self { collector, fixture, gateway, key }
    }

    /// A `GET` with the key and these fields: its status.
    fn get(&self, path: &str, fields: &[(&str, &str)]) -> u16 {
        let credential = format!("Bearer {}", self.key.1);
        let mut all = vec![("authorization", &*credential)];
        all.extend_from_slice(fields);
        Client::new(self.gateway.address).try_send("GET", path, &all, "").unwrap().status
    }
}

/// Whether a span says so.
fn says(span: &Told, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        assert_eq!(span.attributes.get(*name).map(String::as_str), Some(*value), "{name}: {span:?}");
    }
}

#[test]
fn a_request_is_a_span_of_its_client_and_its_try_is_one_of_it_and_the_upstream_one_of_that() {
    let world = World::new("service_name = \"edge\"");
    assert_eq!(world.get("/v1/slow/30?x=1", &[("traceparent", &parent())]), 200);
    let server = world.collector.served(1).remove(0);
    assert_eq!((&*server.trace, &*server.parent, &*server.service), (TRACE, PARENT, "edge"));
    assert_eq!((&*server.name, server.failed), ("GET /v1", false));
    says(
        &server,
        &[
            ("http.request.method", "GET"),
            ("url.path", "/v1/slow/30"),
            ("url.scheme", "http"),
            ("http.route", "/v1"),
            ("http.response.status_code", "200"),
            ("server.address", "localhost"),
            ("client.address", "127.0.0.1"),
            ("network.protocol.version", "1.1"),
            ("portcullis.key.id", &world.key.0),
            ("portcullis.outcome", "allowed"),
        ],
    );
    assert!(!server.attributes.contains_key("error.type"));
    let tries = world.collector.below(&server);
    assert_eq!(tries.len(), 1);
    let address = world.fixture.upstream.address;
    says(
        &tries[0],
        &[
            ("http.request.method", "GET"),
            ("http.response.status_code", "200"),
            ("server.address", "127.0.0.1"),
            ("server.port", &address.port().to_string()),
            ("portcullis.upstream", "api"),
        ],
    );
    assert_eq!(tries[0].kind, 3);
    let told = format!("00-{TRACE}-{}-01", tries[0].id);
    assert_eq!(world.fixture.upstream.last().header("traceparent"), Some(&*told), "its parent is the try");
    let (outer, inner) = (server.nanos, tries[0].nanos);
    assert!(outer.0 <= inner.0 && inner.1 <= outer.1, "one within the other: {outer:?} {inner:?}");
    assert!(inner.1 - inner.0 >= 30_000_000, "as long as the upstream took: {inner:?}");
}

#[test]
fn refused_and_failed_requests_have_spans_too() {
    let world = World::new("");
    let mut client = Client::new(world.gateway.address);
    assert_eq!(client.get("/v1/refused", "").status, 401);
    assert_eq!(client.get("/nowhere", "").status, 404);
    assert_eq!(world.get("/v1/status/503", &[]), 503);
    assert_eq!(world.get("/v1/drop", &[]), 502);
    let spans: HashMap<String, Told> = world
        .collector
        .served(4)
        .into_iter()
        .map(|span| (span.attributes["url.path"].clone(), span))
        .collect();
    let refused = &spans["/v1/refused"];
    says(refused, &[("http.response.status_code", "401"), ("portcullis.outcome", "missing_key")]);
    assert!(!refused.failed && !refused.attributes.contains_key("error.type"), "its client's fault");
    assert!(refused.parent.is_empty(), "the trace begins here");
    assert_eq!(world.collector.below(refused).len(), 0, "nothing was tried");
    assert_eq!(spans["/nowhere"].name, "GET none");
    says(&spans["/v1/status/503"], &[("error.type", "503"), ("portcullis.outcome", "allowed")]);
    let dropped = &spans["/v1/drop"];
    says(dropped, &[("error.type", "upstream_failed"), ("http.response.status_code", "502")]);
    assert!(dropped.failed);
    let tries = world.collector.below(dropped);
    // On the kept connection, and then on a new one.
    let failed = |one: &Told| one.failed && one.attributes["error.type"] == "ConnectionClosed";
    assert!(!tries.is_empty() && tries.iter().all(failed), "{tries:?}");
}

#[test]
fn each_try_is_a_span_and_the_upstream_hears_of_its_own() {
    let (collector, dead) = (Collector::start(), DeadPort::new());
    let targets = format!("[upstreams.api]\ntargets = [\"{}\", \"{{upstream}}\"]\n", dead.address);
    let fixture = Fixture::with(&format!("{targets}{ROUTES}{}", collector.table("")));
    let gateway = fixture.start();
    // The first turn is the dead one's.
    assert_eq!(Client::new(gateway.address).get("/open/x", "").status, 200);
    let tries = collector.below(&collector.served(1)[0]);
    assert_eq!(tries.len(), 2);
    let port = |one: &Told| one.attributes["server.port"].clone();
    let (failed, good): (Vec<&Told>, Vec<&Told>) = tries.iter().partition(|one| one.failed);
    assert_eq!((failed.len(), port(failed[0])), (1, dead.address.port().to_string()));
    says(failed[0], &[("error.type", "ConnectRefused")]);
    says(good[0], &[("http.request.resend_count", "1"), ("http.response.status_code", "200")]);
    assert!(fixture.upstream.last().header("traceparent").unwrap().contains(&good[0].id));
}

#[test]
fn no_span_holds_a_secret() {
    let world = World::new("headers = { authorization = \"Bearer of-the-collector\" }");
    let secret = &world.key.1;
    world
        .get(&format!("/v1/{secret}/x?api_key={secret}"), &[("x-request-id", secret), ("tracestate", "a=1")]);
    let host = Client::new(world.gateway.address).try_send("GET", "/open", &[("x-a", secret)], "").unwrap();
    assert_eq!(host.status, 200);
    world.collector.served(2);
    assert!(world.collector.holds("Bearer of-the-collector"), "the collector is told who calls");
    assert!(!world.collector.holds(&secret[secret.len() - 20..]));
}

#[test]
fn a_span_holds_so_much_of_a_path_and_no_more() {
    let world = World::new("");
    let path = format!("/v1/{}", "x".repeat(3000));
    assert_eq!(world.get(&path, &[]), 200);
    assert_eq!(world.collector.served(1)[0].attributes["url.path"], path[..1024]);
}

#[test]
fn the_ratio_is_for_traces_that_begin_here_and_the_clients_flag_for_its_own() {
    let (none, all) = (World::new("sample = 0"), World::new("sample = 1.0"));
    for world in [&none, &all] {
        assert_eq!(world.get("/v1/begins-here", &[]), 200);
        let flags = world.fixture.upstream.last().header("traceparent").unwrap()[53..].to_owned();
        assert_eq!(flags, if std::ptr::eq(world, &raw const none) { "00" } else { "01" });
        for (path, flags) in [("/v1/kept", "01"), ("/v1/not-kept", "00")] {
            let parent = format!("00-{TRACE}-{PARENT}-{flags}");
            assert_eq!(world.get(path, &[("traceparent", &parent)]), 200);
        }
    }
    let paths = |world: World, count: usize| {
        let World { collector, gateway, .. } = world;
        // What waits is sent at the end.
        gateway.stop();
        let mut paths: Vec<String> =
            collector.served(count).iter().map(|span| span.attributes["url.path"].clone()).collect();
        paths.sort();
        paths
    };
    assert_eq!(paths(none, 1), ["/v1/kept"]);
    assert_eq!(paths(all, 2), ["/v1/begins-here", "/v1/kept"]);
}
