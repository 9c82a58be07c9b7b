//! The vocabulary of a key: what it is, and what can be said of it at a moment in time.
//!
//! A key's status is derived and never stored, so that it cannot disagree with the facts it is made of. The secret
//! itself is not here: only the digests of its versions are. This module imports nothing of ours but the clock's
//! types.

pub mod due;
pub mod group;
pub mod quota;
pub mod redact;
pub mod scope;
pub mod secret;

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;

use crate::clock::Timestamp;
use due::RotateAfter;
use quota::QuotaSpec;
use scope::Scope;
use secret::{Algorithm, Digest, Fingerprint};

/// A key's public name: `key_` and 26 lower-case ULID characters. It never changes and sorts by creation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(u128);

impl KeyId {
    /// What every key ID starts with.
    pub const PREFIX: &str = "key_";

    /// From the ULID's 128 bits.
    pub const fn from_u128(bits: u128) -> Self {
        Self(bits)
    }

    /// The ULID's 128 bits.
    pub const fn as_u128(self) -> u128 {
        self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut buffer = [0; ulid::ULID_LEN];
        let text = ulid::Ulid(self.0).array_to_str(&mut buffer);
        f.write_str(Self::PREFIX)?;
        text.make_ascii_lowercase();
        f.write_str(text)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a key ID.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key ID is `key_` and 26 characters, such as key_01k9m2c3d4e5f6g7h8j9k0m1n2")]
pub struct BadKeyId;

impl FromStr for KeyId {
    type Err = BadKeyId;

    fn from_str(text: &str) -> Result<Self, BadKeyId> {
        let ulid = text.strip_prefix(Self::PREFIX).ok_or(BadKeyId)?;
        let parsed = ulid::Ulid::from_string(ulid).map_err(|_| BadKeyId)?;
        let id = Self(parsed.0);
        if id.to_string() == text { Ok(id) } else { Err(BadKeyId) }
    }
}

/// A rate: at most `requests` in any `window`, with up to `burst` at once. Judged by GCRA (`limit.rs`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RateSpec {
    /// The name that clients read in `RateLimit` and that an edit keeps the state by.
    pub name: String,
    /// How many requests a window allows.
    pub requests: NonZeroU32,
    /// The window, 1 s to 31 d.
    pub window: Duration,
    /// How many may come at once; `requests` where none is set.
    pub burst: Option<NonZeroU32>,
}

impl RateSpec {
    /// How many may come at once.
    pub fn burst(&self) -> NonZeroU32 {
        self.burst.unwrap_or(self.requests)
    }
}

/// One credential of a key. Rotation adds a version and gives the one before it an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretVersion {
    /// 1 for the first; grows by one with each rotation.
    pub version: u32,
    /// What is kept of the secret.
    pub digest: Digest,
    /// How `digest` was made.
    pub algorithm: Algorithm,
    /// What may be shown of the secret.
    pub fingerprint: Fingerprint,
    /// When it was made.
    pub created_at: Timestamp,
    /// Set once a newer version replaced it.
    pub superseded: Option<Superseded>,
}

/// How a version ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Superseded {
    /// When the rotation happened.
    pub at: Timestamp,
    /// The first moment at which the old secret is refused.
    pub not_after: Timestamp,
}

/// Where a version stands at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionState {
    /// The newest: no rotation came after it.
    Active,
    /// Rotated away, with grace left.
    Retiring,
    /// Rotated away, and over.
    Retired,
}

impl VersionState {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Retiring => "retiring",
            Self::Retired => "retired",
        }
    }
}

impl Superseded {
    /// Whether the grace still runs.
    pub fn state(self, now: Timestamp) -> VersionState {
        if now < self.not_after { VersionState::Retiring } else { VersionState::Retired }
    }
}

impl SecretVersion {
    /// Where this version stands.
    pub fn state(&self, now: Timestamp) -> VersionState {
        self.superseded.map_or(VersionState::Active, |end| end.state(now))
    }
}

/// Revoked, for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// When.
    pub at: Timestamp,
    /// Why, in the operator's words.
    pub reason: Option<String>,
}

/// What a key is worth at a moment. Where several hold, the first named here wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Ended by an operator; cannot come back.
    Revoked,
    /// Past its `expires_at`.
    Expired,
    /// Switched off; can be switched on.
    Disabled,
    /// In force.
    Active,
}

