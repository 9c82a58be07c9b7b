//! What the store keeps sealed: bytes that it cannot read itself.

use super::{Revision, StoreError, audit};
use crate::clock::Timestamp;
use crate::key::KeyId;

/// What finds the answer of a repeated call: a hash of what its caller sent, who it is, and what was asked for.
pub type ReplayId = [u8; 32];

/// The answer of a call that made a secret, kept for a while so that the call can be repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// What finds it.
    pub id: ReplayId,
    /// A hash of what was asked for, which a repetition must ask for too.
    pub request: [u8; 32],
    /// The key whose secret was made.
    pub key: KeyId,
    /// When.
    pub made_at: Timestamp,
    /// The commit that made it: its own, so the key's `ETag` then.
    pub revision: Revision,
    /// The answer, sealed under a key that is not in the store.
    pub sealed: Vec<u8>,
}

/// A key's newest secret, sealed under a master key that is not in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSecret {
    /// Whose.
    pub key: KeyId,
    /// Which of its secrets.
    pub version: u32,
    /// The sealed bytes.
    pub sealed: Vec<u8>,
}

/// What becomes of a sealed secret when the master key changes.
#[derive(Debug)]
pub enum Resealed {
    /// It is replaced.
    Keep(SealedSecret),
    /// It is removed.
    Erase,
    /// Nothing is changed, of this one and of all others.
    BreakOff,
}

/// The part of a store that keeps what is sealed.
pub trait Sealed {
    /// The answer kept for a repeated call.
    fn replay(&self, id: &ReplayId) -> Result<Option<Replay>, StoreError>;

    /// How many answers are kept.
    fn replay_count(&self) -> Result<u64, StoreError>;

    /// Forgets answers that were made before a moment, the oldest first and `most` of them; says how many.
    fn purge_replays(&self, made_before: Timestamp, most: usize) -> Result<usize, StoreError>;

    /// A key's sealed secret.
    fn sealed_secret(&self, key: KeyId) -> Result<Option<SealedSecret>, StoreError>;

    /// How many sealed secrets there are.
    fn sealed_count(&self) -> Result<u64, StoreError>;

    /// What a right master key opens, if one was ever used.
    fn master_check(&self) -> Result<Option<Vec<u8>>, StoreError>;

    /// Replaces or removes each sealed secret, and what a right master key opens, in one transaction; says how many
    /// there were.
    ///
    /// # Errors
    /// Nothing was changed.
    fn reseal(
        &self,
        master_check: Option<&[u8]>,
        audit: &[audit::Draft],
        each: &mut dyn FnMut(SealedSecret) -> Resealed,
    ) -> Result<u64, StoreError>;
}
