//! Is a store whole, and what of it can be saved? Reads everything, changes nothing, and believes no byte unchecked.

mod agree;

use std::path::Path;

use super::StoreError;
use super::audit::Chain;
use super::audit::Entry;
use super::backup::{Record, Table};
use super::contents::{self, Content};
use super::embedded::{Inspected, RECORD_FORMAT, Scope, inspect};
use agree::Agreement;

/// Findings that are listed; all are counted.
pub const MAX_LISTED: usize = 1_000;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The table, or `file`.
    pub place: &'static str,
    /// Which record, where that is known: a key's ID, a role's name, an entry's number.
    pub id: Option<String>,
    /// What is wrong.
    pub detail: String,
}

/// How much of a table there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Records that it should have; unknown where its own entry is lost.
    pub stored: Option<u64>,
    /// Records that can be read, and so be saved.
    pub readable: u64,
}

/// What a look at a store came to.
#[derive(Debug, Default)]
pub struct Examination {
    /// What is wrong, up to [`MAX_LISTED`].
    pub findings: Vec<Finding>,
    /// How many things are wrong.
    pub wrong: u64,
    /// Each table, in the order of [`Table::ALL`].
    pub counts: [Count; Table::ALL.len()],
    /// The store's own ID, if it can be read: the usage file beside it must name the same.
    pub store_id: Option<u128>,
    /// The chain of the audit log.
    pub chain: Chain,
    /// The first audit entry that does not follow from the one before it.
    pub broken_at: Option<u64>,
}

/// Shows the audit log of the store in the file at `path`, oldest entry first, and between the entries what is damaged.
///
/// # Errors
/// The file is not there, cannot be read, or is in use.
pub fn audit_log(path: &Path, each: &mut dyn FnMut(Result<Entry, String>)) -> Result<(), StoreError> {
    inspect(path, Scope::Only(Table::Audit), &mut |inspected| match inspected {
        Inspected::Record(record) => match contents::read(record) {
            Ok(Content::Audit(entry)) => each(Ok(*entry)),
            Ok(_) => {}
            Err(why) => each(Err(why)),
        },
        Inspected::Damage(_, what) => each(Err(what)),
        Inspected::Table(..) | Inspected::Doubtful(..) => {}
    })
}

/// Takes what can be saved.
pub type Save<'a> = &'a mut dyn FnMut(Record<'_>) -> std::io::Result<()>;

impl Examination {
    /// Looks at the store in the file at `path`, and gives `save` every record that is whole.
    ///
    /// # Errors
    /// The file is not there, cannot be read, or is in use; or `save` failed. Damage is no error but a finding.
    pub fn of(path: &Path, save: Save<'_>) -> Result<Self, StoreError> {
        let mut examined = Self::default();
        let mut agreement = Agreement::default();
        let mut failed = None;
        inspect(path, Scope::All, &mut |inspected| {
            if failed.is_none() {
                failed = examined.look(inspected, &mut agreement, save).err();
            }
        })?;
        if let Some(error) = failed {
            return Err(StoreError::Io {
                path: path.into(),
                cause: format!("a record cannot be saved: {error}"),
            });
        }
        let lossy = |table: Table| examined.is_lossy(table);
        let disagreements = agreement.disagreements(lossy);
        for (place, id, detail) in disagreements {
            examined.note(place.name(), id, detail);
        }
        Ok(examined)
    }

    /// Notes what is wrong.
    pub fn note(&mut self, place: &'static str, id: Option<String>, detail: String) {
        self.wrong += 1;
        if self.findings.len() < MAX_LISTED {
            self.findings.push(Finding { place, id, detail });
        }
    }

    /// How much there is of a table.
    pub fn count(&self, table: Table) -> Count {
        self.counts[table as usize - 1]
    }

    fn is_lossy(&self, table: Table) -> bool {
        let Count { stored, readable } = self.count(table);
        stored != Some(readable)
    }

    fn look(
        &mut self,
        inspected: Inspected<'_>,
        agreement: &mut Agreement,
        save: Save<'_>,
    ) -> std::io::Result<()> {
        match inspected {
            Inspected::Table(table, records) => self.counts[table as usize - 1].stored = Some(records),
            Inspected::Damage(table, detail) => {
                self.note(table.map_or("file", Table::name), None, detail);
            }
            Inspected::Record(record) => match contents::read(record) {
                Ok(content) => return self.keep(record, content, agreement, save),
                Err(why) => self.note(record.table.name(), contents::name(record.table, record.key), why),
            },
            Inspected::Doubtful(table, records) => return self.doubtful(table, &records, agreement, save),
        }
        Ok(())
    }

    /// Records of a damaged page. Of most tables each shows by its own checksum whether it is whole; but the key that
    /// it is filed under is outside that checksum. A page holds its keys between the lengths and the values of its
    /// records: so where the first and the last are sound and one between them is not, a run of damaged bytes lies
    /// among the values, and the keys are right. Else the sound ones are not kept.
    fn doubtful(
        &mut self,
        table: Table,
        records: &[Record<'_>],
        agreement: &mut Agreement,
        save: Save<'_>,
    ) -> std::io::Result<()> {
        let read: Vec<_> = records.iter().map(|record| contents::read(*record)).collect();
        let sound = |one: Option<&Result<Content, String>>| one.is_some_and(Result::is_ok);
        let among_values = sound(read.first())
            && sound(read.last())
            && read.iter().any(Result::is_err)
            && contents::are_in_order(records);
        // An audit entry says itself what it is filed under.
        let kept = contents::has_checksum(table) && (among_values || table == Table::Audit);
        for (record, content) in records.iter().zip(read) {
            match content {
                Ok(content) if kept => self.keep(*record, content, agreement, save)?,
                // Without a checksum of its own nothing can be said of it, not even its name.
                _ if !contents::has_checksum(table) => {}
                Ok(_) => {
                    let why = "it is on a damaged page, and may be filed under a wrong name".into();
                    self.note(table.name(), contents::name(table, record.key), why);
                }
                Err(why) => self.note(table.name(), contents::name(table, record.key), why),
            }
        }
        Ok(())
    }

    fn keep(
        &mut self,
        record: Record<'_>,
        content: Content,
        agreement: &mut Agreement,
        save: Save<'_>,
    ) -> std::io::Result<()> {
        self.counts[record.table as usize - 1].readable += 1;
        if let Content::Audit(entry) = &content
            && let Err(seq) = self.chain.follow(entry)
        {
            self.chain.go_on_from(entry);
            self.broken_at.get_or_insert(seq);
            let detail = "the chain of the audit log breaks here: an entry was changed or is missing";
            self.note(Table::Audit.name(), Some(seq.to_string()), detail.into());
        }
        if let Content::Fact(name, _) = &content
            && name == "store_id"
        {
            self.store_id = record.value.try_into().ok().map(u128::from_le_bytes);
        }
        if let Content::Fact(name, Some(format)) = &content
            && name == "format"
            && *format > u64::from(RECORD_FORMAT)
        {
            let detail = format!(
                "it is {format}, and this version reads up to {RECORD_FORMAT}; use a newer portcullis"
            );
            self.note(Table::Meta.name(), Some(name.clone()), detail);
        }
        agreement.add(content);
        if record.table.is_backed_up() { save(record) } else { Ok(()) }
    }
}
