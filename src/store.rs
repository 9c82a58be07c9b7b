//! What must outlive the process, and the contract that every backend keeps.
//!
//! - **Durable.** [`Store::commit`] returns after the change is on disk (fsync). What returned `Ok` survives `kill -9`
//!   and power loss; what returned `Err` changed nothing.
//! - **Whole.** A [`Change`] is one transaction: its records, its audit entries and the new revision, or none of them.
//! - **Ordered.** Each commit gets the next [`Revision`]; revisions are never reused.
//! - **Idempotent usage.** [`Store::merge_usage`] takes absolute counts of counter generations, so that a merge
//!   repeated after an interruption counts exactly once.
//!
//! Backends block; callers on an async runtime move the call to a blocking thread.

pub mod audit;
pub mod backup;
mod contents;
pub mod embedded;
pub mod examine;
#[doc(hidden)]
pub mod fuzzing;
mod record;
pub mod relay;
pub mod sealed;
mod usage_tables;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::key::group::{Owner, Role};
use crate::key::secret::Digest;
use crate::key::{Key, KeyId};
use crate::outcome::Outcome;
use sealed::{Replay, Sealed, SealedSecret};

/// The number of a commit.
pub type Revision = u64;

/// What goes wrong with a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error(
        "{path}: the store is in use by another process; stop that process, or give this one a store of its own"
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// It is no store of ours, or damaged.
    #[error("{path}: {cause}; restore the file from a backup, or move it away to start with an empty store")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// A new process takes over and has it.
    #[error("{path}: the store is being handed to a new process; send it again in a moment")]
    HandedOver {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be handed over now.
    #[error("{path}: a long reading of the store, such as a backup, still runs; upgrade when it is over")]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// It was written by a newer version.
    #[error(
        "{path}: the store has format {found}, and this version reads up to {known}; use a newer portcullis"
    )]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// The secrets in it were hashed with another pepper than the one given.
    #[error("{path}: the store's secrets were hashed with {expected}; {remedy}")]
    Pepper {
        /// The file.
        path: PathBuf,
        /// What they were hashed with.
        expected: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// Its disk failed, and what is there now is not what was acknowledged.
    #[error("{path}: the store is not as this process left it before its disk failed; restart the gateway")]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// Reading or writing failed.
    #[error("{path}: {cause}; check the disk's space and the file's permissions")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the backend said.
        cause: String,
    },
}

/// One admin change: all of it, or nothing.
#[derive(Debug, Default)]
pub struct Change {
    /// The records.
    pub writes: Vec<Write>,
    /// What the audit log says of it.
    pub audit: Vec<audit::Draft>,
}

/// One record of a change.
#[derive(Debug)]
pub enum Write {
    /// Creates or replaces a key. Its `revision` is set by the commit.
    PutKey(Box<Key>),
    /// Removes a key with its sealed secret, and leaves a tombstone that its usage hangs on.
    DeleteKey(Tombstone),
    /// Creates or replaces an admin token.
    PutToken(AdminToken),
    /// Removes an admin token.
    DeleteToken(String),
    /// Creates or replaces a role. Its `revision` is set by the commit.
    PutRole(Role),
    /// Removes a role.
    DeleteRole(String),
    /// Creates or replaces an owner. Its `revision` is set by the commit.
    PutOwner(Owner),
    /// Removes an owner's record.
    DeleteOwner(String),
    /// Keeps an answer for a repeated call. Its `revision` is set by the commit.
    PutReplay(Replay),
    /// Keeps a key's sealed secret, in place of the one before it.
    PutSealed(SealedSecret),
    /// Removes a key's sealed secret, if there is one.
    DropSealed(KeyId),
    /// Keeps what a right master key opens.
    PutMasterCheck(Vec<u8>),
}

/// What is left of a deleted key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tombstone {
    /// The key's ID.
    pub id: KeyId,
    /// The name it had.
    pub name: String,
    /// The owner it had.
    pub owner: Option<String>,
    /// When it was deleted.
    pub deleted_at: Timestamp,
}

/// A credential for the admin API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminToken {
    /// `admt_` and a ULID.
    pub id: String,
    /// For people.
    pub name: String,
    /// SHA-256 of the token.
    pub digest: Digest,
    /// What may be shown of the token.
    pub fingerprint: String,
    /// What it may do.
    pub permissions: Vec<String>,
    /// The only owner whose keys it sees and changes.
    pub owner: Option<String>,
    /// The first moment at which it is refused.
    pub expires_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Whose counts a merge brings. A row of the ledger knows the one counter generation that was merged last; where several
/// processes count the same row at once, what was merged of the others is kept beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// This process's, and no other's are merged beside them.
    Alone,
    /// This process's, while those of processes that end are merged too.
    Beside,
    /// Those of a process that ends, or ended.
    Predecessor,
}

/// One usage counter, as it stands: an absolute count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// The counter's generation: never used twice.
    pub generation: u64,
    /// What is counted.
    pub row: UsageKey,
    /// How many, since the generation began.
    pub count: u64,
    /// The first.
    pub first_used: Timestamp,
    /// The last.
    pub last_used: Timestamp,
}

