//! `[upstreams.NAME]`: where requests go.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

use serde_json::Value;

use super::file::Surroundings;
use super::sections::within;
use super::{Balance, Protocol, Target, Upstream, headers, health, hosts, listen, trust};
use crate::document::slugs::{is_slug, slug_rule};
use crate::document::{Faults, Fields, either, integer, string};
use crate::quantity::{DAY, HOUR, MINUTE};

/// Upstreams at most.
pub const MAX_UPSTREAMS: usize = 1_000;
const MAX_TARGETS: usize = 256;
const MAX_WEIGHT: u64 = 100;

const CONNECT_TIMEOUT: (Duration, Duration) = (Duration::from_millis(1), MINUTE);
const WEBSOCKET_IDLE: (Duration, Duration) = (Duration::from_secs(1), DAY);
const RESPONSE_TIMEOUT: (Duration, Duration) = (Duration::from_millis(1), HOUR);
const RESOLVE_EVERY: (Duration, Duration) = (Duration::from_secs(1), HOUR);
const MAX_DNS_SERVERS: usize = 8;
const DNS_PORT: u16 = 53;
const MAX_KEEPALIVE: u64 = 10_000;

/// What an upstream has that says nothing of it. `config/default.toml` names the same, which a test checks.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const DEFAULT_RESPONSE_TIMEOUT: Duration = MINUTE;
const DEFAULT_WEBSOCKET_IDLE: Duration = HOUR;
const DEFAULT_KEEPALIVE: u32 = 128;
const DEFAULT_WEIGHT: NonZeroU32 = NonZeroU32::MIN;

/// The names of the document's upstreams, of those too that are read with faults.
pub fn names(document: &Value) -> HashSet<&str> {
    let table = document.get("upstreams").and_then(Value::as_object);
    table.into_iter().flatten().map(|(name, _)| name.as_str()).collect()
}

/// Reads all upstreams.
pub fn upstreams(root: &mut Fields<'_>, around: &Surroundings<'_>) -> BTreeMap<String, Upstream> {
    let read = root.entries("upstreams", MAX_UPSTREAMS, |name, value, pointer, faults| {
        if !is_slug(name) {
            faults.add(pointer, format!("the name {}", slug_rule()));
        }
        upstream(value, pointer, around, faults).map(|upstream| (name.to_owned(), upstream))
    });
    read.into_iter().flatten().collect()
}

fn upstream(
    value: &Value,
    pointer: &str,
    around: &Surroundings<'_>,
    faults: &mut Faults,
) -> Option<Upstream> {
    let mut fields = Fields::open(value, pointer, faults)?;
    let targets = targets(&mut fields);
    let balance = fields.read("balance", balance);
    let host = fields.read("host", hosts::authority);
    let tls = tls(&mut fields, host.as_deref());
    let connect_timeout = fields.read("connect_timeout", |v| within(v, CONNECT_TIMEOUT));
    let response_timeout = fields.read("response_timeout", |v| within(v, RESPONSE_TIMEOUT));
    let websocket_idle = fields.read("websocket_idle", |v| within(v, WEBSOCKET_IDLE));
    let trust = trust::trust(&mut fields, around);
    let keepalive = fields.read("keepalive", keepalive);
    let resolve_every = fields.read("resolve_every", |v| within(v, RESOLVE_EVERY));
    let dns_servers = fields.values("dns_servers", MAX_DNS_SERVERS, dns_server);
    let health = health::health(&mut fields);
    let ejection = health::ejection(&mut fields);
    let set_headers = headers::set_headers(&mut fields, "set_headers");
    let protocol = fields.read("http2", |v| either(v, Protocol::Http2, Protocol::Http1));
    fields.finish();
    Some(Upstream {
        targets: targets?,
        balance: balance.unwrap_or(Balance::RoundRobin),
        tls,
        protocol: protocol.unwrap_or(Protocol::Http1),
        host,
        connect_timeout: connect_timeout.unwrap_or(DEFAULT_CONNECT_TIMEOUT),
        response_timeout: response_timeout.unwrap_or(DEFAULT_RESPONSE_TIMEOUT),
        websocket_idle: websocket_idle.unwrap_or(DEFAULT_WEBSOCKET_IDLE),
        trust,
        keepalive: keepalive.unwrap_or(DEFAULT_KEEPALIVE),
        resolve_every,
        dns_servers: dns_servers.unwrap_or_default().into(),
        health,
        ejection,
        set_headers,
    })
}

