//! The ledger's side of the slab: what changed, what is merged, what may be freed.
//!
//! Nothing here is on the path of a request.

use super::segment::{Spot, number};
use super::{CellIndex, Recycled, Slab, known};
use crate::clock::Timestamp;
use crate::usage::cell::{CellKey, CountWord, Freed, Kind, State};

/// A cell at one moment.
///
/// It is absolute: `generation` of this cell stands at `count`. Whoever keeps the sum of a `key` adds up the counts
/// of different generations, and replaces the count of the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Which cell.
    pub index: CellIndex,
    /// Which use of the cell; no other cell and no other use has the same. Later claims have higher ones.
    pub generation: u64,
    /// What it counts.
    pub key: CellKey,
    /// How many. May be 0, and may be lower than before (a refund).
    pub count: u64,
    /// When it was claimed.
    pub first_used: Timestamp,
    /// When it last counted.
    pub last_used: Timestamp,
}

impl Reading {
    pub(super) fn of(number: u32, state: &State) -> Self {
        Self {
            index: CellIndex(number),
            generation: state.generation,
            key: state.identity.key(),
            count: state.count,
            first_used: state.first_used,
            last_used: state.last_used,
        }
    }
}

impl Slab {
    /// Takes every cell that changed since it was last taken. What cannot be merged must be given back with
    /// [`Slab::mark_dirty`], or it is not offered again until its next change.
    pub fn drain_dirty(&self, mut each: impl FnMut(Reading)) {
        for (position, segment) in self.segments.iter() {
            segment.take_dirty(|slot| {
                let reading = self.read(CellIndex(number(position, slot)));
                reading.into_iter().for_each(&mut each);
            });
        }
    }

    /// Offers a cell to the next [`Slab::drain_dirty`] again.
    pub fn mark_dirty(&self, index: CellIndex) {
        self.segments.spot(index.0).inspect(Spot::set_dirty);
    }

    /// Notes that the store durably has `count` of this generation. Only then may the cell be recycled.
    pub fn mark_merged(&self, index: CellIndex, generation: u64, count: u64) {
        if let Some(spot) = self.segments.spot(index.0).filter(|spot| spot.cell.is_of(generation)) {
            spot.set_merged(Some(CountWord::new(generation, count)));
        }
    }

    /// Raises the count to at least `to` if the cell is still of `generation`: after a power loss the store may know
    /// more than the file.
    pub fn raise_count(&self, index: CellIndex, generation: u64, to: u64) -> Result<(), Recycled> {
        let raised = |count| (count < to).then_some(to);
        known(self.change_where(index, |cell| cell.is_of(generation), raised)).map(drop)
    }

    /// The cell as it is now; `None` where it is free.
    pub fn read(&self, index: CellIndex) -> Option<Reading> {
        let state = self.segments.spot(index.0)?.cell.read()?;
        Some(Reading::of(index.0, &state))
    }

    /// Every cell in use.
    pub fn cells(&self, mut each: impl FnMut(Reading)) {
        for (number, spot) in self.segments.spots() {
            if let Some(state) = spot.cell.read() {
                each(Reading::of(number, &state));
            }
        }
    }

    /// Frees the cells whose hour is before `before_hour`, but for those that are to be kept, and tells how many.
    /// A cell that counted anything the store does not have is never freed.
    pub fn recycle(&self, before_hour: u32, keep: impl Fn(&CellKey) -> bool) -> usize {
        let over = |key: &CellKey| key.hour < before_hour && !keep(key);
        let freed = self
            .segments
            .spots()
            .filter(|(number, spot)| self.recycle_one(*number, spot, over) == Freed::Yes);
        freed.count()
    }

    fn recycle_one(&self, number: u32, spot: &Spot<'_>, over: impl Fn(&CellKey) -> bool) -> Freed {
        let Some(state) = spot.cell.read() else {
            return Freed::No;
        };
        let count = CountWord::new(state.generation, state.count);
        if !over(&state.identity.key()) || !spot.is_clean() || !spot.is_merged(count) {
            return Freed::No;
        }
        let mut shard = self.index.shard(&state.identity);
        // Decides: it frees this count of this generation or nothing, whatever happened since the look.
        let freed = spot.cell.free_if(count);
        if freed == Freed::Yes {
            shard.remove(&state.identity);
            self.pool.give_back(number, spot);
        }
        freed
    }

    /// Requests of the kinds in `counted` that the ledger was not yet offered. For metrics; costs as much as there
    /// are dirty cells.
    pub fn unmerged(&self, counted: impl Fn(Kind) -> bool) -> u64 {
        let mut sum = 0_u64;
        for (position, segment) in self.segments.iter() {
            segment.peek_dirty(|slot| {
                let reading = self.read(CellIndex(number(position, slot)));
                if let Some(reading) = reading.filter(|reading| counted(reading.key.kind)) {
                    let merged = segment.merged_count(slot, reading.generation);
                    sum = sum.saturating_add(reading.count.saturating_sub(merged));
                }
            });
        }
        sum
    }
}
