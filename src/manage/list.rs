//! Listing keys: filtered, sorted, page by page, with cursors that stay right while keys come and go.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use super::index::Walked;
use super::view::KeyView;
use super::{Actor, Manage, ManageError, Permission};
use crate::clock::Timestamp;
use crate::key::{Key, KeyId, Status};
use crate::store::Direction;

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
#[derive(Debug, Default)]
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
        self.audited(actor, "key.view", "", || actor.needs(Permission::KeyView))?;
        let Some(query) = &bound(actor, query) else { return Ok(Page::default()) };
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
        let total = self.index.len();
        self.page(keys, &Cut { ranks, more }, query.cursor.as_ref(), total)
    }

    /// Any filter, any order: walks the index, and fetches one page of records.
    fn list_by_walk(&self, query: &Query, limit: usize) -> Result<Page, ManageError> {
        let walked = self.index.walk(query, limit, &self.snapshot, self.now());
        let mut keys = Vec::with_capacity(walked.ranks.len());
        for rank in &walked.ranks {
            // A key that was deleted since the walk is passed over; the cursors lie beside ranks, not keys.
            keys.extend(self.store.key(rank.id)?);
        }
        let Walked { ranks, more, total } = walked;
        self.page(keys, &Cut { ranks, more }, query.cursor.as_ref(), total)
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

/// The query as a token of one owner may ask it: of that owner's keys alone. `None` where nothing can match.
fn bound(actor: &Actor, query: &Query) -> Option<Query> {
    let mut query = query.clone();
    match (&actor.owner, &query.filter.owner) {
        (Some(own), Some(asked)) if own != asked => return None,
        (Some(own), _) => query.filter.owner = Some(own.clone()),
        (None, _) => {}
    }
    Some(query)
}

/// The best rows beside a cursor, out of any number that are offered.
pub(super) struct Best<'a> {
    query: &'a Query,
    limit: usize,
    ranks: Vec<Rank>,
    /// What is not better than this need not be kept.
    worst: Option<Rank>,
}

impl<'a> Best<'a> {
    pub(super) fn new(query: &'a Query, limit: usize) -> Self {
        Self { query, limit, ranks: Vec::new(), worst: None }
    }

    fn turn(&self) -> Turn {
        self.query.cursor.as_ref().map_or(Turn::Next, |cursor| cursor.turn)
    }

    /// Nearest to the cursor first.
    fn nearer(&self, a: &Rank, b: &Rank) -> Ordering {
        let order = compare(self.query.sort, a, b);
        match self.turn() {
            Turn::Next => order,
            Turn::Previous => order.reverse(),
        }
    }

    pub(super) fn offer(&mut self, rank: Rank) {
        let beyond = |cursor: &Cursor| self.nearer(&rank, &cursor.rank) == Ordering::Greater;
        let kept = self.worst.as_ref().is_none_or(|worst| self.nearer(&rank, worst) == Ordering::Less);
        if !kept || !self.query.cursor.as_ref().is_none_or(beyond) {
            return;
        }
        self.ranks.push(rank);
        // One more than the page is kept, to know whether there is another page; cutting now and then keeps this linear.
        if self.ranks.len() > 4 * (self.limit + 1) {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let mut ranks = std::mem::take(&mut self.ranks);
        ranks.sort_by(|a, b| self.nearer(a, b));
        ranks.truncate(self.limit + 1);
        self.worst = ranks.get(self.limit).cloned();
        self.ranks = ranks;
    }

    /// The page in the listing's order, and whether more lie beyond it.
    pub(super) fn finish(mut self) -> (Vec<Rank>, bool) {
        self.cut();
        let more = self.ranks.len() > self.limit;
        self.ranks.truncate(self.limit);
        if self.turn() == Turn::Previous {
            self.ranks.reverse();
        }
        (self.ranks, more)
    }
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
