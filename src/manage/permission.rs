//! Who may do what: permissions of admin tokens, and the bounds of a token that belongs to one owner.

use std::net::IpAddr;

use super::ManageError;
use crate::key::Key;

/// What an admin token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Create and import keys.
    KeyCreate,
    /// Edit, enable, disable and rotate keys.
    KeyUpdate,
    /// Revoke and delete keys.
    KeyDelete,
    /// Read keys.
    KeyView,
    /// Read recoverable secrets.
    KeyReveal,
    /// Make roles.
    RoleCreate,
    /// Edit roles.
    RoleUpdate,
    /// Delete roles.
    RoleDelete,
    /// Read roles.
    RoleView,
    /// Make owners.
    OwnerCreate,
    /// Edit owners.
    OwnerUpdate,
    /// Delete owners.
    OwnerDelete,
    /// Read owners.
    OwnerView,
    /// Read usage.
    UsageView,
    /// Read the audit log.
    AuditView,
    /// Everything, admin tokens among it.
    Admin,
}

impl Permission {
    /// Every permission.
    pub const ALL: [Self; 16] = [
        Self::KeyCreate,
        Self::KeyUpdate,
        Self::KeyDelete,
        Self::KeyView,
        Self::KeyReveal,
        Self::RoleCreate,
        Self::RoleUpdate,
        Self::RoleDelete,
        Self::RoleView,
        Self::OwnerCreate,
        Self::OwnerUpdate,
        Self::OwnerDelete,
        Self::OwnerView,
        Self::UsageView,
        Self::AuditView,
        Self::Admin,
    ];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KeyCreate => "api.key.create",
            Self::KeyUpdate => "api.key.update",
            Self::KeyDelete => "api.key.delete",
            Self::KeyView => "api.key.view",
            Self::KeyReveal => "api.key.reveal",
            Self::RoleCreate => "api.role.create",
            Self::RoleUpdate => "api.role.update",
            Self::RoleDelete => "api.role.delete",
            Self::RoleView => "api.role.view",
            Self::OwnerCreate => "api.owner.create",
            Self::OwnerUpdate => "api.owner.update",
            Self::OwnerDelete => "api.owner.delete",
            Self::OwnerView => "api.owner.view",
            Self::UsageView => "api.usage.view",
            Self::AuditView => "api.audit.view",
            Self::Admin => "api.admin",
        }
    }

    /// Reads the word on the wire. `api.role.*` stands for all that begin with `api.role.`, and so on; `None` for what
    /// names none.
    pub fn parse(text: &str) -> Option<Vec<Self>> {
        let named = |permission: &Self| match text.strip_suffix('*') {
            Some(group) => group.ends_with('.') && group != "api." && permission.as_str().starts_with(group),
            None => permission.as_str() == text,
        };
        let found: Vec<Self> = Self::ALL.into_iter().filter(named).collect();
        (!found.is_empty()).then_some(found)
    }
}

/// Who asks, and from where.
#[derive(Debug, Clone)]
pub struct Actor {
    /// The admin token's ID, or `offline`.
    pub id: String,
    /// What it may do.
    pub permissions: Vec<Permission>,
    /// The only owner whose keys it sees and changes; `None`: every key.
    pub owner: Option<String>,
    /// From which address.
    pub address: Option<IpAddr>,
    /// The admin request's ID.
    pub request_id: Option<String>,
}

impl Actor {
    /// The process itself, when it works on its own store.
    pub fn local(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            permissions: vec![Permission::Admin],
            owner: None,
            address: None,
            request_id: None,
        }
    }

    /// Whether it may.
    pub fn has(&self, permission: Permission) -> bool {
        self.permissions.iter().any(|held| *held == permission || *held == Permission::Admin)
    }

    /// Whether it may.
    ///
    /// # Errors
    /// [`ManageError::Forbidden`], which names what is missing.
    pub fn needs(&self, permission: Permission) -> Result<(), ManageError> {
        if self.has(permission) { Ok(()) } else { Err(ManageError::Forbidden(permission)) }
    }

    /// For what concerns every owner: roles, owners, admin tokens, the audit log.
    ///
    /// # Errors
    /// The token belongs to one owner.
    pub fn needs_all_owners(&self) -> Result<(), ManageError> {
        match &self.owner {
            None => Ok(()),
            Some(owner) => Err(ManageError::BoundToOwner(owner.clone())),
        }
    }

    /// Whether it sees this key: for a token of one owner, the keys of others do not exist.
    pub fn sees(&self, key: &Key) -> bool {
        self.owner.is_none() || self.owner == key.profile.owner
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_read_back_alone_and_in_groups() {
        for permission in Permission::ALL {
            assert_eq!(Permission::parse(permission.as_str()), Some(vec![permission]));
        }
        assert_eq!(Permission::parse("api.role.*").map(|found| found.len()), Some(4));
        for bad in ["", "*", "api.*", "api.key", "api.key.", "api.ghost.*", "API.ADMIN"] {
            assert_eq!(Permission::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn admin_may_everything_and_others_what_they_hold() {
        let mut actor = Actor::local("x");
        assert!(Permission::ALL.into_iter().all(|permission| actor.has(permission)));
        actor.permissions = vec![Permission::KeyView];
        let held: Vec<_> = Permission::ALL.into_iter().filter(|permission| actor.has(*permission)).collect();
        assert_eq!(held, [Permission::KeyView]);
    }
}
