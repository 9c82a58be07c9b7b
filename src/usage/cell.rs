//! One counter: 64 bytes of the mapped file, which is one cache line.
//!
//! The count shares its word with the *stamp*, the low 16 bits of the cell's generation. Every change of the count is
//! one compare-and-swap of that word, so a change can only land on the generation that was looked at: a cell that was
//! freed, or given to another key, in the meantime has another stamp, and the change fails instead of counting for a
//! stranger. A stamp of 0 means that the cell is free.
//!
//! The process may die between any two stores, and its stores up to there survive. Hence the orders: a claim
//! publishes the stamp last, freeing takes it away first, and what has no stamp holds no count.

mod identity;

use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Timestamp;

pub(in crate::usage) use identity::Identity;
pub use identity::{CellKey, Kind};

/// Bytes of a cell.
pub(in crate::usage) const CELL_BYTES: usize = 64;

/// The highest count a cell can hold, 2^48 - 1: at a million requests a second, nine years in one hour's cell.
pub const MAX_COUNT: u64 = (1 << STAMP_SHIFT) - 1;

/// Where the stamp begins in the count's word.
const STAMP_SHIFT: u32 = 48;

/// The count and the stamp of the generation that it belongs to, as one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::usage) struct CountWord(u64);

impl CountWord {
    /// What a free cell holds.
    const FREE: Self = Self(0);

    /// `count` of `generation`; more than [`MAX_COUNT`] is held as that.
    pub fn new(generation: u64, count: u64) -> Self {
        Self(generation << STAMP_SHIFT | count.min(MAX_COUNT))
    }

    /// The word as it is stored.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The word that was stored as `bits`.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The count, if it is one of `generation`.
    pub fn count_of(self, generation: u64) -> Option<u64> {
        (self.stamp() == Self::new(generation, 0).stamp()).then_some(self.count())
    }

    const fn stamp(self) -> u64 {
        self.0 >> STAMP_SHIFT
    }

    const fn count(self) -> u64 {
        self.0 & MAX_COUNT
    }

    const fn with_count(self, count: u64) -> Self {
        Self(self.0 & !MAX_COUNT | if count > MAX_COUNT { MAX_COUNT } else { count })
    }
}

/// Whether a cell may carry this generation: one whose stamp would say "free" is skipped.
pub(in crate::usage) const fn is_generation(generation: u64) -> bool {
    generation << STAMP_SHIFT != 0
}

/// The counter as it lies in the file. Any 64 bytes are a `Cell`: nothing here trusts what a file holds.
#[derive(Debug)]
#[repr(C, align(64))]
pub(in crate::usage) struct Cell {
    word: AtomicU64,
    generation: AtomicU64,
    high: AtomicU64,
    low: AtomicU64,
    tag: AtomicU64,
    /// The version (32 bits) and the checksum of all that says whose cell this is.
    version: AtomicU64,
    last_used: AtomicU64,
    first_used: AtomicU64,
}

const _: () = assert!(size_of::<Cell>() == CELL_BYTES && align_of::<Cell>() == CELL_BYTES);

/// A cell in use, as it was at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::usage) struct State {
    pub identity: Identity,
    pub generation: u64,
    pub count: u64,
    pub first_used: Timestamp,
    pub last_used: Timestamp,
}

/// What a cell held when its file was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::usage) enum Found {
    Free,
    Damaged,
    Used(State),
}

/// What came of an attempt to change a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::usage) enum Update {
    /// The count is now this.
    Changed(u64),
    /// The change was not wanted; the count is this.
    Kept(u64),
    /// The cell is not, or no longer, the one that was meant.
    Gone,
}

impl Cell {
    /// A copy of one, from the bytes that a file has of it.
    pub fn copied(bytes: &[u8; CELL_BYTES]) -> Self {
        let [word, generation, high, low, tag, version, last_used, first_used] =
            std::array::from_fn(|field| {
                AtomicU64::new(u64::from_ne_bytes(std::array::from_fn(|byte| bytes[field * 8 + byte])))
            });
        Self { word, generation, high, low, tag, version, last_used, first_used }
    }

