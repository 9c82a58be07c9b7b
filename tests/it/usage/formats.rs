//! A report as CSV and as NDJSON.

use serde_json::{Value, json};

use crate::support::{Answer, Client, Fixture, Gateway};

/// Sixty keys that each asked once.
fn sixty() -> Gateway {
    let gateway = Fixture::new().start();
    let mut client = Client::new(gateway.address);
    for _ in 0..60 {
        assert_eq!(client.get("/v1", &gateway.admin.key(&json!({"owner": "acme"})).1).status, 200);
    }
    gateway
}

fn accepting(gateway: &Gateway, query: &str, accept: &str) -> Answer {
    let answer = gateway.admin.call("GET", &format!("/api/v1/usage?{query}"), &[("accept", accept)], "");
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")), "{accept}");
    answer
}

#[test]
fn the_form_is_the_one_that_the_client_accepts() {
    let gateway = sixty();
    let cases = [
        ("text/csv", "text/csv; charset=utf-8"),
        ("text/html, text/csv;q=0.9", "text/csv; charset=utf-8"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("application/ndjson", "application/x-ndjson"),
        ("application/json", "application/json"),
        ("*/*", "application/json"),
        ("text/html", "application/json"),
        ("", "application/json"),
    ];
    for (accept, expected) in cases {
        assert_eq!(accepting(&gateway, "", accept).header("content-type"), Some(expected), "{accept:?}");
    }
    assert_eq!(gateway.admin.get("/api/v1/usage").header("content-type"), Some("application/json"));
}

#[test]
fn csv_and_ndjson_hold_the_whole_report_that_json_pages() {
    let gateway = sixty();
    let whole = accepting(&gateway, "group_by=key&limit=200", "application/json").json();
    let items = whole["items"].as_array().unwrap();
    assert_eq!(items.len(), 60);
    let ndjson = String::from_utf8(accepting(&gateway, "group_by=key", "application/x-ndjson").body).unwrap();
    let lines: Vec<Value> = ndjson.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(ndjson.ends_with('\n'));
    assert_eq!(&lines, items);
    let body = accepting(&gateway, "group_by=key", "text/csv").body;
    let mut reader = csv::Reader::from_reader(&body[..]);
    assert_eq!(reader.headers().unwrap(), vec!["start", "key", "requests", "denied"]);
    let records: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!(records.len(), 60);
    for (record, item) in records.iter().zip(items) {
        let cells = [&item["start"], &item["key"]].map(|cell| cell.as_str().unwrap());
        assert_eq!((&record[0], &record[1], &record[2], &record[3]), (cells[0], cells[1], "1", "0"));
    }
}

#[test]
fn an_empty_report_is_a_header_in_csv_and_nothing_in_ndjson() {
    let gateway = Fixture::new().start();
    let csv = accepting(&gateway, "group_by=owner", "text/csv").body;
    assert_eq!(String::from_utf8(csv).unwrap(), "start,owner,requests,denied\n");
    assert_eq!(accepting(&gateway, "", "application/x-ndjson").body, b"");
    assert_eq!(accepting(&gateway, "", "application/json").json()["items"], json!([]));
}
