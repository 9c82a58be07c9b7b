//! A way in for the fuzz targets, which are built outside of this crate: stored bytes are read, and written again.
//!
//! No part of the gateway uses it.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::record::{
    AuditRecord, Damage, KeyRecord, OwnerRecord, ReplayRecord, RoleRecord, SealedRecord, TokenRecord,
    TombstoneRecord, decode, encode,
};
use super::usage_tables::{Row, read_row_key, read_totals, row_key, totals_bytes};
use super::{AdminToken, Counted, Tombstone, UsageKey, audit};
use crate::clock::Timestamp;
use crate::key::group::{Owner, Role};
use crate::key::{Key, KeyId};

/// A record as the store gives it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A key.
    Key(Box<Key>),
    /// A role.
    Role(Role),
    /// An owner.
    Owner(Owner),
    /// An admin token.
    Token(AdminToken),
    /// What is left of a key.
    Tombstone(Tombstone),
    /// An entry of the audit log.
    Entry(audit::Entry),
    /// The answer kept for a repeated call.
    Replay(super::sealed::Replay),
    /// A sealed secret.
    Sealed(super::sealed::SealedSecret),
}

/// Which table the bytes are from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// Keys.
    Keys,
    /// Roles.
    Roles,
    /// Owners.
    Owners,
    /// Admin tokens.
    Tokens,
    /// What is left of deleted keys.
    Tombstones,
    /// The audit log.
    Audit,
    /// Answers kept for repeated calls.
    Replays,
    /// Sealed secrets.
    Sealed,
}

impl Table {
    /// Every table.
    pub const ALL: [Self; 8] = [
        Self::Keys,
        Self::Roles,
        Self::Owners,
        Self::Tokens,
        Self::Tombstones,
        Self::Audit,
        Self::Replays,
        Self::Sealed,
    ];
}

/// What the records' own tables would be asked for.
const ID: KeyId = KeyId::from_u128(7);
const NAME: &str = "name";

/// Version and checksum before a record's content, which then passes for one of the present format.
pub fn with_head(content: &[u8]) -> Vec<u8> {
    let mut out = vec![1];
    out.extend(crc32fast::hash(content).to_le_bytes());
    out.extend(content);
    out
}

/// The record, and its bytes as they would be written now.
///
/// # Errors
/// What the store would say of it.
pub fn read(table: Table, stored: &[u8]) -> Result<(Value, Vec<u8>), String> {
    let read = match table {
        Table::Keys => one(stored, |r: KeyRecord| r.into_key(ID), |key| KeyRecord::from(key))
            .map(|(key, bytes)| (Value::Key(Box::new(key)), bytes)),
        Table::Roles => one(stored, |r: RoleRecord| r.into_role(NAME), |role| RoleRecord::from(role))
            .map(|(role, bytes)| (Value::Role(role), bytes)),
        Table::Owners => {
            one(stored, |r: OwnerRecord| Ok(r.into_owner(NAME)), |owner| OwnerRecord::from(owner))
                .map(|(owner, bytes)| (Value::Owner(owner), bytes))
        }
        Table::Tokens => {
            one(stored, |r: TokenRecord| Ok(r.into_token(NAME)), |token| TokenRecord::from(token))
                .map(|(token, bytes)| (Value::Token(token), bytes))
        }
        Table::Tombstones => {
            one(stored, |r: TombstoneRecord| Ok(r.into_tombstone(ID)), |stone| TombstoneRecord::from(stone))
                .map(|(stone, bytes)| (Value::Tombstone(stone), bytes))
        }
        Table::Audit => decode::<AuditRecord>(stored).map(|record| {
            let bytes = encode(&record);
            (Value::Entry(record.into_entry(audit::hash(stored))), bytes)
        }),
        Table::Replays => {
            one(stored, |r: ReplayRecord| Ok(r.into_replay([0; 32])), |replay| ReplayRecord::from(replay))
                .map(|(replay, bytes)| (Value::Replay(replay), bytes))
        }
        Table::Sealed => {
            one(stored, |r: SealedRecord| Ok(r.into_secret(ID)), |secret| SealedRecord::from(secret))
                .map(|(secret, bytes)| (Value::Sealed(secret), bytes))
        }
    };
    read.map_err(|damage| damage.to_string())
}

fn one<R: DeserializeOwned + Serialize, T>(
    stored: &[u8],
    out: impl FnOnce(R) -> Result<T, Damage>,
    back: impl FnOnce(&T) -> R,
) -> Result<(T, Vec<u8>), Damage> {
    let value = out(decode(stored)?)?;
    let bytes = encode(&back(&value));
    Ok((value, bytes))
}

/// A row of the ledger as it would be written again, key and value: nothing where its outcome is unknown.
pub fn ledger_row(key: &[u8; 27], value: &[u8; 24]) -> Option<([u8; 27], [u8; 24])> {
    let row = read_row_key(key)?;
    Some((row_key(&row), Row::read(value).bytes()))
}

/// What a row counts in all: before a merge, after it, and after the same merge once more.
pub fn merged_totals(key: &[u8; 27], value: &[u8; 24], generation: u64, count: u64) -> Option<[u64; 3]> {
    let row: UsageKey = read_row_key(key)?;
    let at = Timestamp::default();
    let counted = Counted { generation, row, count, first_used: at, last_used: at };
    let before = Row::read(value);
    let once = before.merged(&counted);
    Some([before.total(), once.total(), once.merged(&counted).total()])
}

/// The totals of a secret as they would be written again.
pub fn totals(value: &[u8; 32]) -> [u8; 32] {
    totals_bytes(&read_totals(value))
}
