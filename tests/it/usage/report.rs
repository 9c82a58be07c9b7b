//! `GET /api/v1/usage`: time, groups, filters and pages.

use std::sync::Arc;
use std::time::Duration;

use portcullis::clock::{ManualClock, Timestamp};
use serde_json::{Value, json};

use super::rows;
use crate::support::{Client, Fixture, Gateway};

/// 2026-02-27T22:30:00Z, a Friday.
const START: &str = "2026-02-27T22:30:00Z";

const TWO_ROUTES: &str = r#"
[[routes]]
path = "/a"
upstream = "api"
[[routes]]
path = "/b"
upstream = "api"
scopes = ["b:read"]
"#;

/// One key of an owner that asks `/a` once each hour for four days, and another without an owner that asks `/a` and is
/// refused on `/b` once a day.
fn history() -> (Gateway, [String; 2]) {
    let clock = Arc::new(ManualClock::at(Timestamp::parse_rfc3339(START).unwrap()));
    let gateway = Fixture::with(TWO_ROUTES).clock(clock.clone()).start();
    let (hourly, first) = gateway.admin.key(&json!({"owner": "acme"}));
    let (daily, second) = gateway.admin.key(&json!({}));
    let mut client = Client::new(gateway.address);
    for hour in 0..96 {
        assert_eq!(client.get("/a", &first).status, 200);
        if hour % 24 == 0 {
            assert_eq!(client.get("/a/deep", &second).status, 200);
            assert_eq!(client.get("/b", &second).status, 403);
        }
        clock.advance(Duration::from_hours(1));
    }
    (gateway, [hourly, daily])
}

fn counts(rows: &[Value]) -> Vec<(&str, u64, u64)> {
    rows.iter()
        .map(|row| {
            let start = row["start"].as_str().unwrap();
            (start, row["requests"].as_u64().unwrap(), row["denied"].as_u64().unwrap())
        })
        .collect()
}

#[test]
fn steps_are_calendar_hours_days_and_months_in_utc() {
    let (gateway, _) = history();
    let hours = rows(&gateway.admin, "step=hour&limit=200");
    assert_eq!(hours.len(), 96);
    assert_eq!(counts(&hours)[..2], [("2026-02-27T22:00:00Z", 2, 1), ("2026-02-27T23:00:00Z", 1, 0)]);
    let days = [
        ("2026-02-27T00:00:00Z", 3, 1),
        ("2026-02-28T00:00:00Z", 25, 1),
        ("2026-03-01T00:00:00Z", 25, 1),
        ("2026-03-02T00:00:00Z", 25, 1),
        ("2026-03-03T00:00:00Z", 22, 0),
    ];
    assert_eq!(counts(&rows(&gateway.admin, "step=day")), days);
    assert_eq!(counts(&rows(&gateway.admin, "")), days, "a day where no step is named");
    let months = [("2026-02-01T00:00:00Z", 28, 2), ("2026-03-01T00:00:00Z", 72, 2)];
    assert_eq!(counts(&rows(&gateway.admin, "step=month")), months);
}

#[test]
fn from_is_rounded_down_and_to_up_to_the_hour() {
    let (gateway, _) = history();
    let cases = [
        ("from=2026-02-28T00:00:00Z&to=2026-02-28T02:00:00Z", 2),
        ("from=2026-02-28T00:59:59Z&to=2026-02-28T01:00:00.001Z", 2),
        ("from=2026-02-28T02:00:00%2B02:00&to=2026-02-28T01:00:00Z", 1),
        ("from=2026-02-28T00:00:00Z&to=2026-02-28T00:00:00Z", 0),
        ("from=2026-02-28T00:10:00Z&to=2026-02-28T00:10:00Z", 1),
        ("to=2026-02-27T23:00:00Z", 1),
        ("from=2026-03-03T21:00:00Z", 1),
        ("from=2030-01-01T00:00:00Z&to=2031-01-01T00:00:00Z", 0),
    ];
    for (query, hours) in cases {
        for filter in ["", "&owner=acme"] {
            assert_eq!(
                rows(&gateway.admin, &format!("{query}{filter}&step=hour")).len(),
                hours,
                "{query}{filter}"
            );
        }
    }
}

