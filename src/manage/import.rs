//! Keys from elsewhere: JSON Lines, each with the secret (or its SHA-256) that its clients go on using.
//!
//! A line is imported whole or not at all, and the report says why. The lines of one call are one transaction.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::profile::{self, PastExpiry, Rules};
use super::{Actor, Manage, ManageError, Permission};
use crate::clock::Timestamp;
use crate::document::{self, Faults, Fields};
use crate::key::secret::{Algorithm, Digest, Fingerprint, MAX_SECRET_BYTES, MIN_SECRET_BYTES, NewSecret};
use crate::key::{Key, KeyId, Revocation, SecretVersion, Status, Switch};
use crate::store::{Change, Write, audit};

/// Lines of one call.
pub const MAX_LINES: usize = 10_000;
/// A line, in bytes.
pub const MAX_LINE_BYTES: usize = 64 << 10;
/// Fields that an export writes and an import derives anew: accepted, so that an exported line can be imported once its
/// secret is added.
const DERIVED: [&str; 8] = [
    "created_by",
    "updated_at",
    "rotated_at",
    "revoked_at",
    "revoked_reason",
    "rotation_due",
    "versions",
    "usage",
];

/// What became of the lines.
#[derive(Debug, Default)]
pub struct Report {
    /// Lines that are keys now.
    pub imported: u64,
    /// Lines that were refused, by number, and why.
    pub refused: Vec<(u64, String)>,
}

