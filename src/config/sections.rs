//! The tables that have defaults: `[gateway]`, `[admin]`, `[store]`, `[keys]`, `[metrics]`; `[log]` and `[traces]` have
//! files of their own.
//!
//! The defaults were put in before, so each field that always has a value is required here: one that
//! `config/default.toml` forgets is found by the first test.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde_json::Value;

use super::bounds;
use super::expand::is_variable_name;
use super::file::Surroundings;
use super::hosts;
use super::http2;
use super::listen;
use super::rotation;
use super::tls;
use super::{Admin, AdminTls, CoreDumps, Gateway, Keys, MasterKey, Metrics, MetricsAccess, Pepper, Store};
use crate::document::{Fields, either, integer, string, text};
use crate::quantity::{self, HOUR, KIB, MAX_SIZE};

const MAX_THREADS: u64 = 1024;
const MAX_ADMIN_HOSTS: usize = 64;
const MAX_TRUSTED_PROXIES: usize = 256;
const MAX_CONNECTIONS: u64 = 1_000_000;
const MAX_TOP_KEYS: u64 = 10_000;
/// The longest path of a file, in characters.
const MAX_PATH_CHARS: usize = 4096;
const MIN_PEPPER_BYTES: usize = 16;
const MAX_PREFIX_BYTES: usize = 16;

const HEADER_BYTES: (u64, u64) = (KIB, 512 * KIB);
const HEADER_TIMEOUT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_mins(10));
const IDLE_TIMEOUT: (Duration, Duration) = (Duration::from_secs(1), HOUR);
const SHUTDOWN_GRACE: (Duration, Duration) = (Duration::ZERO, HOUR);

/// What may be written but is not built yet, as the start of a fault's detail.
const NOT_YET: &str = "not supported yet";

/// Reads `[gateway]`.
pub fn gateway(mut fields: Fields<'_>, around: &Surroundings<'_>) -> Option<Gateway> {
    let trusted_proxies = fields.values("trusted_proxies", MAX_TRUSTED_PROXIES, network);
    let listen = listen::listen(&mut fields, trusted_proxies.as_deref());
    let tls = tls::listeners(&mut fields, around, listen.as_ref());
    let threads = fields.require("threads", |v| integer(v, 0, MAX_THREADS)).map(threads);
    let max_request_header =
        fields.require("max_request_header", |v| quantity::size(v, HEADER_BYTES.0, HEADER_BYTES.1));
    let max_request_body = fields.require("max_request_body", body_limit);
    let header_timeout = fields.require("header_timeout", |v| within(v, HEADER_TIMEOUT));
    let idle_timeout = fields.require("idle_timeout", |v| within(v, IDLE_TIMEOUT));
    let max_connections = fields.require("max_connections", |v| integer(v, 1, MAX_CONNECTIONS));
    let bounds = bounds::client_bounds(&mut fields);
    let core_dumps = fields.require("core_dumps", |v| either(v, CoreDumps::Allowed, CoreDumps::Off));
    let shutdown_grace = fields.require("shutdown_grace", |v| within(v, SHUTDOWN_GRACE));
    let http2 = http2::http2(&mut fields);
    fields.finish();
    Some(Gateway {
        listen: listen?,
        tls,
        http2: http2?,
        threads: threads?,
        trusted_proxies: trusted_proxies?,
        max_request_header: count(max_request_header?),
        max_request_body: max_request_body?,
        header_timeout: header_timeout?,
        idle_timeout: idle_timeout?,
        max_connections: count(max_connections?),
        bounds: bounds?,
        shutdown_grace: shutdown_grace?,
        core_dumps: core_dumps?,
    })
}

/// Reads `[admin]`.
pub fn admin(mut fields: Fields<'_>, around: &Surroundings<'_>) -> Option<Admin> {
    let listen = fields.require("listen", address);
    let names = fields.values("hosts", MAX_ADMIN_HOSTS, hosts::pattern);
    let metrics = fields.require("metrics_open", |v| either(v, MetricsAccess::Open, MetricsAccess::Token));
    let plain = fields.require("insecure", |v| either(v, Plain::Anywhere, Plain::Loopback));
    let tls_is_set = fields.has("tls");
    let tls = fields.object("tls").and_then(|tls| admin_tls(tls, around));
    if let (Some(listen), Some(Plain::Loopback), false) = (listen, plain, tls_is_set)
        && !listen.ip().to_canonical().is_loopback()
    {
        fields.fault("listen", "is not a loopback address: it needs [admin.tls], or insecure = true");
    }
    fields.finish();
    Some(Admin { listen: listen?, hosts: names?, metrics: metrics?, tls })
}

/// Where the admin listener may speak plain HTTP.
#[derive(Clone, Copy)]
enum Plain {
    Loopback,
    Anywhere,
}

fn admin_tls(mut fields: Fields<'_>, around: &Surroundings<'_>) -> Option<AdminTls> {
    let certificate = fields.require("certificate", |v| existing_file(v, around));
    let private_key = fields.require("private_key", |v| existing_file(v, around));
    fields.finish();
    Some(AdminTls { certificate: certificate?, private_key: private_key? })
}

