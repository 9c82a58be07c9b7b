//! Counters into the ledger: those of this process, and those of processes that hand over to it or died before it.
//!
//! A row names the counter generation that was merged last, and how much of it. Two processes may count the same row at
//! once; what was merged of a generation that the row does not name is kept in a table beside it, in the same
//! transaction. So each merge of absolute counts is safe to repeat, whichever process it comes from and in any order.

use redb::{ReadableTable, Table, WriteTransaction};

use super::Outcome;
use super::tables::{LEDGER, PREDECESSORS, TOTALS};
use crate::store::usage_tables::{self as rows, Row};
use crate::store::{Added, Counted, Side, Totals};

/// Merges counters, and says what was new.
pub(super) fn merge(transaction: &WriteTransaction, counted: &[Counted], side: Side) -> Outcome<Vec<Added>> {
    let mut ledger = transaction.open_table(LEDGER)?;
    let mut totals = transaction.open_table(TOTALS)?;
    let mut kept = match side {
        Side::Alone => None,
        Side::Beside | Side::Predecessor => Some(transaction.open_table(PREDECESSORS)?),
    };
    let mut added = Vec::with_capacity(counted.len());
    for one in counted {
        let key = rows::row_key(&one.row);
        let before = ledger.get(key)?.map_or_else(Row::default, |stored| Row::read(&stored.value()));
        let after = match &mut kept {
            None => before.merged(one),
            Some(kept) => merged_beside(kept, before, one, side)?,
        };
        if after != before {
            ledger.insert(key, after.bytes())?;
        }
        let count = after.total().saturating_sub(before.total());
        add(&mut totals, one, count)?;
        added.push(Added { row: one.row, count, last_used: one.last_used });
    }
    Ok(added)
}

/// The row with a counter merged into it while several processes count.
fn merged_beside(kept: &mut Table<'_, u64, u64>, before: Row, counted: &Counted, side: Side) -> Outcome<Row> {
    let known = kept.get(counted.generation)?.map(|value| value.value());
    if known.is_none() && side == Side::Beside {
        let after = before.merged(counted);
        let replaced = before.generation() != 0 && after.generation() != before.generation();
        if replaced && kept.get(before.generation())?.is_none() {
            // From here on the row names this generation; what it has of the other one must not be forgotten.
            let has = before.count_of(before.generation()).unwrap_or(0);
            kept.insert(before.generation(), has)?;
        }
        return Ok(after);
    }
    let Some(has) = known.or_else(|| before.has_of(counted.generation)) else { return Ok(before) };
    let more = counted.count.saturating_sub(has);
    if more > 0 {
        kept.insert(counted.generation, counted.count)?;
    }
    Ok(before.with_more(more))
}

fn add(
    totals: &mut Table<'_, rows::TotalsKey, rows::TotalsValue>,
    counted: &Counted,
    more: u64,
) -> Outcome<()> {
    if more > 0 {
        let key = rows::totals_key(counted.row.key, counted.row.version);
        let mut sum =
            totals.get(key)?.map_or_else(Totals::default, |stored| rows::read_totals(&stored.value()));
        rows::add(&mut sum, counted, more);
        totals.insert(key, rows::totals_bytes(&sum))?;
    }
    Ok(())
}

/// Empties the table beside the ledger.
pub(super) fn forget_predecessors(transaction: &WriteTransaction) -> Outcome<()> {
    transaction.open_table(PREDECESSORS)?.retain(|_, _| false)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::key::KeyId;
    use crate::key::secret::SecretHasher;
    use crate::outcome;
    use crate::store::embedded::{EmbeddedStore, Peppering};
    use crate::store::{Store, UsageKey};

    const OLD: u64 = 7 << 40;
    const NEW: u64 = 8 << 40;

    fn counted(generation: u64, count: u64) -> Counted {
        let outcome = outcome::Outcome::Allowed;
        let row = UsageKey { key: KeyId::from_u128(1), hour: 3, route: 0, outcome, version: 1 };
        let at = Timestamp::from_secs(1);
        Counted { generation, row, count, first_used: at, last_used: at }
    }

    fn open() -> (tempfile::TempDir, EmbeddedStore) {
        let folder = tempfile::tempdir().unwrap();
        let store =
            EmbeddedStore::open(&folder.path().join("s.redb"), Peppering(&SecretHasher::new(None))).unwrap();
        (folder, store)
    }

    fn total(store: &EmbeddedStore) -> u64 {
        store.totals(KeyId::from_u128(1)).unwrap().iter().map(|(_, totals)| totals.requests).sum()
    }

    #[test]
    fn two_processes_that_count_the_same_row_are_added_up_however_often_they_are_merged() {
        let (_folder, store) = open();
        store.merge_usage(&[counted(OLD + 1, 10)], Side::Alone).unwrap();
        for _ in 0..2 {
            store.merge_usage(&[counted(NEW + 1, 3)], Side::Beside).unwrap();
            store.merge_usage(&[counted(OLD + 1, 12)], Side::Predecessor).unwrap();
            assert_eq!(total(&store), 15);
        }
        store.merge_usage(&[counted(NEW + 1, 4)], Side::Beside).unwrap();
        store.merge_usage(&[counted(OLD + 1, 12), counted(OLD + 2, 5)], Side::Predecessor).unwrap();
        assert_eq!(total(&store), 21);
        store.forget_predecessors().unwrap();
        store.merge_usage(&[counted(NEW + 1, 6)], Side::Alone).unwrap();
        assert_eq!(total(&store), 23);
    }

    #[test]
    fn a_counter_that_the_old_process_begins_after_the_new_one_counts_whole() {
        let (_folder, store) = open();
        store.merge_usage(&[counted(NEW + 1, 3)], Side::Beside).unwrap();
        for count in [1, 1, 4, 4] {
            store.merge_usage(&[counted(OLD + 9, count)], Side::Predecessor).unwrap();
        }
        assert_eq!(total(&store), 7);
    }

    #[test]
    fn one_that_takes_the_store_back_goes_on_where_it_was_merged_as_a_predecessor() {
        let (_folder, store) = open();
        store.merge_usage(&[counted(OLD + 1, 10)], Side::Alone).unwrap();
        store.merge_usage(&[counted(OLD + 1, 11)], Side::Predecessor).unwrap();
        store.merge_usage(&[counted(OLD + 1, 13)], Side::Beside).unwrap();
        assert_eq!(total(&store), 13);
    }
}
