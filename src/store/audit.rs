//! The audit log: every admin change, in the transaction that made it, chained by hash so that none can be altered or
//! taken out unnoticed.

use sha2::{Digest as _, Sha256};

use crate::clock::Timestamp;

/// What an entry says, before it has its place in the log. Never a secret or a hash of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// When.
    pub at: Timestamp,
    /// Who: an admin token's ID, or `offline`.
    pub actor: String,
    /// What was done, such as `key.create`.
    pub action: &'static str,
    /// To what: a key's ID, for one.
    pub target: String,
    /// How it ended: `done`, or the code of the refusal.
    pub outcome: String,
    /// The record before, as JSON.
    pub before: Option<String>,
    /// The record after, as JSON.
    pub after: Option<String>,
    /// From which address.
    pub address: Option<String>,
    /// The admin request's ID.
    pub request_id: Option<String>,
}

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// 1 for the first; grows by one with each.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// What was done.
    pub action: String,
    /// To what.
    pub target: String,
    /// How it ended.
    pub outcome: String,
    /// The record before, as JSON.
    pub before: Option<String>,
    /// The record after, as JSON.
    pub after: Option<String>,
    /// From which address.
    pub address: Option<String>,
    /// The admin request's ID.
    pub request_id: Option<String>,
    /// The hash of the entry before; zeros for the first.
    pub previous_hash: [u8; 32],
    /// SHA-256 of this entry as it is stored, `previous_hash` included.
    pub hash: [u8; 32],
}

/// The hash of an entry: over its stored bytes, which contain the hash of the entry before.
pub fn hash(stored: &[u8]) -> [u8; 32] {
    Sha256::digest(stored).into()
}

/// A walk along the chain, oldest entry first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain {
    next: u64,
    hash: [u8; 32],
}

impl Default for Chain {
    fn default() -> Self {
        Self { next: 1, hash: [0; 32] }
    }
}

impl Chain {
    /// Goes on to the next entry.
    ///
    /// # Errors
    /// It does not follow from the one before it; the number is that of the entry that should.
    pub fn follow(&mut self, entry: &Entry) -> Result<(), u64> {
        if (entry.seq, entry.previous_hash) != (self.next, self.hash) {
            return Err(self.next);
        }
        self.go_on_from(entry);
        Ok(())
    }

    /// Goes on from an entry, whether it follows or not.
    pub fn go_on_from(&mut self, entry: &Entry) {
        (self.next, self.hash) = (entry.seq.saturating_add(1), entry.hash);
    }

    /// How many entries there were, if all of them follow.
    pub fn entries(&self) -> u64 {
        self.next - 1
    }

    /// The hash of the newest entry: kept elsewhere, it proves later that nothing before it was changed.
    pub fn newest_hash(&self) -> Option<[u8; 32]> {
        (self.next > 1).then_some(self.hash)
    }
}
