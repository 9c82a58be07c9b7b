//! What an operator says of a key, as a JSON document: reading it with every fault named, and writing it.

use std::num::{NonZeroU32, NonZeroU64};

use ipnet::{IpNet, Ipv4Net};
use serde_json::{Map, Value, json};

use super::patch::{self, Fixed};
use crate::clock::Timestamp;
use crate::document::{self, Faults, Fields, rates, slugs};
use crate::key::Profile;
use crate::key::quota::{QuotaSpec, Window};
use crate::key::scope::Scope;
use crate::quantity::format_duration;

/// The longest name, in characters.
pub const MAX_NAME_CHARS: usize = 200;
/// The longest description, in characters.
pub const MAX_DESCRIPTION_CHARS: usize = 2_000;
/// Tags of a key.
pub const MAX_TAGS: usize = 50;
/// The longest tag, in characters.
pub const MAX_TAG_CHARS: usize = 64;
/// A key's metadata as JSON, in bytes.
pub const MAX_METADATA_BYTES: usize = 4_096;
/// Scopes of a key.
pub const MAX_SCOPES: usize = 100;
/// Networks on a key's list.
pub const MAX_NETWORKS: usize = 100;
/// Quotas of a key.
pub const MAX_QUOTAS: usize = 8;
/// The most that a limit or a quota can allow.
pub const MAX_REQUESTS: u64 = 1_000_000_000_000;
/// The most that may run at once.
pub const MAX_CONCURRENT: u64 = 1_000_000;
/// The environment of a key that names none.
const DEFAULT_ENVIRONMENT: &str = "live";
/// What no edit can change, and what to do instead: named, rather than called unknown.
const FIXED: [Fixed; 3] = [
    ("environment", "is part of the secret and cannot be changed; create a key for the other environment"),
    ("secret", "cannot be set; rotate the key to get a new one"),
    ("status", "is derived; use enable, disable or revoke"),
];

/// Whether an expiry may lie in the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PastExpiry {
    /// An edit may end a key, and an import may bring an ended one.
    Allowed,
    /// A new key that is already over is a mistake.
    Refused(Timestamp),
}

/// What a profile is held to beyond its own form.
pub struct Rules<'a> {
    /// Whether its expiry may lie in the past.
    pub past: PastExpiry,
    /// Whether a role of this name exists.
    pub role_exists: &'a dyn Fn(&str) -> bool,
}

/// Reads a profile's fields. `None` where a required one is missing or wrong; the faults say which.
pub fn read(fields: &mut Fields<'_>, rules: &Rules<'_>) -> Option<Profile> {
    let name = fields.require("name", |v| document::text(v, 1, MAX_NAME_CHARS).and_then(not_blank));
    let description = fields.read("description", |v| document::text(v, 0, MAX_DESCRIPTION_CHARS));
    let owner = fields.read("owner", slugs::slug);
    let environment = fields.read("environment", slugs::environment);
    let tags = fields.values("tags", MAX_TAGS, |v| document::text(v, 1, MAX_TAG_CHARS));
    let metadata = fields.read("metadata", metadata);
    let role = fields.read("role", |v| {
        let name = slugs::slug(v)?;
        if (rules.role_exists)(&name) { Ok(name) } else { Err(format!("no role has the name {name:?}")) }
    });
    let scopes = fields.values("scopes", MAX_SCOPES, scope);
    let ip_allow = fields.values("ip_allow", MAX_NETWORKS, network);
    let limits = rates::rate_specs(fields, "limits");
    let quotas = fields.list("quotas", MAX_QUOTAS, quota);
    unique(fields, "quotas", quotas.iter().flatten().map(|quota| quota.name.as_str()));
    let max_concurrent = fields.read("max_concurrent", |v| {
        let most = document::integer(v, 1, MAX_CONCURRENT)?;
        u32::try_from(most).ok().and_then(NonZeroU32::new).ok_or_else(|| "must not be 0".into())
    });
    let expires_at = fields.read("expires_at", |v| expiry(v, rules.past));
    Some(Profile {
        name: name?,
        description: description.unwrap_or_default(),
        owner,
        environment: environment.unwrap_or_else(|| DEFAULT_ENVIRONMENT.into()),
        tags: tags.unwrap_or_default(),
        metadata: metadata.unwrap_or_else(|| "{}".into()),
        role,
        scopes: scopes.unwrap_or_default(),
        ip_allow: ip_allow.unwrap_or_default(),
        limits: limits.unwrap_or_default(),
        quotas: quotas.unwrap_or_default(),
        max_concurrent,
        expires_at,
    })
}

