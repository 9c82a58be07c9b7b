//! Owners: a cap on active keys, and limits that all of an owner's keys share.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use parking_lot::RwLock;
use serde_json::{Value, json};

use super::{Group, MAX_ACTIVE_KEYS, limits_json};
use crate::clock::Timestamp;
use crate::document::{self, Fields, rates};
use crate::key::group::Owner;
use crate::manage::profile::MAX_DESCRIPTION_CHARS;
use crate::manage::{Manage, Permission};
use crate::store::Write;

impl Group for Owner {
    const KIND: &'static str = "owner";
    const ACTIONS: [&'static str; 4] = ["owner.create", "owner.update", "owner.delete", "owner.view"];
    const PERMISSIONS: [Permission; 4] =
        [Permission::OwnerCreate, Permission::OwnerUpdate, Permission::OwnerDelete, Permission::OwnerView];

    fn name(&self) -> &str {
        &self.name
    }

    fn revision(&self) -> u64 {
        self.revision
    }

    fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "description": self.description,
            "max_active_keys": self.max_active_keys,
            "limits": limits_json(&self.limits),
            "created_at": self.created_at.to_string(),
            "updated_at": self.updated_at.to_string(),
        })
    }

    /// Other owners are none of its business.
    fn exists_for(&self, owner: &str) -> bool {
        self.name == owner
    }

    fn read(name: String, fields: &mut Fields<'_>) -> Option<Self> {
        let description = fields.read("description", |v| document::text(v, 0, MAX_DESCRIPTION_CHARS));
        let max_active_keys = fields.read("max_active_keys", |v| {
            let cap = document::integer(v, 1, MAX_ACTIVE_KEYS)?;
            NonZeroU64::new(cap).ok_or_else(|| "must not be 0".into())
        });
        let limits = rates::rate_specs(fields, "limits");
        Some(Self {
            name,
            description: description.unwrap_or_default(),
            max_active_keys,
            limits: limits.unwrap_or_default(),
            created_at: Timestamp::default(),
            updated_at: Timestamp::default(),
            revision: 0,
        })
    }

    fn times(&mut self, before: Option<&Self>, now: Timestamp) {
        self.created_at = before.map_or(now, |before| before.created_at);
        self.updated_at = now;
    }

    fn table(manage: &Manage) -> &RwLock<BTreeMap<String, Self>> {
        &manage.groups.owners
    }

    fn put(self) -> Write {
        Write::PutOwner(self)
    }

    fn remove(name: &str) -> Write {
        Write::DeleteOwner(name.to_owned())
    }

    fn from_write(write: Write) -> Option<Self> {
        if let Write::PutOwner(owner) = write { Some(owner) } else { None }
    }

    fn apply(manage: &Manage, name: &str, after: Option<&Self>) {
        manage.snapshot.apply_owner(name, after, manage.clock.monotonic());
    }

    /// An owner's record is not needed by its keys.
    fn in_use(_: &Manage, _: &str) -> Option<String> {
        None
    }
}
