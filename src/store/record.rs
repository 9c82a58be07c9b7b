//! Records as they are stored: the domain's types mirrored for serde, behind a format version and a checksum.
//!
//! A record is one byte of format version, four of CRC-32, then postcard. A newer binary reads each older version; a
//! record whose checksum is wrong is damage, and is never taken for data.

mod group;
mod sealed;

pub(super) use group::{OwnerRecord, RoleRecord};
pub(super) use sealed::{ReplayRecord, SealedRecord};

use serde::{Deserialize, Serialize};
use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use super::{AdminToken, Tombstone, audit};
use crate::clock::Timestamp;
use crate::key::quota::{QuotaSpec, Window};
use crate::key::scope::Scope;
use crate::key::secret::{Algorithm, Digest, Fingerprint};
use crate::key::{Key, KeyId, Profile, RateSpec, Revocation, SecretVersion, Superseded, Switch};

/// The version that is written.
const FORMAT: u8 = 1;
/// Version and checksum.
const HEAD_BYTES: usize = 5;

/// Why stored bytes are no record.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Damage {
    #[error("a record is cut short")]
    Short,
    #[error("a record's checksum is wrong")]
    Checksum,
    #[error("a record has format {0}, which this version does not know")]
    Format(u8),
    #[error("a record does not decode")]
    Content,
}

/// Encodes a record of the present format.
pub(super) fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    let mut out = vec![FORMAT, 0, 0, 0, 0];
    // Writing to memory cannot fail, and no record holds a type that postcard refuses.
    out = postcard::to_extend(record, out).unwrap_or_default();
    let sum = crc32fast::hash(out.get(HEAD_BYTES..).unwrap_or_default());
    if let Some(place) = out.get_mut(1..HEAD_BYTES) {
        place.copy_from_slice(&sum.to_le_bytes());
    }
    out
}

/// Decodes a record of any known format.
pub(super) fn decode<'a, T: Deserialize<'a>>(stored: &'a [u8]) -> Result<T, Damage> {
    let (head, body) = stored.split_at_checked(HEAD_BYTES).ok_or(Damage::Short)?;
    if head[0] != FORMAT {
        return Err(Damage::Format(head[0]));
    }
    if crc32fast::hash(body).to_le_bytes() != head[1..] {
        return Err(Damage::Checksum);
    }
    postcard::from_bytes(body).map_err(|_| Damage::Content)
}

#[derive(Serialize, Deserialize)]
pub(super) struct KeyRecord {
    name: String,
    description: String,
    owner: Option<String>,
    environment: String,
    tags: Vec<String>,
    metadata: String,
    role: Option<String>,
    scopes: Vec<String>,
    ip_allow: Vec<ipnet::IpNet>,
    limits: Vec<RateRecord>,
    quotas: Vec<QuotaRecord>,
    max_concurrent: Option<NonZeroU32>,
    expires_at: Option<u64>,
    disabled: bool,
    revoked: Option<(u64, Option<String>)>,
    created_at: u64,
    created_by: String,
    updated_at: u64,
    rotated_at: Option<u64>,
    versions: Vec<VersionRecord>,
    revision: u64,
}

#[derive(Serialize, Deserialize)]
struct RateRecord {
    name: String,
    requests: NonZeroU32,
    window_ms: u64,
    burst: Option<NonZeroU32>,
}

#[derive(Serialize, Deserialize)]
struct QuotaRecord {
    name: String,
    requests: NonZeroU64,
    window: WindowRecord,
}

#[derive(Serialize, Deserialize)]
enum WindowRecord {
    Day,
    Week,
    Month,
}

#[derive(Serialize, Deserialize)]
struct VersionRecord {
    version: u32,
    digest: [u8; 32],
    algorithm: AlgorithmRecord,
    fingerprint: String,
    created_at: u64,
    superseded: Option<(u64, u64)>,
}

#[derive(Serialize, Deserialize)]
enum AlgorithmRecord {
    Sha256,
    HmacSha256,
}

const fn ms(at: Timestamp) -> u64 {
    at.as_millis()
}

