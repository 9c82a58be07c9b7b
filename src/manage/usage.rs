//! Usage reports: the ledger's rows, added up by time and by one dimension.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use super::{Actor, Manage, ManageError, Permission};
use crate::clock::Timestamp;
use crate::key::KeyId;
use crate::key::quota::Window;
use crate::outcome::{Outcome, Tally};
use crate::store::{UsageKey, UsageRange};

/// Rows of a report at most; a report that would have more is refused.
pub const MAX_ROWS: usize = 1_000_000;

/// How long one row's time is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Step {
    /// An hour.
    Hour,
    /// A day in UTC.
    #[default]
    Day,
    /// A month in UTC.
    Month,
}

impl Step {
    /// Reads the word on the wire.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "hour" => Some(Self::Hour),
            "day" => Some(Self::Day),
            "month" => Some(Self::Month),
            _ => None,
        }
    }

    fn start(self, hour: u32) -> Timestamp {
        let at = Timestamp::from_hour(hour);
        match self {
            Self::Hour => at,
            Self::Day => Window::Day.edges(at).start,
            Self::Month => Window::Month.edges(at).start,
        }
    }
}

/// What a report is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupBy {
    /// The key.
    Key,
    /// The key's owner.
    Owner,
    /// The route.
    Route,
    /// How the requests ended.
    Outcome,
}

impl GroupBy {
    /// The word on the wire, and the name of the rows' field.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Owner => "owner",
            Self::Route => "route",
            Self::Outcome => "outcome",
        }
    }

    /// Reads the word on the wire.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Key, Self::Owner, Self::Route, Self::Outcome].into_iter().find(|group| group.as_str() == text)
    }
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct UsageQuery {
    /// The first moment; rounded down to its hour.
    pub from: Timestamp,
    /// The first moment after; rounded up to its hour.
    pub to: Timestamp,
    /// How long one row's time is.
    pub step: Step,
    /// What it is divided by, if by anything.
    pub group_by: Option<GroupBy>,
    /// Of this key alone; it may be deleted.
    pub key: Option<KeyId>,
    /// Of this owner alone.
    pub owner: Option<String>,
    /// On this route alone.
    pub route: Option<String>,
    /// With this outcome alone.
    pub outcome: Option<Outcome>,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRow {
    /// When its time starts.
    pub start: Timestamp,
    /// What it is of; empty where nothing divides the report, or where a key has no owner.
    pub group: String,
    /// Let through.
    pub requests: u64,
    /// Refused after the key was known.
    pub denied: u64,
}

impl Manage {
    /// A report, by time, then by group.
    ///
    /// # Errors
    /// The store's, or the token may not, or it would have more than [`MAX_ROWS`] rows.
    pub fn usage(&self, actor: &Actor, query: &UsageQuery) -> Result<Vec<UsageRow>, ManageError> {
        self.audited(actor, "usage.view", "", || actor.needs(Permission::UsageView))?;
        let mut query = query.clone();
        match (&actor.owner, &query.owner) {
            (Some(own), Some(asked)) if own != asked => return Ok(Vec::new()),
            (Some(own), _) => query.owner = Some(own.clone()),
            (None, _) => {}
        }
        let query = &query;
        self.ledger.merge()?;
        let routes: HashMap<u16, String> = self.store.route_labels()?.into_iter().collect();
        let hour_ms = 3_600_000;
        let to_hour = Timestamp::from_millis(query.to.as_millis().saturating_add(hour_ms - 1)).hour();
        let range = UsageRange { key: query.key, from_hour: query.from.hour(), to_hour };
        let mut owners = Owners { manage: self, known: HashMap::new() };
        let mut sums: BTreeMap<(Timestamp, String), (u64, u64)> = BTreeMap::new();
        let mut failed = None;
        self.ledger.rows(range, &mut |(row, count)| {
            match owners.group(&row, query, &routes) {
                Ok(Some(group)) => add(&mut sums, (query.step.start(row.hour), group), row.outcome, count),
                Ok(None) => {}
                Err(error) => failed = Some(error),
            }
            let enough = failed.is_some() || sums.len() > MAX_ROWS;
            if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        if sums.len() > MAX_ROWS {
            return Err(ManageError::Conflict(format!(
                "over {MAX_ROWS} rows; ask for less time or a longer step"
            )));
        }
        let row = |((start, group), (requests, denied))| UsageRow { start, group, requests, denied };
        Ok(sums.into_iter().map(row).collect())
    }
}

type Sums = BTreeMap<(Timestamp, String), (u64, u64)>;

fn add(sums: &mut Sums, at: (Timestamp, String), outcome: Outcome, count: u64) {
    let (requests, denied) = sums.entry(at).or_default();
    match outcome.tally() {
        Tally::LetThrough => *requests += count,
        Tally::Denied => *denied += count,
    }
}

/// Looks up each key's owner once, deleted keys included.
struct Owners<'a> {
    manage: &'a Manage,
    known: HashMap<KeyId, Option<String>>,
}

impl Owners<'_> {
    /// The row's group, if it passes the filters.
    fn group(
        &mut self,
        row: &UsageKey,
        query: &UsageQuery,
        routes: &HashMap<u16, String>,
    ) -> Result<Option<String>, ManageError> {
        let route = || routes.get(&row.route).map_or("", String::as_str);
        if query.outcome.is_some_and(|outcome| outcome != row.outcome)
            || query.route.as_deref().is_some_and(|wanted| wanted != route())
        {
            return Ok(None);
        }
        if let Some(wanted) = &query.owner
            && self.owner(row.key)?.as_ref() != Some(wanted)
        {
            return Ok(None);
        }
        Ok(Some(match query.group_by {
            None => String::new(),
            Some(GroupBy::Key) => row.key.to_string(),
            Some(GroupBy::Owner) => self.owner(row.key)?.unwrap_or_default(),
            Some(GroupBy::Route) => route().to_owned(),
            Some(GroupBy::Outcome) => row.outcome.as_str().to_owned(),
        }))
    }

    fn owner(&mut self, id: KeyId) -> Result<Option<String>, ManageError> {
        if let Some(owner) = self.known.get(&id) {
            return Ok(owner.clone());
        }
        let owner = match self.manage.store.key(id)? {
            Some(key) => key.profile.owner,
            None => self.manage.store.tombstone(id)?.and_then(|stone| stone.owner),
        };
        self.known.insert(id, owner.clone());
        Ok(owner)
    }
}
