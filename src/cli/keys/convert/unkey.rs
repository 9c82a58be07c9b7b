//! Unkey: the keys of a migration (`keys.migrateKeys`, `migrations.createKeys`) or of `apis.listKeys`, as one JSON
//! document or one key a line. The secret itself is `hash` (base64 or hex SHA-256, as Unkey keeps it) or `plaintext`.

use anyhow::bail;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use super::{Converted, Place, has, list, object, put, rules, slug, text};
use crate::clock::Timestamp;
use crate::key::quota::Window;
use crate::manage::audit::hex;

/// Fields that say nothing here.
const IGNORED: [&str; 10] = [
    "apiId",
    "workspaceId",
    "keyAuthId",
    "updatedAt",
    "lastUsedAt",
    "prefix",
    "byteLength",
    "environment",
    "deletedAt",
    "identityId",
];
/// Fields that are read.
const READ: [&str; 24] = [
    "hash",
    "key",
    "plaintext",
    "name",
    "id",
    "keyId",
    "start",
    "ownerId",
    "externalId",
    "identity",
    "meta",
    "expires",
    "createdAt",
    "enabled",
    "ratelimit",
    "ratelimits",
    "remaining",
    "refill",
    "credits",
    "roles",
    "permissions",
    "tags",
    "description",
    "uses",
];

/// Converts an export.
pub(super) fn convert(export: &Value, out: &mut Converted) -> anyhow::Result<()> {
    let (at, keys) = match export {
        Value::Array(keys) => ("", keys.as_slice()),
        Value::Object(_) if export.get("keys").is_some() => ("keys", list(export, "keys")),
        Value::Object(_) if export.get("data").is_some_and(Value::is_array) => ("data", list(export, "data")),
        Value::Object(_) if has(export, "hash") || has(export, "plaintext") => {
            ("", std::slice::from_ref(export))
        }
        _ => bail!("this is no export of Unkey: neither a list of keys nor an object with `keys` or `data`"),
    };
    let more = export.pointer("/pagination/hasMore") == Some(&Value::Bool(true)) || has(export, "cursor");
    if more {
        out.note("a further page of the export, which is not in this file");
    }
    for (index, key) in keys.iter().enumerate() {
        let place = Place::Record(format!("{at}[{index}]"));
        let mut fields = Map::new();
        match secret(key).and_then(|(name, secret)| {
            put(&mut fields, name, secret);
            profile(key, index, &mut fields, out)
        }) {
            Ok(()) => out.key(place, fields),
            Err(why) => out.refuse(place, why),
        }
    }
    Ok(())
}

/// The field of the secret, and what to put there.
fn secret(key: &Value) -> Result<(&'static str, String), String> {
    if let Some(plain) = text(key, "plaintext").or_else(|| text(key, "key")) {
        return Ok(("secret", plain.to_owned()));
    }
    let (hash, variant) = match key.get("hash") {
        Some(Value::String(hash)) => (hash.as_str(), "sha256_base64"),
        Some(hash @ Value::Object(_)) => {
            (text(hash, "value").unwrap_or_default(), text(hash, "variant").unwrap_or("sha256_base64"))
        }
        _ => return Err("it has neither a hash nor a plaintext".into()),
    };
    if !matches!(variant, "sha256_base64" | "sha256_hex" | "sha256") {
        return Err("its hash is of another kind than SHA-256".into());
    }
    if hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(("secret_sha256", hash.to_lowercase()));
    }
    let engines = [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD];
    let bytes = engines.iter().find_map(|engine| engine.decode(hash).ok());
    let digest: Option<[u8; 32]> = bytes.and_then(|bytes| bytes.try_into().ok());
    Ok(("secret_sha256", hex(&digest.ok_or("its hash is no SHA-256 in base64 or hex")?)))
}

