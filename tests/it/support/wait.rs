//! Waiting for what must happen soon, with a bound.

use std::thread;
use std::time::Duration;

use portcullis::clock::{Clock, Monotonic, SystemClock};

/// How often is looked.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A stopwatch.
#[derive(Debug)]
pub struct Stopwatch {
    clock: SystemClock,
    started: Monotonic,
}

impl Stopwatch {
    pub fn start() -> Self {
        let clock = SystemClock::new();
        let started = clock.monotonic();
        Self { clock, started }
    }

    pub fn elapsed(&self) -> Duration {
        self.clock.monotonic().since(self.started)
    }
}

/// Looks until `look` finds something. Panics, saying `what` was waited for, when it has not after `most`.
pub fn within<T>(most: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let watch = Stopwatch::start();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(watch.elapsed() < most, "not within {most:?}: {what}");
        thread::sleep(LOOK_EVERY);
    }
}

/// Looks until `look` is true, for ten seconds at most.
pub fn eventually(what: &str, mut look: impl FnMut() -> bool) {
    within(Duration::from_secs(10), what, || look().then_some(()));
}
