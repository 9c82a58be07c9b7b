//! Concurrency: the places that a key's running requests take.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

/// How many requests a key has running.
#[derive(Debug, Default)]
pub struct InFlight(AtomicU32);

impl InFlight {
    /// Takes a place unless `most` are taken.
    pub fn enter(&self, most: Option<NonZeroU32>) -> Entered {
        let most = most.map_or(u32::MAX, NonZeroU32::get);
        let take = |running: u32| (running < most).then(|| running + 1);
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
        self.0.load(Ordering::Acquire)
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