#[test]
fn groups_divide_and_filters_choose() {
    let (gateway, [hourly, daily]) = history();
    let month = "step=month&from=2026-03-01T00:00:00Z";
    let start = "2026-03-01T00:00:00Z";
    let (two, three) = ("/a", "/b");
    let row = |group: &str, name: Value, requests: u64, denied: u64| json!({"start": start, group: name, "requests": requests, "denied": denied});
    let cases = [
        ("group_by=key", vec![row("key", json!(hourly), 70, 0), row("key", json!(daily), 2, 2)]),
        ("group_by=owner", vec![row("owner", Value::Null, 2, 2), row("owner", json!("acme"), 70, 0)]),
        ("group_by=route", vec![row("route", json!(two), 72, 0), row("route", json!(three), 0, 2)]),
        (
            "group_by=outcome",
            vec![row("outcome", json!("allowed"), 72, 0), row("outcome", json!("insufficient_scope"), 0, 2)],
        ),
        ("owner=acme", vec![json!({"start": start, "requests": 70, "denied": 0})]),
        ("owner=nobody", vec![]),
        (&format!("key={daily}"), vec![json!({"start": start, "requests": 2, "denied": 2})]),
        ("route=/b", vec![json!({"start": start, "requests": 0, "denied": 2})]),
        ("outcome=insufficient_scope", vec![json!({"start": start, "requests": 0, "denied": 2})]),
        (&format!("key={daily}&route=/a&outcome=allowed&group_by=key"), vec![row("key", json!(daily), 2, 0)]),
        (&format!("key={daily}&owner=acme"), vec![]),
    ];
    for (query, expected) in cases {
        assert_eq!(rows(&gateway.admin, &format!("{month}&{query}")), expected, "{query}");
    }
}

#[test]
fn a_report_goes_back_thirty_days_unless_told_otherwise() {
    let clock = Arc::new(ManualClock::at(Timestamp::parse_rfc3339(START).unwrap()));
    let gateway = Fixture::new().clock(clock.clone()).start();
    let (_, secret) = gateway.admin.key(&json!({}));
    Client::new(gateway.address).get("/v1", &secret);
    for (after, listed) in [(0, 1), (29 * 24, 1), (2 * 24, 0)] {
        clock.advance(Duration::from_hours(after));
        assert_eq!(rows(&gateway.admin, "").len(), listed, "{after} h later");
    }
    assert_eq!(rows(&gateway.admin, "from=2026-01-01T00:00:00Z").len(), 1);
}

#[test]
fn pages_make_up_the_whole_report() {
    let (gateway, _) = history();
    let query = "/api/v1/usage?step=hour&group_by=key";
    let whole = gateway.admin.get(&format!("{query}&limit=200")).json();
    assert_eq!(
        (&whole["total"], &whole["next_cursor"], &whole["prev_cursor"]),
        (&json!(100), &Value::Null, &Value::Null)
    );
    let page = |cursor: &str| gateway.admin.get(&format!("{query}&limit=30&cursor={cursor}")).json();
    let mut pages = vec![gateway.admin.get(&format!("{query}&limit=30")).json()];
    while let Some(cursor) = pages.last().unwrap()["next_cursor"].as_str() {
        let next = page(cursor);
        pages.push(next);
    }
    assert_eq!(pages.len(), 4);
    let walked: Vec<_> = pages.iter().flat_map(|page| page["items"].as_array().unwrap()).collect();
    assert_eq!(walked, whole["items"].as_array().unwrap().iter().collect::<Vec<_>>());
    let back = page(pages[3]["prev_cursor"].as_str().unwrap());
    assert_eq!(back["items"], pages[2]["items"]);
    assert!(pages[0]["prev_cursor"].is_null() && pages.iter().all(|page| page["total"] == 100));
    assert_eq!(
        gateway.admin.get(query).json()["items"].as_array().unwrap().len(),
        50,
        "fifty where none is named"
    );
}

#[test]
fn every_bad_parameter_is_named_in_one_answer() {
    let gateway = Fixture::new().start();
    let cases: [(&str, &[&str]); 10] = [
        ("from=yesterday", &["/from"]),
        ("from=2026-02-01T00:00:00Z&to=2026-01-01T00:00:00Z", &["/from"]),
        ("step=week", &["/step"]),
        ("group_by=colour", &["/group_by"]),
        ("key=pc_live_x", &["/key"]),
        ("outcome=fine", &["/outcome"]),
        ("limit=201", &["/limit"]),
        ("cursor=50", &["/cursor"]),
        ("cursor=o-1", &["/cursor"]),
        ("to=1&limit=0&step=&x=1&outcome=a", &["/limit", "/outcome", "/step", "/to", "/x"]),
    ];
    for (query, pointers) in cases {
        let answer = gateway.admin.get(&format!("/api/v1/usage?{query}"));
        assert_eq!((answer.status, answer.code().as_str()), (422, "validation_failed"), "{query}");
        let body = answer.json();
        let mut seen: Vec<_> =
            body["errors"].as_array().unwrap().iter().map(|e| e["pointer"].as_str().unwrap()).collect();
        seen.sort_unstable();
        assert_eq!(seen, pointers, "{query}");
    }
}
