//! Every key in memory, by the digest of each of its secrets: what admission reads.
//!
//! A key is here or it is unknown: there is no cache, so there is nothing to expire. A change is applied as a delta of
//! the few digests of one key, whatever the number of keys. Each entry is immutable and replaced whole; what moves
//! with traffic ([`Live`]) hangs on it by reference and outlives edits and rotations.
//!
//! Guards of the map never leave this file.

mod entry;
mod group;

pub use entry::{Entry, Live, Rights};
pub use group::{Grant, OwnerCell, RoleCell};

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use dashmap::DashMap;
use parking_lot::Mutex;

use crate::clock::Monotonic;
use crate::key::group::{Owner, Role};
use crate::key::secret::Digest;
use crate::key::{Key, KeyId};
use entry::RightsSpec;

/// Shards of the map: a growing shard is locked while it grows, so many small ones keep that short.
const SHARDS: usize = 256;

/// A digest is already uniformly distributed and cannot be chosen by a client (that would be a preimage of SHA-256),
/// so eight bytes of it are its hash.
#[derive(Clone, Default)]
struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    fn write_usize(&mut self, _: usize) {
        // The length that `Hash for [u8]` writes first: all digests have the same.
    }
}

#[derive(Clone, Default)]
struct BuildDigestHasher;

impl BuildHasher for BuildDigestHasher {
    type Hasher = DigestHasher;

    fn build_hasher(&self) -> DigestHasher {
        DigestHasher::default()
    }
}

/// What a digest leads to.
#[derive(Debug, Clone)]
pub struct Found {
    /// The key, as it was at the last change.
    pub entry: Arc<Entry>,
    /// Which of its secrets was presented.
    pub version: u32,
}

/// Every key, by digest.
pub struct Snapshot {
    by_digest: DashMap<Digest, Found, BuildDigestHasher>,
    /// Rights that are in use, so that keys with the same rights share them. Locked by admin changes only.
    rights: Mutex<HashMap<RightsSpec, Weak<Rights>>>,
    /// Roles and owners.
    groups: group::Groups,
    revision: AtomicU64,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Snapshot({} secrets)", self.by_digest.len())
    }
}

impl Default for Snapshot {
    fn default() -> Self {
        Self::new()
    }
}

impl Snapshot {
    /// Without keys.
    pub fn new() -> Self {
        Self {
            by_digest: DashMap::with_hasher_and_shard_amount(BuildDigestHasher, SHARDS),
            rights: Mutex::default(),
            groups: group::Groups::default(),
            revision: AtomicU64::new(0),
        }
    }

    /// The key that has a secret with this digest. The time this takes tells nothing of a secret: what is compared are
    /// digests, which a client cannot choose.
    pub fn find(&self, digest: &Digest) -> Option<Found> {
        self.by_digest
            .get(digest)
            .filter(|found| found.key().matches(digest))
            .map(|found| found.value().clone())
    }

    /// Adds a key at start, when nothing else runs.
    pub fn load(&self, key: &Key) {
        self.put(key, Arc::default());
        self.revision.fetch_max(key.revision, Ordering::AcqRel);
    }

    /// Applies one committed change: the key as it was and as it is now. On return every request that starts sees it.
    /// Changes are applied in the order of their commits; the caller holds the lock that orders them.
    pub fn apply(&self, before: Option<&Key>, after: Option<&Key>, now: Monotonic) {
        let live = before.and_then(|key| self.live_of(key)).unwrap_or_default();
        let ended = Arc::clone(&live);
        if let Some(key) = after {
            let entry = self.put(key, live);
            entry.live.cells.rescale(&entry.rights.rates, now);
            self.revision.fetch_max(key.revision, Ordering::AcqRel);
        }
        let kept =
            |digest: &Digest| after.is_some_and(|key| key.versions.iter().any(|v| v.digest == *digest));
        for version in before.iter().flat_map(|key| &key.versions).filter(|v| !kept(&v.digest)) {
            self.by_digest.remove(&version.digest);
        }
        if after.is_none_or(|key| key.revoked.is_some()) {
            ended.in_flight.close();
        }
    }

