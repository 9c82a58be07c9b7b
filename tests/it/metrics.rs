//! `/metrics`: every series of the contract, right after known traffic, and no more with more keys.

use std::collections::BTreeMap;

use serde_json::json;

use crate::support::{Client, Fixture, Gateway, eventually, send};

const ROUTES: &str = r#"
[upstreams.api]
targets = ["{upstream}"]
[upstreams.nobody]
targets = ["127.0.0.1:1"]
[[routes]]
path = "/v1"
upstream = "api"
[[routes]]
path = "/nobody"
upstream = "nobody"
[[routes]]
path = "/open"
upstream = "api"
access = "public"
"#;

/// The samples by name and labels, as they are written.
fn scrape(gateway: &Gateway) -> BTreeMap<String, f64> {
    let answer =
        send(gateway.admin.address, "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = String::from_utf8(answer.body).unwrap();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("{line}")))
        })
        .collect()
}

fn starting<'a>(samples: &'a BTreeMap<String, f64>, name: &str) -> Vec<(&'a str, f64)> {
    let of = |sample: &&String| sample.as_str() == name || sample.starts_with(&format!("{name}{{"));
    samples.keys().filter(of).map(|sample| (sample.as_str(), samples[sample])).collect()
}

#[test]
fn every_series_of_the_contract_is_there_and_right_after_known_traffic() {
    let gateway = Fixture::with(ROUTES).start();
    let (id, secret) = gateway.admin.key(&json!({"name": "ci \"x\"\\\n"}));
    let (other, disabled) = gateway.admin.key(&json!({}));
    gateway.admin.post(&format!("/api/v1/keys/{other}/disable"), &json!({}));
    let (last, _) = gateway.admin.key(&json!({}));
    gateway.admin.post(&format!("/api/v1/keys/{last}/revoke"), &json!({}));
    let mut client = Client::new(gateway.address);
    let requests = [
        ("/v1/x", secret.as_str(), 200, 3),
        ("/v1/x", &disabled, 401, 2),
        ("/v1/x", "unknown-secret-0123456789", 401, 4),
        ("/nobody", &secret, 502, 1),
        ("/open", &secret, 200, 2),
        ("/nowhere", &secret, 404, 5),
    ];
    for (path, secret, status, times) in requests {
        for _ in 0..times {
            assert_eq!(client.get(path, secret).status, status, "{path}");
        }
    }
    assert_eq!(send(gateway.address, "rubbish\r\n\r\n").status, 400);
    let samples = scrape(&gateway);
    let version = env!("CARGO_PKG_VERSION");
    let expected = [
        (r#"portcullis_requests_total{outcome="allowed",route="/v1"}"#.to_owned(), 3.0),
        (r#"portcullis_requests_total{outcome="key_disabled",route="/v1"}"#.to_owned(), 2.0),
        (r#"portcullis_requests_total{outcome="invalid_key",route="/v1"}"#.to_owned(), 4.0),
        (r#"portcullis_requests_total{outcome="upstream_unreachable",route="/nobody"}"#.to_owned(), 1.0),
        (r#"portcullis_requests_total{outcome="allowed",route="/open"}"#.to_owned(), 2.0),
        (r#"portcullis_requests_total{outcome="no_route",route="none"}"#.to_owned(), 5.0),
        (r#"portcullis_requests_total{outcome="bad_request",route="none"}"#.to_owned(), 1.0),
        (r#"portcullis_request_duration_seconds_count{route="/v1"}"#.to_owned(), 9.0),
        (r#"portcullis_request_duration_seconds_count{route="/nobody"}"#.to_owned(), 1.0),
        ("portcullis_gateway_overhead_seconds_count".to_owned(), 6.0),
        (
            r#"portcullis_upstream_errors_total{code="upstream_unreachable",upstream="nobody"}"#.to_owned(),
            1.0,
        ),
        (format!(r#"portcullis_key_requests_total{{key_id="{id}",key_name="ci \"x\"\\\n"}}"#), 4.0),
        (r#"portcullis_key_requests_total{key_id="other",key_name=""}"#.to_owned(), 0.0),
        (r#"portcullis_keys{status="active"}"#.to_owned(), 1.0),
        (r#"portcullis_keys{status="disabled"}"#.to_owned(), 1.0),
        (r#"portcullis_keys{status="revoked"}"#.to_owned(), 1.0),
        (r#"portcullis_keys{status="expired"}"#.to_owned(), 0.0),
        (format!(r#"portcullis_build_info{{version="{version}"}}"#), 1.0),
    ];
    for (name, value) in expected {
        assert_eq!(
            samples.get(&name),
            Some(&value),
            "{name} in {:#?}",
            starting(&samples, name.split('{').next().unwrap())
        );
    }
    let outcomes: f64 = starting(&samples, "portcullis_requests_total").iter().map(|(_, value)| value).sum();
    assert!((outcomes - 18.0).abs() < 0.5, "each request is in one series alone");
    // The system counts in hundredths: each scrape takes some.
    eventually("time is spent", || scrape(&gateway)["process_cpu_seconds_total"] > 0.0);
    for name in ["process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds"] {
        assert!(samples.get(name).is_some_and(|value| *value > 0.0), "{name}");
    }
}

#[test]
fn commits_are_timed_and_what_is_not_merged_is_shown_until_it_is() {
    let gateway = Fixture::new().start();
    let (_, secret) = gateway.admin.key(&json!({}));
    let commits = |gateway: &Gateway| scrape(gateway)["portcullis_store_commit_seconds_count"];
    let before = commits(&gateway);
    gateway.admin.key(&json!({}));
    assert!(commits(&gateway) >= before + 1.0);
    for _ in 0..7 {
        assert_eq!(Client::new(gateway.address).get("/v1", &secret).status, 200);
    }
    // A scrape merges what it then shows, so the second one shows nothing left.
    assert!(scrape(&gateway)["portcullis_usage_unflushed"] <= 7.0);
    eventually("everything is merged", || scrape(&gateway)["portcullis_usage_unflushed"] == 0.0);
}

#[test]
fn series_do_not_grow_with_the_number_of_keys() {
    let gateway = Fixture::with(&format!("[metrics]\ntop_keys = 5\n{ROUTES}")).start();
    let lines: String = (0..300)
        .map(|n| {
            json!({"name": format!("k{n}"), "secret": format!("one-of-three-hundred-{n:04}")}).to_string()
                + "\n"
        })
        .collect();
    assert_eq!(gateway.admin.call("POST", "/api/v1/keys/import", &[], &lines).json()["imported"], 300);
    let before = scrape(&gateway).len();
    let mut client = Client::new(gateway.address);
    for n in 0..300 {
        let requests = if n < 3 { 5 } else { 1 };
        for _ in 0..requests {
            assert_eq!(client.get("/v1", &format!("one-of-three-hundred-{n:04}")).status, 200);
        }
    }
    let samples = scrape(&gateway);
    let keys = starting(&samples, "portcullis_key_requests_total");
    assert_eq!(keys.len(), 6, "five keys and the others: {keys:?}");
    let sum: f64 = keys.iter().map(|(_, value)| value).sum();
    assert!((sum - 312.0).abs() < 0.5, "{keys:?}");
    // Five keys' series, and the first outcome of one route.
    assert_eq!(samples.len(), before + 6, "{samples:#?}");
}

#[test]
fn metrics_need_a_token_where_the_configuration_says_so() {
    let fixture = Fixture::with(ROUTES);
    let text = fixture.text().replace("[admin]\n", "[admin]\nmetrics_open = false\n");
    let config = crate::support::parse_with(&text, fixture.folder.path(), &|_| None);
    let app = portcullis::app::build(&config, Some(crate::support::TOKEN)).unwrap();
    let cases = [
        (String::new(), 401, "missing_token"),
        ("authorization: Bearer wrong-token-0123456789\r\n".to_owned(), 401, "invalid_token"),
        (format!("authorization: Bearer {}\r\n", crate::support::TOKEN), 200, ""),
    ];
    for (header, status, code) in cases {
        let answer =
            send(app.admin_address, format!("GET /metrics HTTP/1.1\r\nhost: localhost\r\n{header}\r\n"));
        assert_eq!(answer.status, status, "{header}");
        if status != 200 {
            assert_eq!(answer.code(), code);
        }
    }
    app.stop().unwrap();
}
