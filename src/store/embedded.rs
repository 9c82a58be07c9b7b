//! The embedded store: one redb file, opened by one process at a time.
//!
//! Every commit is immediate (fsync), two-phase (a crash in the middle of a commit cannot be mistaken for a finished
//! one) and leaves what a quick repair needs, so that a start after `kill -9` takes milliseconds.

mod copy;
mod heal;
mod inspect;
mod mend;
mod merge;
mod open;
mod page;
mod pages;
mod restore;
mod sealed;
mod tables;
mod write;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use redb::{ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata, WriteTransaction};

use super::record::{
    self, AuditRecord, Damage, KeyRecord, OwnerRecord, RoleRecord, TokenRecord, TombstoneRecord,
};
use super::usage_tables::{self as rows, Row};
use super::{
    Added, AdminToken, Change, Counted, Direction, Revision, Side, Store, StoreError, Tombstone, Totals,
    UsageKey, UsageRange, Visit, VisitRecord, audit,
};
use crate::clock::Clock;
use crate::key::group::{Owner, Role};
use crate::key::{Key, KeyId};
pub use inspect::{Inspected, Scope, inspect};
pub use open::{NEWEST_FORMAT as RECORD_FORMAT, Peppering};
pub use restore::{Restored, restore};
use tables::{AUDIT, KEYS, LEDGER, OWNERS, REVISION, ROLES, ROUTES, TOKENS, TOMBSTONES, TOTALS};
use write::{append_audit, apply_write, meta_u64, set_meta_u64};

/// Told how long each commit took.
type OnCommit = Box<dyn Fn(Duration) + Send + Sync>;

/// A store in one file.
pub struct EmbeddedStore {
    file: heal::OpenFile,
    path: PathBuf,
    store_id: u128,
    opening: u32,
    observer: Option<(Arc<dyn Clock>, OnCommit)>,
}

impl std::fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EmbeddedStore({})", self.path.display())
    }
}

