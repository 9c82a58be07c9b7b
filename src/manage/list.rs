//! Listing keys: filtered, sorted, page by page, with cursors that stay right while keys come and go.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use super::view::KeyView;
use super::{Actor, Manage, ManageError, Permission};
use crate::clock::Timestamp;
use crate::key::{Key, KeyId, Status};
use crate::store::{Direction, Totals};

/// Keys on a page where none is asked for.
pub const DEFAULT_LIMIT: usize = 50;
/// Keys on a page at most.
pub const MAX_LIMIT: usize = 200;

/// Which keys; every condition must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// With this status.
    pub status: Option<Status>,
    /// Of this owner.
    pub owner: Option<String>,
    /// Of this environment.
    pub environment: Option<String>,
    /// With this role.
    pub role: Option<String>,
    /// With this tag.
    pub tag: Option<String>,
    /// With this text in name, description, ID or fingerprint, whatever its case.
    pub q: Option<String>,
    /// Not used since then.
    pub unused_since: Option<Timestamp>,
}

/// In which order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sort {
    /// Newest first.
    #[default]
    CreatedDescending,
    /// Oldest first.
    Created,
    /// By name.
    Name,
    /// Last used first.
    LastUsedDescending,
    /// Busiest first.
    RequestsDescending,
}

impl Sort {
    /// Every order.
    pub const ALL: [Self; 5] = [
        Self::CreatedDescending,
        Self::Created,
        Self::Name,
        Self::LastUsedDescending,
        Self::RequestsDescending,
    ];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CreatedDescending => "-created_at",
            Self::Created => "created_at",
            Self::Name => "name",
            Self::LastUsedDescending => "-last_used_at",
            Self::RequestsDescending => "-requests",
        }
    }

    /// Reads the word on the wire.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|sort| sort.as_str() == text)
    }
}

/// A place in a listing: beside the row with this rank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Which way from the row.
    pub turn: Turn,
    /// The row's rank.
    pub rank: Rank,
}

/// Which way a page lies from a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// After it.
    Next,
    /// Before it.
    Previous,
}

/// Where a key stands in an order. Ties are broken by ID, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rank {
    /// For orders by name.
    pub text: String,
    /// For orders by number.
    pub number: u64,
    /// Every key has another one.
    pub id: KeyId,
}

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Which keys.
    pub filter: Filter,
    /// In which order.
    pub sort: Sort,
    /// From where on; from the start.
    pub cursor: Option<Cursor>,
    /// How many at most.
    pub limit: Option<usize>,
}

/// One page.
#[derive(Debug)]
pub struct Page {
    /// The keys.
    pub items: Vec<KeyView>,
    /// Where the next page starts.
    pub next: Option<Cursor>,
    /// Where the page before starts.
    pub previous: Option<Cursor>,
    /// How many keys match, on all pages.
    pub total: u64,
}

/// The ranks of one page.
struct Cut {
    ranks: Vec<Rank>,
    /// Whether more rows match beyond the page, in the direction of its cursor.
    more: bool,
}

impl Manage {
    /// One page of keys.
    ///
    /// # Errors
    /// The store's, or the token may not.
    pub fn list_keys(&self, actor: &Actor, query: &Query) -> Result<Page, ManageError> {
        actor.needs(Permission::KeyView)?;
        let _ = self.ledger.merge();
        let limit = query.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
        let plain = query.filter == Filter::default();
        match query.sort {
            Sort::CreatedDescending if plain => self.list_by_creation(query, Direction::Descending, limit),
            Sort::Created if plain => self.list_by_creation(query, Direction::Ascending, limit),
            _ => self.list_by_walk(query, limit),
        }
    }

