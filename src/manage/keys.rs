//! The life of a key: created, edited, switched, rotated, revoked, deleted. Each takes effect on the next request.

use std::time::Duration;

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::profile::{self, PastExpiry, Rules};
use super::replay::Claim;
use super::view::{self, KeyView};
use super::{Actor, Deed, Manage, ManageError, Permission};
use crate::clock::Timestamp;
use crate::document::{self, Faults, Fields};
use crate::key::secret::NewSecret;
use crate::key::{Key, KeyId, Revocation, SecretVersion, Superseded, Switch, VersionState};
use crate::quantity;
use crate::store::{Change, Tombstone, Write};

/// Secret versions of a key that are remembered, so that an old secret is told from an unknown one.
pub const MAX_VERSIONS: usize = 16;
/// The longest grace of a rotation.
const MAX_GRACE: Duration = Duration::from_hours(24 * 365);
/// The longest reason of a revocation, in characters.
pub const MAX_REASON_CHARS: usize = 500;

/// A key, and the secret that is shown this once.
#[derive(Clone)]
pub struct Issued {
    /// The key.
    pub view: KeyView,
    /// Its new secret.
    pub secret: NewSecret,
}

/// A key that was revoked.
#[derive(Debug, Clone)]
pub struct Revoked {
    /// The key.
    pub view: KeyView,
    /// How many of its requests ran on and were cut.
    pub cut: u64,
}

impl Issued {
    /// The answer that shows it, as JSON.
    pub fn body(&self) -> Zeroizing<String> {
        Zeroizing::new(json!({"key": self.view.to_json(), "secret": self.secret.expose()}).to_string())
    }
}

impl Manage {
    /// Creates a key.
    ///
    /// # Errors
    /// Nothing was created.
    pub fn create_key(&self, actor: &Actor, document: &Value) -> Result<Issued, ManageError> {
        self.audited(actor, "key.create", "", || {
            actor.needs(Permission::KeyCreate)?;
            self.create(actor, document, None)
        })
    }

    pub(super) fn create(
        &self,
        actor: &Actor,
        document: &Value,
        claim: Option<&Claim<'_>>,
    ) -> Result<Issued, ManageError> {
        let role_exists = |name: &str| self.role_exists(name);
        let rules = Rules { past: PastExpiry::Refused(self.now()), role_exists: &role_exists };
        let mut profile = profile::read_document(document, &rules).map_err(ManageError::Invalid)?;
        profile.owner = profile.owner.or_else(|| actor.owner.clone());
        let secret = self.new_secret(&profile.environment)?;
        let mut writer = self.writer.lock();
        let id = self.new_id(&mut writer);
        let now = self.now();
        let key = Key {
            id,
            profile,
            switch: Switch::On,
            revoked: None,
            created_at: now,
            created_by: actor.id.clone(),
            updated_at: now,
            rotated_at: None,
            versions: vec![self.version_of(&secret, 1, now)],
            revision: 0,
        };
        let deed = Deed { actor, action: "key.create", before: None, after: None };
        self.commit_issued(key, &deed, secret, claim)
    }

    /// One key.
    ///
    /// # Errors
    /// There is none, or the store failed.
    pub fn key(&self, actor: &Actor, id: KeyId) -> Result<KeyView, ManageError> {
        self.audited(actor, "key.view", id, || actor.needs(Permission::KeyView))?;
        self.view(self.seen(actor, id)?)
    }

    /// Edits a key by a merge patch (RFC 7396), if `if_match` is absent or names its present `ETag`.
    ///
    /// # Errors
    /// Nothing was changed.
    pub fn edit_key(
        &self,
        actor: &Actor,
        id: KeyId,
        patch: &Value,
        if_match: Option<&str>,
    ) -> Result<KeyView, ManageError> {
        self.audited(actor, "key.update", id, || {
            actor.needs(Permission::KeyUpdate)?;
            self.change(actor, id, "key.update", if_match, |key| {
                let role_exists = |name: &str| self.role_exists(name);
                let rules = Rules { past: PastExpiry::Allowed, role_exists: &role_exists };
                key.profile = profile::patched(&key.profile, patch, &rules).map_err(ManageError::Invalid)?;
                Ok(())
            })
        })
    }