impl Manage {
    /// Imports lines, the first of which has the number `first_line`. Blank lines are passed over.
    ///
    /// # Errors
    /// None of them was imported.
    pub fn import_keys<'a>(
        &self,
        actor: &Actor,
        lines: impl IntoIterator<Item = &'a str>,
        first_line: u64,
    ) -> Result<Report, ManageError> {
        self.audited(actor, "key.import", "", || {
            actor.needs(Permission::KeyCreate)?;
            let mut writer = self.writer.lock();
            let mut report = Report::default();
            let (mut keys, mut secrets) = (Vec::new(), Vec::new());
            let (mut digests, mut ids) = (HashSet::new(), HashSet::new());
            for (number, line) in (first_line..).zip(lines) {
                // The mark that some editors put before the first byte of a file.
                let line = if number == first_line { line.trim_start_matches('\u{feff}') } else { line };
                if line.trim().is_empty() {
                    continue;
                }
                let read = self.read_line(line).and_then(|mut line| {
                    let id =
                        line.id.or_else(|| line.made.map(id_of)).unwrap_or_else(|| self.new_id(&mut writer));
                    line.key.id = id;
                    self.refuse_known(&line, &digests, &ids)?;
                    self.check_groups(None, &line.key).map_err(|error| error.to_string())?;
                    if !actor.sees(&line.key) {
                        return Err("the admin token is bound to another owner".into());
                    }
                    let sealed = self.sealed_of(&line).map_err(|error| error.to_string())?;
                    Ok((line.key, sealed))
                });
                match read {
                    Ok((key, sealed)) => {
                        digests.extend(key.versions.iter().map(|version| version.digest));
                        ids.insert(key.id);
                        keys.push(Key { created_by: actor.id.clone(), ..key });
                        secrets.extend(sealed.map(Write::PutSealed));
                    }
                    Err(why) => report.refused.push((number, why)),
                }
            }
            report.imported = u64::try_from(keys.len()).unwrap_or(u64::MAX);
            self.commit_imported(actor, keys, secrets)?;
            Ok(report)
        })
    }

    fn commit_imported(
        &self,
        actor: &Actor,
        keys: Vec<Key>,
        mut writes: Vec<Write>,
    ) -> Result<(), ManageError> {
        if keys.is_empty() {
            return Ok(());
        }
        for key in &keys {
            self.quotas.seed(key, self.store.as_ref(), self.now())?;
        }
        let ids: Vec<String> = keys.iter().map(|key| key.id.to_string()).collect();
        let draft = audit::Draft {
            at: self.now(),
            actor: actor.id.clone(),
            action: "key.import",
            target: format!("{} keys", ids.len()),
            outcome: "done".into(),
            before: None,
            after: Some(json!({"ids": ids}).to_string()),
            address: actor.address.map(|address| address.to_string()),
            request_id: actor.request_id.clone(),
        };
        writes.extend(keys.into_iter().map(|key| Write::PutKey(Box::new(key))));
        let mut change = Change { writes, audit: vec![draft] };
        self.keep(&mut change)?;
        let now = self.clock.monotonic();
        for write in &change.writes {
            if let Write::PutKey(key) = write {
                self.snapshot.apply(None, Some(key), now);
                self.index.put(key, &self.snapshot);
            }
        }
        Ok(())
    }

    pub(super) fn read_line(&self, line: &str) -> Result<Line, String> {
        if line.len() > MAX_LINE_BYTES {
            return Err(format!("the line has over {MAX_LINE_BYTES} bytes"));
        }
        let document: Value =
            serde_json::from_str(line).map_err(|error| format!("not JSON, at column {}", error.column()))?;
        let mut faults = Faults::default();
        let read = Fields::open(&document, "", &mut faults).and_then(|mut fields| {
            let line = self.read_fields(&mut fields);
            fields.finish();
            line
        });
        faults.or_else_all(read).map_err(|faults| faults.to_string())
    }

    fn read_fields(&self, fields: &mut Fields<'_>) -> Option<Line> {
        let role_exists = |name: &str| self.role_exists(name);
        let rules = Rules { past: PastExpiry::Allowed, role_exists: &role_exists };
        let profile = profile::read(fields, &rules);
        let credential = self.read_credential(fields);
        let id = fields.read("id", |v| document::string(v)?.parse::<KeyId>().map_err(|e| e.to_string()));
        let now = self.now();
        let created_at = fields.read("created_at", |v| {
            Timestamp::parse_rfc3339(document::string(v)?).ok_or_else(|| "must be an RFC 3339 time".into())
        });
        let status = fields.read("status", |v| {
            Status::parse(document::string(v)?)
                .ok_or_else(|| "must be active, disabled, expired or revoked".into())
        });
        for name in DERIVED {
            fields.raw(name);
        }
        let ends = profile.as_ref().and_then(|profile| profile.expires_at);
        if status == Some(Status::Expired) && ends.is_none_or(|at| now < at) {
            // Derived from `expires_at`, as everywhere; without one the key would come in active.
            fields.fault("status", "an expired key needs an `expires_at` that is over");
        }
        let made = created_at.filter(|at| *at < now);
        let created_at = made.unwrap_or(now);
        let (version, secret) = credential?;
        let version = SecretVersion { created_at, ..version };
        let key = Key {
            id: KeyId::from_u128(0),
            profile: profile?,
            switch: if status == Some(Status::Disabled) { Switch::Off } else { Switch::On },
            revoked: (status == Some(Status::Revoked)).then_some(Revocation { at: now, reason: None }),
            created_at,
            created_by: String::new(),
            updated_at: now,
            rotated_at: None,
            versions: vec![version],
            revision: 0,
        };
        Some(Line { key, id, made, secret })
    }

    /// The secret, or its hash: one of the two.
    fn read_credential(&self, fields: &mut Fields<'_>) -> Option<(SecretVersion, Option<NewSecret>)> {
        let shown = fields.read("fingerprint", |v| document::text(v, 1, 64));
        if fields.has("secret") && fields.has("secret_sha256") {
            fields.raw("secret_sha256");
            fields.fault("secret_sha256", "give the secret or its hash, not both");
        }
        let (digest, algorithm, fingerprint, secret) = if fields.has("secret_sha256") {
            let digest = fields.require("secret_sha256", |v| {
                Digest::from_hex(document::string(v)?).ok_or_else(|| "must be 64 hex digits".into())
            })?;
            fields.raw("secret");
            let shown = shown.unwrap_or_else(|| Fingerprint::UNKNOWN.into());
            (digest, Algorithm::Sha256, Fingerprint::from_stored(&shown), None)
        } else {
            let secret = fields.require("secret", |v| {
                NewSecret::import(document::string(v)?).ok_or_else(|| {
                    format!(
                        "must have {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} visible ASCII characters, without commas and quotes"
                    )
                })
            })?;
            (self.hasher.digest(&secret), self.hasher.algorithm(), secret.fingerprint(), Some(secret))
        };
        let created_at = self.now();
        let version =
            SecretVersion { version: 1, digest, algorithm, fingerprint, created_at, superseded: None };
        Some((version, secret))
    }

    fn refuse_known(
        &self,
        line: &Line,
        digests: &HashSet<Digest>,
        ids: &HashSet<KeyId>,
    ) -> Result<(), String> {
        let known = |version: &SecretVersion| {
            digests.contains(&version.digest) || self.snapshot.contains(&version.digest)
        };
        if line.key.versions.iter().any(known) {
            return Err("a key with this secret exists".into());
        }
        // Only an ID that the line brought along can be taken; a new one is new.
        let Some(id) = line.id else { return Ok(()) };
        let stored = || self.store.key(id).map_err(|error| error.to_string());
        if ids.contains(&id) || stored()?.is_some() {
            return Err(format!("a key with the ID {id} exists"));
        }
        Ok(())
    }
}

/// An ID for a key that was created then, so that it stands in lists among those of its time.
fn id_of(created_at: Timestamp) -> KeyId {
    KeyId::from_u128(ulid::Ulid::from_parts(created_at.as_millis(), rand::random()).0)
}

/// A line that was read.
pub(super) struct Line {
    /// The key; its ID is set once it is known.
    pub(super) key: Key,
    id: Option<KeyId>,
    /// When it was created, where the line says so.
    made: Option<Timestamp>,
    /// The secret, where the line had more than its hash.
    pub(super) secret: Option<NewSecret>,
}
