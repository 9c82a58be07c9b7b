//! Kong: declarative configuration (`deck gateway dump`, `deck dump`, `kong config db_export`) in YAML or JSON, and
//! what the Admin API answers to `GET /key-auths` or `GET /consumers/{consumer}/key-auth`.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::bail;
use serde_json::{Map, Value, json};

use super::{Converted, Place, has, list, put, rules, text};
use crate::clock::Timestamp;

/// Credentials of a consumer that are no API keys.
const OTHER_CREDENTIALS: [&str; 6] = [
    "basicauth_credentials",
    "jwt_secrets",
    "hmacauth_credentials",
    "oauth2_credentials",
    "mtls_auth_credentials",
    "keyauth_enc_credentials",
];

/// A consumer, as its credentials need it.
#[derive(Default)]
struct Consumer<'a> {
    name: Option<&'a str>,
    custom_id: Option<&'a str>,
    tags: &'a [Value],
    groups: Vec<&'a str>,
    plugins: Vec<&'a Value>,
    /// How many credentials it has.
    credentials: usize,
}

/// Converts an export; what a `ttl` leaves counts from `taken_at`.
pub(super) fn convert(export: &Value, taken_at: Timestamp, out: &mut Converted) -> anyhow::Result<()> {
    let of_api = export.get("data").map(|_| list(export, "data")).or(export.as_array().map(Vec::as_slice));
    let declared = has(export, "consumers") || has(export, "keyauth_credentials");
    if of_api.is_none() && !declared && export.get("_format_version").is_none() {
        bail!("this is neither Kong's declarative configuration nor what GET /key-auths answers");
    }
    if has(export, "next") {
        out.note("a further page of the export (`next`), which is not in this file");
    }
    let mut consumers = Consumers::read(export);
    let flat = of_api.unwrap_or_else(|| list(export, "keyauth_credentials"));
    for credential in flat {
        if let Some(index) = reference(credential).and_then(|name| consumers.by_name.get(name)) {
            consumers.all[*index].credentials += 1;
        }
    }
    for (index, consumer) in list(export, "consumers").iter().enumerate() {
        note_others(consumer, out);
        for (number, credential) in list(consumer, "keyauth_credentials").iter().enumerate() {
            let place = Place::Record(format!("consumers[{index}].keyauth_credentials[{number}]"));
            one(place, credential, &consumers.all[index], taken_at, out);
        }
    }
    let nobody = Consumer::default();
    let at = if of_api.is_some() { "data" } else { "keyauth_credentials" };
    for (index, credential) in flat.iter().enumerate() {
        let known = reference(credential).and_then(|name| consumers.by_name.get(name));
        let known = known.map_or(&nobody, |index| &consumers.all[*index]);
        one(Place::Record(format!("{at}[{index}]")), credential, known, taken_at, out);
    }
    Ok(())
}

/// Whose a credential, a group or a plugin is: an ID or a name, by itself or in an object.
fn reference(value: &Value) -> Option<&str> {
    let consumer = value.get("consumer")?;
    consumer.as_str().or_else(|| text(consumer, "id")).or_else(|| text(consumer, "username"))
}

/// The consumers, in their order and by each of their names.
struct Consumers<'a> {
    all: Vec<Consumer<'a>>,
    by_name: HashMap<&'a str, usize>,
}

impl<'a> Consumers<'a> {
    fn read(export: &'a Value) -> Self {
        let (groups, plugins) = (by_consumer(export, "acls"), by_consumer(export, "plugins"));
        let mut consumers = Self { all: Vec::new(), by_name: HashMap::new() };
        for consumer in list(export, "consumers") {
            let names: Vec<&str> =
                ["id", "username", "custom_id"].into_iter().filter_map(|name| text(consumer, name)).collect();
            let elsewhere = |of: &HashMap<&str, Vec<&'a Value>>| -> Vec<&'a Value> {
                names.iter().filter_map(|name| of.get(name)).flatten().copied().collect()
            };
            let own = list(consumer, "acls").iter().chain(list(consumer, "groups"));
            let known = Consumer {
                name: text(consumer, "username").or_else(|| text(consumer, "custom_id")),
                custom_id: text(consumer, "custom_id"),
                tags: list(consumer, "tags"),
                groups: own
                    .chain(elsewhere(&groups))
                    .filter_map(|one| text(one, "group").or_else(|| text(one, "name")))
                    .collect(),
                plugins: list(consumer, "plugins").iter().chain(elsewhere(&plugins)).collect(),
                credentials: list(consumer, "keyauth_credentials").len(),
            };
            consumers.by_name.extend(names.into_iter().map(|name| (name, consumers.all.len())));
            consumers.all.push(known);
        }
        consumers
    }
}