    /// Enables or disables a key.
    ///
    /// # Errors
    /// Nothing was changed: the key is revoked, for one.
    pub fn switch_key(
        &self,
        actor: &Actor,
        id: KeyId,
        switch: Switch,
        if_match: Option<&str>,
    ) -> Result<KeyView, ManageError> {
        let action = match switch {
            Switch::On => "key.enable",
            Switch::Off => "key.disable",
        };
        self.audited(actor, action, id, || {
            actor.needs(Permission::KeyUpdate)?;
            self.change(actor, id, action, if_match, |key| {
                refuse_revoked(key)?;
                key.switch = switch;
                Ok(())
            })
        })
    }

    /// The old secret works until the document's `grace` ends; without one it is dead at once.
    pub(super) fn rotate(
        &self,
        actor: &Actor,
        id: KeyId,
        document: &Value,
        if_match: Option<&str>,
        claim: Option<&Claim<'_>>,
    ) -> Result<Issued, ManageError> {
        let grace = read_grace(document)?;
        let _writer = self.writer.lock();
        let before = self.seen(actor, id)?;
        check_match(&view::etag(&before), if_match)?;
        refuse_revoked(&before)?;
        let mut after = before.clone();
        let secret = self.new_secret(&after.profile.environment)?;
        self.add_version(&mut after, &secret, grace)?;
        let deed = Deed { actor, action: "key.rotate", before: Some(&before), after: None };
        self.commit_issued(after, &deed, secret, claim)
    }

    /// Revokes a key at once and for good, and cuts what it has running. Revoking again changes nothing.
    ///
    /// # Errors
    /// Nothing was changed.
    pub fn revoke_key(
        &self,
        actor: &Actor,
        id: KeyId,
        document: &Value,
        if_match: Option<&str>,
    ) -> Result<Revoked, ManageError> {
        let view = self.audited(actor, "key.revoke", id, || {
            actor.needs(Permission::KeyDelete)?;
            let reason = read_reason(document)?;
            let present = self.seen(actor, id)?;
            if present.revoked.is_some() {
                check_match(&view::etag(&present), if_match)?;
                return self.view(present);
            }
            self.change(actor, id, "key.revoke", if_match, |key| {
                // Another call may have been faster: the first one counts.
                key.revoked.get_or_insert_with(|| Revocation { at: self.now(), reason });
                Ok(())
            })
        })?;
        Ok(Revoked { view, cut: self.lines.cut(id) })
    }

    /// Deletes a key, and cuts what it has running. Its usage stays.
    ///
    /// # Errors
    /// Nothing was changed.
    pub fn delete_key(&self, actor: &Actor, id: KeyId, if_match: Option<&str>) -> Result<(), ManageError> {
        self.audited(actor, "key.delete", id, || {
            actor.needs(Permission::KeyDelete)?;
            let writer = self.writer.lock();
            let key = self.seen(actor, id)?;
            check_match(&view::etag(&key), if_match)?;
            let stone = Tombstone {
                id,
                name: key.profile.name.clone(),
                owner: key.profile.owner.clone(),
                deleted_at: self.now(),
            };
            let deed = Deed { actor, action: "key.delete", before: Some(&key), after: None };
            let draft = self.draft(&deed, id);
            self.keep(&mut Change { writes: vec![Write::DeleteKey(stone)], audit: vec![draft] })?;
            self.snapshot.apply(Some(&key), None, self.clock.monotonic());
            self.index.remove(id);
            drop(writer);
            Ok(())
        })?;
        self.callers.forget(id);
        self.lines.cut(id);
        Ok(())
    }

    /// The name of a key, for a metric; of a deleted one too.
    pub fn name_of(&self, id: KeyId) -> String {
        let name = || match self.store.key(id).ok()? {
            Some(key) => Some(key.profile.name),
            None => self.store.tombstone(id).ok()?.map(|stone| stone.name),
        };
        name().unwrap_or_default()
    }

    /// Runs one change of one key: under the writer's lock, on the record as it is now, committed before it returns.
    fn change(
        &self,
        actor: &Actor,
        id: KeyId,
        action: &'static str,
        if_match: Option<&str>,
        edit: impl FnOnce(&mut Key) -> Result<(), ManageError>,
    ) -> Result<KeyView, ManageError> {
        let writer = self.writer.lock();
        let before = self.seen(actor, id)?;
        check_match(&view::etag(&before), if_match)?;
        let mut after = before.clone();
        edit(&mut after)?;
        let deed = Deed { actor, action, before: Some(&before), after: None };
        let key = self.commit(after, &deed)?;
        drop(writer);
        self.view(key)
    }

