//! The schemas of keys.

use serde_json::{Value, json};

use super::schema::{
    about, boolean, count, duration, environment, integer, key_id, limit_name, limits, list, new_limits,
    not_blank, nullable, object, one_of, page, rate_count, reference, scope, slug, text, time, whole,
};
use crate::key::quota::Window;
use crate::key::secret::{MAX_SECRET_BYTES, MIN_SECRET_BYTES};
use crate::key::{Status, VersionState};
use crate::manage::import::MAX_LINES;
use crate::manage::keys::{MAX_REASON_CHARS, MAX_VERSIONS};
use crate::manage::profile::{
    MAX_CONCURRENT, MAX_DESCRIPTION_CHARS, MAX_METADATA_BYTES, MAX_NAME_CHARS, MAX_NETWORKS, MAX_QUOTAS,
    MAX_REQUESTS, MAX_SCOPES, MAX_TAG_CHARS, MAX_TAGS,
};
use crate::manage::rotation::MAX_CALLERS;

pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    vec![
        ("Key", key()),
        ("KeyPage", page("Key")),
        ("NewKey", new_key()),
        ("KeyPatch", key_patch()),
        ("ImportLine", import_line()),
        ("IssuedKey", whole([("key", reference("Key")), ("secret", secret())])),
        ("ImportReport", import_report()),
        ("RevealedSecret", revealed()),
        ("RevokedKey", revoked()),
        ("RotationReport", rotation_report()),
        ("Rotation", rotation()),
        ("Revocation", revocation()),
        ("Nothing", nullable(object(&[], []))),
        ("CheckRequest", check_request()),
        ("CheckReport", check_report()),
        ("NewLimit", new_limit()),
        ("Limit", limit()),
        ("Quota", quota()),
        ("SecretVersion", version()),
    ]
}

fn secret() -> Value {
    about(json!({"type": "string"}), "The plaintext, shown this once.")
}

fn name() -> Value {
    not_blank(MAX_NAME_CHARS)
}

fn metadata() -> Value {
    about(
        json!({"type": "object"}),
        &format!("The caller's own notes, at most {MAX_METADATA_BYTES} bytes as JSON."),
    )
}

fn networks() -> Value {
    let network =
        json!({"type": "string", "minLength": 2, "maxLength": 49, "examples": ["203.0.113.7", "10.0.0.0/8"]});
    about(
        list(&network, MAX_NETWORKS),
        "Addresses and networks from where it may be used; empty: from anywhere.",
    )
}

