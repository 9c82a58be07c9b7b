//! Roles: scopes and default limits for the keys that have them.

use std::collections::BTreeMap;

use parking_lot::RwLock;
use serde_json::{Value, json};

use super::{Group, limits_json};
use crate::clock::Timestamp;
use crate::document::{self, Fields, rates};
use crate::key::group::Role;
use crate::manage::profile::{self, MAX_DESCRIPTION_CHARS, MAX_SCOPES};
use crate::manage::{Manage, Permission};
use crate::store::Write;

impl Group for Role {
    const KIND: &'static str = "role";
    const ACTIONS: [&'static str; 4] = ["role.create", "role.update", "role.delete", "role.view"];
    const PERMISSIONS: [Permission; 4] =
        [Permission::RoleCreate, Permission::RoleUpdate, Permission::RoleDelete, Permission::RoleView];

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
            "scopes": self.scopes.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "limits": limits_json(&self.limits),
            "created_at": self.created_at.to_string(),
            "updated_at": self.updated_at.to_string(),
        })
    }

    /// Roles are for the keys of every owner.
    fn exists_for(&self, _: &str) -> bool {
        true
    }

    fn read(name: String, fields: &mut Fields<'_>) -> Option<Self> {
        let description = fields.read("description", |v| document::text(v, 0, MAX_DESCRIPTION_CHARS));
        let scopes = fields.values("scopes", MAX_SCOPES, profile::scope);
        let limits = rates::rate_specs(fields, "limits");
        Some(Self {
            name,
            description: description.unwrap_or_default(),
            scopes: scopes.unwrap_or_default(),
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
        &manage.groups.roles
    }

    fn put(self) -> Write {
        Write::PutRole(self)
    }

    fn remove(name: &str) -> Write {
        Write::DeleteRole(name.to_owned())
    }

    fn from_write(write: Write) -> Option<Self> {
        if let Write::PutRole(role) = write { Some(role) } else { None }
    }

    fn apply(manage: &Manage, name: &str, after: Option<&Self>) {
        manage.snapshot.apply_role(name, after);
    }

    fn in_use(manage: &Manage, name: &str) -> Option<String> {
        let keys = manage.index.with_role(&manage.snapshot.role_cell(name));
        (keys > 0).then(|| format!("{keys} key(s) have the role {name:?}; give them another first"))
    }
}
