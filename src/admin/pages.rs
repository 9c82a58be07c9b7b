//! Pages of short lists that are ordered by a name. A cursor names a row, so it stays right while rows come and go.

use serde_json::{Value, json};

use super::document::number;
use crate::document::{self, Fields};
use crate::manage::list::{DEFAULT_LIMIT, MAX_LIMIT};

/// The cursor's mark: what follows is the name that the page lies after or before.
const AFTER: &str = "n";
const BEFORE: &str = "p";

/// Which page.
pub(super) struct Page {
    limit: usize,
    cursor: Option<String>,
}

/// Reads `limit` and `cursor`.
pub(super) fn read(fields: &mut Fields<'_>) -> Page {
    let limit = fields.read("limit", |v| number(v, 1, MAX_LIMIT));
    let cursor = fields.read("cursor", |v| {
        let text = document::string(v)?;
        let is_one = text.is_char_boundary(1) && text.len() > 1 && [AFTER, BEFORE].contains(&&text[..1]);
        if is_one { Ok(text.to_owned()) } else { Err("is no cursor of this list".into()) }
    });
    Page { limit: limit.unwrap_or(DEFAULT_LIMIT), cursor }
}

impl Page {
    /// Cuts the page out of all rows, which are ordered by `name`.
    pub(super) fn cut<T>(&self, all: &[T], name: impl Fn(&T) -> &str, show: impl Fn(&T) -> Value) -> Value {
        let at = self.cursor.as_deref().map(|text| text.split_at(1));
        let before = |bound: &str| all.partition_point(|row| name(row) < bound);
        let (start, end) = match at {
            Some((AFTER, bound)) => {
                let start = all.partition_point(|row| name(row) <= bound);
                (start, start.saturating_add(self.limit).min(all.len()))
            }
            Some((_, bound)) => (before(bound).saturating_sub(self.limit), before(bound)),
            None => (0, self.limit.min(all.len())),
        };
        let items = &all[start..end];
        let beside = |row: Option<&T>, mark: &str| row.map(|row| format!("{mark}{}", name(row)));
        json!({
            "items": items.iter().map(show).collect::<Vec<_>>(),
            "next_cursor": beside(items.last().filter(|_| end < all.len()), AFTER),
            "prev_cursor": beside(items.first().filter(|_| start > 0), BEFORE),
            "total": all.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_meet_in_both_directions() {
        let all: Vec<String> = (0..7).map(|n| format!("row{n}")).collect();
        let page = |cursor: Option<&Value>| {
            let cursor = cursor.and_then(Value::as_str).map(str::to_owned);
            Page { limit: 3, cursor }.cut(&all, |row| row, |row| json!(row))
        };
        let first = page(None);
        assert_eq!(first["items"], json!(["row0", "row1", "row2"]));
        assert_eq!(first["prev_cursor"], Value::Null);
        let second = page(Some(&first["next_cursor"]));
        assert_eq!(second["items"], json!(["row3", "row4", "row5"]));
        let third = page(Some(&second["next_cursor"]));
        assert_eq!((&third["items"], &third["next_cursor"]), (&json!(["row6"]), &Value::Null));
        assert_eq!(page(Some(&third["prev_cursor"]))["items"], second["items"]);
        assert_eq!(page(Some(&second["prev_cursor"]))["items"], first["items"]);
    }
}
