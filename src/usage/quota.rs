//! Calendar quotas: a counter in the mapped file for each key and window, so that what was used outlives `kill -9`.
//!
//! A window's counter starts at nothing when the window does. One that is missing in the middle of a window (a quota
//! that was just added, or a usage file that was lost) is seeded from the ledger.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;

use super::cell::{CellKey, Kind};
use super::slab::{Charge, Slab};
use crate::admission::denial::Denial;
use crate::clock::Timestamp;
use crate::key::quota::{Edges, QuotaSpec, Window};
use crate::key::{Key, KeyId};
use crate::limit::Standing;
use crate::outcome::Tally;
use crate::snapshot::Entry;
use crate::store::{Store, StoreError, UsageRange};

/// Kinds from here on count quota windows; below are outcomes.
pub const FIRST_QUOTA_KIND: u8 = 64;

/// The kind that counts a window.
pub const fn kind_of(window: Window) -> Kind {
    Kind(match window {
        Window::Day => FIRST_QUOTA_KIND,
        Window::Week => FIRST_QUOTA_KIND + 1,
        Window::Month => FIRST_QUOTA_KIND + 2,
    })
}

/// The window that a kind counts.
pub fn window_of(kind: Kind) -> Option<Window> {
    let index = kind.0.checked_sub(FIRST_QUOTA_KIND)?;
    Window::ALL.get(usize::from(index)).copied()
}

const fn index_of(window: Window) -> usize {
    match window {
        Window::Day => 0,
        Window::Week => 1,
        Window::Month => 2,
    }
}

/// The quota counters.
#[derive(Debug)]
pub struct Quotas {
    slab: Arc<Slab>,
    /// The present windows, so that no request asks the calendar. Written once a window.
    present: RwLock<[Edges; 3]>,
    /// Whether counters may lack what a process that died counted.
    distrusted: AtomicBool,
}

impl Quotas {
    /// Counts in this slab.
    pub fn new(slab: Arc<Slab>, now: Timestamp) -> Self {
        let present = RwLock::new(Window::ALL.map(|window| window.edges(now)));
        Self { slab, present, distrusted: AtomicBool::new(false) }
    }

    /// From here on [`Quotas::seed`] raises each counter to what the ledger has: more than one process counted, and was
    /// cut off.
    pub fn distrust(&self) {
        self.distrusted.store(true, Ordering::Release);
    }

    /// Looks at each quota without charging any.
    ///
    /// # Errors
    /// The first that is used up.
    pub fn peek(&self, entry: &Entry, now: Timestamp) -> Result<(), Denial> {
        let spent = |spec: &&QuotaSpec| self.used(entry.id, spec.window, now) >= spec.requests.get();
        entry.rights.quotas.iter().find(spent).map_or(Ok(()), |spec| Err(self.spent(spec, now)))
    }

    /// Charges each quota's window once, or none.
    ///
    /// # Errors
    /// The first that is used up.
    pub fn charge(&self, entry: &Entry, now: Timestamp) -> Result<(), Denial> {
        let mut charged = Vec::new();
        for window in Window::ALL {
            let narrowest = entry.rights.quotas.iter().filter(|spec| spec.window == window);
            let Some(spec) = narrowest.min_by_key(|spec| spec.requests) else { continue };
            if !self.charge_window(entry.id, spec, now) {
                for window in charged {
                    self.refund_window(entry.id, window, now);
                }
                return Err(self.spent(spec, now));
            }
            charged.push(window);
        }
        Ok(())
    }

    /// Gives one request back to each quota's window.
    pub fn refund(&self, entry: &Entry, now: Timestamp) {
        for window in Window::ALL {
            if entry.rights.quotas.iter().any(|spec| spec.window == window) {
                self.refund_window(entry.id, window, now);
            }
        }
    }

    /// Where the key stands with its quotas.
    pub fn standings(&self, entry: &Entry, now: Timestamp) -> Vec<Standing> {
        let standing = |spec: &QuotaSpec| {
            let edges = self.edges(spec.window, now);
            Standing {
                name: spec.name.as_str().into(),
                quota: spec.requests.get(),
                window: edges.end.since(edges.start).as_secs(),
                remaining: spec.requests.get().saturating_sub(self.used(entry.id, spec.window, now)),
                reset: edges.end.since(now).as_secs().max(1),
            }
        };
        entry.rights.quotas.iter().map(standing).collect()
    }

