//! The open file, and how it is opened again after the disk failed.
//!
//! Once the disk has failed, redb refuses everything until its file is opened anew. So a failure lets go of the file,
//! and the next operation opens it again: where the disk is well by then, the store goes on from there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use redb::{Database, ReadableDatabase};

use super::tables::{META, REVISION, STORE_ID};
use super::{EmbeddedStore, Fault, Outcome, open};
use crate::store::{Revision, StoreError};

/// How often is looked whether somebody still uses a file that is to be closed.
const CLOSE_LOOK: Duration = Duration::from_millis(2);

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
    /// Whether another process has it, or is about to.
    handed_over: AtomicBool,
    /// Whether another process had it, and may have committed something.
    was_away: AtomicBool,
}

impl OpenFile {
    pub fn new(database: Database) -> Self {
        Self {
            database: ArcSwapOption::from_pointee(database),
            opening: Mutex::default(),
            failed: AtomicBool::new(false),
            acknowledged: AtomicU64::new(0),
            handed_over: AtomicBool::new(false),
            was_away: AtomicBool::new(false),
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
        self.is_ours()?;
        if let Some(database) = self.file.database.load_full() {
            return Ok(database);
        }
        let _one = self.file.opening.lock();
        self.is_ours()?;
        if let Some(database) = self.file.database.load_full() {
            return Ok(database);
        }
        let database = Arc::new(open::open_again(&self.path)?);
        self.recognise(&database)?;
        self.file.database.store(Some(Arc::clone(&database)));
        Ok(database)
    }

    /// Whether no other process has it.
    pub(super) fn is_ours(&self) -> Result<(), StoreError> {
        if self.file.handed_over.load(Ordering::Acquire) {
            return Err(StoreError::HandedOver { path: self.path.clone() });
        }
        Ok(())
    }

    /// Closes the file once nobody uses it, and opens it no more.
    pub(super) fn close(&self, patience: Duration) -> Result<(), StoreError> {
        self.file.handed_over.store(true, Ordering::Release);
        let _one = self.file.opening.lock();
        let Some(mut database) = self.file.database.swap(None) else { return Ok(()) };
        let looks = patience.as_millis() / CLOSE_LOOK.as_millis();
        for _ in 0..looks {
            match Arc::try_unwrap(database) {
                Ok(database) => {
                    // This is what closes the file.
                    drop(database);
                    return Ok(());
                }
                Err(used) => database = used,
            }
            thread::sleep(CLOSE_LOOK);
        }
        self.file.database.store(Some(database));
        self.file.handed_over.store(false, Ordering::Release);
        Err(StoreError::Busy { path: self.path.clone() })
    }

    /// Lets the next operation open the file again.
    pub(super) fn reopen(&self) {
        self.file.was_away.store(true, Ordering::Release);
        self.file.handed_over.store(false, Ordering::Release);
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
            Ok((id, revision)) => {
                // What another process did in the meantime is there on purpose, and whoever took the store back reads it.
                let was_away = self.file.was_away.swap(false, Ordering::AcqRel);
                if (id, revision) != expected && !(was_away && id == self.store_id) {
                    return Err(StoreError::Changed { path: self.path.clone() });
                }
                self.file.acknowledged(revision);
                Ok(())
            }
            Err(fault) => Err(self.error(&fault)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::key::secret::SecretHasher;
    use crate::store::embedded::Peppering;
    use crate::store::{Change, Store, Write};

    const PATIENCE: Duration = Duration::from_millis(20);

    fn open(path: &Path) -> Result<EmbeddedStore, StoreError> {
        EmbeddedStore::open(path, Peppering(&SecretHasher::new(None)))
    }

    fn change(store: &EmbeddedStore) -> Result<Revision, StoreError> {
        let writes = vec![Write::DeleteRole("nobody".into())];
        store.commit(&mut Change { writes, audit: Vec::new() })
    }

    #[test]
    fn a_store_that_is_handed_over_is_anothers_until_it_is_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.redb");
        let store = open(&path).unwrap();
        change(&store).unwrap();
        assert!(matches!(open(&path), Err(StoreError::InUse { .. })));
        store.hand_over(PATIENCE).unwrap();
        assert!(matches!(change(&store), Err(StoreError::HandedOver { .. })));
        assert!(matches!(store.check(), Err(StoreError::HandedOver { .. })));
        for round in 0..2 {
            let other = open(&path).unwrap();
            if round == 1 {
                change(&other).unwrap();
            }
            drop(other);
            store.take_back();
            assert!(change(&store).unwrap() > 1, "also where the other one committed something");
            store.hand_over(PATIENCE).unwrap();
        }
    }

    #[test]
    fn a_store_that_is_read_stays() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder.path().join("s.redb")).unwrap();
        let read = store.with_file(|_| {
            assert!(matches!(store.hand_over(PATIENCE), Err(StoreError::Busy { .. })));
            Ok(())
        });
        read.unwrap();
        change(&store).unwrap();
        store.hand_over(PATIENCE).unwrap();
    }
}