impl From<&Key> for KeyRecord {
    fn from(key: &Key) -> Self {
        let profile = &key.profile;
        Self {
            name: profile.name.clone(),
            description: profile.description.clone(),
            owner: profile.owner.clone(),
            environment: profile.environment.clone(),
            tags: profile.tags.clone(),
            metadata: profile.metadata.clone(),
            role: profile.role.clone(),
            scopes: profile.scopes.iter().map(ToString::to_string).collect(),
            ip_allow: profile.ip_allow.clone(),
            limits: profile.limits.iter().map(RateRecord::from).collect(),
            quotas: profile.quotas.iter().map(QuotaRecord::from).collect(),
            max_concurrent: profile.max_concurrent,
            expires_at: profile.expires_at.map(ms),
            disabled: key.switch == Switch::Off,
            revoked: key.revoked.as_ref().map(|r| (ms(r.at), r.reason.clone())),
            created_at: ms(key.created_at),
            created_by: key.created_by.clone(),
            updated_at: ms(key.updated_at),
            rotated_at: key.rotated_at.map(ms),
            versions: key.versions.iter().map(VersionRecord::from).collect(),
            revision: key.revision,
        }
    }
}

impl KeyRecord {
    /// The key, whose ID is the table's.
    pub(super) fn into_key(self, id: KeyId) -> Result<Key, Damage> {
        let at = Timestamp::from_millis;
        let scopes = self.scopes.iter().map(|text| Scope::parse(text)).collect::<Option<_>>();
        let profile = Profile {
            name: self.name,
            description: self.description,
            owner: self.owner,
            environment: self.environment,
            tags: self.tags,
            metadata: self.metadata,
            role: self.role,
            scopes: scopes.ok_or(Damage::Content)?,
            ip_allow: self.ip_allow,
            limits: self.limits.into_iter().map(RateSpec::from).collect(),
            quotas: self.quotas.into_iter().map(QuotaSpec::from).collect(),
            max_concurrent: self.max_concurrent,
            expires_at: self.expires_at.map(at),
        };
        Ok(Key {
            id,
            profile,
            switch: if self.disabled { Switch::Off } else { Switch::On },
            revoked: self.revoked.map(|(when, reason)| Revocation { at: at(when), reason }),
            created_at: at(self.created_at),
            created_by: self.created_by,
            updated_at: at(self.updated_at),
            rotated_at: self.rotated_at.map(at),
            versions: self.versions.into_iter().map(SecretVersion::from).collect(),
            revision: self.revision,
        })
    }
}

impl From<&RateSpec> for RateRecord {
    fn from(spec: &RateSpec) -> Self {
        let window_ms = u64::try_from(spec.window.as_millis()).unwrap_or(u64::MAX);
        Self { name: spec.name.clone(), requests: spec.requests, window_ms, burst: spec.burst }
    }
}

impl From<RateRecord> for RateSpec {
    fn from(record: RateRecord) -> Self {
        let window = Duration::from_millis(record.window_ms);
        Self { name: record.name, requests: record.requests, window, burst: record.burst }
    }
}

impl From<&QuotaSpec> for QuotaRecord {
    fn from(spec: &QuotaSpec) -> Self {
        let window = match spec.window {
            Window::Day => WindowRecord::Day,
            Window::Week => WindowRecord::Week,
            Window::Month => WindowRecord::Month,
        };
        Self { name: spec.name.clone(), requests: spec.requests, window }
    }
}

impl From<QuotaRecord> for QuotaSpec {
    fn from(record: QuotaRecord) -> Self {
        let window = match record.window {
            WindowRecord::Day => Window::Day,
            WindowRecord::Week => Window::Week,
            WindowRecord::Month => Window::Month,
        };
        Self { name: record.name, requests: record.requests, window }
    }
}

