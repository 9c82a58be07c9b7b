//! One key as admission sees it: compact, because there may be a million.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use ipnet::IpNet;

use super::group::{Grant, OwnerCell, RoleCell};
use crate::clock::Timestamp;
use crate::key::quota::QuotaSpec;
use crate::key::scope::Scope;
use crate::key::{Key, KeyId, RateSpec, Status, Superseded, Switch};
use crate::limit::{Cells, InFlight, Rate};

/// Never, as a time.
const NEVER: u64 = u64::MAX;

/// For how long after a grace the callers of the old secret are still of interest: they are refused now.
const WATCHED_AFTER_GRACE: Duration = Duration::from_hours(24);

/// One key. Immutable: a change replaces it.
#[derive(Debug)]
pub struct Entry {
    /// The key's ID.
    pub id: KeyId,
    /// The key's name.
    pub name: Box<str>,
    /// Its owner, shared with the owner's other keys.
    pub owner: Option<Arc<OwnerCell>>,
    /// What it may do, shared with the keys that may do the same.
    pub rights: Arc<Rights>,
    /// What moves with its traffic.
    pub live: Arc<Live>,
    /// The number of the newest version.
    pub newest_version: u32,
    switch: Switch,
    is_revoked: bool,
    /// Milliseconds since the epoch; [`NEVER`] where it does not expire.
    expires: u64,
    /// The versions that were rotated away; mostly none.
    superseded: Box<[(u32, Superseded)]>,
}

impl Entry {
    pub(super) fn new(
        key: &Key,
        owner: Option<Arc<OwnerCell>>,
        rights: Arc<Rights>,
        live: Arc<Live>,
    ) -> Self {
        let ended = |v: &crate::key::SecretVersion| v.superseded.map(|end| (v.version, end));
        Self {
            id: key.id,
            name: key.profile.name.as_str().into(),
            owner,
            rights,
            live,
            newest_version: key.newest().map_or(0, |v| v.version),
            switch: key.switch,
            is_revoked: key.revoked.is_some(),
            expires: key.profile.expires_at.map_or(NEVER, Timestamp::as_millis),
            superseded: key.versions.iter().filter_map(ended).collect(),
        }
    }

    /// The key's status at `now`.
    pub fn status(&self, now: Timestamp) -> Status {
        let expires = (self.expires != NEVER).then(|| Timestamp::from_millis(self.expires));
        Status::derive(self.is_revoked.then_some(now), expires, self.switch, now)
    }

    /// The numbers of all its versions.
    pub(super) fn versions(&self) -> impl Iterator<Item = u32> {
        self.superseded.iter().map(|(number, _)| *number).chain([self.newest_version])
    }

    /// How the version ends, if it was rotated away.
    pub fn superseded(&self, version: u32) -> Option<Superseded> {
        self.superseded.iter().find(|(number, _)| *number == version).map(|(_, end)| *end)
    }

    /// Whether it matters who uses which of its secrets: one was rotated away, and its grace runs or ended lately.
    pub fn is_rotating(&self, now: Timestamp) -> bool {
        self.superseded.iter().any(|(_, end)| now < end.not_after.plus(WATCHED_AFTER_GRACE))
    }
}

/// What moves with a key's traffic. It outlives edits and rotations.
#[derive(Debug, Default)]
pub struct Live {
    /// Its states for each rate it met.
    pub cells: Cells,
    /// Its running requests.
    pub in_flight: InFlight,
    /// Where its last usage counter is (a hint, see `usage`).
    pub usage_hint: AtomicU32,
}

/// What keys with the same rights may do.
#[derive(Debug)]
pub struct Rights {
    /// Their environment.
    pub environment: Box<str>,
    /// Their role, which adds its scopes, and its limits where they set none.
    pub role: Option<Arc<RoleCell>>,
    /// What they may do by themselves.
    pub scopes: Box<[Scope]>,
    /// From where; empty: from anywhere.
    pub ip_allow: Box<[IpNet]>,
    /// Rates of their own; empty: the role's, else the route's.
    pub rates: Box<[Rate]>,
    /// Calendar quotas.
    pub quotas: Box<[QuotaSpec]>,
    /// How many requests may run at once.
    pub max_concurrent: Option<NonZeroU32>,
}

/// What makes two keys' rights the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct RightsSpec {
    environment: String,
    pub(super) role: Option<String>,
    scopes: Vec<Scope>,
    ip_allow: Vec<IpNet>,
    limits: Vec<RateSpec>,
    quotas: Vec<QuotaSpec>,
    max_concurrent: Option<NonZeroU32>,
}

impl RightsSpec {
    pub(super) fn of(key: &Key) -> Self {
        Self {
            environment: key.profile.environment.clone(),
            role: key.profile.role.clone(),
            scopes: key.profile.scopes.clone(),
            ip_allow: key.profile.ip_allow.clone(),
            limits: key.profile.limits.clone(),
            quotas: key.profile.quotas.clone(),
            max_concurrent: key.profile.max_concurrent,
        }
    }
}

impl Rights {
    pub(super) fn of(spec: &RightsSpec, role: Option<Arc<RoleCell>>) -> Self {
        Self {
            environment: spec.environment.as_str().into(),
            role,
            scopes: spec.scopes.as_slice().into(),
            ip_allow: spec.ip_allow.as_slice().into(),
            rates: spec.limits.iter().map(Rate::of_key).collect(),
            quotas: spec.quotas.as_slice().into(),
            max_concurrent: spec.max_concurrent,
        }
    }

    /// Whether all of `wanted` is granted, by the key itself or by its role; otherwise the first that is not.
    pub fn lacking<'a>(&self, wanted: &'a [Scope]) -> Option<&'a Scope> {
        let grant = if wanted.is_empty() { None } else { self.grant() };
        let by_role = grant.as_deref().map_or(&[][..], |grant| &grant.scopes);
        wanted.iter().find(|scope| !self.scopes.iter().chain(by_role).any(|held| held.grants(scope)))
    }

    /// What the role gives now, if there is one.
    pub fn grant(&self) -> Option<Arc<Grant>> {
        self.role.as_ref().and_then(|role| role.grant())
    }

    /// Every scope, the role's included, for the upstream to read.
    pub fn all_scopes(&self) -> String {
        let grant = self.grant();
        let by_role = grant.as_deref().map_or(&[][..], |grant| &grant.scopes);
        let mut out = String::new();
        for scope in self.scopes.iter().chain(by_role.iter().filter(|scope| !self.scopes.contains(scope))) {
            if !out.is_empty() {
                out.push(' ');
            }
            out.push_str(scope.as_str());
        }
        out
    }
}
