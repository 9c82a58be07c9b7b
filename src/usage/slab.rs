//! The usage counters of this process, in a mapped file that outlives it.
//!
//! A counted request is one compare-and-swap in the mapping. The page cache keeps it when the process is killed, so
//! the next process finds every count. Once a second the ledger takes what changed ([`Slab::drain_dirty`]) and merges
//! it into the store; because a [`Reading`] is absolute (this generation of this cell stands at so many), merging it
//! twice is merging it once. A cell is freed only when the store has all of it ([`Slab::recycle`]).
//!
//! What holds at all times:
//! - a count lands on the cell of its own key, or the caller is told ([`Recycled`]);
//! - a generation is never used twice, in this process or a later one;
//! - a cell that is in the index is claimed, and one on the free list is in no index;
//! - nothing that the file holds is believed unchecked, and nothing in it ends the process.

mod disk;
mod error;
mod file;
mod foreign;
mod index;
mod merge;
mod pool;
mod recover;
mod segment;

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

pub(in crate::usage) use disk::{folder_of, sync_folder_of};
pub use error::{Fault, SetAside, SlabError};
pub use file::{fault, remove_draft};
pub use foreign::Foreign;
pub use merge::Reading;
pub use pool::Health;
pub use recover::Opened;

use super::cell::{Cell, CellKey, Identity, Update};
use crate::clock::Timestamp;
use file::UsageFile;
use index::Index;
use pool::Pool;
use recover::recover;
use segment::{Backing, Segment, Segments};

/// The first epoch that does not fit above a generation's 40 bits of sequence.
const EPOCHS: u32 = 1 << 24;

/// The counters.
pub struct Slab {
    segments: Segments,
    index: Index,
    pool: Pool,
    lost: AtomicU64,
}

/// Where a cell is, in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CellIndex(u32);

/// The cell counts something else by now: find or claim another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cell counts something else by now")]
pub struct Recycled;

/// What came of a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charge {
    /// One more, within the limit.
    Charged {
        /// How many it are with this one.
        used: u64,
    },
    /// No more: the limit is reached.
    Full {
        /// How many it are.
        used: u64,
    },
    /// The cell counts something else by now.
    Recycled,
}

impl Slab {
    /// Opens the counters of the store `store_id` at `path`, or makes them.
    ///
    /// `epoch` must be another, and higher, at each opening; the store counts them durably. What lies at `path` and
    /// is foreign or damaged is set aside, and is never a reason not to start.
    pub fn open(path: &Path, store_id: u128, epoch: u32) -> Result<(Self, Opened), SlabError> {
        if epoch >= EPOCHS {
            return Err(SlabError::Epoch { path: path.into(), epoch });
        }
        let (file, set_aside) = UsageFile::open(path, store_id)?;
        let (segments, index) = (Segments::new(), Index::new());
        for number in 0..file.segments() {
            segments.push(Segment::new(file.map(number)?, Backing::File));
        }
        let found = recover(&segments, &index, u64::from(epoch) << 40);
        let pool = Pool::new(file, found.free, found.generation);
        let opened = Opened { set_aside, ..found.opened };
        Ok((Self { segments, index, pool, lost: AtomicU64::new(0) }, opened))
    }

    /// The cell of `key`, where it has one.
    pub fn find(&self, key: &CellKey) -> Option<CellIndex> {
        let identity = Identity::from(key);
        self.index.shard(&identity).get(&identity).copied().map(CellIndex)
    }

    /// The cell of `key`, which is claimed at 0 where it has none. `None` only when every cell there may be is in use.
    pub fn find_or_claim(&self, key: &CellKey, now: Timestamp) -> Option<CellIndex> {
        let identity = Identity::from(key);
        let mut shard = self.index.shard(&identity);
        if let Some(&number) = shard.get(&identity) {
            return Some(CellIndex(number));
        }
        let generation = self.pool.next_generation()?;
        let number = self.pool.take(&self.segments)?;
        let spot = self.segments.spot(number)?;
        spot.set_merged(None);
        spot.cell.claim(generation, &identity, now);
        shard.insert(identity, number);
        // Also while it counts nothing: only what was merged can be recycled.
        spot.set_dirty();
        Some(CellIndex(number))
    }