/// What can go wrong inside an operation, before the path is added.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Redb(#[from] redb::Error),
    #[error(transparent)]
    Damage(#[from] Damage),
    #[error("{0}")]
    Full(&'static str),
}

macro_rules! from_redb {
    ($($error:ident),*) => {$(
        impl From<redb::$error> for Fault {
            fn from(error: redb::$error) -> Self {
                Self::Redb(error.into())
            }
        }
    )*};
}

from_redb!(TransactionError, TableError, StorageError, CommitError, SetDurabilityError);

type Outcome<T> = Result<T, Fault>;

impl EmbeddedStore {
    fn error(&self, fault: &Fault) -> StoreError {
        let (path, cause) = (self.path.clone(), fault.to_string());
        match fault {
            Fault::Damage(_) | Fault::Redb(redb::Error::Corrupted(_)) => StoreError::Corrupt { path, cause },
            Fault::Redb(_) | Fault::Full(_) => StoreError::Io { path, cause },
        }
    }

    fn read<T>(&self, run: impl FnOnce(&ReadTransaction) -> Outcome<T>) -> Result<T, StoreError> {
        self.with_file(|database| run(&database.begin_read()?))
    }

    /// Tells `observe` how long each commit takes.
    pub fn observe_commits(&mut self, clock: Arc<dyn Clock>, observe: OnCommit) {
        self.observer = Some((clock, observe));
    }

    fn commit_transaction(&self, transaction: WriteTransaction) -> Outcome<()> {
        let started = self.observer.as_ref().map(|(clock, _)| clock.monotonic());
        transaction.commit()?;
        if let (Some((clock, observe)), Some(started)) = (&self.observer, started) {
            observe(clock.monotonic().since(started));
        }
        Ok(())
    }

    /// Runs `run` in one transaction that is durable when this returns `Ok`, and did nothing when it returns `Err`.
    fn write<T>(&self, run: impl FnOnce(&WriteTransaction) -> Outcome<T>) -> Result<T, StoreError> {
        self.with_file(|database| {
            let mut transaction = database.begin_write()?;
            transaction.set_two_phase_commit(true);
            transaction.set_quick_repair(true);
            let value = run(&transaction)?;
            self.commit_transaction(transaction)?;
            self.file.takes_writes();
            Ok(value)
        })
    }
}

fn read_key(id: u128, stored: &[u8]) -> Result<Key, Damage> {
    let id = KeyId::from_u128(id);
    record::decode::<KeyRecord>(stored)?.into_key(id)
}

impl Store for EmbeddedStore {
    fn store_id(&self) -> u128 {
        self.store_id
    }

    fn opening(&self) -> u32 {
        self.opening
    }

    fn check(&self) -> Result<(), StoreError> {
        self.is_ours()?;
        if self.file.is_well() {
            return Ok(());
        }
        self.write(|transaction| set_meta_u64(transaction, REVISION, meta_u64(transaction, REVISION)?))
    }

    fn commit(&self, change: &mut Change) -> Result<Revision, StoreError> {
        let revision = self.write(|transaction| {
            let revision = meta_u64(transaction, REVISION)? + 1;
            for write in &mut change.writes {
                apply_write(transaction, write, revision)?;
            }
            append_audit(transaction, &change.audit)?;
            set_meta_u64(transaction, REVISION, revision)?;
            Ok(revision)
        })?;
        self.file.acknowledged(revision);
        Ok(revision)
    }

    fn key(&self, id: KeyId) -> Result<Option<Key>, StoreError> {
        self.read(|transaction| {
            let stored = transaction.open_table(KEYS)?.get(id.as_u128())?;
            Ok(stored.map(|value| read_key(id.as_u128(), value.value())).transpose()?)
        })
    }

    fn keys(
        &self,
        direction: Direction,
        after: Option<KeyId>,
        each: Visit<'_, Key>,
    ) -> Result<(), StoreError> {
        self.read(|transaction| {
            let table = transaction.open_table(KEYS)?;
            let mut range = match (direction, after) {
                (_, None) => table.range::<u128>(..)?,
                (Direction::Ascending, Some(id)) => table.range(id.as_u128().saturating_add(1)..)?,
                (Direction::Descending, Some(id)) => table.range(..id.as_u128())?,
            };
            let mut next = || match direction {
                Direction::Ascending => range.next(),
                Direction::Descending => range.next_back(),
            };
            while let Some((id, stored)) = next().transpose()? {
                if each(read_key(id.value(), stored.value())?).is_break() {
                    break;
                }
            }
            Ok(())
        })
    }

    fn key_count(&self) -> Result<u64, StoreError> {
        self.read(|transaction| Ok(transaction.open_table(KEYS)?.len()?))
    }

    fn tombstone(&self, id: KeyId) -> Result<Option<Tombstone>, StoreError> {
        self.read(|transaction| {
            let stored = transaction.open_table(TOMBSTONES)?.get(id.as_u128())?;
            let decode =
                |value: &[u8]| record::decode::<TombstoneRecord>(value).map(|r| r.into_tombstone(id));
            Ok(stored.map(|value| decode(value.value())).transpose()?)
        })
    }

    fn tokens(&self) -> Result<Vec<AdminToken>, StoreError> {
        self.read(|transaction| {
            let mut tokens = Vec::new();
            for row in transaction.open_table(TOKENS)?.range::<&str>(..)? {
                let (id, stored) = row?;
                tokens.push(record::decode::<TokenRecord>(stored.value())?.into_token(id.value()));
            }
            Ok(tokens)
        })
    }

    fn roles(&self) -> Result<Vec<Role>, StoreError> {
        self.read(|transaction| {
            let mut roles = Vec::new();
            for row in transaction.open_table(ROLES)?.range::<&str>(..)? {
                let (name, stored) = row?;
                roles.push(record::decode::<RoleRecord>(stored.value())?.into_role(name.value())?);
            }
            Ok(roles)
        })
    }

    fn owners(&self) -> Result<Vec<Owner>, StoreError> {
        self.read(|transaction| {
            let mut owners = Vec::new();
            for row in transaction.open_table(OWNERS)?.range::<&str>(..)? {
                let (name, stored) = row?;
                owners.push(record::decode::<OwnerRecord>(stored.value())?.into_owner(name.value()));
            }
            Ok(owners)
        })
    }

    fn audit(&self, direction: Direction, each: Visit<'_, audit::Entry>) -> Result<(), StoreError> {
        self.read(|transaction| {
            let table = transaction.open_table(AUDIT)?;
            let mut range = table.range::<u64>(..)?;
            let mut next = || match direction {
                Direction::Ascending => range.next(),
                Direction::Descending => range.next_back(),
            };
            while let Some((_, stored)) = next().transpose()? {
                let hash = audit::hash(stored.value());
                let entry = record::decode::<AuditRecord>(stored.value())?.into_entry(hash);
                if each(entry).is_break() {
                    break;
                }
            }
            Ok(())
        })
    }

    fn route_numbers(&self, labels: &[String]) -> Result<Vec<u16>, StoreError> {
        self.write(|transaction| {
            let mut table = transaction.open_table(ROUTES)?;
            let mut numbers = Vec::with_capacity(labels.len());
            for label in labels {
                let known = table.get(label.as_str())?.map(|value| value.value());
                let next =
                    u16::try_from(table.len()?).map_err(|_| Fault::Full("65,536 routes were named"))?;
                let number = known.unwrap_or(next);
                if known.is_none() {
                    table.insert(label.as_str(), number)?;
                }
                numbers.push(number);
            }
            Ok(numbers)
        })
    }

    fn route_labels(&self) -> Result<Vec<(u16, String)>, StoreError> {
        self.read(|transaction| {
            let mut labels = Vec::new();
            for row in transaction.open_table(ROUTES)?.range::<&str>(..)? {
                let (label, number) = row?;
                labels.push((number.value(), label.value().to_owned()));
            }
            Ok(labels)
        })
    }

    fn merge_usage(&self, counted: &[Counted], side: Side) -> Result<Vec<Added>, StoreError> {
        self.write(|transaction| merge::merge(transaction, counted, side))
    }

    fn forget_predecessors(&self) -> Result<(), StoreError> {
        self.write(merge::forget_predecessors)
    }

    fn hand_over(&self, patience: Duration) -> Result<(), StoreError> {
        self.close(patience)
    }

    fn take_back(&self) {
        self.reopen();
    }

    fn merged_count(&self, row: &UsageKey, generation: u64) -> Result<Option<u64>, StoreError> {
        self.read(|transaction| {
            let stored = transaction.open_table(LEDGER)?.get(rows::row_key(row))?;
            Ok(stored.and_then(|value| Row::read(&value.value()).count_of(generation)))
        })
    }

    fn totals(&self, key: KeyId) -> Result<Vec<(u32, Totals)>, StoreError> {
        self.read(|transaction| {
            let range = rows::totals_key(key, 0)..=rows::totals_key(key, u32::MAX);
            let mut totals = Vec::new();
            for row in transaction.open_table(TOTALS)?.range(range)? {
                let (key, stored) = row?;
                totals.push((rows::version_of(&key.value()), rows::read_totals(&stored.value())));
            }
            Ok(totals)
        })
    }

    fn all_totals(&self, each: Visit<'_, (KeyId, Totals)>) -> Result<(), StoreError> {
        self.read(|transaction| {
            for row in transaction.open_table(TOTALS)?.iter()? {
                let (key, stored) = row?;
                if each((rows::key_of(&key.value()), rows::read_totals(&stored.value()))).is_break() {
                    break;
                }
            }
            Ok(())
        })
    }

    fn usage(&self, range: UsageRange, each: Visit<'_, (UsageKey, u64)>) -> Result<(), StoreError> {
        let whole = UsageRange { key: None, ..range };
        let (first, last) = match range.key {
            Some(key) => (rows::row_bound(key, range.from_hour), rows::row_bound(key, range.to_hour)),
            None => ([0; 27], [0xff; 27]),
        };
        self.read(|transaction| {
            for row in transaction.open_table(LEDGER)?.range(first..last)? {
                let (key, stored) = row?;
                let Some(row) = rows::read_row_key(&key.value()) else { continue };
                let inside = row.hour >= whole.from_hour && row.hour < whole.to_hour;
                if inside && each((row, Row::read(&stored.value()).total())) == ControlFlow::Break(()) {
                    break;
                }
            }
            Ok(())
        })
    }

    fn record_format(&self) -> u32 {
        open::NEWEST_FORMAT
    }

    fn records(&self, each: VisitRecord<'_>) -> Result<(), StoreError> {
        self.read(|transaction| copy::records(transaction, each))
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod damage_tests;
