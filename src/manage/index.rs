//! What listings read: one compact row a key, in memory, in the order of creation.
//!
//! A filter looks at every row, but at nothing else: what it compares lies in the row itself, so that a million rows
//! are one walk through memory. Texts of names and descriptions are there in lower case for `q`; records are fetched
//! from the store for the one page that is shown.

mod sorted;

use std::sync::Arc;

use parking_lot::RwLock;

use super::list::{Best, Filter, Query, Rank, Sort};
use crate::clock::Timestamp;
use crate::key::{Key, KeyId, Status, Switch};
use crate::outcome::Tally;
use crate::snapshot::{OwnerCell, RoleCell, Snapshot};
use crate::store::{Added, Totals};
use sorted::Sorted;

/// Never, as a time.
const NEVER: u64 = u64::MAX;
/// Between the texts of a row; no text contains it.
const BETWEEN: char = '\u{0}';
/// Before each tag, which come last; no text contains it.
const TAG: char = '\u{1}';

/// One key, as far as filters and orders need it.
#[derive(Debug)]
struct Row {
    /// Name, description and fingerprint in lower case, then each tag as it is, one after the other.
    texts: Box<str>,
    owner: Option<Arc<OwnerCell>>,
    role: Option<Arc<RoleCell>>,
    expires: u64,
    last_used: u64,
    requests: u64,
    /// The place of its environment's name among all that were seen.
    environment: u32,
    switch: Switch,
    revoked: Option<()>,
}

impl Row {
    fn status(&self, now: Timestamp) -> Status {
        let expires = (self.expires != NEVER).then(|| Timestamp::from_millis(self.expires));
        Status::derive(self.revoked.map(|()| now), expires, self.switch, now)
    }

    /// What `q` looks at.
    fn searched(&self) -> &str {
        self.texts.split(TAG).next().unwrap_or_default()
    }

    fn has_tag(&self, wanted: &str) -> bool {
        self.texts.split(TAG).skip(1).any(|tag| tag == wanted)
    }

    fn name(&self) -> &str {
        self.searched().split(BETWEEN).next().unwrap_or_default()
    }

    fn rank(&self, id: KeyId, sort: Sort) -> Rank {
        let (text, number) = match sort {
            Sort::CreatedDescending | Sort::Created => (String::new(), 0),
            Sort::Name => (self.name().to_owned(), 0),
            Sort::LastUsedDescending => (String::new(), self.last_used),
            Sort::RequestsDescending => (String::new(), self.requests),
        };
        Rank { text, number, id }
    }
}

/// Every key's row.
#[derive(Debug, Default)]
pub(super) struct Index {
    rows: RwLock<Sorted<Row>>,
    /// The environments that were seen, of which there are few.
    environments: RwLock<Vec<Box<str>>>,
}

/// What a filter asks of a row's owner or role.
enum Wanted<T> {
    Any,
    This(Arc<T>),
    /// One that no key can have.
    Unknown,
}

impl<T> Wanted<T> {
    fn of(name: Option<&str>, find: impl FnOnce(&str) -> Option<Arc<T>>) -> Self {
        name.map_or(Self::Any, |name| find(name).map_or(Self::Unknown, Self::This))
    }

    fn is(&self, has: Option<&Arc<T>>) -> bool {
        match self {
            Self::Any => true,
            Self::This(wanted) => has.is_some_and(|has| Arc::ptr_eq(has, wanted)),
            Self::Unknown => false,
        }
    }
}

/// A filter made ready: names are cells, so that rows are compared by pointer.
struct Ready<'a> {
    filter: &'a Filter,
    owner: Wanted<OwnerCell>,
    role: Wanted<RoleCell>,
    /// `u32::MAX`: one that no key has.
    environment: Option<u32>,
    needle: Option<String>,
    now: Timestamp,
}

/// The rows of a page, by rank, and how many match in all.
pub(super) struct Walked {
    pub(super) ranks: Vec<Rank>,
    /// Whether more match beyond the page, in the direction of its cursor.
    pub(super) more: bool,
    pub(super) total: u64,
}

impl Index {
    /// Adds or replaces a key's row; its usage stays.
    pub(super) fn put(&self, key: &Key, snapshot: &Snapshot) {
        let environment = self.environment(&key.profile.environment);
        let mut rows = self.rows.write();
        let used = rows.get(key.id).map_or((0, 0), |row| (row.requests, row.last_used));
        rows.insert(key.id, row_of(key, snapshot, environment, used));
    }

    fn known_environment(&self, name: &str) -> u32 {
        let at = self.environments.read().iter().position(|known| **known == *name);
        at.and_then(|at| u32::try_from(at).ok()).unwrap_or(u32::MAX)
    }

    /// The place of an environment's name; a new one gets the next.
    fn environment(&self, name: &str) -> u32 {
        let known = self.known_environment(name);
        if known != u32::MAX {
            return known;
        }
        let mut names = self.environments.write();
        names.push(name.into());
        u32::try_from(names.len() - 1).unwrap_or(u32::MAX)
    }

