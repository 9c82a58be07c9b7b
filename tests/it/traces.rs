//! Traces: what the upstream and the log are told of the trace that a request belongs to, and the spans that it leaves.

#[cfg(feature = "otlp")]
mod collectors;
#[cfg(feature = "otlp")]
mod spans;

use std::collections::HashSet;
use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Client, Fixture, Gateway, Process, Seen, config_file, eventually, serve};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

const ROUTES: &str = r#"
[[routes]]
path = "/v1"
upstream = "api"
[[routes]]
path = "/open"
upstream = "api"
access = "public"
"#;

/// The client's `traceparent`.
fn parent() -> String {
    format!("00-{TRACE}-{PARENT}-01")
}

/// What the upstream gets of a request with these fields.
fn forwarded(fixture: &Fixture, gateway: &Gateway, fields: &[(&str, &str)]) -> Seen {
    let answer = Client::new(gateway.address).try_send("GET", "/open/x", fields, "").unwrap();
    assert_eq!(answer.status, 200);
    fixture.upstream.last()
}

/// The values of a field.
fn values<'a>(seen: &'a Seen, name: &str) -> Vec<&'a str> {
    let named = seen.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
    named.map(|(_, value)| value.as_str()).collect()
}

#[test]
fn a_gateway_that_takes_no_part_passes_on_what_it_gets_and_adds_nothing() {
    let fixture = Fixture::with(ROUTES);
    let gateway = fixture.start();
    let seen = forwarded(&fixture, &gateway, &[]);
    assert_eq!((values(&seen, "traceparent").len(), values(&seen, "tracestate").len()), (0, 0));
    let state = "x".repeat(600);
    for parent in [parent(), "nonsense".to_owned()] {
        let seen = forwarded(&fixture, &gateway, &[("traceparent", &parent), ("tracestate", &state)]);
        assert_eq!(values(&seen, "traceparent"), [&parent]);
        assert_eq!(values(&seen, "tracestate"), [&state]);
    }
}

#[test]
fn a_valid_parent_is_continued_and_any_other_replaced() {
    let fixture = Fixture::with(&format!("{ROUTES}[traces]\nenabled = true\n"));
    let gateway = fixture.start();
    let mut ids = HashSet::new();
    let mut parts = |seen: &Seen| -> Vec<String> {
        let all = values(seen, "traceparent");
        assert_eq!(all.len(), 1, "{all:?}");
        let parts: Vec<String> = all[0].split('-').map(str::to_owned).collect();
        assert_eq!((all[0].len(), parts.len(), &*parts[0]), (55, 4, "00"));
        assert!(ids.insert(parts[2].clone()), "each span has an ID of its own");
        parts
    };
    for flags in ["00", "01"] {
        let parent = format!("00-{TRACE}-{PARENT}-{flags}");
        let seen = forwarded(&fixture, &gateway, &[("traceparent", &parent), ("tracestate", "a=1,b=2")]);
        let parts = parts(&seen);
        assert_eq!((&*parts[1], &*parts[3]), (TRACE, flags), "the trace and its flags are kept");
        assert_ne!(parts[2], PARENT, "the parent is a span of ours");
        assert_eq!(values(&seen, "tracestate"), ["a=1,b=2"]);
    }
    let good = parent();
    let bad = [
        good.replacen("00", "ff", 1),
        good.to_uppercase(),
        good.replace(TRACE, &"0".repeat(32)),
        good.replace(PARENT, &"0".repeat(16)),
        good[1..].to_owned(),
        format!("{good}-01"),
    ];
    let mut traces = HashSet::new();
    for bad in &bad {
        let seen = forwarded(&fixture, &gateway, &[("traceparent", bad), ("tracestate", "a=1")]);
        let parts = parts(&seen);
        assert!(parts[1] != TRACE && traces.insert(parts[1].clone()), "{bad} begins a new trace");
        assert_eq!(values(&seen, "tracestate").len(), 0, "{bad}: it belongs to the other trace");
    }
    let two = [("traceparent", &*good), ("traceparent", &*good)];
    assert_ne!(parts(&forwarded(&fixture, &gateway, &two))[1], TRACE, "two of them are none");
    assert_ne!(parts(&forwarded(&fixture, &gateway, &[]))[1], TRACE);
}