impl From<&SecretVersion> for VersionRecord {
    fn from(version: &SecretVersion) -> Self {
        Self {
            version: version.version,
            digest: *version.digest.as_bytes(),
            algorithm: match version.algorithm {
                Algorithm::Sha256 => AlgorithmRecord::Sha256,
                Algorithm::HmacSha256 => AlgorithmRecord::HmacSha256,
            },
            fingerprint: version.fingerprint.as_str().to_owned(),
            created_at: ms(version.created_at),
            superseded: version.superseded.map(|end| (ms(end.at), ms(end.not_after))),
        }
    }
}

impl From<VersionRecord> for SecretVersion {
    fn from(record: VersionRecord) -> Self {
        let at = Timestamp::from_millis;
        Self {
            version: record.version,
            digest: Digest::from_bytes(record.digest),
            algorithm: match record.algorithm {
                AlgorithmRecord::Sha256 => Algorithm::Sha256,
                AlgorithmRecord::HmacSha256 => Algorithm::HmacSha256,
            },
            fingerprint: Fingerprint::from_stored(&record.fingerprint),
            created_at: at(record.created_at),
            superseded: record
                .superseded
                .map(|(from, until)| Superseded { at: at(from), not_after: at(until) }),
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct TombstoneRecord {
    name: String,
    owner: Option<String>,
    deleted_at: u64,
}

impl From<&Tombstone> for TombstoneRecord {
    fn from(stone: &Tombstone) -> Self {
        Self { name: stone.name.clone(), owner: stone.owner.clone(), deleted_at: ms(stone.deleted_at) }
    }
}

impl TombstoneRecord {
    pub(super) fn into_tombstone(self, id: KeyId) -> Tombstone {
        Tombstone {
            id,
            name: self.name,
            owner: self.owner,
            deleted_at: Timestamp::from_millis(self.deleted_at),
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct TokenRecord {
    name: String,
    digest: [u8; 32],
    fingerprint: String,
    permissions: Vec<String>,
    owner: Option<String>,
    expires_at: Option<u64>,
    created_at: u64,
}

impl From<&AdminToken> for TokenRecord {
    fn from(token: &AdminToken) -> Self {
        Self {
            name: token.name.clone(),
            digest: *token.digest.as_bytes(),
            fingerprint: token.fingerprint.clone(),
            permissions: token.permissions.clone(),
            owner: token.owner.clone(),
            expires_at: token.expires_at.map(ms),
            created_at: ms(token.created_at),
        }
    }
}

impl TokenRecord {
    pub(super) fn into_token(self, id: &str) -> AdminToken {
        AdminToken {
            id: id.to_owned(),
            name: self.name,
            digest: Digest::from_bytes(self.digest),
            fingerprint: self.fingerprint,
            permissions: self.permissions,
            owner: self.owner,
            expires_at: self.expires_at.map(Timestamp::from_millis),
            created_at: Timestamp::from_millis(self.created_at),
        }
    }
}

/// An audit entry without its place and its own hash: those come from the table and the bytes.
#[derive(Serialize, Deserialize)]
pub(super) struct AuditRecord {
    pub(super) seq: u64,
    at: u64,
    actor: String,
    action: String,
    target: String,
    outcome: String,
    before: Option<String>,
    after: Option<String>,
    address: Option<String>,
    request_id: Option<String>,
    previous_hash: [u8; 32],
}

impl AuditRecord {
    pub(super) fn new(draft: &audit::Draft, seq: u64, previous_hash: [u8; 32]) -> Self {
        Self {
            seq,
            at: ms(draft.at),
            actor: draft.actor.clone(),
            action: draft.action.to_owned(),
            target: draft.target.clone(),
            outcome: draft.outcome.clone(),
            before: draft.before.clone(),
            after: draft.after.clone(),
            address: draft.address.clone(),
            request_id: draft.request_id.clone(),
            previous_hash,
        }
    }

    pub(super) fn into_entry(self, hash: [u8; 32]) -> audit::Entry {
        audit::Entry {
            seq: self.seq,
            at: Timestamp::from_millis(self.at),
            actor: self.actor,
            action: self.action,
            target: self.target,
            outcome: self.outcome,
            before: self.before,
            after: self.after,
            address: self.address,
            request_id: self.request_id,
            previous_hash: self.previous_hash,
            hash,
        }
    }
}