/// Reads `[store]`.
pub fn store(mut fields: Fields<'_>, around: &Surroundings<'_>) -> Option<Store> {
    let kind = fields.require("kind", |value| match string(value)? {
        "redb" => Ok(()),
        "postgres" => Err(format!("{NOT_YET}; use \"redb\"")),
        _ => Err("must be \"redb\"".into()),
    });
    let path = fields.require("path", |v| file_path(v, around));
    fields.finish();
    kind?;
    Some(Store::Redb { path: path? })
}

/// Reads `[keys]`.
pub fn keys(mut fields: Fields<'_>, around: &Surroundings<'_>) -> Option<Keys> {
    let prefix = fields.require("prefix", prefix);
    let rotate_after = rotation::rotate_after(&mut fields);
    let pepper = fields.read("pepper_env", |v| pepper(v, around));
    let master_key = master_key(&mut fields, around);
    fields.finish();
    Some(Keys { prefix: prefix?, rotate_after: rotate_after?, pepper, master_key })
}

/// Reads `[metrics]`.
pub fn metrics(mut fields: Fields<'_>) -> Option<Metrics> {
    let top_keys = fields.require("top_keys", |v| integer(v, 0, MAX_TOP_KEYS));
    fields.finish();
    Some(Metrics { top_keys: count(top_keys?) })
}

/// A list that must not be empty where there is one.
pub fn refuse_empty(fields: &mut Fields<'_>, name: &'static str, detail: &str) {
    if fields.raw(name).and_then(Value::as_array).is_some_and(Vec::is_empty) {
        fields.fault(name, detail);
    }
}

/// A size of which 0 is no limit.
pub fn body_limit(value: &Value) -> Result<Option<NonZeroU64>, String> {
    quantity::size(value, 0, MAX_SIZE).map(NonZeroU64::new)
}

/// A duration between two bounds.
pub fn within(value: &Value, (least, most): (Duration, Duration)) -> Result<Duration, String> {
    quantity::duration(value, least, most)
}

pub(super) fn address(value: &Value) -> Result<SocketAddr, String> {
    string(value)?
        .parse()
        .map_err(|_| "must be an IP address and a port, such as \"0.0.0.0:8080\" or \"[::1]:8080\"".into())
}

/// A CIDR, or one address alone.
fn network(value: &Value) -> Result<IpNet, String> {
    let text = string(value)?;
    let one = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>()
        .map(|network| network.trunc())
        .or_else(|_| one())
        .map_err(|_| "must be a network, such as \"10.0.0.0/8\" or \"fd00::/8\"".into())
}

/// 0 is one for each core.
fn threads(wanted: u64) -> usize {
    match count(wanted) {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        some => some,
    }
}

/// A number whose bound fits every platform that this runs on.
pub(super) fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn file_path(value: &Value, around: &Surroundings<'_>) -> Result<PathBuf, String> {
    let path = text(value, 1, MAX_PATH_CHARS)?;
    // A fault that names it is one line.
    if path.contains(char::is_control) {
        return Err("must not contain control characters".into());
    }
    Ok(around.folder.join(path))
}

/// The path of a file that is there.
pub fn existing_file(value: &Value, around: &Surroundings<'_>) -> Result<PathBuf, String> {
    let path = file_path(value, around)?;
    if path.is_file() { Ok(path) } else { Err(format!("there is no file {}", path.display())) }
}

/// `[a-z][a-z0-9]{0,15}`: no underscore, which ends the prefix in a secret.
fn prefix(value: &Value) -> Result<String, String> {
    let text = string(value)?;
    let good = text.len() <= MAX_PREFIX_BYTES
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if good {
        return Ok(text.to_owned());
    }
    Err(format!("must be 1 to {MAX_PREFIX_BYTES} characters of a-z and 0-9, starting with a letter"))
}

/// The master key where secrets are recoverable. Where they are not, its variable need not be there.
fn master_key(fields: &mut Fields<'_>, around: &Surroundings<'_>) -> Option<MasterKey> {
    let recoverable = fields.require("recoverable", |v| either(v, Some(()), None)).flatten();
    let named = fields.has("master_key_env");
    if recoverable.is_some() && !named {
        fields
            .fault("recoverable", "needs master_key_env, the name of the variable that holds the master key");
    }
    fields.read("master_key_env", |value| match (string(value)?, recoverable) {
        (name, Some(())) => MasterKey::read(name, around.env).map(Some),
        (name, None) if is_variable_name(name) => Ok(None),
        (_, None) => Err("must be the name of an environment variable".into()),
    })?
}

fn pepper(value: &Value, around: &Surroundings<'_>) -> Result<Pepper, String> {
    let name = string(value)?;
    if !is_variable_name(name) {
        return Err("must be the name of an environment variable".into());
    }
    let pepper = (around.env)(name).map(|text| Pepper::new(text.into_bytes()));
    match pepper {
        Some(pepper) if pepper.expose().len() >= MIN_PEPPER_BYTES => Ok(pepper),
        Some(_) => {
            Err(format!("the environment variable `{name}` must hold at least {MIN_PEPPER_BYTES} bytes"))
        }
        None => Err(format!("the environment variable `{name}` is not set")),
    }
}

#[cfg(test)]
mod tests;
