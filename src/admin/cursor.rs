//! Cursors as opaque text: a row's rank, so that a page begins beside it whatever came or went since.

use std::fmt::Write;

use crate::key::KeyId;
use crate::manage::list::{Cursor, Rank, Sort, Turn};

/// The longest cursor, in characters: a name of 200 characters of 4 bytes, in hex, and what is around it.
const MAX_CHARS: usize = 2_000;

/// Writes a cursor of a listing with this order.
pub(super) fn text_of(cursor: &Cursor, sort: Sort) -> String {
    let turn = match cursor.turn {
        Turn::Next => 'n',
        Turn::Previous => 'p',
    };
    let order = Sort::ALL.iter().position(|one| *one == sort).unwrap_or(0);
    let mut out = format!("{turn}{order}{:032x}{:016x}", cursor.rank.id.as_u128(), cursor.rank.number);
    for byte in cursor.rank.text.bytes() {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// Reads a cursor. `None` if it is none, or of another order.
pub(super) fn read(text: &str, sort: Sort) -> Option<Cursor> {
    if !text.is_ascii() || text.len() > MAX_CHARS {
        return None;
    }
    let (turn, rest) = text.split_at_checked(1)?;
    let (order, rest) = rest.split_at_checked(1)?;
    let (id, rest) = rest.split_at_checked(32)?;
    let (number, name) = rest.split_at_checked(16)?;
    let turn = match turn {
        "n" => Turn::Next,
        "p" => Turn::Previous,
        _ => return None,
    };
    if Sort::ALL.get(order.parse::<usize>().ok()?) != Some(&sort) {
        return None;
    }
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes = name.as_bytes().chunks(2).map(byte).collect::<Option<Vec<u8>>>()?;
    let rank = Rank {
        text: String::from_utf8(bytes).ok()?,
        number: u64::from_str_radix(number, 16).ok()?,
        id: KeyId::from_u128(u128::from_str_radix(id, 16).ok()?),
    };
    Some(Cursor { turn, rank })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_read_back_and_rubbish_does_not() {
        let rank = Rank { text: "größe".into(), number: 7, id: KeyId::from_u128(u128::MAX - 3) };
        let cursor = Cursor { turn: Turn::Previous, rank };
        let text = text_of(&cursor, Sort::Name);
        assert_eq!(read(&text, Sort::Name), Some(cursor));
        assert_eq!(read(&text, Sort::Created), None);
        for bad in ["", "n", "x0", "n0zz", "ä", &text[..40], &format!("{text}z")] {
            assert_eq!(read(bad, Sort::Name), None, "{bad}");
        }
    }
}
