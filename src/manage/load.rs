//! Reads every key at the start.
//!
//! Half of the time goes into reading the store, half into what is made of it in memory, so each has a thread: what a
//! start takes with a million keys is what an upgrade does without admin writes.

use std::ops::ControlFlow;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use super::Manage;
use crate::key::Key;
use crate::store::{Direction, StoreError};

/// Keys that are handed on at once.
const BATCH: usize = 512;
/// Batches that may be read ahead.
const AHEAD: usize = 8;

impl Manage {
    /// Reads every key into the snapshot and the index, with its role, its owner and its usage; says how many.
    ///
    /// # Errors
    /// The store's.
    pub fn load(&self) -> Result<u64, StoreError> {
        self.load_groups();
        let keys = thread::scope(|scope| {
            let (batches, read) = mpsc::sync_channel(AHEAD);
            let taking =
                thread::Builder::new().name("load".into()).spawn_scoped(scope, || self.take_all(read));
            // Without room for another thread, one does both.
            let Ok(taking) = taking else { return self.load_alone() };
            self.read_all(|batch| batches.send(batch).is_ok())?;
            drop(batches);
            taking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        self.store.all_totals(&mut |(id, totals)| {
            self.index.add_totals(id, &totals);
            ControlFlow::Continue(())
        })?;
        Ok(keys)
    }

    fn load_alone(&self) -> Result<u64, StoreError> {
        let (mut keys, mut failed) = (0, None);
        self.read_all(|batch| {
            keys += batch.len() as u64;
            failed = self.take(&batch).err();
            failed.is_none()
        })?;
        failed.map_or(Ok(keys), Err)
    }

    /// Hands all keys on, until nobody wants more: who wants none says why by itself.
    fn read_all(&self, mut hand_on: impl FnMut(Vec<Key>) -> bool) -> Result<(), StoreError> {
        let (mut batch, mut wanted) = (Vec::with_capacity(BATCH), true);
        self.store.keys(Direction::Ascending, None, &mut |key| {
            batch.push(key);
            if batch.len() == BATCH {
                wanted = hand_on(std::mem::replace(&mut batch, Vec::with_capacity(BATCH)));
            }
            if wanted { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        if wanted {
            hand_on(batch);
        }
        Ok(())
    }

    fn take_all(&self, batches: Receiver<Vec<Key>>) -> Result<u64, StoreError> {
        let mut keys = 0;
        for batch in batches {
            self.take(&batch)?;
            keys += batch.len() as u64;
        }
        Ok(keys)
    }

    fn take(&self, keys: &[Key]) -> Result<(), StoreError> {
        for key in keys {
            self.snapshot.load(key);
            self.index.put(key, &self.snapshot);
            self.quotas.seed(key, self.store.as_ref(), self.now())?;
        }
        Ok(())
    }
}
