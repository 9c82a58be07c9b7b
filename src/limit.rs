//! Rates and concurrency: GCRA by governor, over state that hangs on the key.
//!
//! The parameters (a [`Rate`]) belong to the rights and are shared by many keys; the state (a cell in [`Cells`])
//! belongs to the key and outlives its edits and rotations. A cell is found by the limit's name, so an edit of a limit
//! finds the state of the one it replaces, and is rescaled so that what was spent stays spent.
//!
//! governor keeps a cell's time relative to each limiter's own start. Here every limiter is made for one look and
//! starts at the process's first moment, so that cells hold absolute times and any limiter can read any cell.

mod places;

use std::cell::Cell as StdCell;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock as GovernorClock;
use governor::middleware::{StateInformationMiddleware, StateSnapshot};
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};
use governor::{NotUntil, Quota, RateLimiter};
use parking_lot::RwLock;
use sha2::{Digest as _, Sha256};

use crate::clock::Monotonic;
use crate::key::RateSpec;
pub use places::{Entered, InFlight};

/// What a limit's state is kept by: where the limit comes from (a route, or the key and its role) and its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct LimitId {
    origin: Origin,
    name: u32,
}

/// Where a limit comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Origin {
    /// The key itself, or its role.
    Key,
    /// The key itself, or its role, before an edit took the limit away.
    Former,
    /// A route's default; the number is a hash of the route's label.
    Route(u32),
}

impl LimitId {
    /// Whether a limit that is new to the key continues `other`'s count: an edit that gives a key a limit in place of
    /// its route's default of the same name (or takes it away again) keeps what was spent. Two routes count apart.
    fn succeeds(self, other: Self) -> bool {
        let routes = matches!((self.origin, other.origin), (Origin::Route(_), Origin::Route(_)));
        self.name == other.name && !routes
    }
}

/// 32 bits that stand for a name. Two names of one key's few limits that share them would share their state.
fn short_hash(text: &str) -> u32 {
    let digest = Sha256::digest(text);
    u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]])
}

/// A rate, ready to be judged.
#[derive(Debug, Clone)]
pub struct Rate {
    id: LimitId,
    /// The name that clients read.
    pub name: Arc<str>,
    /// Requests a window.
    pub requests: NonZeroU32,
    /// The window.
    pub window: Duration,
    quota: Quota,
    /// Nanoseconds that one request costs.
    emission: u64,
    burst: NonZeroU32,
}

impl Rate {
    /// A rate of a key or its role: one state for the key, on all routes.
    pub fn of_key(spec: &RateSpec) -> Self {
        Self::new(spec, Origin::Key)
    }

    /// A route's default: a state of its own for each key on that route.
    pub fn of_route(spec: &RateSpec, route: &str) -> Self {
        Self::new(spec, Origin::Route(short_hash(route)))
    }

    fn new(spec: &RateSpec, origin: Origin) -> Self {
        let emission = (spec.window / spec.requests.get()).max(Duration::from_nanos(1));
        let quota = Quota::with_period(emission).map_or_else(
            || Quota::per_second(spec.requests).allow_burst(spec.burst()),
            |quota| quota.allow_burst(spec.burst()),
        );
        Self {
            id: LimitId { origin, name: short_hash(&spec.name) },
            name: spec.name.as_str().into(),
            requests: spec.requests,
            window: spec.window,
            quota,
            emission: u64::try_from(emission.as_nanos()).unwrap_or(u64::MAX),
            burst: spec.burst(),
        }
    }
}

/// Where a key stands with one limit, as its client reads it in `RateLimit`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The limit's name.
    pub name: Arc<str>,
    /// Requests a window.
    pub quota: u64,
    /// The window, in seconds.
    pub window: u64,
    /// Requests left now.
    pub remaining: u64,
    /// Seconds until all of it is there again.
    pub reset: u64,
}

/// A rate said no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exceeded {
    /// The limit's name.
    pub name: Arc<str>,
    /// Requests a window.
    pub quota: u64,
    /// The window, in seconds.
    pub window: u64,
    /// Seconds until one request would pass; at least 1.
    pub retry_after: u64,
}

/// A key's state for one rate.
#[derive(Debug)]
struct Cell {
    id: LimitId,
    /// The emission that `tat` was counted in.
    emission: AtomicU64,
    /// The theoretical arrival time: nanoseconds since the process started. 0: never used.
    tat: AtomicU64,
}

