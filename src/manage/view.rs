//! A key as it is shown: the record, what is derived from it, and its usage. Never a secret or a digest.

use serde_json::{Map, Value, json};

use super::profile;
use crate::clock::Timestamp;
use crate::key::{Key, SecretVersion};
use crate::store::Totals;

/// A key with what is needed to show it.
#[derive(Debug, Clone)]
pub struct KeyView {
    /// The record.
    pub key: Key,
    /// Its usage, by secret version.
    pub totals: Vec<(u32, Totals)>,
    /// Whether its secret is due for rotation.
    pub rotation_due: bool,
    /// When it was looked at: the status is of this moment.
    pub now: Timestamp,
}

impl KeyView {
    /// The key's `ETag`: of what an admin can change, so traffic does not move it.
    pub fn etag(&self) -> String {
        etag(&self.key)
    }

    /// The sum over all versions.
    pub fn usage(&self) -> Totals {
        self.totals.iter().fold(Totals::default(), |sum, (_, one)| Totals {
            requests: sum.requests + one.requests,
            denied: sum.denied + one.denied,
            first_used: sum.first_used.into_iter().chain(one.first_used).min(),
            last_used: sum.last_used.max(one.last_used),
        })
    }

    /// The key as JSON (contract, section 6).
    pub fn to_json(&self) -> Value {
        let usage = self.usage();
        let mut out = facts(&self.key, self.now);
        out.insert("rotation_due".into(), json!(self.rotation_due));
        let version = |version: &SecretVersion| self.version_json(version);
        out.insert("versions".into(), self.key.versions.iter().map(version).collect());
        out.insert(
            "usage".into(),
            json!({
                "requests": usage.requests,
                "denied": usage.denied,
                "last_used_at": time(usage.last_used),
            }),
        );
        Value::Object(out)
    }

    /// The usage of one secret.
    pub(super) fn totals_of(&self, version: u32) -> Totals {
        let totals = self.totals.iter().find(|(number, _)| *number == version);
        totals.map(|(_, totals)| *totals).unwrap_or_default()
    }

    fn version_json(&self, version: &SecretVersion) -> Value {
        let totals = self.totals_of(version.version);
        json!({
            "version": version.version,
            "fingerprint": version.fingerprint.as_str(),
            "state": version.state(self.now).as_str(),
            "created_at": version.created_at.to_string(),
            "expires_at": time(version.superseded.map(|end| end.not_after)),
            "last_used_at": time(totals.last_used),
            "requests": totals.requests,
        })
    }
}

/// The `ETag` of a key's record.
pub fn etag(key: &Key) -> String {
    etag_of(key.revision)
}

/// The `ETag` of a record that was last changed by this revision of the store.
pub fn etag_of(revision: u64) -> String {
    format!("\"r{revision}\"")
}

/// The record as the audit log keeps it.
pub fn audited(key: &Key, now: Timestamp) -> Value {
    Value::Object(facts(key, now))
}

pub(super) fn time(at: Option<Timestamp>) -> Value {
    json!(at.map(|at| at.to_string()))
}

/// The fields that come from the record alone, in the contract's order.
fn facts(key: &Key, now: Timestamp) -> Map<String, Value> {
    let mut rest = profile::write(&key.profile);
    let mut out = Map::new();
    out.insert("id".into(), json!(key.id.to_string()));
    for name in ["name", "description", "owner", "environment", "tags", "metadata"] {
        out.insert(name.into(), rest.remove(name).unwrap_or_default());
    }
    out.insert("status".into(), json!(key.status(now).as_str()));
    out.insert("fingerprint".into(), json!(key.newest().map(|version| version.fingerprint.as_str())));
    for name in ["role", "scopes", "ip_allow", "limits", "quotas", "max_concurrent"] {
        out.insert(name.into(), rest.remove(name).unwrap_or_default());
    }
    out.insert("created_at".into(), json!(key.created_at.to_string()));
    out.insert("created_by".into(), json!(key.created_by));
    out.insert("updated_at".into(), json!(key.updated_at.to_string()));
    out.insert("expires_at".into(), rest.remove("expires_at").unwrap_or_default());
    out.insert("rotated_at".into(), time(key.rotated_at));
    out.insert("revoked_at".into(), time(key.revoked.as_ref().map(|r| r.at)));
    if let Some(reason) = key.revoked.as_ref().and_then(|r| r.reason.as_ref()) {
        out.insert("revoked_reason".into(), json!(reason));
    }
    out
}
