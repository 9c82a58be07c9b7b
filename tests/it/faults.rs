//! Faults around the gateway: a usage file that is damaged, and clocks that jump.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use portcullis::clock::{ManualClock, Timestamp};
use serde_json::{Value, json};

use crate::support::{Fixture, Gateway, Server, config_file, get, send};

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

#[test]
fn a_damaged_usage_file_is_set_aside_said_and_counted_and_the_gateway_starts() {
    let fixture = Fixture::new();
    let config = config_file(&fixture);
    let server = Server::start(&config);
    let (id, secret) = server.admin.key(&json!({}));
    for _ in 0..3 {
        assert_eq!(send(server.address, get("/v1/x", &secret)).status, 200);
    }
    // Merged into the ledger, which is what the report reads.
    assert_eq!(server.admin.show(&id)["usage"]["requests"], 3);
    drop(server);
    let usage = fixture.folder.path().join("portcullis.usage");
    let damaged = vec![0xa5; 100_000];
    fs::write(&usage, &damaged).unwrap();
    let server = Server::start(&config);
    let metrics = server.admin.metrics();
    assert!(metrics.contains("portcullis_usage_files_set_aside_total 1\n"), "{metrics}");
    let said = server.process.stdout();
    assert!(
        said.lines().any(|line| line.contains("set aside") && line.contains("portcullis.usage.damaged-1")),
        "{said}"
    );
    assert_eq!(
        fs::read(fixture.folder.path().join("portcullis.usage.damaged-1")).unwrap(),
        damaged,
        "as it was"
    );
    assert_eq!(send(server.address, get("/v1/x", &secret)).status, 200);
    assert_eq!(
        server.admin.show(&id)["usage"]["requests"],
        4,
        "what was merged is kept, and counting goes on"
    );
    drop(server);
    let metrics = String::from_utf8(Server::start(&config).admin.get("/metrics").body).unwrap();
    assert!(metrics.contains("portcullis_usage_files_set_aside_total 0\n"));
}

/// Each number of the value, wherever it stands.
fn numbers(value: &Value, found: &mut Vec<f64>) {
    match value {
        Value::Number(number) => found.extend(number.as_f64()),
        Value::Array(items) => items.iter().for_each(|one| numbers(one, found)),
        Value::Object(map) => map.values().for_each(|one| numbers(one, found)),
        _ => {}
    }
}

/// Nothing that anybody reads is below zero, or as large as what was below zero and lost its sign.
fn assert_sane(gateway: &Gateway, id: &str) {
    let mut found = Vec::new();
    for path in [format!("/api/v1/keys/{id}"), "/api/v1/usage?group_by=key&step=month".to_owned()] {
        let answer = gateway.admin.get(&path);
        assert_eq!(answer.status, 200, "{path}");
        numbers(&answer.json(), &mut found);
    }
    assert!(found.iter().all(|number| (0.0..1e9).contains(number)), "{found:?}");
    let metrics = gateway.admin.metrics();
    let own = metrics.lines().filter(|line| line.starts_with("portcullis_") && !line.contains(" NaN"));
    for line in own {
        let value: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        assert!((0.0..1e9).contains(&value), "{line}");
    }
}

#[test]
fn whatever_the_wall_clock_does_expiries_follow_it_rates_do_not_and_nothing_is_negative() {
    let clock = Arc::new(ManualClock::at(at("2026-11-21T13:00:00Z")));
    let fixture = Fixture::new().clock(Arc::clone(&clock) as _);
    let gateway = fixture.start();
    let (id, secret) = gateway.admin.key(&json!({
        "expires_at": "2026-12-01T00:00:00Z",
        "limits": [{"name": "minute", "requests": 10, "window": "1m"}],
        "quotas": [{"name": "daily", "requests": 1_000, "window": "day"}],
    }));
    let ask = || send(gateway.address, get("/v1/x", &secret));
    let left = |answer: &crate::support::Answer| -> u64 {
        let limit = answer.header("ratelimit").unwrap();
        for part in limit.split([';', ',']) {
            if let Some(seconds) = part.trim().strip_prefix("t=") {
                assert!(seconds.parse::<u64>().unwrap() <= 86_400, "{limit}");
            }
        }
        limit.split("\"minute\";r=").nth(1).unwrap().split(';').next().unwrap().parse().unwrap()
    };
    assert_eq!(left(&ask()), 9);
    let mut spent = 9;
    for (jump, code) in [
        ("2026-11-30T23:59:59Z", None),
        ("2026-12-01T00:00:00Z", Some("key_expired")),
        ("2106-02-07T06:28:16Z", Some("key_expired")),
        ("2026-11-21T12:00:00Z", None),
        ("2001-09-09T01:46:40Z", None),
        ("1970-01-01T00:00:00Z", None),
        ("2026-11-21T13:00:01Z", None),
    ] {
        clock.set_wall(at(jump));
        let answer = ask();
        if let Some(code) = code {
            assert_eq!((answer.status, answer.code().as_str()), (401, code), "{jump}");
        } else {
            spent -= 1;
            assert_eq!((answer.status, left(&answer)), (200, spent), "{jump}");
        }
        assert_sane(&gateway, &id);
        assert_eq!(gateway.admin.get("/readyz").status, 200);
    }
    clock.advance(Duration::from_mins(1));
    assert_eq!(left(&ask()), 9, "the minute itself is what fills it");
    let usage = gateway.admin.show(&id)["usage"].clone();
    assert_eq!((usage["requests"].as_u64(), usage["denied"].as_u64()), (Some(7), Some(2)));
}