/// A key's states, one for each rate it ever met. The lock is taken for writing only to add a cell or to rescale one:
/// requests share it for reading, and it is never held across anything that waits.
#[derive(Debug, Default)]
pub struct Cells(RwLock<Vec<Cell>>);

/// What a look at a cell does to it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    Peek,
    Charge,
}

impl Cells {
    /// Looks at each rate without charging any.
    ///
    /// # Errors
    /// The first rate that says no.
    pub fn peek(&self, rates: &[Rate], now: Monotonic) -> Result<(), Exceeded> {
        rates.iter().try_for_each(|rate| self.check(rate, Look::Peek, now).map(drop))
    }

    /// Charges each rate, or none: where one says no (another request took the last of it since the peek), those
    /// already charged get it back.
    ///
    /// # Errors
    /// The first rate that says no.
    pub fn charge(&self, rates: &[Rate], now: Monotonic) -> Result<Vec<Standing>, Exceeded> {
        let mut standings = Vec::with_capacity(rates.len());
        for (index, rate) in rates.iter().enumerate() {
            match self.check(rate, Look::Charge, now) {
                Ok(standing) => standings.push(standing),
                Err(exceeded) => {
                    self.refund(&rates[..index]);
                    return Err(exceeded);
                }
            }
        }
        Ok(standings)
    }

    /// Gives one request back to each rate.
    pub fn refund(&self, rates: &[Rate]) {
        let cells = self.0.read();
        for rate in rates {
            // A state that an edit has taken away or rescaled in between keeps the request.
            if let Some(cell) = cells.iter().find(|cell| cell.is_for(rate)) {
                let give_back = |tat: u64| Some(tat.saturating_sub(rate.emission));
                let _ = cell.tat.fetch_update(Ordering::AcqRel, Ordering::Acquire, give_back);
            }
        }
    }

    /// Where the key stands with each rate now.
    pub fn standings(&self, rates: &[Rate], now: Monotonic) -> Vec<Standing> {
        let standing = |rate: &Rate| {
            let tat = self.with_cell(rate, now, |cell| cell.tat.load(Ordering::Acquire));
            let ahead = tat.saturating_sub(now.as_nanos());
            let capacity = u64::from(rate.burst.get()).saturating_mul(rate.emission);
            let remaining = capacity.saturating_sub(ahead) / rate.emission;
            rate.standing(remaining, tat, now)
        };
        rates.iter().map(standing).collect()
    }

    /// Brings the states to the rates that are the key's own from now on, so that an edit holds from this moment.
    pub fn rescale(&self, rates: &[Rate], now: Monotonic) {
        let mut cells = self.0.write();
        let ends = |cell: &Cell| cell.id.origin == Origin::Key && rates.iter().all(|rate| rate.id != cell.id);
        while let Some(index) = cells.iter().position(ends) {
            let ended = cells.swap_remove(index);
            // A route's default goes on from here, unless more of it was spent.
            cells.retain(|cell| !ended.id.succeeds(cell.id) || cell.spent(now) > ended.spent(now));
            cells.push(Cell { id: LimitId { origin: Origin::Former, ..ended.id }, ..ended });
        }
        for rate in rates {
            if cells.iter().any(|cell| cell.id.name == rate.id.name) {
                bring(&mut cells, rate, now);
            }
        }
    }

    fn check(&self, rate: &Rate, look: Look, now: Monotonic) -> Result<Standing, Exceeded> {
        self.with_cell(rate, now, |cell| {
            let state = CellState { tat: &cell.tat, look };
            let clock = Moment { now: now.as_nanos().into(), started: StdCell::new(false) };
            let limiter: RateLimiter<_, _, _, StateInformationMiddleware> =
                RateLimiter::new(rate.quota, state, clock);
            match limiter.check() {
                Ok(snapshot) => Ok(rate.allowed(&snapshot, cell.tat.load(Ordering::Acquire), now)),
                Err(refusal) => Err(rate.refused(&refusal, now)),
            }
        })
    }

    /// Runs `look` on the rate's cell, which is made on first use and rescaled when the rate was edited.
    fn with_cell<T>(&self, rate: &Rate, now: Monotonic, look: impl FnOnce(&Cell) -> T) -> T {
        {
            let cells = self.0.read();
            if let Some(cell) = cells.iter().find(|cell| cell.is_for(rate)) {
                return look(cell);
            }
        }
        look(bring(&mut self.0.write(), rate, now))
    }
}