    /// Makes a free cell the counter of `identity`, at 0. Only the thread that took it from the free list may.
    pub fn claim(&self, generation: u64, identity: &Identity, now: Timestamp) {
        let checksum = u64::from(identity.checksum(generation));
        self.high.store(identity.high, Ordering::Release);
        self.low.store(identity.low, Ordering::Release);
        self.tag.store(identity.tag, Ordering::Release);
        self.version.store(u64::from(identity.version) << 32 | checksum, Ordering::Release);
        self.first_used.store(now.as_millis(), Ordering::Release);
        self.last_used.store(now.as_millis(), Ordering::Release);
        self.generation.store(generation, Ordering::Release);
        self.word.store(CountWord::new(generation, 0).bits(), Ordering::SeqCst);
    }

    /// Frees the cell if its count is still exactly `merged`; after that no change can land on it.
    #[must_use]
    pub fn free_if(&self, merged: CountWord) -> Freed {
        let swapped =
            self.word.compare_exchange(merged.0, CountWord::FREE.0, Ordering::SeqCst, Ordering::Relaxed);
        if swapped.is_err() {
            return Freed::No;
        }
        self.wipe();
        Freed::Yes
    }

    /// Frees the cell whatever it holds: while a file is opened, before any other thread sees it.
    pub fn discard(&self) {
        self.word.store(CountWord::FREE.0, Ordering::SeqCst);
        self.wipe();
    }

    /// Zeroes all but the word. Released, so that whoever reads a zero also fails to change the count.
    fn wipe(&self) {
        let owner = [&self.generation, &self.high, &self.low, &self.tag, &self.version];
        for field in owner.into_iter().chain([&self.last_used, &self.first_used]) {
            field.store(0, Ordering::Release);
        }
    }

    /// Whether the cell counts for `identity`. True only of the moment of the look.
    pub fn is(&self, identity: &Identity) -> bool {
        self.low.load(Ordering::Acquire) == identity.low
            && self.tag.load(Ordering::Acquire) == identity.tag
            && self.high.load(Ordering::Acquire) == identity.high
            && self.version.load(Ordering::Acquire) >> 32 == u64::from(identity.version)
    }

    /// Whether the cell is of `generation`. True only of the moment of the look.
    pub fn is_of(&self, generation: u64) -> bool {
        self.generation.load(Ordering::Acquire) == generation
    }

    /// Changes the count of the cell that `meant` recognises to what `change` makes of it, in one step.
    ///
    /// The word is read before the cell is looked at and swapped (or read again) after, and a stamp is not used twice
    /// by one cell within 65,535 claims: so what was recognised is what was changed.
    pub fn update(&self, meant: impl Fn(&Self) -> bool, change: impl Fn(u64) -> Option<u64>) -> Update {
        let mut word = CountWord(self.word.load(Ordering::SeqCst));
        loop {
            if word.stamp() == 0 || !meant(self) {
                return Update::Gone;
            }
            let Some(count) = change(word.count()) else {
                let again = CountWord(self.word.load(Ordering::SeqCst));
                if again == word {
                    return Update::Kept(word.count());
                }
                word = again;
                continue;
            };
            let next = word.with_count(count);
            match self.word.compare_exchange_weak(word.0, next.0, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return Update::Changed(next.count()),
                Err(actual) => word = CountWord(actual),
            }
        }
    }

    /// Moves the time of last use on to `now`, unless it is later already.
    ///
    /// Comes after the count: a thread that stands still in between finds its cell freed and claimed anew at worst,
    /// and then with a later time, so that its own changes nothing.
    pub fn used_at(&self, now: Timestamp) {
        // Most requests share their millisecond with one before them: a look is cheaper than a write.
        if self.last_used.load(Ordering::Relaxed) < now.as_millis() {
            self.last_used.fetch_max(now.as_millis(), Ordering::Relaxed);
        }
    }

    /// The cell at one moment; `None` where it is free.
    pub fn read(&self) -> Option<State> {
        loop {
            let word = CountWord(self.word.load(Ordering::SeqCst));
            if word.stamp() == 0 {
                return None;
            }
            let state = self.state(word);
            // The same stamp before and after: nothing was freed in between, so all fields are of one generation.
            if CountWord(self.word.load(Ordering::SeqCst)).stamp() == word.stamp() {
                return Some(state);
            }
        }
    }

