//! Walking the pages of a listing.

use serde_json::Value;

use crate::cli::client::{Client, Query};

/// Keys on a page: the most that the API gives.
pub(super) const PAGE: usize = 200;

/// The pages of a listing, from the first to the last.
pub(super) struct Pages<'a> {
    client: &'a Client,
    query: Query<'a>,
    next: Next,
}

enum Next {
    First,
    After(String),
    None,
}

impl<'a> Pages<'a> {
    /// Nothing is fetched yet. `query` names neither `limit` nor `cursor`.
    pub(super) fn new(client: &'a Client, query: Query<'a>) -> Self {
        Self { client, query, next: Next::First }
    }

    /// The next page, if there is one.
    ///
    /// # Errors
    /// As a call.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Page>> {
        let cursor = match std::mem::replace(&mut self.next, Next::None) {
            Next::None => return Ok(None),
            Next::First => None,
            Next::After(cursor) => Some(cursor),
        };
        let mut query = self.query.clone();
        query.extend([("limit", Some(PAGE.to_string())), ("cursor", cursor)]);
        let mut body = self.client.get("/keys", &query)?.body;
        if let Some(cursor) = body["next_cursor"].as_str() {
            self.next = Next::After(cursor.to_owned());
        }
        let total = body["total"].as_u64().unwrap_or(0);
        let items = match body["items"].take() {
            Value::Array(items) => items,
            _ => Vec::new(),
        };
        Ok(Some(Page { items, total }))
    }
}

/// One page.
pub(super) struct Page {
    /// Its keys.
    pub(super) items: Vec<Value>,
    /// How many there are on all pages.
    pub(super) total: u64,
}