/// What stands beside the consumers, by the name of its own.
fn by_consumer<'a>(export: &'a Value, name: &str) -> HashMap<&'a str, Vec<&'a Value>> {
    let mut found: HashMap<&str, Vec<&Value>> = HashMap::new();
    for one in list(export, name) {
        if let Some(consumer) = reference(one) {
            found.entry(consumer).or_default().push(one);
        }
    }
    found
}

fn note_others(consumer: &Value, out: &mut Converted) {
    for kind in OTHER_CREDENTIALS {
        for _ in list(consumer, kind) {
            out.note(format!("one of {kind}, which is no API key and not taken over"));
        }
    }
}

fn one(place: Place, credential: &Value, consumer: &Consumer<'_>, taken_at: Timestamp, out: &mut Converted) {
    let Some(secret) = text(credential, "key") else {
        let why = if has(credential, "key") { "its key is no text; quote it" } else { "it has no key" };
        return out.refuse(place, why);
    };
    if secret.starts_with("{vault://") || secret.starts_with("${") {
        return out.refuse(place, "its key is a reference to somewhere else; export the key itself");
    }
    let of = reference(credential);
    let Some(name) = consumer.name.or(of).or_else(|| text(credential, "id")) else {
        return out.refuse(place, "it names no consumer");
    };
    let mut fields = Map::new();
    put(&mut fields, "name", name);
    put(&mut fields, "secret", secret);
    if let Some(owner) = consumer.name.or(of).and_then(|name| out.owner(name)) {
        put(&mut fields, "owner", owner);
    }
    let mut tags: Vec<Value> = consumer.tags.iter().chain(list(credential, "tags")).cloned().collect();
    for group in &consumer.groups {
        tags.push(json!(format!("group:{group}")));
        out.note("a group, kept as the tag `group:NAME`; routes here ask for scopes");
    }
    let mut seen = std::collections::HashSet::new();
    tags.retain(|tag| seen.insert(tag.to_string()));
    put(&mut fields, "tags", tags);
    let ids = [("kong_custom_id", consumer.custom_id), ("kong_credential_id", text(credential, "id"))];
    let metadata: Map<String, Value> =
        ids.into_iter().filter_map(|(name, id)| Some((name.to_owned(), json!(id?)))).collect();
    put(&mut fields, "metadata", metadata);
    times(credential, taken_at, &mut fields);
    plugins(consumer, &mut fields, out);
    out.key(place, fields);
}

fn times(credential: &Value, taken_at: Timestamp, fields: &mut Map<String, Value>) {
    // Newer versions write fractions of a second.
    let seconds = credential.get("created_at").and_then(|at| Duration::try_from_secs_f64(at.as_f64()?).ok());
    if let Some(at) = seconds {
        put(fields, "created_at", Timestamp::default().plus(at).to_string());
    }
    if let Some(ttl) = credential.get("ttl").and_then(Value::as_u64).filter(|ttl| *ttl > 0) {
        put(fields, "expires_at", taken_at.plus(Duration::from_secs(ttl)).to_string());
    }
}

fn plugins(consumer: &Consumer<'_>, fields: &mut Map<String, Value>, out: &mut Converted) {
    for plugin in &consumer.plugins {
        let (name, config) =
            (text(plugin, "name").unwrap_or("?"), plugin.get("config").unwrap_or(&Value::Null));
        let narrowed = ["route", "service"].iter().any(|field| has(plugin, field));
        match name {
            _ if plugin.get("enabled") == Some(&Value::Bool(false)) => {}
            "rate-limiting" if !narrowed => {
                rules::kong_rates(config, fields, out);
                if consumer.credentials > 1 {
                    out.note("a rate that a consumer's keys shared, and that each of them has now");
                }
            }
            "ip-restriction" if !narrowed && !list(config, "allow").is_empty() => {
                rules::allowed(list(config, "allow"), fields);
                if !list(config, "deny").is_empty() {
                    out.note("a list of refused addresses, which is not taken over");
                }
            }
            _ => out.note(format!("the plugin {name} of a consumer, which is not taken over")),
        }
    }
}