    /// Counts one for `key`: what every request does. `hint` remembers its cell between calls; it starts at 0 and
    /// may be of another key or hour, which costs a look in the index.
    pub fn count(&self, key: &CellKey, hint: &AtomicU32, now: Timestamp) {
        let hinted = hint.load(Ordering::Relaxed).checked_sub(1).map(CellIndex);
        if hinted.is_some_and(|index| self.add(index, key, now).is_ok()) {
            return;
        }
        // Goes round again only if the cell was merged and recycled between the two lines.
        while let Some(index) = self.find_or_claim(key, now) {
            if self.add(index, key, now).is_ok() {
                hint.store(index.0 + 1, Ordering::Relaxed);
                return;
            }
        }
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one on the cell of `key`.
    pub fn add(&self, index: CellIndex, key: &CellKey, now: Timestamp) -> Result<(), Recycled> {
        let spot = self.segments.spot(index.0).ok_or(Recycled)?;
        let identity = Identity::from(key);
        match spot.cell.update(|cell| cell.is(&identity), |count| Some(count.saturating_add(1))) {
            Update::Changed(_) | Update::Kept(_) => {
                spot.cell.used_at(now);
                spot.set_dirty();
                Ok(())
            }
            Update::Gone => Err(Recycled),
        }
    }

    /// Counts one on the cell of `key` unless it stands at `limit` or above; never over it, however many try at once.
    #[must_use]
    pub fn charge_up_to(&self, index: CellIndex, key: &CellKey, limit: u64) -> Charge {
        match self.change(index, key, |count| (count < limit).then(|| count.saturating_add(1))) {
            Update::Changed(used) => Charge::Charged { used },
            Update::Kept(used) => Charge::Full { used },
            Update::Gone => Charge::Recycled,
        }
    }

    /// Takes back one charge; a count of 0 stays.
    pub fn refund(&self, index: CellIndex, key: &CellKey) -> Result<(), Recycled> {
        known(self.change(index, key, |count| count.checked_sub(1))).map(drop)
    }

    /// Raises the count of `key`'s cell to at least `count`.
    pub fn seed(&self, index: CellIndex, key: &CellKey, count: u64) -> Result<(), Recycled> {
        known(self.change(index, key, |found| (found < count).then_some(count))).map(drop)
    }

    /// Moves the count of `key`'s cell by what another process counted since the last look; never below 0.
    pub fn shift(&self, index: CellIndex, key: &CellKey, by: i64) -> Result<(), Recycled> {
        known(self.change(index, key, |count| Some(count.saturating_add_signed(by)))).map(drop)
    }

    /// The count of `key`'s cell.
    pub fn used(&self, index: CellIndex, key: &CellKey) -> Result<u64, Recycled> {
        known(self.change(index, key, |_| None))
    }

    /// Cells in use. For metrics.
    pub fn used_cells(&self) -> usize {
        self.capacity().saturating_sub(self.pool.free_cells())
    }

    /// Cells there are, in the file and in memory. For metrics.
    pub fn capacity(&self) -> usize {
        self.segments.len() * segment::SEGMENT_CELLS
    }

    /// Requests that could not be counted because every cell there may be was in use.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// How safe the counts are.
    pub fn health(&self) -> Health {
        self.pool.health()
    }

    /// Grows the file where it is nearly full, and tries again where it could not grow. To be called once a second
    /// or so, off the request path: then no request waits for the disk.
    pub fn grow_ahead(&self) {
        self.pool.grow_ahead(&self.segments);
    }

    fn change(&self, index: CellIndex, key: &CellKey, change: impl Fn(u64) -> Option<u64>) -> Update {
        let identity = Identity::from(key);
        self.change_where(index, |cell| cell.is(&identity), change)
    }

    /// Changes a count, and tells the ledger if it did change.
    fn change_where(
        &self,
        index: CellIndex,
        meant: impl Fn(&Cell) -> bool,
        change: impl Fn(u64) -> Option<u64>,
    ) -> Update {
        let Some(spot) = self.segments.spot(index.0) else {
            return Update::Gone;
        };
        let update = spot.cell.update(meant, change);
        if matches!(update, Update::Changed(_)) {
            spot.set_dirty();
        }
        update
    }
}

/// The count, whether it was changed or not.
fn known(update: Update) -> Result<u64, Recycled> {
    match update {
        Update::Changed(count) | Update::Kept(count) => Ok(count),
        Update::Gone => Err(Recycled),
    }
}

impl fmt::Debug for Slab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (used, capacity) = (self.used_cells(), self.capacity());
        f.debug_struct("Slab").field("used", &used).field("capacity", &capacity).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod file_tests;

#[cfg(test)]
mod stress;
