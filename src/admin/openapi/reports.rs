//! The schemas of usage, the audit log and health.

use serde_json::{Value, json};

use super::schema::{about, boolean, count, key_id, nullable, object, one_of, page, slug, text, time, whole};
use crate::outcome::Outcome;

pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    vec![
        ("UsageRow", usage_row()),
        ("UsagePage", page("UsageRow")),
        ("AuditEntry", audit_entry()),
        ("AuditPage", page("AuditEntry")),
        ("AuditVerified", verified()),
        ("Health", health()),
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
    object(&["status"], [("status", status), ("reason", json!({"type": "string"}))])
}