    /// Makes sure that each of the key's quotas has a counter, which begins with what the ledger has of the present
    /// window. Called for keys with quotas at start.
    ///
    /// # Errors
    /// The ledger could not be read.
    pub fn seed(&self, key: &Key, store: &dyn Store, now: Timestamp) -> Result<(), StoreError> {
        for spec in &key.profile.quotas {
            let cell = cell_key(key.id, spec.window, self.edges(spec.window, now));
            if self.distrusted.load(Ordering::Acquire) || self.slab.find(&cell).is_none() {
                self.raise(key.id, spec.window, store, now)?;
            }
        }
        Ok(())
    }

    /// Makes sure that each quota that a change gives a key counts what the ledger has of the present window: also
    /// where the key had such a quota before, for in between it was not charged. Called before the change.
    ///
    /// # Errors
    /// The ledger could not be read.
    pub fn seed_added(
        &self,
        before: Option<&Key>,
        after: &Key,
        store: &dyn Store,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let had = before.map_or(&[][..], |key| &key.profile.quotas);
        for spec in &after.profile.quotas {
            if had.iter().all(|spec_before| spec_before.window != spec.window) {
                self.raise(after.id, spec.window, store, now)?;
            }
        }
        Ok(())
    }

    /// Raises a window's counter to what the ledger has of the window.
    fn raise(&self, id: KeyId, window: Window, store: &dyn Store, now: Timestamp) -> Result<(), StoreError> {
        let edges = self.edges(window, now);
        let used = let_through(store, id, edges)?;
        if used > 0 {
            let cell = cell_key(id, window, edges);
            // A counter that is taken away in between is of a window that is over.
            let _ = self.slab.find_or_claim(&cell, now).map(|index| self.slab.seed(index, &cell, used));
        }
        Ok(())
    }

    fn charge_window(&self, id: KeyId, spec: &QuotaSpec, now: Timestamp) -> bool {
        let cell = cell_key(id, spec.window, self.edges(spec.window, now));
        loop {
            // Without room for a counter the request passes: it is counted as lost, and no client is to blame.
            let Some(index) = self.slab.find_or_claim(&cell, now) else { return true };
            match self.slab.charge_up_to(index, &cell, spec.requests.get()) {
                Charge::Charged { .. } => return true,
                Charge::Full { .. } => return false,
                Charge::Recycled => {}
            }
        }
    }

    fn refund_window(&self, id: KeyId, window: Window, now: Timestamp) {
        let cell = cell_key(id, window, self.edges(window, now));
        if let Some(index) = self.slab.find(&cell) {
            // A counter that is gone is of a window that is over.
            let _ = self.slab.refund(index, &cell);
        }
    }

    fn used(&self, id: KeyId, window: Window, now: Timestamp) -> u64 {
        let cell = cell_key(id, window, self.edges(window, now));
        self.slab.find(&cell).and_then(|index| self.slab.used(index, &cell).ok()).unwrap_or(0)
    }

    fn spent(&self, spec: &QuotaSpec, now: Timestamp) -> Denial {
        Denial::QuotaExceeded {
            name: spec.name.clone(),
            requests: spec.requests.get(),
            window: spec.window.as_str(),
            retry_after: self.edges(spec.window, now).end.since(now).as_secs().max(1),
        }
    }

    fn edges(&self, window: Window, now: Timestamp) -> Edges {
        let present = self.present.read()[index_of(window)];
        if now >= present.start && now < present.end {
            return present;
        }
        let edges = window.edges(now);
        self.present.write()[index_of(window)] = edges;
        edges
    }
}

fn cell_key(key: KeyId, window: Window, edges: Edges) -> CellKey {
    CellKey { key, version: 0, hour: edges.start.hour(), route: 0, kind: kind_of(window) }
}

/// What the ledger has of a key's window.
fn let_through(store: &dyn Store, key: KeyId, edges: Edges) -> Result<u64, StoreError> {
    let range = UsageRange { key: Some(key), from_hour: edges.start.hour(), to_hour: edges.end.hour() };
    let mut sum = 0;
    store.usage(range, &mut |(row, count)| {
        if row.outcome.tally() == Tally::LetThrough {
            sum += count;
        }
        ControlFlow::Continue(())
    })?;
    Ok(sum)
}
