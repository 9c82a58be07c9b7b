//! One address of a target, and whether requests go there.
//!
//! Requests only look at [`Endpoint::takes`]: one atomic. What changes it is rare and goes through a lock: checks that
//! the gateway makes by itself, requests that fail in a row, and time, which a task tells of ([`Endpoint::passes`]).

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::Place;
use crate::clock::Monotonic;
use crate::config::{Ejection, Health};

/// How many times its first length an ejection may become.
const LONGEST_EJECTION: u32 = 10;
/// The share of its requests that a returning address begins with, in percent.
const FIRST_SHARE: u32 = 10;

/// How an address stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Standing {
    /// It takes its requests.
    Up = 0,
    /// It takes a growing share of its requests.
    Returning = 1,
    /// Requests failed there: it takes none for a while.
    Ejected = 2,
    /// Its checks fail: it takes none.
    Down = 3,
}

impl Standing {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "healthy",
            Self::Returning => "returning",
            Self::Ejected => "ejected",
            Self::Down => "unhealthy",
        }
    }
}

/// How picky a choice is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Addresses that are up, and those that return as far as their share goes.
    Best,
    /// Those that return, whatever their share.
    Returning,
    /// Those that are ejected: it is the requests' failure alone that speaks against them.
    Ejected,
}

impl Choice {
    /// One after the other.
    pub const ALL: [Self; 3] = [Self::Best, Self::Returning, Self::Ejected];
}

/// What a check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// It is well.
    Passed,
    /// It is not.
    Failed,
}

/// One address.
#[derive(Debug)]
pub struct Endpoint {
    /// Where.
    pub address: Place,
    /// Requests that run there.
    pub running: AtomicU32,
    standing: AtomicU8,
    /// Failures in a row.
    failures: AtomicU32,
    /// What it gets of its requests while it returns, in percent.
    share: AtomicU32,
    /// How often it was offered a request while it returns.
    offered: AtomicU32,
    slow: Mutex<Slow>,
}

/// What only changes of the standing look at.
#[derive(Debug, Default)]
struct Slow {
    /// The last check, and how many in a row came to the same.
    last_check: Option<(Check, u32)>,
    /// When it was ejected, or when its return began.
    since: Monotonic,
    /// How long that lasts.
    lasts: Duration,
    /// Ejections since it was up.
    ejections: u32,
}

impl Endpoint {
    /// An address of which nothing is known: it takes requests.
    pub fn new(address: Place) -> Self {
        Self {
            address,
            running: AtomicU32::new(0),
            standing: AtomicU8::new(Standing::Up as u8),
            failures: AtomicU32::new(0),
            share: AtomicU32::new(0),
            offered: AtomicU32::new(0),
            slow: Mutex::default(),
        }
    }

    /// How it stands.
    pub fn standing(&self) -> Standing {
        match self.standing.load(Ordering::Relaxed) {
            0 => Standing::Up,
            1 => Standing::Returning,
            2 => Standing::Ejected,
            _ => Standing::Down,
        }
    }

    fn stands(&self, standing: Standing) {
        self.standing.store(standing as u8, Ordering::Relaxed);
    }

    /// Whether it takes requests.
    pub fn is_open(&self) -> bool {
        matches!(self.standing(), Standing::Up | Standing::Returning)
    }

    /// Whether it takes this request.
    pub fn takes(&self, choice: Choice) -> bool {
        match (self.standing(), choice) {
            (Standing::Up, Choice::Best)
            | (Standing::Returning, Choice::Returning)
            | (Standing::Ejected, Choice::Ejected) => true,
            (Standing::Returning, Choice::Best) => {
                let share = u64::from(self.share.load(Ordering::Relaxed));
                let turn = u64::from(self.offered.fetch_add(1, Ordering::Relaxed));
                turn * share / 100 != (turn + 1) * share / 100
            }
            _ => false,
        }
    }

