//! Concurrency: the places that a key's running requests take.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

/// Set in the count once the key is over.
const CLOSED: u32 = 1 << 31;

/// How many requests a key has running, and whether the key is over for good.
#[derive(Debug, Default)]
pub struct InFlight(AtomicU32);

impl InFlight {
    /// Takes a place unless `most` are taken.
    pub fn enter(&self, most: Option<NonZeroU32>) -> Entered {
        let most = most.map_or(u32::MAX, NonZeroU32::get);
        let take = |word: u32| (word & !CLOSED < most).then(|| word + 1);
        match self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, take) {
            Ok(_) => Entered::Yes,
            Err(_) => Entered::Full,
        }
    }

    /// Gives a place back.
    pub fn leave(&self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }

    /// How many run now.
    pub fn running(&self) -> u32 {
        self.0.load(Ordering::Acquire) & !CLOSED
    }

    /// Notes that the key is revoked or deleted. A request that enters after this finds it so.
    pub fn close(&self) {
        self.0.fetch_or(CLOSED, Ordering::AcqRel);
    }

    /// Whether the key is over.
    pub fn is_closed(&self) -> bool {
        self.0.load(Ordering::Acquire) & CLOSED != 0
    }
}

/// Whether there was a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Entered {
    /// Taken: [`InFlight::leave`] gives it back.
    Yes,
    /// None was free.
    Full,
}
