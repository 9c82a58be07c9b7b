//! Pages of the list of a million keys, over the admin API: each kind of filter and order, and a page far down.

use std::net::SocketAddr;

use anyhow::Context as _;
use serde_json::Value;

use super::admin::call;
use super::figures::{self, Sample};
use super::machine::now;

/// Each page is asked for this often.
const TIMES: usize = 9;

/// What is asked for, and how it is called.
const PAGES: [(&str, &str); 15] = [
    ("newest first", "limit=50"),
    ("newest first, 200 keys", "limit=200"),
    ("status=disabled (1 in 100)", "status=disabled"),
    ("status=active", "status=active"),
    ("status=expired (none is)", "status=expired"),
    ("owner (1 in 1,000)", "owner=owner-7"),
    ("environment (1 in 2)", "environment=test"),
    ("role (1 in 10)", "role=reader"),
    ("tag (1 in 50)", "tag=batch"),
    ("owner, environment and status", "owner=owner-8&environment=live&status=active"),
    ("sort=name", "sort=name"),
    ("sort=-requests", "sort=-requests"),
    ("sort=-last_used_at, owner", "sort=-last_used_at&owner=owner-7"),
    ("q, many match", "q=KEY%2000"),
    ("q, none matches", "q=nosuchtext"),
];

/// How many of so many keys are enabled: those with the lowest numbers.
pub const fn enabled(keys: usize) -> usize {
    keys - keys / 100
}

/// A line to import, of so many keys.
pub fn key(number: usize, keys: usize, secret: &str) -> String {
    let environment = if number.is_multiple_of(2) { "live" } else { "test" };
    let role = if number % 10 == 3 { r#","role":"reader""# } else { "" };
    let tags = if number % 50 == 7 { r#","tags":["batch"]"# } else { "" };
    let status = if number >= enabled(keys) { r#","status":"disabled""# } else { "" };
    let owner = number % 1_000;
    format!(
        r#"{{"name":"key {number:07}","owner":"owner-{owner}","scopes":["models:*"],"environment":"{environment}"{role}{tags}{status},"secret":"{secret}"}}"#
    )
}

/// Makes the role that one in ten keys has.
pub fn record_role(admin: SocketAddr) -> anyhow::Result<()> {
    let body = r#"{"name":"reader","scopes":["models:read"]}"#;
    let (status, answer) = call(admin, "POST", "/api/v1/roles", body)?;
    anyhow::ensure!(status.contains(" 201 "), "the role was not made: {status} {answer}");
    Ok(())
}

/// Prints how long each kind of page takes.
pub fn measure(admin: SocketAddr) -> anyhow::Result<()> {
    figures::title("a page of the list, over the admin API");
    for (what, query) in PAGES {
        print(admin, what, query)?;
    }
    let mut query = "limit=200".to_owned();
    for _ in 0..50 {
        let page = page(admin, &query)?;
        let cursor = page["next_cursor"].as_str().context("the list ended early")?;
        query = format!("limit=200&cursor={cursor}");
    }
    print(admin, "10,000 keys down, by cursor", &query)
}

fn print(admin: SocketAddr, what: &str, query: &str) -> anyhow::Result<()> {
    let mut times = Vec::with_capacity(TIMES);
    let mut total = Value::Null;
    for _ in 0..TIMES {
        let started = now();
        let page = page(admin, query)?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
        total = page["total"].clone();
    }
    figures::sampled(&format!("{what}: {total} in all"), &Sample::new(times), 1, "ms");
    Ok(())
}

fn page(admin: SocketAddr, query: &str) -> anyhow::Result<Value> {
    let (status, body) = call(admin, "GET", &format!("/api/v1/keys?{query}"), "")?;
    anyhow::ensure!(status.contains(" 200 "), "{query}: {status} {body}");
    Ok(serde_json::from_str(&body)?)
}
