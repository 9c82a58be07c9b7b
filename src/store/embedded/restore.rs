//! A new store from a backup, beside the place where it belongs.
//!
//! The new store gets an ID of its own. The counters of a usage file are absolute, and are merged by generation: those
//! of the old store went on after the backup was made, so merging them would add requests that the restored ledger
//! never saw, and skip others. With another ID the old file is foreign to the new store, and is set aside unread.
//! Openings go on above every generation that the ledger names, so that no generation is used twice.

use std::collections::BTreeSet;
use std::fs::{OpenOptions, TryLockError};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use redb::{Database, ReadableTable, WriteTransaction};

use super::copy::{self, Waiting};
use super::open::{CACHE_BYTES, MODE, NEWEST_FORMAT, make_tables};
use super::tables::{FORMAT, META, OPENINGS, REVISION, ROUTES, STORE_ID};
use super::write::{meta_u64, set_meta_u64};
use super::{Fault, Outcome};
use crate::store::backup::{BackupError, Reader, Record, Written};
use crate::store::contents::{self, Content};
use crate::store::{Revision, StoreError};

/// Records written in one transaction.
const BATCH_RECORDS: usize = 20_000;
/// Bytes written in one transaction.
const BATCH_BYTES: usize = 32 << 20;
/// Bits of a counter's generation below the number of the opening.
const SEQUENCE_BITS: u32 = 40;

/// What was restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// The backup.
    pub backup: Written,
    /// How many keys there are.
    pub keys: u64,
}

/// What the records say together, which the new store must agree with.
#[derive(Default)]
struct Seen {
    keys: u64,
    revision: Revision,
    opening: u64,
    routes: BTreeSet<u16>,
    numbers: BTreeSet<u16>,
}

/// Makes a store of `backup` at `young`, where nothing of value may lie.
///
/// # Errors
/// The backup is damaged or holds no store, or the store cannot be written. What lies at `young` is then no store.
pub fn restore<R: Read>(young: &Path, mut backup: Reader<R>) -> Result<Restored, BackupError> {
    if backup.store_format() > NEWEST_FORMAT {
        let (found, known) = (backup.store_format(), NEWEST_FORMAT);
        return Err(StoreError::TooNew { path: young.into(), found, known }.into());
    }
    let database = create(young)?;
    let mut seen = Seen::default();
    let mut batch = Vec::new();
    let mut bytes = 0;
    while let Some(record) = backup.record()? {
        seen.note(record)?;
        bytes += record.key.len() + record.value.len();
        let (key, value) = (record.key.to_vec(), record.value.to_vec());
        batch.push(Waiting { table: record.table, key, value });
        if batch.len() >= BATCH_RECORDS || bytes >= BATCH_BYTES {
            write(&database, young, |transaction| copy::write(transaction, &batch))?;
            batch.clear();
            bytes = 0;
        }
    }
    let Some(written) = backup.ended() else { return Err(BackupError::Short) };
    let format = u64::from(backup.store_format());
    write(&database, young, |transaction| {
        copy::write(transaction, &batch)?;
        seen.finish(transaction, format)
    })?;
    Ok(Restored { backup: written, keys: seen.keys })
}

fn create(young: &Path) -> Result<Database, BackupError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(MODE);
    let file = options.open(young)?;
    // Emptied only once it is ours: another process may restore to the same place.
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { path: young.into() }.into()),
        Err(TryLockError::Error(error)) if error.kind() != ErrorKind::Unsupported => return Err(error.into()),
        Ok(()) | Err(TryLockError::Error(_)) => file.set_len(0)?,
    }
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    let made = redb::backends::FileBackend::new(file).and_then(|file| builder.create_with_backend(file));
    made.map_err(|error| StoreError::Io { path: young.into(), cause: error.to_string() }.into())
}

fn write(
    database: &Database,
    young: &Path,
    run: impl FnOnce(&WriteTransaction) -> Outcome<()>,
) -> Result<(), BackupError> {
    let written = || -> Outcome<()> {
        let transaction = database.begin_write()?;
        run(&transaction)?;
        transaction.commit()?;
        Ok(())
    };
    written().map_err(|fault| match fault {
        Fault::Full(what) => BackupError::Content(what.into()),
        other => StoreError::Io { path: young.into(), cause: other.to_string() }.into(),
    })
}

impl Seen {
    fn note(&mut self, record: Record<'_>) -> Result<(), BackupError> {
        let named = |why: String| {
            let name = contents::name(record.table, record.key).unwrap_or_default();
            BackupError::Content(format!("{} {name}: {why}", record.table.name()))
        };
        match contents::read(record).map_err(named)? {
            Content::Key(key) => {
                self.keys += 1;
                self.revision = self.revision.max(key.revision);
            }
            Content::Role(_, revision) | Content::Owner(revision) => {
                self.revision = self.revision.max(revision);
            }
            Content::Route(number) => {
                self.routes.insert(number);
            }
            Content::Usage { row, generation, .. } => {
                self.opening = self.opening.max(generation >> SEQUENCE_BITS);
                self.numbers.extend(row.map(|row| row.route));
            }
            Content::Fact(..)
            | Content::Tombstone(_)
            | Content::Token
            | Content::Audit(_)
            | Content::Totals(..)
            | Content::Sealed(_)
            | Content::Replay
            | Content::Merged => {}
        }
        Ok(())
    }

    /// Makes the store's own facts agree with its records, also where a part of them could not be saved.
    fn finish(&self, transaction: &WriteTransaction, format: u64) -> Outcome<()> {
        make_tables(transaction)?;
        set_meta_u64(transaction, FORMAT, format)?;
        transaction.open_table(META)?.insert(STORE_ID, &rand::random::<[u8; 16]>()[..])?;
        let openings = meta_u64(transaction, OPENINGS)?.max(self.opening);
        set_meta_u64(transaction, OPENINGS, openings)?;
        let revision = meta_u64(transaction, REVISION)?.max(self.revision);
        set_meta_u64(transaction, REVISION, revision)?;
        self.name_lost_routes(transaction)
    }

    /// A route whose name is lost keeps its number: a new one must not be given to what it counted.
    fn name_lost_routes(&self, transaction: &WriteTransaction) -> Outcome<()> {
        let highest = self.numbers.iter().chain(&self.routes).max().copied();
        let mut table = transaction.open_table(ROUTES)?;
        for number in highest.map(|highest| 0..=highest).into_iter().flatten() {
            let label = format!("(lost) {number}");
            if !self.routes.contains(&number) && table.get(label.as_str())?.is_none() {
                table.insert(label.as_str(), number)?;
            }
        }
        Ok(())
    }
}
