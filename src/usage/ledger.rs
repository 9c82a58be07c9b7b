//! From the mapped counters to the durable ledger: once a second, and before each reading.
//!
//! A request is settled by one atomic add. A merge takes the absolute counts of the counters that moved and hands them
//! to the store, which makes merging the same counts again harmless; so nothing is lost and nothing is counted twice,
//! wherever a merge is interrupted.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::busy::BusyKeys;
use super::cell::{CellKey, Kind};
use super::predecessor::Predecessors;
use super::quota;
use super::slab::{Reading, Slab};
use crate::clock::Timestamp;
use crate::key::KeyId;
use crate::key::quota::Window;
use crate::outcome::{Outcome, Tally};
use crate::snapshot::Found;
use crate::store::{Added, Counted, Side, Store, StoreError, Totals, UsageKey, UsageRange, Visit};

/// Counters merged in one transaction, so that admin changes never wait long for the store.
const MERGE_BATCH: usize = 20_000;
/// Hours for which a counter is kept after its own, for requests that are settled late and clocks that step back.
const KEEP_HOURS: u32 = 2;

/// Told what a merge found new.
pub type OnAdded = Box<dyn Fn(&[Added]) + Send + Sync>;

/// What the mapped counters hold and the store has not yet.
pub struct Ledger {
    slab: Arc<Slab>,
    store: Arc<dyn Store>,
    /// Held through a merge, so that merges follow each other. Never taken by a request.
    busy: Mutex<BusyKeys>,
    /// Whose counts are merged too. Locked after `busy`.
    predecessors: Mutex<Predecessors>,
    failures: AtomicU64,
    /// Told what each merge found new.
    on_added: OnceLock<OnAdded>,
    /// The hour in which counters were last freed.
    recycled_in: AtomicU32,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ledger({:?})", self.store)
    }
}

impl Ledger {
    /// Between these two, with this many series for the busiest keys.
    pub fn new(slab: Arc<Slab>, store: Arc<dyn Store>, top_keys: usize, predecessors: Predecessors) -> Self {
        Self {
            slab,
            store,
            busy: Mutex::new(BusyKeys::new(top_keys)),
            predecessors: Mutex::new(predecessors),
            failures: AtomicU64::new(0),
            recycled_in: AtomicU32::new(0),
            on_added: OnceLock::new(),
        }
    }

    /// Brings counters up to what the ledger already has of them. After a power loss the file may be older than the
    /// ledger; without this, what is counted next would be taken for what was counted before.
    ///
    /// # Errors
    /// The ledger could not be read.
    pub fn recover(&self) -> Result<(), StoreError> {
        let mut readings = Vec::new();
        self.slab.cells(|reading| readings.push(reading));
        for reading in readings {
            let Some(row) = row_of(&reading.key) else { continue };
            if let Some(count) = self.store.merged_count(&row, reading.generation)? {
                // Nothing else runs yet, so the cell is still of this generation.
                let _ = self.slab.raise_count(reading.index, reading.generation, count);
            }
        }
        self.merge().map(drop)
    }

    /// Tells `on_added` what each merge finds new. The first that is set stays.
    pub fn observe(&self, on_added: OnAdded) {
        let _ = self.on_added.set(on_added);
    }

    /// Counts one request of a key, with its final outcome.
    pub fn settle(&self, found: &Found, route: u16, outcome: Outcome, now: Timestamp) {
        let key = CellKey {
            key: found.entry.id,
            version: found.version,
            hour: now.hour(),
            route,
            kind: Kind(outcome.number()),
        };
        self.slab.count(&key, &found.entry.live.usage_hint, now);
    }

    /// Merges what moved since the last merge. Where the store fails, the counters keep it for the next one.
    ///
    /// # Errors
    /// The store's.
    pub fn merge(&self) -> Result<usize, StoreError> {
        self.merge_locked(&mut self.busy.lock())
    }

