//! The ledger's rows as bytes: fixed widths, big-endian keys, so that a range of bytes is a range of time.

use std::cmp::Ordering;

use super::{Counted, Totals, UsageKey};
use crate::clock::Timestamp;
use crate::key::KeyId;
use crate::outcome::{Outcome, Tally};

/// key 16 · hour 4 · route 2 · outcome 1 · version 4
pub(super) type RowKey = [u8; 27];
/// settled 8 · generation 8 · count 8
pub(super) type RowValue = [u8; 24];
/// key 16 · version 4
pub(super) type TotalsKey = [u8; 20];
/// requests 8 · denied 8 · first used 8 · last used 8 (0: never)
pub(super) type TotalsValue = [u8; 32];

pub(super) fn row_key(row: &UsageKey) -> RowKey {
    let mut out = [0; 27];
    out[..16].copy_from_slice(&row.key.as_u128().to_be_bytes());
    out[16..20].copy_from_slice(&row.hour.to_be_bytes());
    out[20..22].copy_from_slice(&row.route.to_be_bytes());
    out[22] = row.outcome.number();
    out[23..].copy_from_slice(&row.version.to_be_bytes());
    out
}

/// `None` for an outcome that this version does not know.
pub(super) fn read_row_key(bytes: &RowKey) -> Option<UsageKey> {
    Some(UsageKey {
        key: KeyId::from_u128(u128::from_be_bytes(take(bytes, 0))),
        hour: u32::from_be_bytes(take(bytes, 16)),
        route: u16::from_be_bytes(take(bytes, 20)),
        outcome: Outcome::from_number(bytes[22])?,
        version: u32::from_be_bytes(take(bytes, 23)),
    })
}

/// The first row key of a key at or after an hour.
pub(super) fn row_bound(key: KeyId, hour: u32) -> RowKey {
    row_key(&UsageKey { key, hour, route: 0, outcome: Outcome::Allowed, version: 0 })
}

pub(super) fn totals_key(key: KeyId, version: u32) -> TotalsKey {
    let mut out = [0; 20];
    out[..16].copy_from_slice(&key.as_u128().to_be_bytes());
    out[16..].copy_from_slice(&version.to_be_bytes());
    out
}

pub(super) fn key_of(key: &TotalsKey) -> KeyId {
    KeyId::from_u128(u128::from_be_bytes(take(key, 0)))
}

pub(super) fn version_of(key: &TotalsKey) -> u32 {
    u32::from_be_bytes(take(key, 16))
}

fn take<const N: usize>(bytes: &[u8], from: usize) -> [u8; N] {
    bytes.get(from..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
}

/// A row's counts: what earlier counter generations left, and the present generation's absolute count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Row {
    settled: u64,
    generation: u64,
    count: u64,
}

impl Row {
    pub(super) fn read(bytes: &RowValue) -> Self {
        let at = |from| u64::from_le_bytes(take(bytes, from));
        Self { settled: at(0), generation: at(8), count: at(16) }
    }

    pub(super) fn bytes(self) -> RowValue {
        let mut out = [0; 24];
        out[..8].copy_from_slice(&self.settled.to_le_bytes());
        out[8..16].copy_from_slice(&self.generation.to_le_bytes());
        out[16..].copy_from_slice(&self.count.to_le_bytes());
        out
    }

    pub(super) fn total(self) -> u64 {
        // A sum that is too large is damage, and damage must not end the process.
        self.settled.saturating_add(self.count)
    }

    /// The counter generation that was merged last.
    pub(super) fn generation(self) -> u64 {
        self.generation
    }

    /// As it stands when `more` was counted by another process, whose generation the row does not name.
    pub(super) fn with_more(self, more: u64) -> Self {
        Self { settled: self.settled.saturating_add(more), ..self }
    }

    /// What the row has of a generation of another process of which nothing was kept beside it; `None`: all there is.
    ///
    /// A later generation of the same opening (the upper bits) takes a counter's place only once all of it is merged;
    /// one of another opening counts beside it.
    pub(super) fn has_of(self, generation: u64) -> Option<u64> {
        match self.generation.cmp(&generation) {
            Ordering::Equal => Some(self.count),
            Ordering::Greater if self.generation >> 40 == generation >> 40 => None,
            Ordering::Less | Ordering::Greater => Some(0),
        }
    }

    /// What was merged of a generation.
    pub(super) fn count_of(self, generation: u64) -> Option<u64> {
        (self.generation == generation).then_some(self.count)
    }

    /// The row after a merge. Merging the same count of the same generation again changes nothing, which is what makes
    /// an interrupted merge safe to repeat.
    ///
    /// A generation older than the row's comes from a usage file that a power loss set back: the row has it already.
    pub(super) fn merged(self, counted: &Counted) -> Self {
        match counted.generation.cmp(&self.generation) {
            Ordering::Less => self,
            Ordering::Equal => Self { count: self.count.max(counted.count), ..self },
            Ordering::Greater => {
                Self { settled: self.total(), generation: counted.generation, count: counted.count }
            }
        }
    }
}

pub(super) fn read_totals(bytes: &TotalsValue) -> Totals {
    let at = |from| u64::from_le_bytes(take(bytes, from));
    let time = |from| Some(at(from)).filter(|ms| *ms != 0).map(Timestamp::from_millis);
    Totals { requests: at(0), denied: at(8), first_used: time(16), last_used: time(24) }
}

pub(super) fn totals_bytes(totals: &Totals) -> TotalsValue {
    let time = |at: Option<Timestamp>| at.map_or(0, Timestamp::as_millis).to_le_bytes();
    let mut out = [0; 32];
    out[..8].copy_from_slice(&totals.requests.to_le_bytes());
    out[8..16].copy_from_slice(&totals.denied.to_le_bytes());
    out[16..24].copy_from_slice(&time(totals.first_used));
    out[24..].copy_from_slice(&time(totals.last_used));
    out
}

/// Adds what a merge found new to a version's totals. Only what was let through counts as use.
pub(super) fn add(totals: &mut Totals, counted: &Counted, more: u64) {
    match counted.row.outcome.tally() {
        Tally::LetThrough => {
            totals.requests += more;
            totals.last_used = totals.last_used.max(Some(counted.last_used));
            let first = totals.first_used.unwrap_or(counted.first_used).min(counted.first_used);
            totals.first_used = Some(first);
        }
        Tally::Denied => totals.denied += more,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(generation: u64, count: u64) -> Counted {
        let row = UsageKey {
            key: KeyId::from_u128(7),
            hour: 3,
            route: 2,
            outcome: Outcome::RateLimited,
            version: 1,
        };
        let at = Timestamp::from_secs(1);
        Counted { generation, row, count, first_used: at, last_used: at }
    }

    #[test]
    fn rows_read_back() {
        let row = counted(1, 1).row;
        assert_eq!(read_row_key(&row_key(&row)), Some(row));
        let value = Row { settled: 1, generation: 2, count: 3 };
        assert_eq!(Row::read(&value.bytes()), value);
    }

    #[test]
    fn a_repeated_merge_counts_once() {
        let row = Row::default().merged(&counted(5, 10)).merged(&counted(5, 10));
        assert_eq!(row.total(), 10);
        let row = row.merged(&counted(5, 12)).merged(&counted(6, 3)).merged(&counted(6, 3));
        assert_eq!(row.total(), 15);
        assert_eq!(row.merged(&counted(5, 12)).total(), 15);
    }
}
