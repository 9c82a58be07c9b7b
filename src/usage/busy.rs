//! The busiest keys, for `portcullis_key_requests_total`: a bounded number of series, whatever the number of keys.
//!
//! A key that is given a series counts there from then on; all others count as `other`. So no series ever goes back or
//! leaps, which a rate over it would show as traffic. A key that loses its place ends its series. While there are fewer
//! active keys than places, each has one and nothing is `other`.

use std::collections::HashMap;

use crate::key::KeyId;

/// What is added to a key that has no series, for each that has one: how much busier a newcomer must be to take over.
const TAKE_OVER: f64 = 2.0;
/// How much of a key's activity is left after each turn of the table (one a merge).
const DECAY: f64 = 0.98;
/// Candidates remembered for each place.
const CANDIDATES: usize = 4;

/// The series of one key.
#[derive(Debug, Clone, Copy, Default)]
struct Series {
    count: u64,
    activity: f64,
}

/// The busiest keys.
#[derive(Debug)]
pub struct BusyKeys {
    places: usize,
    series: HashMap<KeyId, Series>,
    waiting: HashMap<KeyId, f64>,
    other: u64,
}

impl BusyKeys {
    /// With this many series.
    pub fn new(places: usize) -> Self {
        Self { places, series: HashMap::new(), waiting: HashMap::new(), other: 0 }
    }

    /// Adds requests that were let through.
    pub fn add(&mut self, key: KeyId, requests: u64) {
        #[expect(clippy::cast_precision_loss, reason = "activity is a rough measure")]
        let activity = requests as f64;
        if self.series.len() < self.places && !self.series.contains_key(&key) {
            self.series.insert(key, Series::default());
        }
        if let Some(series) = self.series.get_mut(&key) {
            series.count += requests;
            series.activity += activity;
            return;
        }
        self.other += requests;
        if self.waiting.len() < self.places.saturating_mul(CANDIDATES) || self.waiting.contains_key(&key) {
            *self.waiting.entry(key).or_insert(0.0) += activity;
        }
    }

    /// Ends a turn: activity fades, and a candidate that is much busier than the least busy key takes its place.
    pub fn turn(&mut self) {
        self.series.values_mut().for_each(|series| series.activity *= DECAY);
        self.waiting.values_mut().for_each(|activity| *activity *= DECAY);
        self.waiting.retain(|_, activity| *activity > 0.5);
        let busiest = self.waiting.iter().max_by(|a, b| a.1.total_cmp(b.1)).map(|(key, at)| (*key, *at));
        let idlest = self.series.iter().min_by(|a, b| a.1.activity.total_cmp(&b.1.activity));
        let idlest = idlest.map(|(key, series)| (*key, *series));
        let (Some((newcomer, activity)), Some((leaving, series))) = (busiest, idlest) else { return };
        if activity > series.activity * TAKE_OVER {
            self.series.remove(&leaving);
            self.waiting.remove(&newcomer);
            self.series.insert(newcomer, Series { count: 0, activity });
        }
    }

    /// Each key with a series, and its count.
    pub fn series(&self) -> impl Iterator<Item = (KeyId, u64)> {
        self.series.iter().map(|(key, series)| (*key, series.count))
    }

    /// The count of all other keys.
    pub fn other(&self) -> u64 {
        self.other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> KeyId {
        KeyId::from_u128(n)
    }

    #[test]
    fn a_much_busier_key_takes_the_idlest_ones_place_and_starts_at_nothing() {
        let mut busy = BusyKeys::new(2);
        busy.add(id(1), 5);
        busy.add(id(2), 1);
        busy.add(id(3), 1);
        assert_eq!((busy.series().count(), busy.other()), (2, 1));
        busy.add(id(3), 100);
        busy.turn();
        busy.add(id(3), 10);
        let counts: HashMap<_, _> = busy.series().collect();
        assert_eq!(counts.get(&id(3)), Some(&10));
        assert_eq!(busy.other(), 101);
    }

    #[test]
    fn memory_stays_bounded() {
        let mut busy = BusyKeys::new(3);
        (0..10_000).for_each(|n| busy.add(id(n), 1));
        assert!(busy.series.len() <= 3 && busy.waiting.len() <= 12);
    }

    #[test]
    fn without_places_everything_is_other() {
        let mut busy = BusyKeys::new(0);
        busy.add(id(1), 7);
        busy.turn();
        assert_eq!((busy.series().count(), busy.other()), (0, 7));
    }
}