/// The rate's cell, brought to the rate's present parameters. A new one continues the one whose place it takes.
fn bring<'c>(cells: &'c mut Vec<Cell>, rate: &Rate, now: Monotonic) -> &'c Cell {
    let index = cells.iter().position(|cell| cell.id == rate.id).unwrap_or_else(|| {
        let before = cells.iter().filter(|cell| rate.id.succeeds(cell.id));
        let cell = Cell::after(before.max_by_key(|cell| cell.spent(now)), rate);
        if rate.id.origin == Origin::Key {
            cells.retain(|cell| cell.id != LimitId { origin: Origin::Former, ..rate.id });
        }
        cells.push(cell);
        cells.len() - 1
    });
    cells[index].rescale(rate, now);
    &cells[index]
}

impl Cell {
    /// Whether it is the rate's, with the rate's present parameters.
    fn is_for(&self, rate: &Rate) -> bool {
        self.id == rate.id && self.emission.load(Ordering::Acquire) == rate.emission
    }

    /// How much of its limit is spent at `now`, in millionths of a request.
    fn spent(&self, now: Monotonic) -> u128 {
        let ahead = u128::from(self.tat.load(Ordering::Acquire).saturating_sub(now.as_nanos()));
        ahead * 1_000_000 / u128::from(self.emission.load(Ordering::Acquire).max(1))
    }

    /// A new cell, with the state of the one whose place it takes, if there is one.
    fn after(before: Option<&Self>, rate: &Rate) -> Self {
        let (emission, tat) = before.map_or((rate.emission, 0), |cell| {
            (cell.emission.load(Ordering::Acquire), cell.tat.load(Ordering::Acquire))
        });
        Self { id: rate.id, emission: emission.into(), tat: tat.into() }
    }

    /// Keeps the number of requests spent while the cost of each changes; never more than the new burst, so that a
    /// much smaller limit does not lock its key out for longer than the limit itself would.
    fn rescale(&self, rate: &Rate, now: Monotonic) {
        let old = self.emission.swap(rate.emission, Ordering::AcqRel);
        let ahead = u128::from(self.tat.load(Ordering::Acquire).saturating_sub(now.as_nanos()));
        let most = u128::from(rate.burst.get()) * u128::from(rate.emission);
        let scaled = (ahead * u128::from(rate.emission) / u128::from(old.max(1))).min(most);
        if ahead == 0 || (old == rate.emission && scaled == ahead) {
            return;
        }
        let tat = now.as_nanos().saturating_add(u64::try_from(scaled).unwrap_or(u64::MAX));
        self.tat.store(tat, Ordering::Release);
    }
}

impl Rate {
    fn allowed(&self, snapshot: &StateSnapshot, tat: u64, now: Monotonic) -> Standing {
        self.standing(u64::from(snapshot.remaining_burst_capacity()), tat, now)
    }

    fn standing(&self, remaining: u64, tat: u64, now: Monotonic) -> Standing {
        Standing {
            name: Arc::clone(&self.name),
            quota: u64::from(self.requests.get()),
            window: self.window.as_secs(),
            remaining,
            reset: tat.saturating_sub(now.as_nanos()).div_ceil(1_000_000_000),
        }
    }

    fn refused(&self, refusal: &NotUntil<Nanos>, now: Monotonic) -> Exceeded {
        let wait = refusal.wait_time_from(now.as_nanos().into());
        Exceeded {
            name: Arc::clone(&self.name),
            quota: u64::from(self.requests.get()),
            window: self.window.as_secs(),
            retry_after: whole_seconds(wait),
        }
    }
}

/// Seconds, rounded up, at least 1: what `Retry-After` can say.
pub fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

/// A cell as governor's state: its time since the process started.
struct CellState<'a> {
    tat: &'a AtomicU64,
    look: Look,
}

impl StateStore for CellState<'_> {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut before = self.tat.load(Ordering::Acquire);
        loop {
            let (answer, after) = decide((before != 0).then(|| before.into()))?;
            if self.look == Look::Peek {
                return Ok(answer);
            }
            match self.tat.compare_exchange_weak(before, after.into(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(answer),
                Err(changed) => before = changed,
            }
        }
    }
}

/// governor's clock for one look: the limiter reads its start first, which is the process's first moment, then now.
struct Moment {
    now: Nanos,
    started: StdCell<bool>,
}

impl GovernorClock for Moment {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        if self.started.replace(true) { self.now } else { Nanos::default() }
    }
}

#[cfg(test)]
mod tests;
