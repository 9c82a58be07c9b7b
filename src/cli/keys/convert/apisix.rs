//! Apache APISIX: what the Admin API answers to `GET /apisix/admin/consumers` and
//! `GET /apisix/admin/consumers/{username}/credentials` (versions 2 and 3), and the `consumers` of `apisix.yaml`.

use std::collections::HashMap;

use anyhow::bail;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::{Converted, Place, has, list, object, put, rules, text};
use crate::clock::Timestamp;

/// Plugins by which a consumer shows who it is, other than a key.
const OTHER_CREDENTIALS: [&str; 6] =
    ["basic-auth", "jwt-auth", "hmac-auth", "ldap-auth", "wolf-rbac", "multi-auth"];
/// What stands between a consumer and its credential in a path.
const BETWEEN: &str = "/credentials/";

/// Where the records come from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The Admin API, and so etcd, where keys may be encrypted.
    Api,
    /// A file, where they never are.
    File,
}

/// A consumer or a credential, and the path that it is kept under.
struct Item<'a> {
    place: String,
    path: Option<&'a str>,
    value: &'a Value,
}

impl<'a> Item<'a> {
    /// Whose credential it is, if it is one.
    fn credential_of(&self) -> Option<&'a str> {
        let names = [self.path, text(self.value, "id"), text(self.value, "username")];
        let (before, _) = names.into_iter().flatten().find_map(|name| name.split_once(BETWEEN))?;
        before.rsplit('/').next()
    }
}

/// Converts an export.
pub(super) fn convert(export: &Value, out: &mut Converted) -> anyhow::Result<()> {
    let (origin, items) = if has(export, "consumers") {
        let named = |(index, value)| Item { place: format!("consumers[{index}]"), path: None, value };
        (Origin::File, list(export, "consumers").iter().enumerate().map(named).collect())
    } else {
        (Origin::Api, of_api(export)?)
    };
    let named = |item: &Item<'_>| item.credential_of().is_none();
    let consumers: HashMap<&str, &Value> = items
        .iter()
        .filter(|item| named(item))
        .filter_map(|item| Some((text(item.value, "username")?, item.value)))
        .collect();
    for item in &items {
        let of = item.credential_of();
        let consumer = of.and_then(|of| consumers.get(of).copied()).unwrap_or(item.value);
        let name = of.or_else(|| text(item.value, "username"));
        one(item, name, consumer, origin, out);
        // As the tool `adc` dumps them: within their consumer.
        for (index, credential) in list(item.value, "credentials").iter().enumerate() {
            let place = format!("{}.credentials[{index}]", item.place);
            within(place, credential, name, item.value, origin, out);
        }
    }
    Ok(())
}

/// `{"list": [{"key", "value"}]}`, one `{"key", "value"}`, a list of such, or `{"node": {"nodes": […]}}` of version 2.
fn of_api(export: &Value) -> anyhow::Result<Vec<Item<'_>>> {
    let nodes = export.get("node").map_or(&[][..], |node| list(node, "nodes"));
    let single = std::slice::from_ref(export);
    let (at, entries) = match export {
        Value::Array(entries) => ("", entries.as_slice()),
        _ if export.get("list").is_some() => ("list", list(export, "list")),
        _ if !nodes.is_empty() => ("node.nodes", nodes),
        _ if has(export, "value") => ("", single),
        _ => bail!("this is neither what APISIX's Admin API answers nor an apisix.yaml with consumers"),
    };
    let mut items = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let value = entry.get("value").unwrap_or(&Value::Null);
        items.push(Item { place: format!("{at}[{index}]"), path: text(entry, "key"), value });
    }
    Ok(items)
}

fn one(item: &Item<'_>, name: Option<&str>, consumer: &Value, origin: Origin, out: &mut Converted) {
    for kind in
        OTHER_CREDENTIALS.iter().filter(|kind| item.value.pointer(&format!("/plugins/{kind}")).is_some())
    {
        out.note(format!("the plugin {kind}, which is no API key and not taken over"));
    }
    let Some(auth) = item.value.pointer("/plugins/key-auth") else { return };
    let place = Place::Record(item.place.clone());
    let Some(name) = name else { return out.refuse(place, "it has no username") };
    key(place, auth, name, consumer, item.value, origin, out);
}

fn within(
    place: String,
    credential: &Value,
    name: Option<&str>,
    consumer: &Value,
    origin: Origin,
    out: &mut Converted,
) {
    let place = Place::Record(place);
    match (text(credential, "type"), credential.get("config"), name) {
        (Some("key-auth"), Some(auth), Some(name)) => {
            key(place, auth, name, consumer, credential, origin, out);
        }
        (Some("key-auth"), _, None) => out.refuse(place, "it has no username"),
        (kind, ..) => {
            let kind = kind.unwrap_or("?");
            out.note(format!("a credential of {kind}, which is no API key and not taken over"));
        }
    }
}

fn key(
    place: Place,
    auth: &Value,
    name: &str,
    consumer: &Value,
    own: &Value,
    origin: Origin,
    out: &mut Converted,
) {
    let Some(secret) = text(auth, "key") else {
        let why = if has(auth, "key") { "its key is no text; quote it" } else { "it has no key" };
        return out.refuse(place, why);
    };
    if secret.starts_with("$env://") || secret.starts_with("$secret://") || secret.starts_with("$ENV://") {
        return out.refuse(place, "its key is a reference to somewhere else; export the key itself");
    }
    if origin == Origin::Api && seems_encrypted(secret) {
        let why = "its key seems encrypted (APISIX's data_encryption), and the secret itself is needed: export it with \
                   the encryption off, or give it as CSV";
        return out.refuse(place, why);
    }
    let mut fields = Map::new();
    put(&mut fields, "name", name);
    put(&mut fields, "secret", secret);
    if let Some(owner) = out.owner(name) {
        put(&mut fields, "owner", owner);
    }
    if let Some(description) = text(own, "desc").or_else(|| text(consumer, "desc")) {
        put(&mut fields, "description", description);
    }
    let mut metadata = object(consumer, "labels").cloned().unwrap_or_default();
    metadata.extend(object(own, "labels").cloned().unwrap_or_default());
    put(&mut fields, "metadata", metadata);
    if let Some(at) = own.get("create_time").and_then(Value::as_u64) {
        put(&mut fields, "created_at", Timestamp::from_secs(at).to_string());
    }
    if auth.pointer("/_meta/disable") == Some(&Value::Bool(true)) {
        put(&mut fields, "status", "disabled");
    }
    plugins(consumer, &mut fields, out);
    out.key(place, fields);
}

fn plugins(consumer: &Value, fields: &mut Map<String, Value>, out: &mut Converted) {
    if has(consumer, "group_id") {
        out.note("a consumer group, which is not taken over");
    }
    for (name, config) in object(consumer, "plugins").into_iter().flatten() {
        match name.as_str() {
            _ if config.pointer("/_meta/disable") == Some(&Value::Bool(true)) => {}
            "key-auth" => {}
            "limit-count" => rules::apisix_rate(config, fields, out),
            "ip-restriction" => rules::apisix_addresses(config, fields, out),
            name if OTHER_CREDENTIALS.contains(&name) => {}
            name => out.note(format!("the plugin {name} of a consumer, which is not taken over")),
        }
    }
}

/// Whether a text has the form of AES blocks in base64, which a key that somebody chose hardly has.
fn seems_encrypted(key: &str) -> bool {
    let blocks = STANDARD.decode(key).is_ok_and(|bytes| !bytes.is_empty() && bytes.len().is_multiple_of(16));
    blocks && key.contains(['=', '+', '/'])
}