    pub(super) fn remove(&self, id: KeyId) {
        self.rows.write().remove(id);
    }

    /// Adds the totals of one of a key's versions, at start.
    pub(super) fn add_totals(&self, id: KeyId, totals: &Totals) {
        if let Some(row) = self.rows.write().get_mut(id) {
            row.requests += totals.requests;
            row.last_used = row.last_used.max(totals.last_used.map_or(0, Timestamp::as_millis));
        }
    }

    /// Adds what a merge found. Only what was let through counts as use.
    pub(super) fn add_usage(&self, added: &[Added]) {
        let mut rows = self.rows.write();
        for one in added.iter().filter(|one| one.count > 0 && one.row.outcome.tally() == Tally::LetThrough) {
            if let Some(row) = rows.get_mut(one.row.key) {
                row.requests += one.count;
                row.last_used = row.last_used.max(one.last_used.as_millis());
            }
        }
    }

    pub(super) fn len(&self) -> u64 {
        u64::try_from(self.rows.read().len()).unwrap_or(u64::MAX)
    }

    /// How many of an owner's keys are active, `but` aside.
    pub(super) fn active_of(&self, owner: &Arc<OwnerCell>, but: KeyId, now: Timestamp) -> u64 {
        let rows = self.rows.read();
        let of_owner = |row: &Row| row.owner.as_ref().is_some_and(|cell| Arc::ptr_eq(cell, owner));
        let active =
            rows.iter().filter(|(id, row)| *id != but && of_owner(row) && row.status(now) == Status::Active);
        u64::try_from(active.count()).unwrap_or(u64::MAX)
    }

    /// How many keys have a role.
    pub(super) fn with_role(&self, role: &Arc<RoleCell>) -> u64 {
        let rows = self.rows.read();
        let has = |row: &&Row| row.role.as_ref().is_some_and(|cell| Arc::ptr_eq(cell, role));
        u64::try_from(rows.iter().map(|(_, row)| row).filter(has).count()).unwrap_or(u64::MAX)
    }

    /// One page: walks every row and keeps the best `limit` beside the cursor.
    pub(super) fn walk(&self, query: &Query, limit: usize, snapshot: &Snapshot, now: Timestamp) -> Walked {
        let filter = &query.filter;
        let ready = Ready {
            filter,
            owner: Wanted::of(filter.owner.as_deref(), |name| snapshot.known_owner(name)),
            role: Wanted::of(filter.role.as_deref(), |name| snapshot.known_role(name)),
            environment: filter.environment.as_deref().map(|name| self.known_environment(name)),
            needle: filter.q.as_ref().map(|q| q.to_lowercase()),
            now,
        };
        let mut page = Best::new(query, limit);
        let mut total = 0_u64;
        for (id, row) in self.rows.read().iter() {
            if ready.matches(id, row) {
                total += 1;
                page.offer(row.rank(id, query.sort));
            }
        }
        let (ranks, more) = page.finish();
        Walked { ranks, more, total }
    }
}

impl Ready<'_> {
    fn matches(&self, id: KeyId, row: &Row) -> bool {
        let filter = self.filter;
        let unused = |since: Timestamp| row.last_used < since.as_millis();
        filter.status.is_none_or(|status| row.status(self.now) == status)
            && self.owner.is(row.owner.as_ref())
            && self.role.is(row.role.as_ref())
            && self.environment.is_none_or(|wanted| row.environment == wanted)
            && filter.tag.as_ref().is_none_or(|wanted| row.has_tag(wanted))
            && filter.unused_since.is_none_or(unused)
            && self.needle.as_deref().is_none_or(|needle| mentions(id, row, needle))
    }
}

/// Whether a key's texts contain `needle`, which is in lower case.
fn mentions(id: KeyId, row: &Row, needle: &str) -> bool {
    memchr::memmem::find(row.searched().as_bytes(), needle.as_bytes()).is_some()
        || (can_be_in_id(needle) && id.to_string().contains(needle))
}

/// Whether an ID could contain it at all, so that most searches write out no ID.
fn can_be_in_id(needle: &str) -> bool {
    needle.len() <= 30 && needle.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

fn row_of(key: &Key, snapshot: &Snapshot, environment: u32, used: (u64, u64)) -> Row {
    let profile = &key.profile;
    let fingerprint = key.newest().map_or("", |version| version.fingerprint.as_str());
    let mut texts = profile.name.to_lowercase();
    for text in [profile.description.as_str(), fingerprint] {
        texts.push(BETWEEN);
        texts.push_str(&text.to_lowercase());
    }
    for tag in &profile.tags {
        texts.push(TAG);
        texts.push_str(tag);
    }
    Row {
        texts: texts.into(),
        owner: profile.owner.as_deref().map(|name| snapshot.owner_cell(name)),
        role: profile.role.as_deref().map(|name| snapshot.role_cell(name)),
        environment,
        expires: profile.expires_at.map_or(NEVER, Timestamp::as_millis),
        requests: used.0,
        last_used: used.1,
        switch: key.switch,
        revoked: key.revoked.as_ref().map(|_| ()),
    }
}
