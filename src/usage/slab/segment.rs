//! The slab in runs of equal length: each mapped on its own, so that growing moves no address.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::usage::cell::{CELL_BYTES, Cell, CountWord};
use crate::usage::map::Mapping;

/// Cells of a segment.
pub(super) const SEGMENT_CELLS: usize = 1 << SEGMENT_BITS;

/// Bytes of a segment in the file: 4 MiB.
pub(super) const SEGMENT_BYTES: u64 = (SEGMENT_CELLS * CELL_BYTES) as u64;

/// How many segments there may be: 64 Mi cells, 4 GiB.
pub(super) const MAX_SEGMENTS: usize = 1024;

const SEGMENT_BITS: u32 = 16;
const WORD_BITS: usize = u64::BITS as usize;

/// What a segment's cells are kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backing {
    /// The file: counts outlive the process.
    File,
    /// Memory alone: the disk had no room.
    Memory,
}

/// 65,536 cells, and what this process knows of them beside what the file says.
#[derive(Debug)]
pub(super) struct Segment {
    map: Mapping,
    backing: Backing,
    /// One bit a cell: set where there is something that the ledger may not know.
    dirty: Box<[AtomicU64]>,
    /// The [`CountWord`] of each cell as the ledger last merged it; 0 where it has not.
    merged: Box<[AtomicU64]>,
}

impl Segment {
    pub fn new(map: Mapping, backing: Backing) -> Self {
        let zeroes = |len| std::iter::repeat_with(AtomicU64::default).take(len).collect();
        Self { map, backing, dirty: zeroes(SEGMENT_CELLS / WORD_BITS), merged: zeroes(SEGMENT_CELLS) }
    }

    /// Empties the bitmap and calls `each` for every cell whose bit was set. A bit is taken before its cell is read.
    pub fn take_dirty(&self, mut each: impl FnMut(usize)) {
        for (position, word) in self.dirty.iter().enumerate() {
            // Most words are 0 most of the time; a look leaves the cache line shared.
            if word.load(Ordering::SeqCst) != 0 {
                bits_of(word.swap(0, Ordering::SeqCst)).for_each(|bit| each(position * WORD_BITS + bit));
            }
        }
    }

    /// Calls `each` for every cell whose bit is set, and leaves the bits.
    pub fn peek_dirty(&self, mut each: impl FnMut(usize)) {
        for (position, word) in self.dirty.iter().enumerate() {
            bits_of(word.load(Ordering::Relaxed)).for_each(|bit| each(position * WORD_BITS + bit));
        }
    }

    /// The count that the ledger has of a cell, if it has any of `generation`.
    pub fn merged_count(&self, slot: usize, generation: u64) -> u64 {
        let merged = self.merged.get(slot).map_or(0, |word| word.load(Ordering::Relaxed));
        CountWord::from_bits(merged).count_of(generation).unwrap_or(0)
    }
}

fn bits_of(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lowest = word.trailing_zeros() as usize;
        word &= word.wrapping_sub(1);
        (lowest < WORD_BITS).then_some(lowest)
    })
}

/// One cell and its place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spot<'a> {
    pub cell: &'a Cell,
    pub segment: &'a Segment,
    slot: usize,
}

