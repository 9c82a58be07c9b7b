//! What a stored record says, told from its bytes alone: for looking at a store that may be damaged, and at a backup
//! before it becomes a store.

use super::audit::Entry;
use super::backup::{Record, Table};
use super::record::{
    self, AuditRecord, Damage, KeyRecord, OwnerRecord, ReplayRecord, RoleRecord, SealedRecord, TokenRecord,
    TombstoneRecord,
};
use super::usage_tables::{self as rows, Row};
use super::{Totals, UsageKey, audit};
use crate::key::{Key, KeyId};

/// A record that was read.
#[derive(Debug)]
pub(super) enum Content {
    /// A fact about the store: its name, and its number if it is one.
    Fact(String, Option<u64>),
    /// A key.
    Key(Box<Key>),
    /// What is left of a deleted key.
    Tombstone(KeyId),
    /// An admin token.
    Token,
    /// A role, and the revision of its last change.
    Role(String, u64),
    /// An owner, and the revision of its last change.
    Owner(u64),
    /// An audit entry.
    Audit(Box<Entry>),
    /// A route's number.
    Route(u16),
    /// A row of the ledger; no key where its outcome is not known here.
    Usage {
        /// What is counted.
        row: Option<UsageKey>,
        /// How many.
        count: u64,
        /// The generation of the counter that was merged last.
        generation: u64,
    },
    /// A key's and version's sums.
    Totals(KeyId, u32, Totals),
    /// A key's sealed secret.
    Sealed(KeyId),
    /// An answer kept for a repeated call, or when it was made.
    Replay,
    /// What was merged of a counter of another process.
    Merged,
}

/// Reads a record.
///
/// # Errors
/// Why it is none.
pub(super) fn read(record: Record<'_>) -> Result<Content, String> {
    let Record { table, key, value } = record;
    let damage = |damage: Damage| damage.to_string();
    Ok(match table {
        Table::Meta => Content::Fact(text(key)?.to_owned(), fixed(value).map(u64::from_le_bytes)),
        Table::Keys => {
            let id = key_id(key)?;
            let found = record::decode::<KeyRecord>(value).and_then(|found| found.into_key(id));
            Content::Key(Box::new(found.map_err(damage)?))
        }
        Table::Tombstones => {
            let id = key_id(key)?;
            record::decode::<TombstoneRecord>(value).map_err(damage)?;
            Content::Tombstone(id)
        }
        Table::Tokens => {
            text(key)?;
            record::decode::<TokenRecord>(value).map_err(damage)?;
            Content::Token
        }
        Table::Roles => {
            let name = text(key)?;
            let role = record::decode::<RoleRecord>(value).and_then(|found| found.into_role(name));
            Content::Role(name.to_owned(), role.map_err(damage)?.revision)
        }
        Table::Owners => {
            let name = text(key)?;
            let owner = record::decode::<OwnerRecord>(value).map_err(damage)?.into_owner(name);
            Content::Owner(owner.revision)
        }
        Table::Audit => Content::Audit(Box::new(audit_entry(key, value)?)),
        Table::Routes => {
            text(key)?;
            Content::Route(u16::from_le_bytes(fixed(value).ok_or("a route has no number")?))
        }
        Table::Ledger => {
            let value = Row::read(&fixed(value).ok_or("a row has another length")?);
            let row = rows::read_row_key(&fixed(key).ok_or("a row's key has another length")?);
            Content::Usage { row, count: value.total(), generation: value.generation() }
        }
        Table::Totals => {
            let key = fixed(key).ok_or("a sum's key has another length")?;
            let totals = rows::read_totals(&fixed(value).ok_or("a sum has another length")?);
            Content::Totals(rows::key_of(&key), rows::version_of(&key), totals)
        }
        Table::Sealed => {
            let id = key_id(key)?;
            record::decode::<SealedRecord>(value).map_err(damage)?;
            Content::Sealed(id)
        }
        Table::Replays => {
            fixed::<32>(key).ok_or("an answer's key has another length")?;
            record::decode::<ReplayRecord>(value).map_err(damage)?;
            Content::Replay
        }
        Table::ReplayTimes => {
            fixed::<40>(key).ok_or("an answer's time has another length")?;
            Content::Replay
        }
        Table::Predecessors => {
            fixed::<8>(key).and(fixed::<8>(value)).ok_or("a merged count has another length")?;
            Content::Merged
        }
    })
}

fn audit_entry(key: &[u8], value: &[u8]) -> Result<Entry, String> {
    let seq = u64::from_le_bytes(fixed(key).ok_or("an entry has no number")?);
    let found = record::decode::<AuditRecord>(value).map_err(|damage| damage.to_string())?;
    if found.seq != seq {
        return Err(format!("it says that it is entry {}", found.seq));
    }
    Ok(found.into_entry(audit::hash(value)))
}

/// What a record is called for people: a key's ID, a role's name, an entry's number.
pub(super) fn name(table: Table, key: &[u8]) -> Option<String> {
    match table {
        Table::Keys | Table::Tombstones | Table::Sealed => key_id(key).ok().map(|id| id.to_string()),
        Table::Audit => Some(u64::from_le_bytes(fixed(key)?).to_string()),
        Table::Ledger | Table::Totals => {
            key.first_chunk().map(|id| KeyId::from_u128(u128::from_be_bytes(*id)).to_string())
        }
        Table::Replays | Table::ReplayTimes | Table::Predecessors => None,
        Table::Meta | Table::Tokens | Table::Roles | Table::Owners | Table::Routes => {
            text(key).ok().map(str::to_owned)
        }
    }
}

/// Whether the record itself shows that it is whole, even where the page around it is not: its checksum was right.
pub(super) const fn has_checksum(table: Table) -> bool {
    !matches!(
        table,
        Table::Meta
            | Table::Routes
            | Table::Ledger
            | Table::Totals
            | Table::ReplayTimes
            | Table::Predecessors
    )
}

/// Whether records of one table follow each other as they do in a page.
pub(super) fn are_in_order(records: &[Record<'_>]) -> bool {
    let table = records.first().map(|record| record.table);
    if table == Some(Table::Predecessors) {
        return records.is_sorted_by_key(|record| fixed(record.key).map(u64::from_le_bytes));
    }
    records.is_sorted_by(|one, other| match (fixed(one.key), fixed(other.key)) {
        (Some(one), Some(other))
            if matches!(table, Some(Table::Keys | Table::Tombstones | Table::Sealed)) =>
        {
            u128::from_le_bytes(one) < u128::from_le_bytes(other)
        }
        _ => one.key < other.key,
    })
}

fn key_id(key: &[u8]) -> Result<KeyId, String> {
    fixed(key)
        .map(|bytes| KeyId::from_u128(u128::from_le_bytes(bytes)))
        .ok_or_else(|| "a key's ID has another length".into())
}

fn text(key: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(key).map_err(|_| "its name is not UTF-8".into())
}

fn fixed<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}
