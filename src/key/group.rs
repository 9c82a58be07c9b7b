//! What many keys share: roles (what they may do) and owners (whose they are).

use std::num::NonZeroU64;

use super::RateSpec;
use super::scope::Scope;
use crate::clock::Timestamp;

/// A named set of scopes and default limits. An edit holds for every key that has the role, on its next request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// A slug; it never changes.
    pub name: String,
    /// For people.
    pub description: String,
    /// Added to each key's own.
    pub scopes: Vec<Scope>,
    /// For keys that set none of their own.
    pub limits: Vec<RateSpec>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// The store's revision of its last change: its `ETag`.
    pub revision: u64,
}

/// An organization, team or customer that keys belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// A slug; it never changes.
    pub name: String,
    /// For people.
    pub description: String,
    /// How many of its keys may be active at once.
    pub max_active_keys: Option<NonZeroU64>,
    /// Shared by all of its keys, beside each key's own.
    pub limits: Vec<RateSpec>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// The store's revision of its last change: its `ETag`.
    pub revision: u64,
}