/// An address, with a port or with that of DNS.
fn dns_server(value: &Value) -> Result<SocketAddr, String> {
    let text = string(value)?;
    let with_port = || text.parse::<SocketAddr>().ok().filter(|address| address.port() != 0);
    let bare = text.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, DNS_PORT));
    bare.or_else(with_port).ok_or_else(|| {
        "must be an IP address, such as \"10.0.0.2\", \"10.0.0.2:5353\" or \"[fd00::2]:5353\"".into()
    })
}

fn keepalive(value: &Value) -> Result<u32, String> {
    let most = integer(value, 0, MAX_KEEPALIVE)?;
    u32::try_from(most).map_err(|_| "is out of range".to_owned())
}

fn balance(value: &Value) -> Result<Balance, String> {
    match string(value)? {
        "round-robin" => Ok(Balance::RoundRobin),
        "least-connections" => Ok(Balance::LeastConnections),
        _ => Err("must be \"round-robin\" or \"least-connections\"".into()),
    }
}

/// The name that the targets' certificates are checked against, where `tls` is on.
fn tls(fields: &mut Fields<'_>, host: Option<&str>) -> Option<String> {
    #[derive(Clone, Copy)]
    enum Tls {
        On,
        Off,
    }
    match fields.read("tls", |v| either(v, Tls::On, Tls::Off)) {
        Some(Tls::On) if !fields.has("host") => {
            fields.fault("tls", "needs `host`, the name that the certificate is checked against");
            None
        }
        Some(Tls::On) => host.map(hosts::server_name),
        Some(Tls::Off) | None => None,
    }
}

/// 1 to [`MAX_TARGETS`] targets, none twice.
fn targets(fields: &mut Fields<'_>) -> Option<Vec<Target>> {
    if fields.raw("targets").is_none_or(|value| value.as_array().is_some_and(Vec::is_empty)) {
        fields.fault("targets", "at least one target is needed");
        return None;
    }
    let mut seen = HashSet::new();
    fields.list("targets", MAX_TARGETS, |value, pointer, faults| {
        let target = target(value, pointer, faults)?;
        if !seen.insert(target.address.clone()) {
            faults.add(pointer, "is listed twice; a `weight` gives a target more requests");
        }
        Some(target)
    })
}

/// `"host:port"`, or `{ address = "host:port", weight = 2 }`.
fn target(value: &Value, pointer: &str, faults: &mut Faults) -> Option<Target> {
    if !value.is_object() {
        let address = target_address(value).map_err(|detail| faults.add(pointer, detail)).ok()?;
        return Some(Target { address, weight: DEFAULT_WEIGHT });
    }
    let mut fields = Fields::open(value, pointer, faults)?;
    let address = fields.require("address", target_address);
    let weight = fields.read("weight", weight).unwrap_or(DEFAULT_WEIGHT);
    fields.finish();
    Some(Target { address: address?, weight })
}

/// `host:port`, or `unix:` and a path.
fn target_address(value: &Value) -> Result<String, String> {
    match value.as_str().and_then(listen::path_of) {
        Some(path) => path.map(|path| format!("{}{}", listen::UNIX, path.display())),
        None => hosts::address(value),
    }
}