/// Reads a whole document that is a profile and nothing else.
///
/// # Errors
/// Every fault.
pub fn read_document(document: &Value, rules: &Rules<'_>) -> Result<Profile, Faults> {
    let mut faults = Faults::default();
    let profile = read_into(document, rules, &mut faults);
    faults.or_else_all(profile)
}

fn read_into(document: &Value, rules: &Rules<'_>, faults: &mut Faults) -> Option<Profile> {
    let mut fields = Fields::open(document, "", faults)?;
    let profile = read(&mut fields, rules);
    fields.finish();
    profile
}

/// The profile as a document, in the order of the contract.
pub fn write(profile: &Profile) -> Map<String, Value> {
    let metadata: Value = serde_json::from_str(&profile.metadata).unwrap_or_else(|_| json!({}));
    let quota = |spec: &QuotaSpec| json!({"name": spec.name, "requests": spec.requests, "window": spec.window.as_str()});
    let fields = [
        ("name", json!(profile.name)),
        ("description", json!(profile.description)),
        ("owner", json!(profile.owner)),
        ("environment", json!(profile.environment)),
        ("tags", json!(profile.tags)),
        ("metadata", metadata),
        ("role", json!(profile.role)),
        ("scopes", profile.scopes.iter().map(Scope::as_str).collect()),
        ("ip_allow", profile.ip_allow.iter().map(ToString::to_string).collect()),
        ("limits", profile.limits.iter().map(limit_json).collect()),
        ("quotas", profile.quotas.iter().map(quota).collect()),
        ("max_concurrent", json!(profile.max_concurrent)),
        ("expires_at", json!(profile.expires_at.map(|at| at.to_string()))),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The profile after a merge patch (RFC 7396).
///
/// # Errors
/// Every fault, fields that no edit can change among them.
pub fn patched(profile: &Profile, patch: &Value, rules: &Rules<'_>) -> Result<Profile, Faults> {
    let mut faults = Faults::default();
    let read = patch::patched(write(profile), patch, &FIXED, &mut faults)
        .and_then(|document| read_into(&document, rules, &mut faults));
    faults.or_else_all(read)
}

/// A rate as a document.
pub fn limit_json(spec: &crate::key::RateSpec) -> Value {
    json!({
        "name": spec.name,
        "requests": spec.requests,
        "window": format_duration(spec.window),
        "burst": spec.burst(),
    })
}

fn not_blank(text: String) -> Result<String, String> {
    if text.trim().is_empty() { Err("must not be blank".into()) } else { Ok(text) }
}

fn metadata(value: &Value) -> Result<String, String> {
    if !value.is_object() {
        return Err(format!("must be an object, not {}", document::kind_of(value)));
    }
    let text = value.to_string();
    if text.len() > MAX_METADATA_BYTES {
        return Err(format!("must have at most {MAX_METADATA_BYTES} bytes as JSON, not {}", text.len()));
    }
    Ok(text)
}

pub(super) fn scope(value: &Value) -> Result<Scope, String> {
    Scope::parse(document::string(value)?).ok_or_else(|| {
        "must be words of a-z, 0-9, `_`, `-`, `.` joined by `:`, such as models:read or models:*".into()
    })
}

/// An address or a network in CIDR form; an address is the network of itself.
fn network(value: &Value) -> Result<IpNet, String> {
    let text = document::string(value)?;
    let net: Option<IpNet> =
        text.parse().ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from));
    net.map(|net| canonical(net.trunc()))
        .ok_or_else(|| "must be an address or a network, such as 203.0.113.7 or 10.0.0.0/8".into())
}

/// The IPv4 network where one is written as IPv6 (`::ffff:10.0.0.0/104`): clients' addresses are compared as IPv4.
fn canonical(net: IpNet) -> IpNet {
    let mapped = match net {
        IpNet::V6(net) => net.addr().to_ipv4_mapped().zip(net.prefix_len().checked_sub(96)),
        IpNet::V4(_) => None,
    };
    mapped.and_then(|(address, length)| Ipv4Net::new(address, length).ok()).map_or(net, IpNet::V4)
}

