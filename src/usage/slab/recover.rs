//! What an earlier process left in the file.

use super::error::SetAside;
use super::index::Index;
use super::segment::{Segments, Spot};
use crate::usage::cell::{Found, State};

/// What opening found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Opened {
    /// Cells in use, left by an earlier process. All of them are dirty.
    pub recovered: usize,
    /// Cells that did not hold together, and were freed.
    pub damaged: usize,
    /// Cells freed because a later one counts the same: a power loss brought an old page back. The store has all that
    /// such a cell counted, or it would not have been freed before.
    pub superseded: usize,
    /// A file that could not be used.
    pub set_aside: Option<SetAside>,
}

/// What a process starts from.
#[derive(Debug)]
pub(super) struct Recovered {
    pub opened: Opened,
    /// The free cells, the one to be taken first last.
    pub free: Vec<u32>,
    /// The highest generation there ever was, or may have been before `from`.
    pub generation: u64,
}

/// Looks at every cell: enters the sound ones into the index and frees the others. No other thread may see them yet.
///
/// Generations go on above `from`, and above every one that is found: a store that was restored from a backup may
/// count an epoch again, and its cells must still not be taken for those of before.
pub(super) fn recover(segments: &Segments, index: &Index, from: u64) -> Recovered {
    let mut found = Recovered { opened: Opened::default(), free: Vec::new(), generation: from };
    for (number, spot) in segments.spots() {
        match spot.cell.found() {
            Found::Free => found.free.push(number),
            Found::Damaged => {
                found.opened.damaged += 1;
                found.discard(number, &spot);
            }
            Found::Used(state) => found.enter(segments, index, number, &spot, &state),
        }
    }
    found.free.sort_unstable_by(|one, other| other.cmp(one));
    found
}

impl Recovered {
    /// Enters a sound cell. Of two that count the same, the later one stays.
    fn enter(&mut self, segments: &Segments, index: &Index, number: u32, spot: &Spot<'_>, state: &State) {
        self.generation = self.generation.max(state.generation);
        let mut shard = index.shard(&state.identity);
        let rival = shard.get(&state.identity).and_then(|&rival| Some((rival, segments.spot(rival)?)));
        match rival {
            None => self.opened.recovered += 1,
            Some((rival, rival_spot)) => {
                self.opened.superseded += 1;
                if rival_spot.cell.read().is_some_and(|rival| rival.generation > state.generation) {
                    return self.discard(number, spot);
                }
                self.discard(rival, &rival_spot);
            }
        }
        shard.insert(state.identity, number);
        spot.set_dirty();
    }

    fn discard(&mut self, number: u32, spot: &Spot<'_>) {
        spot.cell.discard();
        self.free.push(number);
    }
}
