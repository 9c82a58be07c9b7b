//! Roles and owners as admission sees them: one cell that all their keys point to, so that an edit of a role is one
//! store, whatever the number of keys that have it.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwapOption;
use parking_lot::RwLock;

use crate::clock::Monotonic;
use crate::key::group::{Owner, Role};
use crate::key::scope::Scope;
use crate::limit::{Cells, Rate};

/// What a role gives.
#[derive(Debug)]
pub struct Grant {
    /// Added to each key's own.
    pub scopes: Box<[Scope]>,
    /// For keys that set none of their own.
    pub rates: Box<[Rate]>,
}

/// A role's cell. Empty while the role does not exist.
#[derive(Debug, Default)]
pub struct RoleCell {
    grant: ArcSwapOption<Grant>,
}

impl RoleCell {
    /// What the role gives now.
    pub fn grant(&self) -> Option<Arc<Grant>> {
        self.grant.load_full()
    }

    fn set(&self, role: Option<&Role>) {
        self.grant.store(role.map(|role| {
            Arc::new(Grant {
                scopes: role.scopes.as_slice().into(),
                rates: role.limits.iter().map(Rate::of_key).collect(),
            })
        }));
    }
}

/// An owner's cell: its name, and the limits that all of its keys share.
#[derive(Debug)]
pub struct OwnerCell {
    /// The owner's name.
    pub name: Box<str>,
    rates: ArcSwapOption<Box<[Rate]>>,
    /// The owner's states for its rates.
    pub cells: Cells,
}

impl OwnerCell {
    /// The limits that the owner's keys share now.
    pub fn rates(&self) -> Option<Arc<Box<[Rate]>>> {
        self.rates.load_full()
    }

    fn set(&self, owner: Option<&Owner>, now: Monotonic) {
        let rates: Option<Box<[Rate]>> = owner
            .filter(|owner| !owner.limits.is_empty())
            .map(|owner| owner.limits.iter().map(Rate::of_key).collect());
        if let Some(rates) = &rates {
            self.cells.rescale(rates, now);
        }
        self.rates.store(rates.map(Arc::new));
    }
}

/// The cells by name. Locked for writing only when a name is new; never by a request.
#[derive(Debug, Default)]
pub(super) struct Groups {
    roles: RwLock<HashMap<Box<str>, Arc<RoleCell>>>,
    /// An owner without a record lives as long as a key of it does; one with limits is kept in `kept`.
    owners: RwLock<HashMap<Box<str>, Weak<OwnerCell>>>,
    kept: RwLock<HashMap<Box<str>, Arc<OwnerCell>>>,
}

impl Groups {
    pub(super) fn role(&self, name: &str) -> Arc<RoleCell> {
        if let Some(cell) = self.roles.read().get(name) {
            return Arc::clone(cell);
        }
        Arc::clone(self.roles.write().entry(name.into()).or_default())
    }

    pub(super) fn owner(&self, name: &str) -> Arc<OwnerCell> {
        if let Some(cell) = self.owners.read().get(name).and_then(Weak::upgrade) {
            return cell;
        }
        let mut owners = self.owners.write();
        if let Some(cell) = owners.get(name).and_then(Weak::upgrade) {
            return cell;
        }
        super::sweep(&mut *owners);
        let cell =
            Arc::new(OwnerCell { name: name.into(), rates: ArcSwapOption::empty(), cells: Cells::default() });
        owners.insert(name.into(), Arc::downgrade(&cell));
        cell
    }

    pub(super) fn known_role(&self, name: &str) -> Option<Arc<RoleCell>> {
        self.roles.read().get(name).cloned()
    }

    pub(super) fn known_owner(&self, name: &str) -> Option<Arc<OwnerCell>> {
        self.owners.read().get(name).and_then(Weak::upgrade)
    }

    pub(super) fn apply_role(&self, name: &str, role: Option<&Role>) {
        self.role(name).set(role);
    }

    pub(super) fn apply_owner(&self, name: &str, owner: Option<&Owner>, now: Monotonic) {
        let cell = self.owner(name);
        cell.set(owner, now);
        let mut kept = self.kept.write();
        match owner {
            Some(_) => drop(kept.insert(name.into(), cell)),
            None => drop(kept.remove(name)),
        }
    }
}