fn profile(
    key: &Value,
    index: usize,
    fields: &mut Map<String, Value>,
    out: &mut Converted,
) -> Result<(), String> {
    let id = text(key, "keyId").or_else(|| text(key, "id"));
    let name = text(key, "name").or(id).map_or_else(|| format!("unkey {index}"), str::to_owned);
    put(fields, "name", name);
    if let Some(start) = text(key, "start").filter(|_| fields.contains_key("secret_sha256")) {
        put(fields, "fingerprint", format!("{start}…"));
    }
    let external = text(key, "externalId").or_else(|| text(key, "ownerId"));
    let owner = external.or_else(|| key.get("identity").and_then(|identity| text(identity, "externalId")));
    if let Some(owner) = owner.and_then(|owner| out.owner(owner)) {
        put(fields, "owner", owner);
    }
    if let Some(description) = text(key, "description") {
        put(fields, "description", description);
    }
    let mut metadata = match key.get("meta") {
        Some(Value::Object(meta)) => meta.clone(),
        Some(Value::String(meta)) => serde_json::from_str(meta).map_err(|_| "its meta is no JSON object")?,
        _ => Map::new(),
    };
    if let Some(id) = id {
        metadata.insert("unkey_id".into(), json!(id));
    }
    put(fields, "metadata", metadata);
    for (name, here) in [("expires", "expires_at"), ("createdAt", "created_at")] {
        if let Some(ms) = key.get(name).filter(|at| !at.is_null()) {
            let ms = ms.as_u64().ok_or_else(|| format!("{name} is no time in milliseconds"))?;
            put(fields, here, Timestamp::from_millis(ms).to_string());
        }
    }
    if key.get("enabled") == Some(&Value::Bool(false)) {
        put(fields, "status", "disabled");
    }
    rights(key, fields, out);
    rates(key, fields, out);
    quotas(key, fields, out);
    let unknown = key.as_object().into_iter().flat_map(Map::keys);
    for name in unknown.filter(|name| !READ.contains(&name.as_str()) && !IGNORED.contains(&name.as_str())) {
        out.note(format!("the field {name}, which is not taken over"));
    }
    Ok(())
}

/// One role is a role here. A key has one, so several become tags; permissions are scopes, with `:` for `.`.
fn rights(key: &Value, fields: &mut Map<String, Value>, out: &mut Converted) {
    let roles: Vec<&str> = list(key, "roles").iter().filter_map(Value::as_str).collect();
    match roles.as_slice() {
        [] => {}
        [role] => put(fields, "role", slug(role).unwrap_or_else(|| (*role).to_owned())),
        several => {
            put(fields, "tags", several.iter().map(|role| json!(format!("role:{role}"))).collect::<Vec<_>>());
            out.note("a key with several roles, kept as tags `role:NAME`; a key here has one role");
        }
    }
    let permissions = list(key, "permissions").iter().filter_map(Value::as_str);
    let scopes: Vec<Value> =
        permissions.map(|permission| json!(permission.to_lowercase().replace('.', ":"))).collect();
    if !scopes.is_empty() {
        put(fields, "scopes", scopes);
    }
}

fn rates(key: &Value, fields: &mut Map<String, Value>, out: &mut Converted) {
    let mut limits = Vec::new();
    let old = key.get("ratelimit").filter(|rate| rate.is_object()).into_iter();
    for rate in old.chain(list(key, "ratelimits")) {
        if rate.get("autoApply") == Some(&Value::Bool(false)) {
            out.note("a rate that held only where a request named it, which is not taken over");
            continue;
        }
        let number = |name: &str| rate.get(name).and_then(Value::as_u64);
        let interval = number("duration").or_else(|| number("refillInterval"));
        let requests = number("limit").or_else(|| number("refillRate"));
        let (Some(requests), Some(interval)) = (requests, interval) else {
            out.note("a rate in a form that is not taken over");
            continue;
        };
        let name = text(rate, "name")
            .and_then(slug)
            .map_or_else(|| "requests".into(), |name| name.replace('.', "-"));
        limits.push(json!({"name": name, "requests": requests, "window": format!("{interval}ms")}));
    }
    if !limits.is_empty() {
        put(fields, "limits", limits);
    }
}

/// What is refilled each day or month is a quota. What is not refilled has no counterpart here.
fn quotas(key: &Value, fields: &mut Map<String, Value>, out: &mut Converted) {
    let credits = key.get("credits").filter(|credits| credits.is_object());
    let remaining =
        key.get("remaining").or_else(|| credits?.get("remaining").or_else(|| credits?.get("amount")));
    let refill = object(key, "refill").or_else(|| object(credits?, "refill"));
    if let Some(refill) = refill {
        let window = match refill.get("interval").and_then(Value::as_str) {
            Some("daily") => Some(Window::Day),
            Some("monthly") => Some(Window::Month),
            _ => None,
        };
        if let (Some(window), Some(requests)) = (window, refill.get("amount").and_then(Value::as_u64)) {
            return put(fields, "quotas", vec![rules::quota("credits", requests, window)]);
        }
    }
    if remaining.is_some_and(|remaining| !remaining.is_null()) {
        out.note(
            "remaining uses that are not refilled, which are not taken over: the key has no such end here",
        );
    }
}
