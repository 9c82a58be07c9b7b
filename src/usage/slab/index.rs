//! From what is counted to its cell.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use parking_lot::{Mutex, MutexGuard};

use crate::usage::cell::Identity;

/// How many locks the index is spread over; a power of two.
const SHARDS: usize = 64;

/// The numbers of the cells, by what they count.
pub(super) type Shard = HashMap<Identity, u32, RandomState>;

/// The cells in use. A shard's lock is held by whoever claims or frees a cell of it, so that both are whole: no
/// identity ever has two cells.
#[derive(Debug)]
pub(super) struct Index {
    shards: [Mutex<Shard>; SHARDS],
}

impl Index {
    pub fn new() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()) }
    }

    /// The shard that `identity` is or would be in, locked.
    pub fn shard(&self, identity: &Identity) -> MutexGuard<'_, Shard> {
        self.shards[identity.spread() % SHARDS].lock()
    }
}