    /// The key, if the actor sees it.
    pub(super) fn seen(&self, actor: &Actor, id: KeyId) -> Result<Key, ManageError> {
        let key = self.stored(id)?;
        if actor.sees(&key) { Ok(key) } else { Err(ManageError::no_key(&id)) }
    }

    fn stored(&self, id: KeyId) -> Result<Key, ManageError> {
        self.store.key(id)?.ok_or_else(|| ManageError::no_key(&id))
    }

    /// What is shown of a key, its usage up to this moment. A store that cannot take the newest counts now still shows
    /// those it has.
    pub(super) fn view(&self, key: Key) -> Result<KeyView, ManageError> {
        let _ = self.ledger.merge();
        self.view_merged(key)
    }

    /// As [`Manage::view`], for callers that merged already.
    pub(super) fn view_merged(&self, key: Key) -> Result<KeyView, ManageError> {
        let now = self.now();
        let totals = self.ledger.totals(key.id)?;
        let rotation_due = key.rotation_due(&self.settings.rotate_after, now);
        Ok(KeyView { key, totals, rotation_due, now })
    }

    pub(super) fn new_secret(&self, environment: &str) -> Result<NewSecret, ManageError> {
        NewSecret::generate(&self.settings.prefix, environment)
            .map_err(|e| ManageError::Randomness(e.to_string()))
    }

    pub(super) fn version_of(
        &self,
        secret: &NewSecret,
        version: u32,
        created_at: Timestamp,
    ) -> SecretVersion {
        SecretVersion {
            version,
            digest: self.hasher.digest(secret),
            algorithm: self.hasher.algorithm(),
            fingerprint: secret.fingerprint(),
            created_at,
            superseded: None,
        }
    }

    /// Ends the newest version after `grace` and adds one. A grace of nothing is for a secret that leaked, so it ends
    /// every older version too; otherwise those keep the ends they have.
    fn add_version(&self, key: &mut Key, secret: &NewSecret, grace: Duration) -> Result<(), ManageError> {
        let now = self.now();
        let number = key.newest().map_or(0, |version| version.version) + 1;
        for version in &mut key.versions {
            match &mut version.superseded {
                Some(end) if grace.is_zero() => end.not_after = end.not_after.min(now),
                Some(_) => {}
                none => *none = Some(Superseded { at: now, not_after: now.plus(grace) }),
            }
        }
        if key.versions.len() >= MAX_VERSIONS {
            let over = key.versions.iter().position(|version| version.state(now) == VersionState::Retired);
            let Some(over) = over else {
                return Err(ManageError::Conflict(format!(
                    "{MAX_VERSIONS} secrets of this key are still in their grace; wait until one ends"
                )));
            };
            key.versions.remove(over);
        }
        key.versions.push(self.version_of(secret, number, now));
        key.rotated_at = Some(now);
        Ok(())
    }
}

fn refuse_revoked(key: &Key) -> Result<(), ManageError> {
    if key.revoked.is_some() {
        return Err(ManageError::Conflict("the key is revoked, which is for good; create a new one".into()));
    }
    Ok(())
}

/// Checks `If-Match` (RFC 9110 section 13.1.1): `*`, or a list of entity tags of which one is the present one.
pub(super) fn check_match(present: &str, if_match: Option<&str>) -> Result<(), ManageError> {
    match if_match {
        Some(list) if list.trim() != "*" && !list.split(',').any(|tag| tag.trim() == present) => {
            Err(ManageError::PreconditionFailed(present.to_owned()))
        }
        _ => Ok(()),
    }
}

pub(super) fn read_grace(document: &Value) -> Result<Duration, ManageError> {
    read_small(document, |fields| {
        Some(fields.read("grace", |v| quantity::duration(v, Duration::ZERO, MAX_GRACE)).unwrap_or_default())
    })
}

pub(super) fn read_reason(document: &Value) -> Result<Option<String>, ManageError> {
    read_small(document, |fields| Some(fields.read("reason", |v| document::text(v, 0, MAX_REASON_CHARS))))
}

/// Reads a small document that may be left out.
fn read_small<T>(
    document: &Value,
    read: impl FnOnce(&mut Fields<'_>) -> Option<T>,
) -> Result<T, ManageError> {
    let nothing = json!({});
    let document = if document.is_null() { &nothing } else { document };
    let mut faults = Faults::default();
    let value = Fields::open(document, "", &mut faults).and_then(|mut fields| {
        let value = read(&mut fields);
        fields.finish();
        value
    });
    faults.or_else_all(value).map_err(ManageError::Invalid)
}
