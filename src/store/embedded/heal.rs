//! The open file, and how it is opened again after the disk failed.
//!
//! Once the disk has failed, redb refuses everything until its file is opened anew. So a failure lets go of the file,
//! and the next operation opens it again: where the disk is well by then, the store goes on from there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use redb::{Database, ReadableDatabase};

use super::tables::{META, REVISION, STORE_ID};
use super::{EmbeddedStore, Fault, Outcome, open};
use crate::store::{Revision, StoreError};

/// The file, as long as it works.
pub(super) struct OpenFile {
    /// Empty after a failure, until it could be opened again.
    database: ArcSwapOption<Database>,
    /// Held while it is opened again, so that it is opened once.
    opening: Mutex<()>,
    /// Whether the last thing that is known of its disk is a failure.
    failed: AtomicBool,
    /// The newest revision whose commit was answered as done.
    acknowledged: AtomicU64,
}

impl OpenFile {
    pub fn new(database: Database) -> Self {
        Self {
            database: ArcSwapOption::from_pointee(database),
            opening: Mutex::default(),
            failed: AtomicBool::new(false),
            acknowledged: AtomicU64::new(0),
        }
    }

    /// Notes that a commit was answered as done.
    pub fn acknowledged(&self, revision: Revision) {
        self.acknowledged.fetch_max(revision, Ordering::AcqRel);
    }

    /// Whether its disk did not fail since the last write that succeeded.
    pub fn is_well(&self) -> bool {
        !self.failed.load(Ordering::Acquire)
    }

    /// Notes that a write succeeded.
    pub fn takes_writes(&self) {
        if !self.is_well() {
            self.failed.store(false, Ordering::Release);
            tracing::info!("the store takes writes again");
        }
    }

    /// Lets go of the file as it was opened when it failed; another thread may have opened it again already.
    fn fails(&self, failed: &Arc<Database>) {
        self.failed.store(true, Ordering::Release);
        let _one = self.opening.lock();
        if self.database.load().as_ref().is_some_and(|present| Arc::ptr_eq(present, failed)) {
            self.database.store(None);
        }
    }
}

impl Fault {
    /// Whether it leaves the open file of no further use.
    fn is_of_the_disk(&self) -> bool {
        use redb::Error as E;
        matches!(self, Self::Redb(E::Io(_) | E::PreviousIo | E::LockPoisoned(_)))
    }
}

impl EmbeddedStore {
    /// Runs one operation on the open file.
    pub(super) fn with_file<T>(&self, run: impl FnOnce(&Database) -> Outcome<T>) -> Result<T, StoreError> {
        let database = self.open_file()?;
        run(&database).map_err(|fault| {
            if fault.is_of_the_disk() {
                self.file.fails(&database);
            }
            self.error(&fault)
        })
    }

    fn open_file(&self) -> Result<Arc<Database>, StoreError> {
        if let Some(database) = self.file.database.load_full() {
            return Ok(database);
        }
        let _one = self.file.opening.lock();
        if let Some(database) = self.file.database.load_full() {
            return Ok(database);
        }
        let database = Arc::new(open::open_again(&self.path)?);
        self.recognise(&database)?;
        self.file.database.store(Some(Arc::clone(&database)));
        Ok(database)
    }

    /// Memory holds what was acknowledged, so the file must hold that too: not a change that was answered as failed
    /// and was written after all, and not another store that was put in its place.
    fn recognise(&self, database: &Database) -> Result<(), StoreError> {
        let found = || -> Outcome<_> {
            let meta = database.begin_read()?.open_table(META)?;
            let id = meta.get(STORE_ID)?.and_then(|value| value.value().first_chunk().copied());
            let revision = meta.get(REVISION)?.and_then(|value| value.value().first_chunk().copied());
            Ok((id.map_or(0, u128::from_le_bytes), revision.map_or(0, u64::from_le_bytes)))
        };
        let expected = (self.store_id, self.file.acknowledged.load(Ordering::Acquire));
        match found() {
            Ok(found) if found == expected => Ok(()),
            Ok(_) => Err(StoreError::Changed { path: self.path.clone() }),
            Err(fault) => Err(self.error(&fault)),
        }
    }
}
