//! How many connections are open in all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The open connections.
#[derive(Debug, Default)]
pub struct Places(AtomicUsize);

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<Places>);

impl Places {
    /// Takes a place; `None` where so many are taken. That they were more before is nothing to those that have one.
    pub(super) fn enter(self: &Arc<Self>, most: usize) -> Option<Place> {
        let next = |open: usize| (open < most).then_some(open + 1);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).ok()?;
        Some(Place(Arc::clone(self)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many_places_and_each_comes_back() {
        let places = Arc::new(Places::default());
        let held = [places.enter(2).unwrap(), places.enter(2).unwrap()];
        assert!(places.enter(2).is_none());
        assert!(places.enter(1).is_none(), "the bound may fall below what is open");
        let more = places.enter(3).unwrap();
        drop((held, more));
        assert!(places.enter(1).is_some());
    }
}
