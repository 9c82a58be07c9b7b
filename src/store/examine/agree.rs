//! Whether the records of a store agree with one another: each is whole by itself, and still one may be wrong.

use std::collections::{HashMap, HashSet};

use crate::key::secret::Digest;
use crate::key::{Key, KeyId};
use crate::outcome::Tally;
use crate::store::backup::Table;
use crate::store::contents::Content;

/// Where, which record, and what does not agree.
type Disagreement = (Table, Option<String>, String);

/// What the records say of one another.
#[derive(Debug, Default)]
pub(super) struct Agreement {
    digests: HashMap<Digest, KeyId>,
    /// Keys by ID, with the role that each has, by its place in `roles_named`.
    keys: HashSet<KeyId>,
    roles: HashSet<String>,
    roles_named: HashMap<String, KeyId>,
    routes: HashSet<u16>,
    revision: Option<u64>,
    newest: u64,
    facts: HashSet<String>,
    /// By key and version: what the ledger's rows add up to, let through and denied.
    sums: HashMap<(KeyId, u32), (u64, u64)>,
    totals: HashMap<(KeyId, u32), (u64, u64)>,
    /// Rows whose outcome this version does not know, and so cannot add up.
    unknown_outcomes: u64,
    /// Keys that have a sealed secret.
    sealed: Vec<KeyId>,
    found: Vec<Disagreement>,
}

impl Agreement {
    pub(super) fn add(&mut self, content: Content) {
        match content {
            Content::Key(key) => self.key(&key),
            Content::Fact(name, number) => {
                if name == "revision" {
                    self.revision = number;
                }
                self.facts.insert(name);
            }
            Content::Tombstone(id) => {
                if self.keys.contains(&id) {
                    self.found(Table::Tombstones, id, "the key was deleted, and is there all the same");
                }
            }
            Content::Role(name, revision) => {
                self.roles.insert(name);
                self.newest = self.newest.max(revision);
            }
            Content::Owner(revision) => self.newest = self.newest.max(revision),
            Content::Route(number) => {
                if !self.routes.insert(number) {
                    let detail = format!("two routes have the number {number}");
                    self.found.push((Table::Routes, None, detail));
                }
            }
            Content::Usage { row: Some(row), count, .. } => {
                let sum = self.sums.entry((row.key, row.version)).or_default();
                let part = match row.outcome.tally() {
                    Tally::LetThrough => &mut sum.0,
                    Tally::Denied => &mut sum.1,
                };
                *part = part.saturating_add(count);
            }
            Content::Usage { row: None, .. } => self.unknown_outcomes += 1,
            Content::Totals(key, version, totals) => {
                self.totals.insert((key, version), (totals.requests, totals.denied));
            }
            Content::Sealed(id) => self.sealed.push(id),
            Content::Token | Content::Audit(_) | Content::Replay | Content::Merged => {}
        }
    }

    fn key(&mut self, key: &Key) {
        self.keys.insert(key.id);
        self.newest = self.newest.max(key.revision);
        if let Some(role) = &key.profile.role {
            self.roles_named.entry(role.clone()).or_insert(key.id);
        }
        if key.versions.is_empty() {
            self.found(Table::Keys, key.id, "it has no secret");
        }
        if !key.versions.is_sorted_by(|one, other| one.version < other.version) {
            self.found(Table::Keys, key.id, "the versions of its secret are out of order");
        }
        for version in &key.versions {
            if let Some(other) = self.digests.insert(version.digest, key.id).filter(|other| *other != key.id)
            {
                let detail = format!("its secret is that of {other} too, so one of the two cannot be used");
                self.found.push((Table::Keys, Some(key.id.to_string()), detail));
            }
        }
    }

    fn found(&mut self, table: Table, id: KeyId, detail: &str) {
        self.found.push((table, Some(id.to_string()), detail.to_owned()));
    }

    /// All that does not agree. What follows from a loss that is a finding itself is left out: `lossy` names the
    /// tables that have one.
    pub(super) fn disagreements(mut self, lossy: impl Fn(Table) -> bool) -> Vec<Disagreement> {
        if !lossy(Table::Meta) {
            for name in ["format", "store_id", "openings"] {
                if !self.facts.contains(name) {
                    self.found.push((Table::Meta, Some(name.into()), "the store has none".into()));
                }
            }
            let revision = self.revision.unwrap_or_default();
            if self.newest > revision {
                let detail = format!("it is {revision}, and a record has {}", self.newest);
                self.found.push((Table::Meta, Some("revision".into()), detail));
            }
        }
        if !lossy(Table::Roles) {
            for (role, key) in &self.roles_named {
                if !self.roles.contains(role) {
                    let detail = format!("it has the role {role:?}, which is not there");
                    self.found.push((Table::Keys, Some(key.to_string()), detail));
                }
            }
        }
        if !lossy(Table::Keys) {
            for id in std::mem::take(&mut self.sealed) {
                if !self.keys.contains(&id) {
                    self.found(Table::Sealed, id, "a secret is sealed for a key that is not there");
                }
            }
        }
        if !lossy(Table::Ledger) && !lossy(Table::Totals) && self.unknown_outcomes == 0 {
            self.compare_sums();
        }
        self.found
    }

    fn compare_sums(&mut self) {
        let mut wrong: Vec<(KeyId, u32)> = self
            .sums
            .iter()
            .filter(|(key, sum)| self.totals.get(key).copied().unwrap_or_default() != **sum)
            .map(|(key, _)| *key)
            .collect();
        let without = self.totals.iter().filter(|(key, sum)| **sum != (0, 0) && !self.sums.contains_key(key));
        wrong.extend(without.map(|(key, _)| *key));
        wrong.sort_unstable();
        for (key, version) in wrong {
            let (sum, total) = (self.sums.get(&(key, version)), self.totals.get(&(key, version)));
            let ((requests, denied), (kept, kept_denied)) =
                (sum.copied().unwrap_or_default(), total.copied().unwrap_or_default());
            let detail = format!(
                "version {version}: its sums are {kept} requests and {kept_denied} denied, its rows add up to \
                 {requests} and {denied}"
            );
            self.found.push((Table::Totals, Some(key.to_string()), detail));
        }
    }
}
