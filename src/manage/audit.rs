//! The audit log: who did what, what was refused, and whether the chain of entries is whole.
//!
//! Changes are written by the transactions that make them. What is refused is written here, in a transaction of its
//! own; attempts without a right token are many and cheap, so they are counted, and written ever more seldom while they
//! go on.

use std::collections::VecDeque;
use std::fmt::Display;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::time::Duration;

use serde_json::{Value, json};

use super::list::Turn;
use super::{Actor, Manage, ManageError, Permission};
use crate::clock::Timestamp;
use crate::key::KeyId;
use crate::key::redact::redacted;
use crate::store::audit::{Chain, Draft, Entry};
use crate::store::{Change, Direction, StoreError};

/// How soon after an entry about attempts without a right token the next one may follow. While they go on, the pause
/// doubles up to the longest one, so that nobody without a token fills the disk or keeps it busy.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// After how long without an entry the next pause is the shortest again.
const QUIET: Duration = Duration::from_mins(5);

/// Which entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// By this actor.
    pub actor: Option<String>,
    /// Of this action, such as `key.revoke`.
    pub action: Option<String>,
    /// On this target.
    pub target: Option<String>,
    /// With this outcome: `done`, or the code of a refusal.
    pub outcome: Option<String>,
    /// Not before this.
    pub from: Option<Timestamp>,
    /// Before this.
    pub to: Option<Timestamp>,
}

/// One page of entries, newest first.
#[derive(Debug, Default)]
pub struct AuditPage {
    /// The entries.
    pub items: VecDeque<Entry>,
    /// Whether older ones match.
    pub older: bool,
    /// Whether newer ones match.
    pub newer: bool,
    /// How many match in all.
    pub total: u64,
}

/// What a look at the whole chain came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// How many entries were looked at.
    pub entries: u64,
    /// The first entry that does not follow from the one before it.
    pub broken_at: Option<u64>,
    /// The hash of the newest entry: kept elsewhere, it proves later that nothing before it was changed.
    pub newest_hash: Option<[u8; 32]>,
    chain: Chain,
}

impl Verified {
    /// Looks at the next entry, oldest first; the first that does not follow ends the walk.
    pub fn look_at(&mut self, entry: &Entry) -> ControlFlow<()> {
        self.entries += 1;
        match self.chain.follow(entry) {
            Ok(()) => {
                self.newest_hash = self.chain.newest_hash();
                ControlFlow::Continue(())
            }
            Err(seq) => {
                self.broken_at = Some(seq);
                ControlFlow::Break(())
            }
        }
    }

    /// The next entry cannot be read.
    pub fn is_unreadable(&mut self) -> ControlFlow<()> {
        self.broken_at = Some(self.chain.entries() + 1);
        ControlFlow::Break(())
    }
}

/// Attempts without a right token since the last entry about them.
#[derive(Debug, Default)]
pub(super) struct Unknown {
    written: Timestamp,
    pause: Duration,
    since: u64,
}

impl Unknown {
    /// Counts an attempt; how many an entry is to be written of, if it is time for one.
    fn attempt(&mut self, now: Timestamp) -> Option<u64> {
        self.since = self.since.saturating_add(1);
        let quiet = now.since(self.written);
        if quiet < self.pause {
            return None;
        }
        self.pause = if quiet >= QUIET { SHORTEST_PAUSE } else { (self.pause * 2).min(LONGEST_PAUSE) };
        self.written = now;
        Some(std::mem::take(&mut self.since))
    }
}

impl AuditQuery {
    fn matches(&self, entry: &Entry) -> bool {
        let is = |wanted: &Option<String>, has: &str| wanted.as_deref().is_none_or(|wanted| wanted == has);
        is(&self.actor, &entry.actor)
            && is(&self.action, &entry.action)
            && is(&self.target, &entry.target)
            && is(&self.outcome, &entry.outcome)
            && self.from.is_none_or(|from| entry.at >= from)
            && self.to.is_none_or(|to| entry.at < to)
    }
}

impl Manage {
    /// Runs a change, and writes down that it was refused if it was.
    pub(super) fn audited<T>(
        &self,
        actor: &Actor,
        action: &'static str,
        target: impl Display,
        run: impl FnOnce() -> Result<T, ManageError>,
    ) -> Result<T, ManageError> {
        let result = run();
        if let Err(error) = &result
            && !matches!(error, ManageError::Store(_))
        {
            self.write_refusal(Draft {
                at: self.now(),
                actor: actor.id.clone(),
                action,
                // What names nothing is whatever the caller wrote.
                target: redacted(&target.to_string()).into_owned(),
                outcome: error.code().to_owned(),
                before: None,
                after: None,
                address: actor.address.map(|address| address.to_string()),
                request_id: actor.request_id.clone(),
            });
        }
        result
    }

