//! Roles and owners as they are stored.

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

use super::{Damage, RateRecord, ms};
use crate::clock::Timestamp;
use crate::key::group::{Owner, Role};
use crate::key::scope::Scope;

#[derive(Serialize, Deserialize)]
pub(in crate::store) struct RoleRecord {
    description: String,
    scopes: Vec<String>,
    limits: Vec<RateRecord>,
    created_at: u64,
    updated_at: u64,
    revision: u64,
}

impl From<&Role> for RoleRecord {
    fn from(role: &Role) -> Self {
        Self {
            description: role.description.clone(),
            scopes: role.scopes.iter().map(ToString::to_string).collect(),
            limits: role.limits.iter().map(RateRecord::from).collect(),
            created_at: ms(role.created_at),
            updated_at: ms(role.updated_at),
            revision: role.revision,
        }
    }
}

impl RoleRecord {
    /// The role, whose name is the table's.
    pub(in crate::store) fn into_role(self, name: &str) -> Result<Role, Damage> {
        let scopes = self.scopes.iter().map(|text| Scope::parse(text)).collect::<Option<_>>();
        Ok(Role {
            name: name.to_owned(),
            description: self.description,
            scopes: scopes.ok_or(Damage::Content)?,
            limits: self.limits.into_iter().map(Into::into).collect(),
            created_at: Timestamp::from_millis(self.created_at),
            updated_at: Timestamp::from_millis(self.updated_at),
            revision: self.revision,
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(in crate::store) struct OwnerRecord {
    description: String,
    max_active_keys: Option<NonZeroU64>,
    limits: Vec<RateRecord>,
    created_at: u64,
    updated_at: u64,
    revision: u64,
}

impl From<&Owner> for OwnerRecord {
    fn from(owner: &Owner) -> Self {
        Self {
            description: owner.description.clone(),
            max_active_keys: owner.max_active_keys,
            limits: owner.limits.iter().map(RateRecord::from).collect(),
            created_at: ms(owner.created_at),
            updated_at: ms(owner.updated_at),
            revision: owner.revision,
        }
    }
}

impl OwnerRecord {
    /// The owner, whose name is the table's.
    pub(in crate::store) fn into_owner(self, name: &str) -> Owner {
        Owner {
            name: name.to_owned(),
            description: self.description,
            max_active_keys: self.max_active_keys,
            limits: self.limits.into_iter().map(Into::into).collect(),
            created_at: Timestamp::from_millis(self.created_at),
            updated_at: Timestamp::from_millis(self.updated_at),
            revision: self.revision,
        }
    }
}
