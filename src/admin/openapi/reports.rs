//! The schemas of usage, the audit log and health.

use serde_json::{Value, json};

use super::schema::{
    about, boolean, count, key_id, list, nullable, object, one_of, page, slug, text, time, whole,
};
use crate::outcome::Outcome;

/// Settings that need a restart at most.
const MAX_SETTINGS: usize = 64;

pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    vec![
        ("UsageRow", usage_row()),
        ("UsagePage", page("UsageRow")),
        ("AuditEntry", audit_entry()),
        ("AuditPage", page("AuditEntry")),
        ("AuditVerified", verified()),
        ("Health", health()),
        ("Reloaded", reloaded()),
        ("Upstreams", upstreams()),
    ]
}

/// One of the four in the middle stands in each row of a report that is divided by it.
fn usage_row() -> Value {
    object(
        &["start", "requests", "denied"],
        [
            ("start", about(time(), "When its time starts.")),
            ("key", key_id()),
            ("owner", nullable(slug())),
            ("route", text(0, 2_000)),
            ("outcome", one_of(Outcome::ALL.map(Outcome::as_str))),
            ("requests", about(count(), "What was let through.")),
            ("denied", about(count(), "What was refused after the key was known.")),
        ],
    )
}

fn audit_entry() -> Value {
    let word = || json!({"type": "string"});
    let record = |text: &str| nullable(about(json!({"type": "object"}), text));
    let hash = || json!({"type": "string", "pattern": "^[0-9a-f]{64}$"});
    whole([
        ("seq", json!({"type": "integer", "minimum": 1})),
        ("at", time()),
        ("actor", about(word(), "An admin token's ID; `unknown` where there was no right token.")),
        ("action", word()),
        ("target", word()),
        ("outcome", about(word(), "`done`, or the code of the refusal.")),
        ("before", record("The record before, never with a secret.")),
        ("after", record("The record after, never with a secret.")),
        ("address", nullable(word())),
        ("request_id", nullable(word())),
        ("previous_hash", hash()),
        ("hash", hash()),
    ])
}

fn verified() -> Value {
    whole([
        ("intact", boolean()),
        ("entries", count()),
        (
            "broken_at",
            nullable(about(count(), "The first entry that does not follow from the one before it.")),
        ),
        ("newest_hash", nullable(json!({"type": "string", "pattern": "^[0-9a-f]{64}$"}))),
    ])
}

fn health() -> Value {
    let status = one_of(["live", "ready", "not_ready"]);
    let word = || json!({"type": "string"});
    let part = one_of(["store", "configuration", "upstreams"]);
    let lack = whole([("part", part), ("detail", word())]);
    let degraded = about(list(&lack, 3), "What a gateway that serves lacks none the less.");
    object(&["status"], [("status", status), ("reason", word()), ("degraded", degraded)])
}

fn reloaded() -> Value {
    let settings = list(&json!({"type": "string"}), MAX_SETTINGS);
    let settings =
        about(settings, "What differs from what the gateway was started with and needs a restart.");
    whole([("routes", count()), ("upstreams", count()), ("needs_restart", settings)])
}

fn upstreams() -> Value {
    let word = || json!({"type": "string"});
    let address = whole([
        ("address", word()),
        (
            "standing",
            about(
                one_of(["healthy", "returning", "ejected", "unhealthy"]),
                "`unhealthy`: its checks fail. `ejected`: requests failed there in a row, and it is left alone for a \
                 while. `returning`: it gets a growing share again.",
            ),
        ),
        ("failures", about(count(), "Requests that failed there in a row.")),
    ]);
    let target = whole([
        ("address", word()),
        ("weight", count()),
        ("running", about(count(), "Requests that run there.")),
        (
            "addresses",
            about(list(&address, 64), "The addresses that its name has; none while it is not resolved."),
        ),
    ]);
    let upstream = whole([("name", word()), ("targets", list(&target, 256))]);
    whole([("upstreams", list(&upstream, 1_000))])
}