fn quota(value: &Value, pointer: &str, faults: &mut Faults) -> Option<QuotaSpec> {
    let mut fields = Fields::open(value, pointer, faults)?;
    let name = fields.require("name", rates::limit_name);
    let requests = fields.require("requests", |v| {
        let most = document::integer(v, 1, MAX_REQUESTS)?;
        NonZeroU64::new(most).ok_or_else(|| "must not be 0".into())
    });
    let window = fields.require("window", |v| {
        Window::parse(document::string(v)?).ok_or_else(|| "must be day, week or month".into())
    });
    fields.finish();
    Some(QuotaSpec { name: name?, requests: requests?, window: window? })
}

pub(super) fn expiry(value: &Value, past: PastExpiry) -> Result<Timestamp, String> {
    let at = Timestamp::parse_rfc3339(document::string(value)?)
        .ok_or("must be an RFC 3339 time, such as 2027-01-31T00:00:00Z")?;
    match past {
        PastExpiry::Refused(now) if at <= now => Err("must lie in the future".into()),
        PastExpiry::Refused(_) | PastExpiry::Allowed => Ok(at),
    }
}

fn unique<'a>(fields: &mut Fields<'_>, name: &str, names: impl Iterator<Item = &'a str>) {
    let mut seen = std::collections::HashSet::new();
    let twice: Vec<&str> = names.filter(|name| !seen.insert(*name)).collect();
    if let Some(twice) = twice.first() {
        fields.fault(name, format!("two have the name {twice:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(past: PastExpiry) -> Rules<'static> {
        Rules { past, role_exists: &|name| name == "reader" }
    }

    #[test]
    fn a_profile_reads_back_as_it_was_written() {
        let document = json!({
            "name": "ci", "owner": "acme", "environment": "test", "tags": ["a"], "metadata": {"k": [1, null]},
            "scopes": ["models:*"],
            "ip_allow": ["10.1.2.3/8", "::1", "::ffff:10.0.0.7", "::ffff:10.0.0.0/104", "::/0"],
            "limits": [{"name": "minute", "requests": 5, "window": "1m"}],
            "quotas": [{"name": "monthly", "requests": 100, "window": "month"}],
            "max_concurrent": 3, "expires_at": "2030-01-01T00:00:00Z",
        });
        let profile = read_document(&document, &rules(PastExpiry::Allowed)).unwrap();
        let again = read_document(&Value::Object(write(&profile)), &rules(PastExpiry::Allowed)).unwrap();
        let networks: Vec<String> = profile.ip_allow.iter().map(ToString::to_string).collect();
        assert_eq!(networks, ["10.0.0.0/8", "::1/128", "10.0.0.7/32", "10.0.0.0/8", "::/0"]);
        assert_eq!(again.name, profile.name);
        assert_eq!(again.quotas, profile.quotas);
        assert_eq!(again.metadata, profile.metadata);
    }

    #[test]
    fn every_bad_field_is_named() {
        let document = json!({
            "name": " ", "owner": "No Slug", "environment": "a-b", "metadata": [], "role": "No Slug",
            "scopes": ["ok", "Bad Scope"], "ip_allow": ["300.1.1.1"],
            "limits": [{"name": "m", "requests": 0, "window": "soon"}],
            "quotas": [{"name": "q", "requests": 1, "window": "year"}],
            "max_concurrent": 0, "expires_at": "2020-01-01T00:00:00Z", "colour": "red",
        });
        let now = Timestamp::parse_rfc3339("2026-01-01T00:00:00Z").unwrap();
        let faults = read_document(&document, &rules(PastExpiry::Refused(now))).unwrap_err();
        let mut pointers: Vec<_> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
        pointers.sort_unstable();
        assert_eq!(
            pointers,
            [
                "/colour",
                "/environment",
                "/expires_at",
                "/ip_allow/0",
                "/limits/0/requests",
                "/limits/0/window",
                "/max_concurrent",
                "/metadata",
                "/name",
                "/owner",
                "/quotas/0/window",
                "/role",
                "/scopes/1"
            ]
        );
    }
}
