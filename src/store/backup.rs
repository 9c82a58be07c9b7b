//! A backup: every record of a store at one moment, as one stream of bytes that is checked whole before any of it is
//! believed. It holds what the store holds, so hashes of secrets and never a secret; recoverable ones are in it as they
//! are in the store, sealed.
//!
//! Numbers are little-endian.
//!
//! | part | bytes |
//! |---|---|
//! | head | `PCBACKUP`, the form of the backup (4), the format of the store (4), when it was begun, ms since 1970 (8) |
//! | record, any number | table (1), length of the key (4), length of the value (4), key, value |
//! | end | 0 (1), how many records (8), SHA-256 of everything before (32), and nothing more |

mod read;

use std::io::{self, Write};

use sha2::{Digest as _, Sha256};

use super::StoreError;
use crate::clock::Timestamp;
pub use read::{Reader, verify};

const MAGIC: &[u8; 8] = b"PCBACKUP";
/// The form that is written and read.
const FORM: u32 = 1;
/// Bytes of the head.
const HEAD_BYTES: usize = 24;
/// What stands in place of a table's number at the end.
const END: u8 = 0;
/// The longest key of a record, in bytes.
const MAX_KEY_BYTES: usize = 64 << 10;
/// The longest value of a record, in bytes: an audit entry may hold two records and a list.
const MAX_VALUE_BYTES: usize = 64 << 20;

/// What goes wrong with a backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It cannot be read or written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The store it is made of cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is something else.
    #[error("this is no backup of portcullis")]
    Foreign,
    /// It was made by a newer version.
    #[error("the backup has form {found}, and this version reads {FORM}; use a newer portcullis")]
    TooNew {
        /// Its form.
        found: u32,
    },
    /// It ends before its end.
    #[error("the backup is cut short; nothing of it can be trusted")]
    Short,
    /// It goes on after its end.
    #[error("the backup goes on after its end; nothing of it can be trusted")]
    Long,
    /// It is not what was written.
    #[error("the backup is damaged: {0}; nothing of it can be trusted")]
    Damaged(&'static str),
    /// What it holds is no store.
    #[error("the backup holds what no store does: {0}")]
    Content(String),
}

/// A table of the store. The number is the one in a backup, and never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Table {
    /// Facts about the store itself.
    Meta = 1,
    /// Keys.
    Keys = 2,
    /// What is left of deleted keys.
    Tombstones = 3,
    /// Admin tokens.
    Tokens = 4,
    /// Roles.
    Roles = 5,
    /// Owners.
    Owners = 6,
    /// The audit log.
    Audit = 7,
    /// Route numbers.
    Routes = 8,
    /// The ledger.
    Ledger = 9,
    /// Sums of the ledger.
    Totals = 10,
    /// Recoverable secrets, sealed under a master key that is not here.
    Sealed = 11,
    /// Answers kept for repeated calls. In no backup: they are for a day, and a backup is for longer.
    Replays = 12,
    /// The same by time.
    ReplayTimes = 13,
    /// What was merged of counters of processes that were handing over. In no backup: a restored store has none.
    Predecessors = 14,
}

impl Table {
    /// Every table, in the order of their numbers.
    pub const ALL: [Self; 14] = [
        Self::Meta,
        Self::Keys,
        Self::Tombstones,
        Self::Tokens,
        Self::Roles,
        Self::Owners,
        Self::Audit,
        Self::Routes,
        Self::Ledger,
        Self::Totals,
        Self::Sealed,
        Self::Replays,
        Self::ReplayTimes,
        Self::Predecessors,
    ];

    /// Whether its records belong into a backup.
    pub const fn is_backed_up(self) -> bool {
        !matches!(self, Self::Replays | Self::ReplayTimes | Self::Predecessors)
    }

    /// Its name in the store's file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Keys => "keys",
            Self::Tombstones => "tombstones",
            Self::Tokens => "admin_tokens",
            Self::Roles => "roles",
            Self::Owners => "owners",
            Self::Audit => "audit",
            Self::Routes => "routes",
            Self::Ledger => "ledger",
            Self::Totals => "usage_totals",
            Self::Sealed => "sealed_secrets",
            Self::Replays => "replays",
            Self::ReplayTimes => "replay_times",
            Self::Predecessors => "predecessors",
        }
    }

    /// The table of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.name() == name)
    }

    fn numbered(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|table| *table as u8 == number)
    }
}

/// One record, as its table holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// The table.
    pub table: Table,
    /// The key in it.
    pub key: &'a [u8],
    /// The value.
    pub value: &'a [u8],
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Records.
    pub records: u64,
    /// SHA-256 of what comes before it in the backup: names this backup among all.
    pub sha256: [u8; 32],
}

/// Writes a backup.
pub struct Writer<W> {
    out: W,
    hash: Sha256,
    records: u64,
}

impl<W> std::fmt::Debug for Writer<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Writer({} records)", self.records)
    }
}

impl<W: Write> Writer<W> {
    /// Begins a backup of a store of this format.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn begin(out: W, store_format: u32, now: Timestamp) -> io::Result<Self> {
        let mut writer = Self { out, hash: Sha256::new(), records: 0 };
        writer.put(MAGIC)?;
        writer.put(&FORM.to_le_bytes())?;
        writer.put(&store_format.to_le_bytes())?;
        writer.put(&now.as_millis().to_le_bytes())?;
        Ok(writer)
    }

    /// Adds a record.
    ///
    /// # Errors
    /// It cannot be written, or is longer than any record is.
    pub fn record(&mut self, record: Record<'_>) -> io::Result<()> {
        let length = |bytes: &[u8], most: usize| {
            u32::try_from(bytes.len())
                .ok()
                .filter(|_| bytes.len() <= most)
                .ok_or_else(|| io::Error::other("a record is longer than a backup can hold"))
        };
        let (key, value) = (length(record.key, MAX_KEY_BYTES)?, length(record.value, MAX_VALUE_BYTES)?);
        self.put(&[record.table as u8])?;
        self.put(&key.to_le_bytes())?;
        self.put(&value.to_le_bytes())?;
        self.put(record.key)?;
        self.put(record.value)?;
        self.records += 1;
        Ok(())
    }

    /// Ends it. Without this, what was written is no backup.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(mut self) -> io::Result<Written> {
        self.put(&[END])?;
        self.put(&self.records.to_le_bytes())?;
        let sha256: [u8; 32] = self.hash.finalize().into();
        self.out.write_all(&sha256)?;
        self.out.flush()?;
        Ok(Written { records: self.records, sha256 })
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.out.write_all(bytes)
    }
}

#[cfg(test)]
mod tests;