    /// What the cell holds after an earlier process: nothing in it is believed before its checksum holds.
    pub fn found(&self) -> Found {
        let word = CountWord(self.word.load(Ordering::Relaxed));
        if word == CountWord::FREE {
            return Found::Free;
        }
        let state = self.state(word);
        let checksum = self.version.load(Ordering::Relaxed) & u64::from(u32::MAX);
        let sound = u64::from(state.identity.checksum(state.generation)) == checksum
            && is_generation(state.generation)
            && word.count_of(state.generation).is_some();
        if sound { Found::Used(state) } else { Found::Damaged }
    }

    fn state(&self, word: CountWord) -> State {
        State {
            identity: Identity {
                high: self.high.load(Ordering::Acquire),
                low: self.low.load(Ordering::Acquire),
                tag: self.tag.load(Ordering::Acquire),
                version: (self.version.load(Ordering::Acquire) >> 32) as u32,
            },
            generation: self.generation.load(Ordering::Acquire),
            count: word.count(),
            first_used: Timestamp::from_millis(self.first_used.load(Ordering::Acquire)),
            last_used: Timestamp::from_millis(self.last_used.load(Ordering::Acquire)),
        }
    }
}

/// Whether a cell was freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::usage) enum Freed {
    Yes,
    /// Its count has moved on.
    No,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyId;

    fn free_cell() -> Cell {
        Cell::copied(&[0; CELL_BYTES])
    }

    fn key(hour: u32) -> CellKey {
        let key = KeyId::from_u128(0x0123_4567_89ab_cdef_0f1e_2d3c_4b5a_6978);
        CellKey { key, version: u32::MAX, hour, route: 0xabcd, kind: Kind(0xef) }
    }

    fn add_one(cell: &Cell, key: &CellKey) -> Update {
        let identity = Identity::from(key);
        cell.update(|cell| cell.is(&identity), |count| Some(count + 1))
    }

    #[test]
    fn a_count_lands_on_its_own_generation_or_nowhere() {
        let (cell, now) = (free_cell(), Timestamp::from_secs(9));
        assert_eq!(add_one(&cell, &key(1)), Update::Gone);
        cell.claim(7, &Identity::from(&key(1)), now);
        assert_eq!(add_one(&cell, &key(1)), Update::Changed(1));
        assert_eq!(add_one(&cell, &key(2)), Update::Gone);
        assert_eq!(cell.free_if(CountWord::new(7, 0)), Freed::No, "one count is not merged");
        assert_eq!(cell.free_if(CountWord::new(7, 1)), Freed::Yes);
        assert_eq!(add_one(&cell, &key(1)), Update::Gone);
        cell.claim(8, &Identity::from(&key(1)), now);
        assert_eq!(cell.free_if(CountWord::new(7, 0)), Freed::No, "merged was another generation");
        assert_eq!(cell.read().unwrap().count, 0);
    }

    #[test]
    fn a_count_stops_at_its_highest_and_leaves_the_stamp_alone() {
        let (cell, identity) = (free_cell(), Identity::from(&key(1)));
        cell.claim(3, &identity, Timestamp::default());
        assert_eq!(cell.update(|_| true, |_| Some(u64::MAX)), Update::Changed(MAX_COUNT));
        assert_eq!(add_one(&cell, &key(1)), Update::Changed(MAX_COUNT));
        assert_eq!(cell.read().unwrap().generation, 3);
    }

    #[test]
    fn a_flipped_bit_in_what_names_the_cell_is_noticed() {
        let fields: [fn(&Cell) -> &AtomicU64; 5] =
            [|c| &c.generation, |c| &c.high, |c| &c.low, |c| &c.tag, |c| &c.version];
        for field in fields {
            for bit in 0..64 {
                let cell = free_cell();
                cell.claim(0x5_0000_0001, &Identity::from(&key(4)), Timestamp::default());
                assert!(matches!(cell.found(), Found::Used(_)));
                field(&cell).fetch_xor(1 << bit, Ordering::Relaxed);
                assert_eq!(cell.found(), Found::Damaged, "bit {bit}");
            }
        }
    }

    #[test]
    fn the_time_of_last_use_never_goes_back() {
        let cell = free_cell();
        cell.claim(1, &Identity::from(&key(1)), Timestamp::from_secs(5));
        cell.used_at(Timestamp::from_secs(9));
        cell.used_at(Timestamp::from_secs(7));
        let state = cell.read().unwrap();
        assert_eq!((state.first_used, state.last_used), (Timestamp::from_secs(5), Timestamp::from_secs(9)));
    }
}