    fn merge_locked(&self, busy: &mut BusyKeys) -> Result<usize, StoreError> {
        let mut moved = Vec::new();
        self.slab.drain_dirty(|reading| moved.push(reading));
        // In the order of the store's tables, neighbours share pages.
        moved.sort_unstable_by_key(|reading| (reading.key.key, reading.key.hour));
        let mut rest = &moved[..];
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(rest.len().min(MERGE_BATCH));
            if let Err(error) = self.merge_batch(batch, busy) {
                for reading in rest {
                    self.slab.mark_dirty(reading.index);
                }
                self.failures.fetch_add(1, Ordering::Relaxed);
                return Err(error);
            }
            rest = after;
        }
        Ok(moved.len())
    }

    fn merge_batch(&self, batch: &[Reading], busy: &mut BusyKeys) -> Result<(), StoreError> {
        let counted: Vec<Counted> = batch.iter().filter_map(counted).collect();
        let side = if self.predecessors.lock().is_empty() { Side::Alone } else { Side::Beside };
        let added = if counted.is_empty() { Vec::new() } else { self.store.merge_usage(&counted, side)? };
        for reading in batch {
            self.slab.mark_merged(reading.index, reading.generation, reading.count);
        }
        self.is_added(&added, busy);
        Ok(())
    }

    fn is_added(&self, added: &[Added], busy: &mut BusyKeys) {
        if let Some(on_added) = self.on_added.get() {
            on_added(added);
        }
        let mut let_through: HashMap<KeyId, u64> = HashMap::new();
        for one in added.iter().filter(|one| one.row.outcome.tally() == Tally::LetThrough) {
            *let_through.entry(one.row.key).or_default() += one.count;
        }
        let_through.into_iter().filter(|(_, more)| *more > 0).for_each(|(key, more)| busy.add(key, more));
    }

    /// Begins each quota's counter with what processes that end have charged.
    pub fn inherit_quotas(&self, now: Timestamp) {
        self.predecessors.lock().inherit_quotas(&self.slab, now);
    }

    /// Merges what processes that end have counted since the last time, and forgets those that have ended.
    ///
    /// # Errors
    /// The store's. What is not merged is merged the next time.
    pub fn merge_predecessors(&self, now: Timestamp) -> Result<(), StoreError> {
        self.merge_predecessors_locked(&mut self.busy.lock(), now)
    }

    fn merge_predecessors_locked(&self, busy: &mut BusyKeys, now: Timestamp) -> Result<(), StoreError> {
        let mut predecessors = self.predecessors.lock();
        if predecessors.is_empty() {
            return Ok(());
        }
        predecessors.try_again(&self.slab, now);
        predecessors.take_quotas(&self.slab, now);
        predecessors.merge(
            |counted| {
                let mut all = Vec::new();
                for batch in counted.chunks(MERGE_BATCH) {
                    all.extend(self.store.merge_usage(batch, Side::Predecessor)?);
                }
                Ok(all)
            },
            |added| self.is_added(added, busy),
        )?;
        if predecessors.is_empty() {
            self.store.forget_predecessors()?;
        }
        Ok(())
    }

    /// Counters that end with this process, after an attempt to have room for them in its file.
    pub fn in_memory_alone(&self) -> usize {
        self.slab.grow_ahead();
        self.slab.health().memory_only
    }

    /// Merges all there is, and runs `close` before anybody merges again.
    ///
    /// # Errors
    /// The store's, or what `close` says.
    pub fn hand_over(
        &self,
        now: Timestamp,
        close: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        // Most of it before the lock, so that a turn of the background task is not waited for with all of it.
        self.merge()?;
        let mut busy = self.busy.lock();
        self.merge_locked(&mut busy)?;
        self.merge_predecessors_locked(&mut busy, now)?;
        close()
    }

    /// Looks for files of processes that came and went while another had the store.
    pub fn find_predecessors(&self, now: Timestamp) {
        let mut predecessors = self.predecessors.lock();
        predecessors.find();
        predecessors.inherit_quotas(&self.slab, now);
    }

    /// One turn of the background task: heals a store that failed, merges, lets the busiest keys' activity fade, and
    /// frees counters whose time is over.
    ///
    /// # Errors
    /// The store's.
    pub fn turn(&self, now: Timestamp) -> Result<(), StoreError> {
        self.slab.grow_ahead();
        self.store.check()?;
        self.merge()?;
        self.merge_predecessors(now)?;
        self.busy.lock().turn();
        // Once an hour is enough, for counters are of an hour.
        if self.recycled_in.swap(now.hour(), Ordering::Relaxed) != now.hour() {
            self.slab.recycle(now.hour().saturating_sub(KEEP_HOURS), |cell| still_open(cell, now));
        }
        Ok(())
    }

    /// A key's totals by secret version, up to this moment.
    ///
    /// # Errors
    /// The store's.
    pub fn totals(&self, key: KeyId) -> Result<Vec<(u32, Totals)>, StoreError> {
        self.store.totals(key)
    }

    /// Rows of the ledger.
    ///
    /// # Errors
    /// The store's.
    pub fn rows(&self, range: UsageRange, each: Visit<'_, (UsageKey, u64)>) -> Result<(), StoreError> {
        self.store.usage(range, each)
    }

    /// The busiest keys with their counts, and the count of all others.
    pub fn busiest(&self) -> (Vec<(KeyId, u64)>, u64) {
        let busy = self.busy.lock();
        (busy.series().collect(), busy.other())
    }

    /// Requests that the ledger has not yet.
    pub fn unmerged(&self) -> u64 {
        self.slab.unmerged(|kind| kind.0 < quota::FIRST_QUOTA_KIND)
    }

    /// Merges that failed since the process started.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }
}

/// The ledger's row of a counter; none for a quota's.
fn row_of(cell: &CellKey) -> Option<UsageKey> {
    let outcome = Outcome::from_number(cell.kind.0)?;
    Some(UsageKey { key: cell.key, hour: cell.hour, route: cell.route, outcome, version: cell.version })
}

pub(super) fn counted(reading: &Reading) -> Option<Counted> {
    let row = row_of(&reading.key)?;
    let Reading { generation, count, first_used, last_used, .. } = *reading;
    Some(Counted { generation, row, count, first_used, last_used })
}

/// Whether a quota's window is not over yet.
pub(super) fn still_open(cell: &CellKey, now: Timestamp) -> bool {
    let window: Option<Window> = quota::window_of(cell.kind);
    window.is_some_and(|window| Timestamp::from_hour(cell.hour) >= window.edges(now).start)
}