fn weight(value: &Value) -> Result<NonZeroU32, String> {
    let weight = integer(value, 1, MAX_WEIGHT)?;
    u32::try_from(weight).ok().and_then(NonZeroU32::new).ok_or_else(|| "is out of range".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::Arc;

    fn read(value: &Value) -> (Option<Upstream>, Vec<String>) {
        let mut faults = Faults::default();
        let around = Surroundings { folder: std::path::Path::new("/nowhere"), env: &|_| None };
        let upstream = upstream(value, "", &around, &mut faults);
        (upstream, faults.iter().map(|f| format!("{}: {}", f.pointer, f.detail)).collect())
    }

    #[test]
    fn an_upstream_needs_its_targets_alone() {
        let (upstream, faults) = read(&json!({"targets": ["127.0.0.1:9000"]}));
        assert_eq!(faults, [""; 0]);
        let expected = Upstream {
            targets: vec![Target { address: "127.0.0.1:9000".into(), weight: NonZeroU32::MIN }],
            balance: Balance::RoundRobin,
            tls: None,
            protocol: Protocol::Http1,
            host: None,
            connect_timeout: Duration::from_secs(2),
            response_timeout: Duration::from_mins(1),
            websocket_idle: Duration::from_hours(1),
            trust: trust::Trust::default(),
            keepalive: 128,
            resolve_every: None,
            dns_servers: Arc::from([]),
            health: None,
            ejection: Some(health::Ejection::default()),
            set_headers: Vec::new(),
        };
        assert_eq!(upstream, Some(expected));
    }

    #[test]
    fn every_field_is_read() {
        let (upstream, faults) = read(&json!({
            "targets": ["a:1", {"address": "b:2"}, {"address": "c:3", "weight": 100}],
            "balance": "least-connections", "tls": true, "host": "API.example.com:8443", "http2": true,
            "connect_timeout": "1ms", "response_timeout": "1h", "websocket_idle": "5s", "set_headers": {"x-a": "b"},
        }));
        assert_eq!(faults, [""; 0]);
        let upstream = upstream.unwrap();
        assert_eq!(upstream.targets.iter().map(|t| t.weight.get()).collect::<Vec<_>>(), [1, 1, 100]);
        assert_eq!(upstream.balance, Balance::LeastConnections);
        assert_eq!(upstream.tls.as_deref(), Some("api.example.com"));
        assert_eq!(upstream.protocol, Protocol::Http2);
        assert_eq!(upstream.host.as_deref(), Some("api.example.com:8443"));
        assert_eq!(upstream.connect_timeout, Duration::from_millis(1));
        assert_eq!(upstream.response_timeout, Duration::from_hours(1));
        assert_eq!(upstream.websocket_idle, Duration::from_secs(5));
        assert_eq!(upstream.set_headers.len(), 1);
    }

    #[test]
    fn each_rule_of_an_upstream_is_checked() {
        let many: Vec<_> = (1..=257).map(|i| format!("a:{i}")).collect();
        let cases = [
            ("targets", json!([]), "/targets: at least one"),
            ("targets", Value::Null, "/targets: at least one"),
            ("targets", json!("a:1"), "/targets: must be an array"),
            ("targets", json!(many), "/targets: must have at most 256"),
            ("targets", json!(["a:1", "A:1"]), "/targets/1: is listed twice"),
            ("targets", json!(["a:1", "b"]), "/targets/1: must be a host and a port"),
            ("targets", json!([{"address": "a:1", "weight": 0}]), "/targets/0/weight: must be from 1 to 100"),
            ("targets", json!([{"weight": 1}]), "/targets/0/address: is required"),
            ("targets", json!([{"address": "a:1", "wait": 1}]), "/targets/0/wait: unknown field"),
            ("balance", json!("random"), "/balance: must be"),
            ("tls", json!(true), "/tls: needs `host`"),
            ("tls", json!("yes"), "/tls: must be true or false"),
            ("host", json!("a/b"), "/host: must be a host"),
            ("connect_timeout", json!("0s"), "/connect_timeout: must be from 1ms to 1m"),
            ("response_timeout", json!("61m"), "/response_timeout: must be from 1ms to 1h"),
            ("websocket_idle", json!("2d"), "/websocket_idle: must be from 1s to 1d"),
            ("targets", json!(["unix:x"]), "/targets/0: must be an absolute path"),
            ("health", json!({"path": "x"}), "/health/path: must be a path"),
            ("ejection", json!(true), "/ejection: must be an object"),
            ("keepalive", json!(10_001), "/keepalive: must be from 0 to 10000"),
            ("dns_servers", json!(["ns.internal"]), "/dns_servers/0: must be an IP address"),
            ("dns_servers", json!(["10.0.0.2:0"]), "/dns_servers/0: must be an IP address"),
            ("resolve_every", json!("1ms"), "/resolve_every: must be from 1s to 1h"),
            ("tls_verify", json!(false), "/tls_verify: has no meaning without tls = true"),
            ("http2", json!("yes"), "/http2: must be true or false"),
            ("set_headers", json!({"host": "a"}), "/set_headers/host: "),
            ("set_headers", json!([]), "/set_headers: must be an object"),
            ("colour", json!(1), "/colour: unknown field"),
        ];
        for (field, value, expected) in cases {
            let mut upstream = json!({"targets": ["127.0.0.1:9000"]});
            upstream[field] = value;
            let (_, faults) = read(&upstream);
            assert_eq!(faults.len(), 1, "{upstream}: {faults:?}");
            assert!(faults[0].starts_with(expected), "{upstream}: {faults:?}");
        }
    }
}
