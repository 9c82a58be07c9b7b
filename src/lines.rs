//! The connections that serve requests, each with the key whose request it serves now: what a revocation cuts.
//!
//! A connection opens a [`Line`] once; a request that passes holds it ([`hold`]) until it ends. So a request pays two
//! short locks that nobody else wants, a key without requests costs nothing, and whoever cuts walks the connections,
//! of which there is a bounded number.
//!
//! Who ends a key first closes its places (`limit::InFlight::close`) and then walks; a request first holds its line and
//! then looks whether the places are closed. So a request that passed just before is seen by the one or by the other.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::key::KeyId;

/// Parts of the table, each with a lock of its own, which only opening and closing a connection takes.
const SHARDS: usize = 16;
/// How often is looked whether a request that may end by itself has.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How many times: a request that does not stream has 400 ms to end. Counted in looks and not by a clock, so that a
/// process that stood still cuts nothing that had no chance to end.
const LOOKS: usize = 80;

tokio::task_local! {
    /// The line of the connection whose task this is.
    static LINE: Arc<Line>;
}

/// Every open line.
#[derive(Debug, Default)]
pub struct Lines {
    shards: [Mutex<HashMap<u64, Arc<Line>>>; SHARDS],
    next: AtomicU64,
}

/// One connection, on which one request runs at a time.
#[derive(Debug)]
pub struct Line {
    state: Mutex<State>,
    signal: Notify,
}

/// What a line does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No request with a key runs.
    Idle,
    /// A request of this key runs.
    Serves(KeyId, Phase),
    /// For good: its connection ends.
    Cut,
}

/// How far a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It waits for its answer, or has one of a known length.
    Short,
    /// Its answer ends when it ends.
    Streams,
}

/// What may be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Streams,
    All,
}

/// What came of an attempt to cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    /// It is cut.
    Cut,
    /// It may still end by itself.
    Spared,
    /// It has ended.
    Ended,
}

/// A connection's place among the lines, until it is dropped.
#[derive(Debug)]
pub struct Open {
    lines: Arc<Lines>,
    number: u64,
    line: Arc<Line>,
}

/// A request's hold of its connection's line, until it is dropped.
#[derive(Debug)]
pub struct Hold(Arc<Line>);

impl Lines {
    /// Opens a connection's line.
    pub fn open(self: &Arc<Self>) -> Open {
        let line = Arc::new(Line { state: Mutex::new(State::Idle), signal: Notify::new() });
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.shard(number).lock().insert(number, Arc::clone(&line));
        Open { lines: Arc::clone(self), number, line }
    }

    /// Cuts what runs of a key, whose places must be closed, and says how many it cut. Streams are cut at once; any
    /// other request has a moment to end by itself, in which this blocks.
    pub fn cut(&self, key: KeyId) -> u64 {
        let mut serving = self.serving(key);
        let mut cut = 0;
        let mut attempt = |which| {
            serving.retain(|line| {
                let came_of_it = line.cut_if(key, which);
                cut += u64::from(came_of_it == Attempt::Cut);
                came_of_it == Attempt::Spared
            });
            serving.is_empty()
        };
        for _ in 0..LOOKS {
            if attempt(Which::Streams) {
                return cut;
            }
            thread::sleep(LOOK_EVERY);
        }
        attempt(Which::All);
        cut
    }

    fn serving(&self, key: KeyId) -> Vec<Arc<Line>> {
        let serves = |line: &&Arc<Line>| matches!(*line.state.lock(), State::Serves(held, _) if held == key);
        let of_shard = |shard: &Mutex<HashMap<u64, Arc<Line>>>| -> Vec<_> {
            shard.lock().values().filter(serves).cloned().collect()
        };
        self.shards.iter().flat_map(of_shard).collect()
    }

    fn shard(&self, number: u64) -> &Mutex<HashMap<u64, Arc<Line>>> {
        // The remainder is below the number of shards.
        &self.shards[usize::try_from(number).unwrap_or(0) % SHARDS]
    }
}

impl Line {
    /// Runs a request's work, in which [`hold`] finds this line.
    pub async fn serve<T>(self: &Arc<Self>, work: impl Future<Output = T>) -> T {
        LINE.scope(Arc::clone(self), work).await
    }

    /// Waits until the line is cut.
    pub async fn cut(&self) {
        // A signal that comes between the look and the wait is kept.
        while *self.state.lock() != State::Cut {
            self.signal.notified().await;
        }
    }

    fn cut_if(&self, key: KeyId, which: Which) -> Attempt {
        let mut state = self.state.lock();
        match *state {
            State::Serves(held, phase) if held == key => {
                if phase == Phase::Short && which == Which::Streams {
                    return Attempt::Spared;
                }
                *state = State::Cut;
                self.signal.notify_one();
                Attempt::Cut
            }
            State::Idle | State::Serves(..) | State::Cut => Attempt::Ended,
        }
    }
}

/// Notes that the connection whose task this is serves a request of `key`. Nothing where the task is no connection's.
pub fn hold(key: KeyId) -> Option<Hold> {
    let line = LINE.try_with(Arc::clone).ok()?;
    let mut state = line.state.lock();
    if *state == State::Idle {
        *state = State::Serves(key, Phase::Short);
    }
    drop(state);
    Some(Hold(line))
}

impl Hold {
    /// Notes that the request's answer has no end but its own.
    pub fn streams(&self) {
        if let State::Serves(_, phase) = &mut *self.0.state.lock() {
            *phase = Phase::Streams;
        }
    }

    /// Whether the request was cut.
    pub fn is_cut(&self) -> bool {
        *self.0.state.lock() == State::Cut
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        if *state != State::Cut {
            *state = State::Idle;
        }
    }
}

impl Open {
    /// The line.
    pub fn line(&self) -> &Arc<Line> {
        &self.line
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.lines.shard(self.number).lock().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: KeyId = KeyId::from_u128(1);
    const OTHER: KeyId = KeyId::from_u128(2);

    fn held(open: &Open, key: KeyId) -> Hold {
        *open.line.state.lock() = State::Serves(key, Phase::Short);
        Hold(Arc::clone(&open.line))
    }

    #[test]
    fn only_the_keys_own_requests_are_cut_and_a_short_one_may_end_by_itself() {
        let lines = Arc::new(Lines::default());
        let opened: Vec<Open> = (0..40).map(|_| lines.open()).collect();
        let streams: Vec<Hold> = opened[..3].iter().map(|open| held(open, KEY)).collect();
        streams.iter().for_each(Hold::streams);
        let (short, stays) = (held(&opened[3], KEY), held(&opened[4], KEY));
        let other = held(&opened[5], OTHER);
        other.streams();
        let cut = thread::scope(|scope| {
            scope.spawn(|| drop(short));
            scope.spawn(|| lines.cut(KEY)).join().unwrap()
        });
        assert_eq!(cut, 4, "three streams, and the one that did not end");
        assert!(streams.iter().all(Hold::is_cut) && stays.is_cut() && !other.is_cut());
        assert_eq!(*opened[3].line.state.lock(), State::Idle);
        drop(streams);
        assert_eq!(*opened[0].line.state.lock(), State::Cut, "the connection ends with its request");
        drop(opened);
        assert!(lines.shards.iter().all(|shard| shard.lock().is_empty()));
    }
}