    /// Applies a change of which only the key as it is now is known. A secret that is forgotten is looked for among all.
    pub fn apply_over(&self, key: &Key, now: Monotonic) {
        let before = key.versions.iter().find_map(|version| self.find(&version.digest));
        self.apply(Some(key), Some(key), now);
        let knows = |number: u32| key.versions.iter().any(|version| version.version == number);
        if before.is_some_and(|found| !found.entry.versions().all(knows)) {
            let has = |digest: &Digest| key.versions.iter().any(|version| version.digest == *digest);
            self.by_digest.retain(|digest, found| found.entry.id != key.id || has(digest));
        }
    }

    /// Removes a deleted key whose secrets are not known: looks at every one.
    pub fn remove(&self, id: KeyId) {
        self.by_digest.retain(|_, found| {
            let stays = found.entry.id != id;
            if !stays {
                found.entry.live.in_flight.close();
            }
            stays
        });
    }

    /// Applies a role's committed change; `None`: it is deleted. Holds for every key that has it, at once.
    pub fn apply_role(&self, name: &str, role: Option<&Role>) {
        self.groups.apply_role(name, role);
    }

    /// Applies an owner's committed change; `None`: its record is deleted.
    pub fn apply_owner(&self, name: &str, owner: Option<&Owner>, now: Monotonic) {
        self.groups.apply_owner(name, owner, now);
    }

    /// A role's cell, by name; empty while there is no such role.
    pub fn role_cell(&self, name: &str) -> Arc<RoleCell> {
        self.groups.role(name)
    }

    /// An owner's cell, by name.
    pub fn owner_cell(&self, name: &str) -> Arc<OwnerCell> {
        self.groups.owner(name)
    }

    /// A role's cell, if there is one of this name.
    pub fn known_role(&self, name: &str) -> Option<Arc<RoleCell>> {
        self.groups.known_role(name)
    }

    /// An owner's cell, if there is one of this name.
    pub fn known_owner(&self, name: &str) -> Option<Arc<OwnerCell>> {
        self.groups.known_owner(name)
    }

    /// What moves with a key's traffic.
    pub fn live_of(&self, key: &Key) -> Option<Arc<Live>> {
        let found = key.versions.iter().find_map(|version| self.find(&version.digest))?;
        Some(Arc::clone(&found.entry.live))
    }

    /// What a key's newest secret leads to.
    pub fn newest_of(&self, key: &Key) -> Option<Found> {
        key.newest().and_then(|version| self.find(&version.digest))
    }

    /// Whether a secret with this digest exists, retired ones included.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.by_digest.contains_key(digest)
    }

    /// The revision of the newest change in it.
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// How many secrets it holds.
    pub fn secrets(&self) -> usize {
        self.by_digest.len()
    }

    /// Runs `each` on every key once (on its newest version).
    pub fn for_each(&self, mut each: impl FnMut(&Arc<Entry>)) {
        for found in &self.by_digest {
            if found.version == found.entry.newest_version {
                each(&found.entry);
            }
        }
    }

    fn put(&self, key: &Key, live: Arc<Live>) -> Arc<Entry> {
        let rights = self.intern_rights(RightsSpec::of(key));
        let owner = key.profile.owner.as_deref().map(|owner| self.groups.owner(owner));
        let entry = Arc::new(Entry::new(key, owner, rights, live));
        for version in &key.versions {
            let found = Found { entry: Arc::clone(&entry), version: version.version };
            self.by_digest.insert(version.digest, found);
        }
        entry
    }

    fn intern_rights(&self, spec: RightsSpec) -> Arc<Rights> {
        let mut interned = self.rights.lock();
        if let Some(rights) = interned.get(&spec).and_then(Weak::upgrade) {
            return rights;
        }
        sweep(&mut interned);
        let role = spec.role.as_deref().map(|name| self.groups.role(name));
        let rights = Arc::new(Rights::of(&spec, role));
        interned.insert(spec, Arc::downgrade(&rights));
        rights
    }
}

/// Forgets what nobody uses any more, each time the table would have to grow: amortised constant.
fn sweep<K: Eq + std::hash::Hash, V: ?Sized>(interned: &mut HashMap<K, Weak<V>>) {
    if interned.len() == interned.capacity() {
        interned.retain(|_, value| value.strong_count() > 0);
    }
}

/// The number of keys by status, for a scrape.
pub fn count_by_status(
    snapshot: &Snapshot,
    now: crate::clock::Timestamp,
) -> HashMap<crate::key::Status, u64> {
    let mut counts = HashMap::new();
    snapshot.for_each(|entry| *counts.entry(entry.status(now)).or_insert(0) += 1);
    counts
}
