//! Any stored bytes are a record or damage. A record that is written again reads as the same, and can be shown.
//!
//! The first byte chooses the table; the second says whether the rest is a record's content, which is given the head
//! that it needs, or a whole record.

use portcullis::manage::audit::entry_json;
use portcullis::manage::view::{KeyView, audited};
use portcullis::store::fuzzing::{Table, Value, ledger_row, merged_totals, read, totals, with_head};

use super::world::NOW;

/// Holds the reader of records to its promise.
pub fn hold(bytes: &[u8]) {
    let [table, kind, rest @ ..] = bytes else { return };
    let Some(table) = Table::ALL.get(usize::from(*table) % (Table::ALL.len() + 1)) else {
        return usage(rest);
    };
    let stored = if kind & 1 == 0 { rest.to_vec() } else { with_head(rest) };
    match read(*table, &stored) {
        Err(why) => assert!(why.starts_with("a record")),
        Ok((value, written)) => {
            let (again, rewritten) = read(*table, &written).unwrap();
            assert_eq!(rewritten, written, "written again, it is the same");
            assert_eq!(without_hash(again), without_hash(value.clone()));
            show(value);
        }
    }
}

/// An entry's hash is that of the bytes it was read from.
fn without_hash(mut value: Value) -> Value {
    if let Value::Entry(entry) = &mut value {
        entry.hash = [0; 32];
    }
    value
}

fn show(value: Value) {
    match value {
        Value::Key(key) => {
            let view = KeyView { key: *key, totals: Vec::new(), rotation_due: false, now: NOW };
            let shown = view.to_json();
            assert_eq!(shown["name"], view.key.profile.name);
            assert!(audited(&view.key, NOW).is_object() && !view.etag().is_empty());
        }
        Value::Entry(entry) => assert_eq!(entry_json(&entry)["seq"], entry.seq),
        other => assert!(!format!("{other:?}").is_empty()),
    }
}

/// The rows of the ledger have fixed widths.
fn usage(bytes: &[u8]) {
    let Some((key, rest)) = bytes.split_first_chunk::<27>() else { return };
    let Some((value, rest)) = rest.split_first_chunk::<24>() else { return };
    if let Some(row) = ledger_row(key, value) {
        assert_eq!(row, (*key, *value));
    }
    let Some((sums, rest)) = rest.split_first_chunk::<32>() else { return };
    let written = totals(sums);
    assert_eq!(written[..16], sums[..16], "the counts are exact");
    // A time that no calendar has is read as the last one there is.
    assert_eq!(totals(&written), written, "written again, they are the same");
    let number = |at: usize| rest.get(at..at + 8).map_or(0, |n| u64::from_le_bytes(n.try_into().unwrap()));
    if let Some([before, once, twice]) = merged_totals(key, value, number(0), number(8)) {
        assert!(before <= once && once == twice, "a repeated merge counts once, and none counts back");
    }
}