/// What an operator may set, when creating and when editing.
fn settable() -> [(&'static str, Value); 11] {
    [
        ("description", nullable(text(0, MAX_DESCRIPTION_CHARS))),
        ("owner", nullable(slug())),
        ("tags", nullable(list(&text(1, MAX_TAG_CHARS), MAX_TAGS))),
        ("metadata", nullable(metadata())),
        ("role", nullable(about(slug(), "A role that exists."))),
        ("scopes", nullable(list(&scope(), MAX_SCOPES))),
        ("ip_allow", nullable(networks())),
        ("limits", nullable(about(new_limits(), "Rates; no two with one name."))),
        ("quotas", nullable(about(list(&reference("Quota"), MAX_QUOTAS), "No two with one name."))),
        ("max_concurrent", nullable(integer(1, MAX_CONCURRENT))),
        ("expires_at", nullable(about(time(), "The first moment at which it is refused."))),
    ]
}

fn with(mut schema: Value, fields: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    for (name, field) in fields {
        schema["properties"][name] = field;
    }
    schema
}

fn new_key() -> Value {
    let environment =
        about(environment(), "`live` where it is left out; part of the secret, so it never changes.");
    with(object(&["name"], [("name", name()), ("environment", nullable(environment))]), settable())
}

fn key_patch() -> Value {
    with(object(&[], [("name", name())]), settable())
}

fn import_line() -> Value {
    let secret = json!({"type": "string", "minLength": MIN_SECRET_BYTES, "maxLength": MAX_SECRET_BYTES});
    let hash = json!({"type": "string", "pattern": "^[0-9a-fA-F]{64}$"});
    let fields = [
        ("secret", about(secret, "The secret that clients go on using, or its hash.")),
        ("secret_sha256", about(hash, "The SHA-256 of the secret, in hex digits.")),
        ("id", key_id()),
        ("created_at", time()),
        ("status", one_of(Status::ALL.map(Status::as_str))),
    ];
    with(new_key(), fields)
}

fn key() -> Value {
    let fields = [
        ("id", key_id()),
        ("name", name()),
        ("description", text(0, MAX_DESCRIPTION_CHARS)),
        ("owner", nullable(slug())),
        ("environment", environment()),
        ("tags", list(&text(1, MAX_TAG_CHARS), MAX_TAGS)),
        ("metadata", metadata()),
        ("status", about(one_of(Status::ALL.map(Status::as_str)), "Derived; never stored.")),
        ("fingerprint", nullable(about(json!({"type": "string"}), "What may be shown of the secret."))),
        ("role", nullable(slug())),
        ("scopes", list(&scope(), MAX_SCOPES)),
        ("ip_allow", networks()),
        ("limits", limits()),
        ("quotas", list(&reference("Quota"), MAX_QUOTAS)),
        ("max_concurrent", nullable(integer(1, MAX_CONCURRENT))),
        ("created_at", time()),
        ("created_by", about(json!({"type": "string"}), "An admin token's ID, or `import`.")),
        ("updated_at", about(time(), "When an admin last changed it.")),
        ("expires_at", nullable(time())),
        ("rotated_at", nullable(time())),
        ("revoked_at", nullable(time())),
        ("rotation_due", about(boolean(), "Its secret is older than `keys.rotate_after`.")),
        ("versions", list(&reference("SecretVersion"), MAX_VERSIONS)),
        ("usage", usage()),
    ];
    let reason = about(text(0, MAX_REASON_CHARS), "Why it was revoked, where that was said.");
    with(whole(fields), [("revoked_reason", reason)])
}

fn revoked() -> Value {
    let cut = about(count(), "How many of its requests ran on and were cut.");
    let mut schema = with(key(), [("cut", cut)]);
    if let Some(required) = schema["required"].as_array_mut() {
        required.push("cut".into());
    }
    schema
}

fn revealed() -> Value {
    whole([
        ("secret", about(json!({"type": "string"}), "The plaintext.")),
        ("version", integer(1, u64::from(u32::MAX))),
        ("fingerprint", json!({"type": "string"})),
    ])
}

fn rotation_report() -> Value {
    let caller = whole([
        ("address", json!({"type": "string"})),
        ("user_agent", nullable(json!({"type": "string"}))),
        ("at", time()),
    ]);
    let fields = [
        ("first_used_at", nullable(time())),
        ("callers", about(list(&caller, MAX_CALLERS), "The last ones, newest first.")),
    ];
    let mut version = with(version(), fields);
    if let Some(required) = version["required"].as_array_mut() {
        required.extend(["first_used_at".into(), "callers".into()]);
    }
    whole([("versions", list(&version, MAX_VERSIONS))])
}

fn usage() -> Value {
    whole([
        ("requests", about(count(), "What was let through.")),
        ("denied", about(count(), "What was refused after the key was known.")),
        ("last_used_at", nullable(time())),
    ])
}

fn version() -> Value {
    let states = [VersionState::Active, VersionState::Retiring, VersionState::Retired];
    whole([
        ("version", integer(1, u64::from(u32::MAX))),
        ("fingerprint", json!({"type": "string"})),
        ("state", one_of(states.map(VersionState::as_str))),
        ("created_at", time()),
        ("expires_at", nullable(about(time(), "When its grace ends, once it was rotated away."))),
        ("last_used_at", nullable(time())),
        ("requests", count()),
    ])
}

fn new_limit() -> Value {
    object(
        &["name", "requests", "window"],
        [
            ("name", limit_name()),
            ("requests", rate_count()),
            ("window", duration("from 1s to 31d")),
            (
                "burst",
                nullable(about(rate_count(), "How many may come at once; `requests` where it is left out.")),
            ),
        ],
    )
}

fn limit() -> Value {
    whole([
        ("name", limit_name()),
        ("requests", rate_count()),
        ("window", duration("from 1s to 31d")),
        ("burst", rate_count()),
    ])
}

fn quota() -> Value {
    whole([
        ("name", limit_name()),
        ("requests", integer(1, MAX_REQUESTS)),
        ("window", about(one_of(Window::ALL.map(Window::as_str)), "A calendar window in UTC.")),
    ])
}

fn rotation() -> Value {
    let grace = duration("from 0s to 365d; 0s, where it is left out, ends every older secret at once");
    nullable(object(&[], [("grace", nullable(grace))]))
}

fn revocation() -> Value {
    nullable(object(&[], [("reason", nullable(text(0, MAX_REASON_CHARS)))]))
}

fn import_report() -> Value {
    let refused = whole([("line", integer(1, MAX_LINES as u64)), ("detail", json!({"type": "string"}))]);
    whole([("imported", integer(0, MAX_LINES as u64)), ("refused", list(&refused, MAX_LINES))])
}

fn check_request() -> Value {
    let methods = one_of(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);
    let most = crate::admin::check::MAX_CHARS;
    let address = json!({"type": "string", "minLength": 2, "maxLength": 45, "examples": ["203.0.113.7"]});
    object(
        &["path"],
        [
            ("method", nullable(about(methods, "GET where it is left out."))),
            ("host", nullable(text(1, most))),
            ("path", about(text(1, most), "The target: the path, and the query if there is one.")),
            ("address", nullable(about(address, "The client's; 127.0.0.1 where it is left out."))),
        ],
    )
}

fn check_report() -> Value {
    let step = whole([
        ("rule", json!({"type": "string"})),
        ("passed", boolean()),
        ("detail", nullable(json!({"type": "string"}))),
    ]);
    whole([
        ("allowed", boolean()),
        ("code", nullable(about(json!({"type": "string"}), "The code that the client would get."))),
        ("steps", json!({"type": "array", "items": step})),
    ])
}