impl Status {
    /// Every status, in the order of precedence.
    pub const ALL: [Self; 4] = [Self::Revoked, Self::Expired, Self::Disabled, Self::Active];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Disabled => "disabled",
            Self::Active => "active",
        }
    }

    /// Reads the word on the wire.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// The one place where a status is derived: revoked before expired before disabled.
    pub fn derive(
        revoked: Option<Timestamp>,
        expires: Option<Timestamp>,
        switch: Switch,
        now: Timestamp,
    ) -> Self {
        if revoked.is_some() {
            Self::Revoked
        } else if expires.is_some_and(|at| now >= at) {
            Self::Expired
        } else {
            match switch {
                Switch::Off => Self::Disabled,
                Switch::On => Self::Active,
            }
        }
    }
}

/// The operator's reversible switch on a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Switch {
    /// Enabled.
    #[default]
    On,
    /// Disabled.
    Off,
}

/// What an operator may say of a key when creating it, and edit later (all but the environment).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// For people, 1 to 200 characters. Forwarded as `X-Portcullis-Key-Name`.
    pub name: String,
    /// For people, up to 2,000 characters.
    pub description: String,
    /// A slug, or none.
    pub owner: Option<String>,
    /// Which environment the secret is of; part of the secret, so it never changes.
    pub environment: String,
    /// For filters.
    pub tags: Vec<String>,
    /// A JSON object as text, at most 4 KiB: the caller's own notes.
    pub metadata: String,
    /// The role's name.
    pub role: Option<String>,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// From where it may be used; empty: from anywhere.
    pub ip_allow: Vec<IpNet>,
    /// Rates of its own; empty: its role's, else the route's.
    pub limits: Vec<RateSpec>,
    /// Calendar quotas.
    pub quotas: Vec<QuotaSpec>,
    /// How many requests may run at once.
    pub max_concurrent: Option<NonZeroU32>,
    /// The first moment at which it is refused.
    pub expires_at: Option<Timestamp>,
}

/// The record of a key, as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Never changes.
    pub id: KeyId,
    /// What the operator said of it.
    pub profile: Profile,
    /// Enabled or disabled.
    pub switch: Switch,
    /// Set once it is revoked.
    pub revoked: Option<Revocation>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it: an admin token's ID, or `import`.
    pub created_by: String,
    /// When an admin last changed it.
    pub updated_at: Timestamp,
    /// When its secret was last rotated.
    pub rotated_at: Option<Timestamp>,
    /// Its secrets, oldest first. Never empty.
    pub versions: Vec<SecretVersion>,
    /// The store's revision of its last change: its `ETag`.
    pub revision: u64,
}

impl Key {
    /// Its status at `now`.
    pub fn status(&self, now: Timestamp) -> Status {
        Status::derive(self.revoked.as_ref().map(|r| r.at), self.profile.expires_at, self.switch, now)
    }

    /// The version a client should use now: the newest.
    pub fn newest(&self) -> Option<&SecretVersion> {
        self.versions.last()
    }

    /// Whether its secret is older than its environment allows and should be rotated.
    pub fn rotation_due(&self, rule: &RotateAfter, now: Timestamp) -> bool {
        let age = now.since(self.rotated_at.unwrap_or(self.created_at));
        self.revoked.is_none() && rule.of(&self.profile.environment).is_some_and(|after| age >= after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_ids_read_back_as_they_were_written() {
        let id = KeyId::from_u128(0x0197_0000_0000_1234_5678_9abc_def0_1234);
        let text = id.to_string();
        assert_eq!(text.len(), 30);
        assert_eq!(text, text.to_lowercase());
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(text.to_uppercase().parse::<KeyId>(), Err(BadKeyId));
        assert_eq!("key_".parse::<KeyId>(), Err(BadKeyId));
    }

    #[test]
    fn revoked_wins_over_expired_over_disabled() {
        let now = Timestamp::from_secs(100);
        let past = Some(Timestamp::from_secs(50));
        assert_eq!(Status::derive(past, past, Switch::Off, now), Status::Revoked);
        assert_eq!(Status::derive(None, past, Switch::Off, now), Status::Expired);
        assert_eq!(Status::derive(None, Some(now), Switch::On, now), Status::Expired);
        assert_eq!(Status::derive(None, None, Switch::Off, now), Status::Disabled);
        assert_eq!(Status::derive(None, None, Switch::On, now), Status::Active);
    }
}