    /// A request went well there.
    pub fn serves(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// A request failed there. Whether it is to be ejected now.
    pub fn fails(&self, rules: &Ejection) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        match self.standing() {
            Standing::Up => failures >= rules.failures.get(),
            Standing::Returning => true,
            Standing::Ejected | Standing::Down => false,
        }
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Ejects it: for how long, unless another did it just now.
    pub fn eject(&self, rules: &Ejection, now: Monotonic) -> Option<Duration> {
        let mut slow = self.slow.lock();
        if !self.is_open() {
            return None;
        }
        slow.ejections = slow.ejections.saturating_add(1);
        (slow.since, slow.lasts) = (now, rules.time * slow.ejections.min(LONGEST_EJECTION));
        self.stands(Standing::Ejected);
        Some(slow.lasts)
    }

    /// Lets time pass: the standing that it came to, where that is another one.
    pub fn passes(&self, rules: Option<&Ejection>, now: Monotonic) -> Option<Standing> {
        if !matches!(self.standing(), Standing::Ejected | Standing::Returning) {
            return None;
        }
        let mut slow = self.slow.lock();
        let over = now.since(slow.since);
        match self.standing() {
            Standing::Ejected if over >= slow.lasts => Some(self.begin_return(&mut slow, rules, now)),
            Standing::Returning if over >= slow.lasts => {
                slow.ejections = 0;
                self.stands(Standing::Up);
                Some(Standing::Up)
            }
            Standing::Returning => {
                self.share.store(share(over, slow.lasts), Ordering::Relaxed);
                None
            }
            Standing::Ejected | Standing::Up | Standing::Down => None,
        }
    }

    fn begin_return(&self, slow: &mut Slow, rules: Option<&Ejection>, now: Monotonic) -> Standing {
        self.failures.store(0, Ordering::Relaxed);
        (slow.since, slow.lasts) = (now, rules.map_or(Duration::ZERO, |rules| rules.slow_return));
        self.share.store(FIRST_SHARE, Ordering::Relaxed);
        let standing = if slow.lasts.is_zero() { Standing::Up } else { Standing::Returning };
        self.stands(standing);
        standing
    }

    /// Takes a check's result: the standing that it came to, where that is another one. The very first check decides
    /// at once, later ones only so many in a row.
    pub fn checked(
        &self,
        check: Check,
        health: &Health,
        rules: Option<&Ejection>,
        now: Monotonic,
    ) -> Option<Standing> {
        let mut slow = self.slow.lock();
        let first = slow.last_check.is_none();
        let in_a_row = match slow.last_check {
            Some((last, count)) if last == check => count.saturating_add(1),
            _ => 1,
        };
        slow.last_check = Some((check, in_a_row));
        let (needed, is_down) = match check {
            Check::Passed => (health.healthy, self.standing() == Standing::Down),
            Check::Failed => (health.unhealthy, self.standing() != Standing::Down),
        };
        if !is_down || (!first && in_a_row < needed.get()) {
            return None;
        }
        if check == Check::Passed {
            return Some(self.begin_return(&mut slow, rules, now));
        }
        self.stands(Standing::Down);
        Some(Standing::Down)
    }
}

/// A return's share of the requests, in percent.
fn share(over: Duration, lasts: Duration) -> u32 {
    let done = over.as_millis() * u128::from(100 - FIRST_SHARE) / lasts.as_millis().max(1);
    FIRST_SHARE + u32::try_from(done).unwrap_or(0).min(100 - FIRST_SHARE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Monotonic {
        Monotonic::from_nanos(seconds * 1_000_000_000)
    }

    fn endpoint() -> Endpoint {
        Endpoint::new(Place::literal("127.0.0.1:1").unwrap())
    }

    fn rules() -> Ejection {
        Ejection { failures: NonZeroU32::new(3).unwrap(), time: 10 * SECOND, slow_return: 10 * SECOND }
    }

    fn health() -> Health {
        let two = NonZeroU32::new(2).unwrap();
        Health {
            path: "/".into(),
            interval: SECOND,
            timeout: SECOND,
            statuses: Vec::new(),
            healthy: two,
            unhealthy: two,
        }
    }

    #[test]
    fn failures_in_a_row_eject_and_a_success_between_them_does_not() {
        let (endpoint, rules) = (endpoint(), rules());
        assert!(!endpoint.fails(&rules) && !endpoint.fails(&rules));
        endpoint.serves();
        assert!(!endpoint.fails(&rules) && !endpoint.fails(&rules) && endpoint.fails(&rules));
    }

    #[test]
    fn an_ejection_ends_by_time_with_a_growing_share_and_is_longer_when_it_fails_again() {
        let (endpoint, rules) = (endpoint(), rules());
        assert_eq!(endpoint.eject(&rules, at(0)), Some(10 * SECOND));
        assert_eq!(endpoint.eject(&rules, at(1)), None, "once");
        assert!(!endpoint.takes(Choice::Best) && endpoint.takes(Choice::Ejected));
        assert_eq!(endpoint.passes(Some(&rules), at(9)), None);
        assert_eq!(endpoint.passes(Some(&rules), at(10)), Some(Standing::Returning));
        let taken = |endpoint: &Endpoint| (0..100).filter(|_| endpoint.takes(Choice::Best)).count();
        assert_eq!(taken(&endpoint), 10);
        assert_eq!(endpoint.passes(Some(&rules), at(15)), None);
        assert_eq!(taken(&endpoint), 55);
        assert!(endpoint.fails(&rules), "one failure is enough while it returns");
        assert_eq!(endpoint.eject(&rules, at(15)), Some(20 * SECOND));
        assert_eq!(endpoint.passes(Some(&rules), at(35)), Some(Standing::Returning));
        assert_eq!(endpoint.passes(Some(&rules), at(45)), Some(Standing::Up));
        assert_eq!(endpoint.eject(&rules, at(50)), Some(10 * SECOND), "what is forgiven is forgotten");
    }

    #[test]
    fn the_first_check_decides_at_once_and_later_ones_in_a_row() {
        let (endpoint, health) = (endpoint(), health());
        let check = |check| endpoint.checked(check, &health, None, at(0));
        assert_eq!(check(Check::Failed), Some(Standing::Down));
        assert_eq!((check(Check::Passed), check(Check::Failed), check(Check::Passed)), (None, None, None));
        assert_eq!(
            check(Check::Passed),
            Some(Standing::Up),
            "without an ejection's rules it returns at once"
        );
        assert_eq!((check(Check::Passed), check(Check::Failed)), (None, None));
        assert_eq!(check(Check::Failed), Some(Standing::Down));
        assert!(Choice::ALL.iter().all(|choice| !endpoint.takes(*choice)));
    }
}
