//! Roles and owners: made, edited, deleted; and what they ask of the keys that name them.

mod owner;
mod role;

use std::collections::BTreeMap;

use parking_lot::RwLock;
use serde_json::{Map, Value};

use super::patch::{self, Fixed};
use super::{Actor, Manage, ManageError, Permission, profile};
use crate::document::{Faults, Fields, slugs};
use crate::key::group::{Owner, Role};
use crate::key::{Key, Status};
use crate::store::{Change, Store, StoreError, Write, audit};

/// The highest cap on active keys.
pub const MAX_ACTIVE_KEYS: u64 = 1_000_000_000;

/// The roles and owners that are recorded. Locked for writing by their changes alone.
#[derive(Debug, Default)]
pub(super) struct Groups {
    roles: RwLock<BTreeMap<String, Role>>,
    owners: RwLock<BTreeMap<String, Owner>>,
}

impl Groups {
    pub(super) fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let roles = store.roles()?.into_iter().map(|role| (role.name.clone(), role)).collect();
        let owners = store.owners()?.into_iter().map(|owner| (owner.name.clone(), owner)).collect();
        Ok(Self { roles: RwLock::new(roles), owners: RwLock::new(owners) })
    }
}

/// What roles and owners have in common, for the calls that both have.
pub trait Group: Clone {
    /// `role` or `owner`.
    const KIND: &'static str;
    /// The audit log's words for a creation, an edit, a deletion and a reading.
    const ACTIONS: [&'static str; 4];
    /// What a creation, an edit, a deletion and a reading need.
    const PERMISSIONS: [Permission; 4];

    /// Its name.
    fn name(&self) -> &str;
    /// Its `ETag`'s number.
    fn revision(&self) -> u64;
    /// It as JSON.
    fn to_json(&self) -> Value;
    /// Whether it exists for a token that is bound to this owner.
    fn exists_for(&self, owner: &str) -> bool;
    /// Reads the fields that an operator may set.
    #[doc(hidden)]
    fn read(name: String, fields: &mut Fields<'_>) -> Option<Self>;
    #[doc(hidden)]
    fn times(&mut self, before: Option<&Self>, now: crate::clock::Timestamp);
    #[doc(hidden)]
    fn table(manage: &Manage) -> &RwLock<BTreeMap<String, Self>>;
    #[doc(hidden)]
    fn put(self) -> Write;
    #[doc(hidden)]
    fn remove(name: &str) -> Write;
    #[doc(hidden)]
    fn from_write(write: Write) -> Option<Self>;
    #[doc(hidden)]
    fn apply(manage: &Manage, name: &str, after: Option<&Self>);
    #[doc(hidden)]
    fn in_use(manage: &Manage, name: &str) -> Option<String>;
}

/// The fields that an edit starts from.
fn editable<G: Group>(group: &G) -> Map<String, Value> {
    let Value::Object(mut fields) = group.to_json() else { return Map::new() };
    for derived in ["name", "created_at", "updated_at"] {
        fields.shift_remove(derived);
    }
    fields
}

/// The audit log's and the records' name for it never changes.
const FIXED: [Fixed; 1] = [("name", "cannot be changed; make another and give it to the keys")];

fn read_group<G: Group>(name: String, document: &Value, faults: &mut Faults) -> Option<G> {
    let mut fields = Fields::open(document, "", faults)?;
    let group = G::read(name, &mut fields);
    fields.finish();
    group
}

/// It after a merge patch.
pub(super) fn edited<G: Group>(before: &G, patch: &Value) -> Result<G, Faults> {
    let mut faults = Faults::default();
    let after = patch::patched(editable(before), patch, &FIXED, &mut faults)
        .and_then(|document| read_group::<G>(before.name().to_owned(), &document, &mut faults));
    faults.or_else_all(after)
}

/// A new one, whose name stands in the document.
pub(super) fn read_new<G: Group>(document: &Value) -> Result<G, Faults> {
    let mut faults = Faults::default();
    let read = Fields::open(document, "", &mut faults).and_then(|mut fields| {
        let name = fields.require("name", slugs::slug);
        let group = G::read(name.clone().unwrap_or_default(), &mut fields);
        fields.finish();
        name.and(group)
    });
    faults.or_else_all(read)
}

impl Manage {
    /// Every role or owner, by name.
    ///
    /// # Errors
    /// The token may not.
    pub fn groups<G: Group>(&self, actor: &Actor) -> Result<Vec<G>, ManageError> {
        self.audited(actor, G::ACTIONS[3], "", || actor.needs(G::PERMISSIONS[3]))?;
        let seen = |group: &&G| actor.owner.as_deref().is_none_or(|owner| group.exists_for(owner));
        Ok(G::table(self).read().values().filter(seen).cloned().collect())
    }

    /// One role or owner.
    ///
    /// # Errors
    /// There is none, or the token may not.
    pub fn group<G: Group>(&self, actor: &Actor, name: &str) -> Result<G, ManageError> {
        self.audited(actor, G::ACTIONS[3], name, || actor.needs(G::PERMISSIONS[3]))?;
        let found = G::table(self).read().get(name).cloned();
        found
            .filter(|group| actor.owner.as_deref().is_none_or(|owner| group.exists_for(owner)))
            .ok_or_else(|| ManageError::NotFound { kind: G::KIND, id: name.to_owned() })
    }

    /// Makes a role or an owner.
    ///
    /// # Errors
    /// Nothing was made.
    pub fn create_group<G: Group>(&self, actor: &Actor, document: &Value) -> Result<G, ManageError> {
        self.audited(actor, G::ACTIONS[0], "", || {
            actor.needs(G::PERMISSIONS[0])?;
            actor.needs_all_owners()?;
            let group = read_new::<G>(document).map_err(ManageError::Invalid)?;
            let _writer = self.writer.lock();
            if G::table(self).read().contains_key(group.name()) {
                return Err(ManageError::Conflict(format!(
                    "the {} {:?} exists; edit it instead",
                    G::KIND,
                    group.name()
                )));
            }
            self.commit_group(actor, None, Some(group))
        })
    }

    /// Edits a role or an owner by a merge patch (RFC 7396). It holds for all its keys on their next request.
    ///
    /// # Errors
    /// Nothing was changed.
    pub fn edit_group<G: Group>(
        &self,
        actor: &Actor,
        name: &str,
        patch: &Value,
        if_match: Option<&str>,
    ) -> Result<G, ManageError> {
        self.audited(actor, G::ACTIONS[1], name, || {
            actor.needs(G::PERMISSIONS[1])?;
            actor.needs_all_owners()?;
            let _writer = self.writer.lock();
            let before = self.present::<G>(name, if_match)?;
            let after = edited(&before, patch).map_err(ManageError::Invalid)?;
            self.commit_group(actor, Some(&before), Some(after))
        })
    }

    /// Deletes a role or an owner's record.
    ///
    /// # Errors
    /// It is in use, or there is none.
    pub fn delete_group<G: Group>(
        &self,
        actor: &Actor,
        name: &str,
        if_match: Option<&str>,
    ) -> Result<(), ManageError> {
        self.audited(actor, G::ACTIONS[2], name, || {
            actor.needs(G::PERMISSIONS[2])?;
            actor.needs_all_owners()?;
            let _writer = self.writer.lock();
            let before = self.present::<G>(name, if_match)?;
            if let Some(why) = G::in_use(self, name) {
                return Err(ManageError::Conflict(why));
            }
            self.commit_group::<G>(actor, Some(&before), None).map(drop)
        })
    }

    fn present<G: Group>(&self, name: &str, if_match: Option<&str>) -> Result<G, ManageError> {
        let found = G::table(self).read().get(name).cloned();
        let found = found.ok_or_else(|| ManageError::NotFound { kind: G::KIND, id: name.to_owned() })?;
        super::keys::check_match(&super::view::etag_of(found.revision()), if_match)?;
        Ok(found)
    }

    /// Commits and applies a group's change. The caller holds the writer's lock. Answers what is there now, or what
    /// was there before a deletion.
    fn commit_group<G: Group>(
        &self,
        actor: &Actor,
        before: Option<&G>,
        after: Option<G>,
    ) -> Result<G, ManageError> {
        let now = self.now();
        let after = after.map(|mut group| {
            group.times(before, now);
            group
        });
        let Some(name) = after.as_ref().or(before).map(|group| group.name().to_owned()) else {
            return Err(ManageError::Conflict("the change held nothing".into()));
        };
        let action = match (before, &after) {
            (None, _) => G::ACTIONS[0],
            (Some(_), Some(_)) => G::ACTIONS[1],
            (Some(_), None) => G::ACTIONS[2],
        };
        let draft = audit::Draft {
            at: now,
            actor: actor.id.clone(),
            action,
            target: name.clone(),
            outcome: "done".into(),
            before: before.map(|group| group.to_json().to_string()),
            after: after.as_ref().map(|group| group.to_json().to_string()),
            address: actor.address.map(|address| address.to_string()),
            request_id: actor.request_id.clone(),
        };
        let write = after.clone().map_or_else(|| G::remove(&name), G::put);
        let mut change = Change { writes: vec![write], audit: vec![draft] };
        self.keep(&mut change)?;
        G::apply(self, &name, after.as_ref());
        let stored = self.reload::<G>(&name, change);
        stored
            .or_else(|| before.cloned())
            .ok_or_else(|| ManageError::Conflict("the change held nothing".into()))
    }

    /// Takes the committed record, with its revision, into the table.
    fn reload<G: Group>(&self, name: &str, change: Change) -> Option<G> {
        let stored = change.writes.into_iter().find_map(G::from_write);
        let mut table = G::table(self).write();
        match &stored {
            Some(group) => drop(table.insert(name.to_owned(), group.clone())),
            None => drop(table.remove(name)),
        }
        stored
    }

    /// Takes every recorded role and owner into the snapshot, at start.
    pub(super) fn load_groups(&self) {
        for (name, role) in self.groups.roles.read().iter() {
            self.snapshot.apply_role(name, Some(role));
        }
        for (name, owner) in self.groups.owners.read().iter() {
            self.snapshot.apply_owner(name, Some(owner), self.clock.monotonic());
        }
    }

    pub(super) fn role_exists(&self, name: &str) -> bool {
        self.groups.roles.read().contains_key(name)
    }

    /// Checks what a key's role and owner ask of it. The caller holds the writer's lock.
    pub(super) fn check_groups(&self, before: Option<&Key>, after: &Key) -> Result<(), ManageError> {
        if let Some(role) = &after.profile.role
            && !self.role_exists(role)
        {
            // It was there when the document was read, and was deleted since.
            let mut faults = Faults::default();
            faults.add("/role", format!("no role has the name {role:?}"));
            return Err(ManageError::Invalid(faults));
        }
        let Some(name) = &after.profile.owner else { return Ok(()) };
        let cap = self.groups.owners.read().get(name).and_then(|owner| owner.max_active_keys);
        let Some(cap) = cap else { return Ok(()) };
        let now = self.now();
        let counted =
            |key: &Key| key.status(now) == Status::Active && key.profile.owner.as_ref() == Some(name);
        if !counted(after) || before.is_some_and(counted) {
            return Ok(());
        }
        let active = self.index.active_of(&self.snapshot.owner_cell(name), after.id, now);
        if active >= cap.get() {
            return Err(ManageError::KeyLimitReached { owner: name.clone(), cap: cap.get() });
        }
        Ok(())
    }
}

fn limits_json(limits: &[crate::key::RateSpec]) -> Value {
    limits.iter().map(profile::limit_json).collect()
}