impl Spot<'_> {
    /// What the cell is kept in.
    pub fn backing(&self) -> Backing {
        self.segment.backing
    }

    /// Sets the cell's dirty bit. Must come after the change that it tells of.
    ///
    /// No change is missed: the change, this look, the drainer's swap and its read of the count are all sequentially
    /// consistent. A look that finds the bit set came before the swap that takes it, so the read sees the change.
    pub fn set_dirty(&self) {
        if let (Some(word), bit) = self.dirty()
            && word.load(Ordering::SeqCst) & bit == 0
        {
            word.fetch_or(bit, Ordering::SeqCst);
        }
    }

    /// Whether the ledger was told of everything in the cell.
    pub fn is_clean(&self) -> bool {
        let (word, bit) = self.dirty();
        word.is_none_or(|word| word.load(Ordering::SeqCst) & bit == 0)
    }

    /// Notes what the ledger has of the cell.
    pub fn set_merged(&self, merged: Option<CountWord>) {
        if let Some(word) = self.segment.merged.get(self.slot) {
            word.store(merged.map_or(0, CountWord::bits), Ordering::Release);
        }
    }

    /// Whether the ledger has exactly `count`.
    pub fn is_merged(&self, count: CountWord) -> bool {
        self.segment.merged.get(self.slot).is_some_and(|word| word.load(Ordering::Acquire) == count.bits())
    }

    fn dirty(&self) -> (Option<&AtomicU64>, u64) {
        (self.segment.dirty.get(self.slot / WORD_BITS), 1 << (self.slot % WORD_BITS))
    }
}

/// All segments. They are added and never taken away.
#[derive(Debug)]
pub(super) struct Segments {
    list: Box<[OnceLock<Segment>]>,
    len: AtomicUsize,
}

impl Segments {
    pub fn new() -> Self {
        let list = std::iter::repeat_with(OnceLock::new).take(MAX_SEGMENTS).collect();
        Self { list, len: AtomicUsize::new(0) }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// Adds one and gives the numbers of its cells; `None` where there is no place left. One thread at a time: the
    /// callers hold the growth lock.
    pub fn push(&self, segment: Segment) -> Option<std::ops::Range<u32>> {
        let at = self.len();
        self.list.get(at)?.set(segment).ok()?;
        self.len.store(at + 1, Ordering::Release);
        Some(number(at, 0)..number(at + 1, 0))
    }

    /// The cell of a number, where there is one.
    pub fn spot(&self, number: u32) -> Option<Spot<'_>> {
        let segment = self.list.get((number >> SEGMENT_BITS) as usize)?.get()?;
        let slot = number as usize % SEGMENT_CELLS;
        Some(Spot { cell: segment.map.cells().get(slot)?, segment, slot })
    }

    /// The segments with their positions.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Segment)> {
        self.list.iter().map_while(OnceLock::get).enumerate()
    }

    /// Every cell with its number.
    pub fn spots(&self) -> impl Iterator<Item = (u32, Spot<'_>)> {
        self.iter().flat_map(|(position, segment)| {
            let cells = segment.map.cells().iter().enumerate();
            cells.map(move |(slot, cell)| (number(position, slot), Spot { cell, segment, slot }))
        })
    }
}

/// The number of a cell.
#[expect(clippy::cast_possible_truncation, reason = "1,024 segments of 65,536 cells are 26 bits")]
pub(super) const fn number(segment: usize, slot: usize) -> u32 {
    (segment * SEGMENT_CELLS + slot) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_bit_is_found_once() {
        for word in [0, 1, 1 << 63, u64::MAX, 0x8000_0000_0001_0100] {
            assert_eq!(bits_of(word).fold(0, |all, bit| all | 1 << bit), word);
            assert_eq!(bits_of(word).count(), word.count_ones() as usize);
        }
    }

    #[test]
    fn a_number_leads_to_its_own_cell_and_past_the_end_to_none() {
        let segments = Segments::new();
        for expected in [0..65_536, 65_536..131_072] {
            let map = Mapping::anonymous(SEGMENT_CELLS).unwrap();
            assert_eq!(segments.push(Segment::new(map, Backing::Memory)), Some(expected));
        }
        for number in [0, 63, 64, 65_535, 65_536, 131_071] {
            segments.spot(number).unwrap().set_dirty();
        }
        let mut seen = Vec::new();
        for (position, segment) in segments.iter() {
            segment.take_dirty(|slot| seen.push(number(position, slot)));
        }
        assert_eq!(seen, [0, 63, 64, 65_535, 65_536, 131_071]);
        assert!(segments.spots().all(|(_, spot)| spot.is_clean()));
        assert!(segments.spot(131_072).is_none() && segments.spot(u32::MAX).is_none());
    }
}