    /// Without a filter and by creation, the store's own order serves: a page costs what a page holds.
    fn list_by_creation(&self, query: &Query, order: Direction, limit: usize) -> Result<Page, ManageError> {
        let turn = query.cursor.as_ref().map_or(Turn::Next, |cursor| cursor.turn);
        let direction = match (order, turn) {
            (order, Turn::Next) => order,
            (Direction::Ascending, Turn::Previous) => Direction::Descending,
            (Direction::Descending, Turn::Previous) => Direction::Ascending,
        };
        let mut keys = Vec::new();
        self.store.keys(direction, query.cursor.as_ref().map(|cursor| cursor.rank.id), &mut |key| {
            keys.push(key);
            if keys.len() > limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        let more = keys.len() > limit;
        keys.truncate(limit);
        if turn == Turn::Previous {
            keys.reverse();
        }
        let ranks = keys.iter().map(|key| Rank { text: String::new(), number: 0, id: key.id }).collect();
        let total = self.store.key_count()?;
        self.page(keys, &Cut { ranks, more }, query.cursor.as_ref(), total)
    }

    /// Any filter, any order: walks the keys, keeps the ranks of those that match, and fetches one page of them.
    fn list_by_walk(&self, query: &Query, limit: usize) -> Result<Page, ManageError> {
        let now = self.now();
        let needle = query.filter.q.as_ref().map(|q| q.to_lowercase());
        let mut rows = Vec::new();
        let mut failed = None;
        self.store.keys(Direction::Descending, None, &mut |key| {
            match self.rank(&key, query, needle.as_deref(), now) {
                Ok(Some(rank)) => rows.push(rank),
                Ok(None) => {}
                Err(error) => {
                    failed = Some(error);
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        rows.sort_by(|a, b| compare(query.sort, a, b));
        let total = u64::try_from(rows.len()).unwrap_or(u64::MAX);
        let cut = cut(rows, query, limit);
        let mut keys = Vec::with_capacity(cut.ranks.len());
        for rank in &cut.ranks {
            // A key that was deleted since the walk is passed over; the cursors lie beside ranks, not keys.
            keys.extend(self.store.key(rank.id)?);
        }
        self.page(keys, &cut, query.cursor.as_ref(), total)
    }

    /// The key's rank, if it matches.
    fn rank(
        &self,
        key: &Key,
        query: &Query,
        needle: Option<&str>,
        now: Timestamp,
    ) -> Result<Option<Rank>, ManageError> {
        if !matches(key, &query.filter, needle, now) {
            return Ok(None);
        }
        let wants_usage = query.filter.unused_since.is_some()
            || matches!(query.sort, Sort::LastUsedDescending | Sort::RequestsDescending);
        let usage = if wants_usage { self.sum(key.id)? } else { Totals::default() };
        if query.filter.unused_since.is_some_and(|since| usage.last_used.is_some_and(|used| used >= since)) {
            return Ok(None);
        }
        let (text, number) = match query.sort {
            Sort::CreatedDescending | Sort::Created => (String::new(), 0),
            Sort::Name => (key.profile.name.to_lowercase(), 0),
            Sort::LastUsedDescending => (String::new(), usage.last_used.map_or(0, Timestamp::as_millis)),
            Sort::RequestsDescending => (String::new(), usage.requests),
        };
        Ok(Some(Rank { text, number, id: key.id }))
    }

    fn sum(&self, id: KeyId) -> Result<Totals, ManageError> {
        let totals = self.ledger.totals(id)?;
        Ok(totals.iter().fold(Totals::default(), |sum, (_, one)| Totals {
            requests: sum.requests + one.requests,
            last_used: sum.last_used.max(one.last_used),
            ..sum
        }))
    }

    fn page(
        &self,
        keys: Vec<Key>,
        cut: &Cut,
        cursor: Option<&Cursor>,
        total: u64,
    ) -> Result<Page, ManageError> {
        let turn = cursor.map_or(Turn::Next, |cursor| cursor.turn);
        let has_next = turn == Turn::Previous || cut.more;
        let has_previous = cursor.is_some() && (turn == Turn::Next || cut.more);
        let at = |rank: Option<&Rank>, turn| rank.map(|rank| Cursor { turn, rank: rank.clone() });
        Ok(Page {
            next: at(cut.ranks.last().filter(|_| has_next), Turn::Next),
            previous: at(cut.ranks.first().filter(|_| has_previous), Turn::Previous),
            items: keys.into_iter().map(|key| self.view_merged(key)).collect::<Result<_, _>>()?,
            total,
        })
    }
}

/// Cuts the rows of one page out of all that match.
fn cut(mut ranks: Vec<Rank>, query: &Query, limit: usize) -> Cut {
    let Some(cursor) = &query.cursor else {
        let more = ranks.len() > limit;
        ranks.truncate(limit);
        return Cut { ranks, more };
    };
    let beyond = |rank: &Rank| match cursor.turn {
        Turn::Next => compare(query.sort, rank, &cursor.rank) == Ordering::Greater,
        Turn::Previous => compare(query.sort, rank, &cursor.rank) == Ordering::Less,
    };
    ranks.retain(beyond);
    let more = ranks.len() > limit;
    if cursor.turn == Turn::Previous {
        ranks.drain(..ranks.len().saturating_sub(limit));
    }
    ranks.truncate(limit);
    Cut { ranks, more }
}

fn compare(sort: Sort, a: &Rank, b: &Rank) -> Ordering {
    let newest_first = b.id.cmp(&a.id);
    match sort {
        Sort::CreatedDescending => newest_first,
        Sort::Created => newest_first.reverse(),
        Sort::Name => a.text.cmp(&b.text).then(newest_first),
        Sort::LastUsedDescending | Sort::RequestsDescending => b.number.cmp(&a.number).then(newest_first),
    }
}

fn matches(key: &Key, filter: &Filter, needle: Option<&str>, now: Timestamp) -> bool {
    let profile = &key.profile;
    let is = |wanted: &Option<String>, has: Option<&str>| {
        wanted.as_deref().is_none_or(|wanted| has == Some(wanted))
    };
    filter.status.is_none_or(|status| key.status(now) == status)
        && is(&filter.owner, profile.owner.as_deref())
        && is(&filter.environment, Some(&profile.environment))
        && is(&filter.role, profile.role.as_deref())
        && filter.tag.as_ref().is_none_or(|tag| profile.tags.contains(tag))
        && needle.is_none_or(|needle| mentions(key, needle))
}

/// Whether a key's texts contain `needle`, which is in lower case.
fn mentions(key: &Key, needle: &str) -> bool {
    let has = |text: &str| text.to_lowercase().contains(needle);
    has(&key.profile.name)
        || has(&key.profile.description)
        || has(&key.id.to_string())
        || key.newest().is_some_and(|version| has(version.fingerprint.as_str()))
}