/// A row of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UsageKey {
    /// The key.
    pub key: KeyId,
    /// Hours since the epoch.
    pub hour: u32,
    /// The route's number.
    pub route: u16,
    /// How the requests ended.
    pub outcome: Outcome,
    /// Which of the key's secrets was used.
    pub version: u32,
}

/// What a merge added to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Added {
    /// The row.
    pub row: UsageKey,
    /// How many more.
    pub count: u64,
    /// The last of them.
    pub last_used: Timestamp,
}

/// A key's or a version's totals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Let through.
    pub requests: u64,
    /// Refused after the key was known.
    pub denied: u64,
    /// The first request.
    pub first_used: Option<Timestamp>,
    /// The last request that was let through.
    pub last_used: Option<Timestamp>,
}

/// Which rows of the ledger.
#[derive(Debug, Clone, Copy)]
pub struct UsageRange {
    /// One key's, or every key's.
    pub key: Option<KeyId>,
    /// The first hour.
    pub from_hour: u32,
    /// The first hour after.
    pub to_hour: u32,
}

/// Which way a listing goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Oldest first.
    Ascending,
    /// Newest first.
    Descending,
}

/// Visits a row of a scan, and may end it.
pub type Visit<'a, T> = &'a mut dyn FnMut(T) -> ControlFlow<()>;

/// Visits a record, whose bytes it may only look at, and may end the scan.
pub type VisitRecord<'a> = &'a mut dyn FnMut(backup::Record<'_>) -> ControlFlow<()>;

/// A store. See the module's text for what each backend promises.
pub trait Store: Sealed + Send + Sync + std::fmt::Debug {
    /// A number that no other store has.
    fn store_id(&self) -> u128;

    /// The next number of a counter that grows by one with each opening.
    fn opening(&self) -> u32;

    /// Whether it takes writes, as far as is known. After a failure it tries one, so asking is what heals it.
    ///
    /// # Errors
    /// It still fails.
    fn check(&self) -> Result<(), StoreError>;

    /// Makes a change durable. Sets the revision of each key in it.
    ///
    /// # Errors
    /// Nothing was changed.
    fn commit(&self, change: &mut Change) -> Result<Revision, StoreError>;

    /// One key.
    fn key(&self, id: KeyId) -> Result<Option<Key>, StoreError>;

    /// Every key, by creation.
    fn keys(
        &self,
        direction: Direction,
        after: Option<KeyId>,
        each: Visit<'_, Key>,
    ) -> Result<(), StoreError>;

    /// How many keys there are.
    fn key_count(&self) -> Result<u64, StoreError>;

    /// A deleted key.
    fn tombstone(&self, id: KeyId) -> Result<Option<Tombstone>, StoreError>;

    /// Every admin token.
    fn tokens(&self) -> Result<Vec<AdminToken>, StoreError>;

    /// Every role, by name.
    fn roles(&self) -> Result<Vec<Role>, StoreError>;

    /// Every owner that was recorded, by name.
    fn owners(&self) -> Result<Vec<Owner>, StoreError>;

    /// The audit log.
    fn audit(&self, direction: Direction, each: Visit<'_, audit::Entry>) -> Result<(), StoreError>;

    /// The numbers of these routes, by name; new names get new numbers.
    fn route_numbers(&self, labels: &[String]) -> Result<Vec<u16>, StoreError>;

    /// The names of every route that ever had a number.
    fn route_labels(&self) -> Result<Vec<(u16, String)>, StoreError>;

    /// Merges counters into the ledger, and says what was new.
    ///
    /// # Errors
    /// Nothing was merged.
    fn merge_usage(&self, counted: &[Counted], side: Side) -> Result<Vec<Added>, StoreError>;

    /// Forgets what was kept of processes that ended: their counters are merged to the last, and their files are gone.
    fn forget_predecessors(&self) -> Result<(), StoreError>;

    /// Lets go of the store, so that another process can open it, once nobody reads it any more. Until it is taken
    /// back, every operation fails with [`StoreError::HandedOver`].
    ///
    /// # Errors
    /// Somebody reads it for longer than `patience`: it stays open.
    fn hand_over(&self, patience: Duration) -> Result<(), StoreError>;

    /// Takes it back: the next operation opens it again.
    fn take_back(&self);

    /// What the ledger has of one counter generation, if it has any.
    fn merged_count(&self, row: &UsageKey, generation: u64) -> Result<Option<u64>, StoreError>;

    /// A key's totals, by version.
    fn totals(&self, key: KeyId) -> Result<Vec<(u32, Totals)>, StoreError>;

    /// The totals of every key and version, by key.
    fn all_totals(&self, each: Visit<'_, (KeyId, Totals)>) -> Result<(), StoreError>;

    /// Rows of the ledger, by key, then hour.
    fn usage(&self, range: UsageRange, each: Visit<'_, (UsageKey, u64)>) -> Result<(), StoreError>;

    /// The format of its records, for a backup's head.
    fn record_format(&self) -> u32;

    /// Every record as it stands at one moment, table by table: for a backup.
    fn records(&self, each: VisitRecord<'_>) -> Result<(), StoreError>;
}