    /// Writes down that a secret is shown again, before it is.
    pub(super) fn note_reading(
        &self,
        actor: &Actor,
        action: &'static str,
        key: KeyId,
        shown: &Value,
    ) -> Result<(), StoreError> {
        let draft = Draft {
            at: self.now(),
            actor: actor.id.clone(),
            action,
            target: key.to_string(),
            outcome: "done".into(),
            before: None,
            after: Some(shown.to_string()),
            address: actor.address.map(|address| address.to_string()),
            request_id: actor.request_id.clone(),
        };
        self.store.commit(&mut Change { writes: Vec::new(), audit: vec![draft] }).map(drop)
    }

    /// Counts a call without a right token that is not worth an entry of its own; the next entry says how many.
    pub fn refused_throttled(&self) {
        let mut unknown = self.unknown.lock();
        unknown.since = unknown.since.saturating_add(1);
    }

    /// Notes a call without a right token.
    pub fn refused_unknown(&self, address: Option<IpAddr>, request_id: Option<String>) {
        let now = self.now();
        let Some(attempts) = self.unknown.lock().attempt(now) else { return };
        self.write_unknown(attempts, address, request_id);
    }

    /// Writes what was only counted so far: who reads the log reads of every attempt.
    fn flush_unknown(&self) {
        let attempts = std::mem::take(&mut self.unknown.lock().since);
        if attempts > 0 {
            self.write_unknown(attempts, None, None);
        }
    }

    fn write_unknown(&self, attempts: u64, address: Option<IpAddr>, request_id: Option<String>) {
        let now = self.now();
        self.write_refusal(Draft {
            at: now,
            actor: "unknown".into(),
            action: "admin_token.use",
            target: String::new(),
            outcome: "invalid_token".into(),
            before: None,
            after: Some(json!({"attempts": attempts}).to_string()),
            address: address.map(|address| address.to_string()),
            request_id,
        });
    }

    /// The refusal stands whether or not it could be written down.
    fn write_refusal(&self, draft: Draft) {
        if let Err(error) = self.store.commit(&mut Change { writes: Vec::new(), audit: vec![draft] }) {
            tracing::error!(%error, "a refused attempt could not be written to the audit log");
        }
    }

    /// One page of the log, newest first, beside the entry with the number `beside`.
    ///
    /// # Errors
    /// The store's, or the token may not.
    pub fn audit_log(
        &self,
        actor: &Actor,
        query: &AuditQuery,
        beside: Option<(Turn, u64)>,
        limit: usize,
    ) -> Result<AuditPage, ManageError> {
        actor.needs(Permission::AuditView)?;
        actor.needs_all_owners()?;
        self.flush_unknown();
        let mut page = AuditPage::default();
        let (mut before_page, mut after_page) = (0_u64, 0_u64);
        self.store.audit(Direction::Descending, &mut |entry| {
            if !query.matches(&entry) {
                return ControlFlow::Continue(());
            }
            page.total += 1;
            match beside {
                Some((Turn::Next, seq)) if entry.seq >= seq => before_page += 1,
                Some((Turn::Previous, seq)) if entry.seq <= seq => after_page += 1,
                Some((Turn::Previous, _)) => {
                    page.items.push_back(entry);
                    if page.items.len() > limit {
                        page.items.pop_front();
                        before_page += 1;
                    }
                }
                _ if page.items.len() < limit => page.items.push_back(entry),
                _ => after_page += 1,
            }
            ControlFlow::Continue(())
        })?;
        page.older = after_page > 0;
        page.newer = before_page > 0;
        Ok(page)
    }

    /// Walks the whole chain, oldest first.
    ///
    /// # Errors
    /// The store's, or the token may not.
    pub fn verify_audit(&self, actor: &Actor) -> Result<Verified, ManageError> {
        actor.needs(Permission::AuditView)?;
        actor.needs_all_owners()?;
        let mut verified = Verified::default();
        self.store.audit(Direction::Ascending, &mut |entry| verified.look_at(&entry))?;
        Ok(verified)
    }
}

/// An entry as JSON (contract, section 6).
pub fn entry_json(entry: &Entry) -> Value {
    let record = |text: &Option<String>| -> Value {
        text.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null)
    };
    json!({
        "seq": entry.seq,
        "at": entry.at.to_string(),
        "actor": entry.actor,
        "action": entry.action,
        "target": entry.target,
        "outcome": entry.outcome,
        "before": record(&entry.before),
        "after": record(&entry.after),
        "address": entry.address,
        "request_id": entry.request_id,
        "previous_hash": hex(&entry.previous_hash),
        "hash": hex(&entry.hash),
    })
}

/// What a look at the chain came to, as JSON.
pub fn verified_json(verified: &Verified) -> Value {
    json!({
        "intact": verified.broken_at.is_none(),
        "entries": verified.entries,
        "broken_at": verified.broken_at,
        "newest_hash": verified.newest_hash.as_ref().map(hex),
    })
}

/// A hash in hex digits.
pub fn hex(hash: &[u8; 32]) -> String {
    use std::fmt::Write;

    hash.iter().fold(String::with_capacity(64), |mut out, byte| {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}