#[test]
fn a_state_goes_on_within_its_bounds() {
    let fixture = Fixture::with(&format!("{ROUTES}[traces]\nenabled = true\n"));
    let gateway = fixture.start();
    let parent = parent();
    let state = |given: &[&str]| {
        let mut fields = vec![("traceparent", &*parent)];
        fields.extend(given.iter().map(|value| ("tracestate", *value)));
        values(&forwarded(&fixture, &gateway, &fields), "tracestate").join("|")
    };
    assert_eq!(state(&["a=1", "b=2, c=3"]), "a=1,b=2,c=3", "several fields are one");
    let many = |count: usize| (0..count).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
    assert_eq!(state(&[&many(32)]), many(32));
    assert_eq!(state(&[&many(33)]), "");
    let large = format!("large={}", "x".repeat(300));
    let kept = state(&[&format!("{large},{large}2,small=1")]);
    assert_eq!(kept, "small=1", "the large ones go where there is no room for all");
}

/// The values of a field of the access lines.
fn logged(output: &str, field: &str) -> Vec<Value> {
    let lines = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["target"] == "access").map(|line| line[field].clone()).collect()
}

#[test]
fn the_trace_is_in_the_access_line_and_in_the_line_of_what_went_wrong() {
    for table in ["", "[traces]\nenabled = true\n"] {
        let fixture = Fixture::with(&format!("{ROUTES}{table}"));
        let config = config_file(&fixture);
        let text = fs::read_to_string(&config).unwrap().replace("access = false", "access = true");
        fs::write(&config, text).unwrap();
        let mut server = Process::start(&mut serve(&config)).serving();
        let parent = parent();
        for (path, fields) in [
            ("/open/x", vec![("traceparent", &*parent)]),
            ("/open/drop", vec![("traceparent", &*parent)]),
            ("/v1/refused", vec![("traceparent", &*parent)]),
            ("/open/x", vec![]),
            ("/open/x", vec![("traceparent", "nonsense")]),
        ] {
            Client::new(server.address).try_send("GET", path, &fields, "").unwrap();
        }
        server.process.signal(Signal::TERM);
        server.process.wait(std::time::Duration::from_secs(10));
        let output = server.process.stdout();
        let ids = logged(&output, "trace_id");
        assert_eq!(ids[..3], [json!(TRACE), json!(TRACE), json!(TRACE)], "{output}");
        let own = |id: &Value| id.as_str().is_some_and(|id| id.len() == 32 && id != TRACE);
        match table {
            "" => assert!(ids[3..].iter().all(Value::is_null), "{ids:?}"),
            _ => assert!(ids[3..].iter().all(own), "{ids:?}"),
        }
        let wrong = output.lines().find(|line| line.contains("request failed at the upstream")).unwrap();
        assert!(wrong.contains(TRACE), "{wrong}");
    }
}

#[test]
fn a_reload_begins_and_ends_the_gateways_part() {
    let fixture = Fixture::with(ROUTES);
    let gateway = fixture.start();
    let parts = || values(&forwarded(&fixture, &gateway, &[]), "traceparent").len();
    assert_eq!(parts(), 0);
    let on = format!("{}[traces]\nenabled = true\n", fixture.text());
    let done =
        gateway.app().reload(&crate::support::parse_with(&on, fixture.folder.path(), &|_| None)).unwrap();
    assert_eq!(done.needs_restart, [""; 0]);
    eventually("it takes part", || parts() == 1);
    gateway.app().reload(&fixture.config()).unwrap();
    assert_eq!(parts(), 0);
}
