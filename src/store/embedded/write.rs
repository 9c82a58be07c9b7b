//! What a write transaction does, step by step.

use redb::{ReadableTable, WriteTransaction};

use super::tables::{AUDIT, KEYS, META, OWNERS, ROLES, TOKENS, TOMBSTONES};
use super::{Outcome, sealed};
use crate::store::record::{
    self, AuditRecord, KeyRecord, OwnerRecord, RoleRecord, TokenRecord, TombstoneRecord,
};
use crate::store::{Revision, Write, audit};

/// The number kept in the meta table under `name`.
pub(super) fn meta_u64(transaction: &WriteTransaction, name: &str) -> Outcome<u64> {
    let meta = transaction.open_table(META)?;
    let stored = meta.get(name)?;
    Ok(stored.and_then(|value| value.value().first_chunk().map(|b| u64::from_le_bytes(*b))).unwrap_or(0))
}

pub(super) fn set_meta_u64(transaction: &WriteTransaction, name: &str, value: u64) -> Outcome<()> {
    transaction.open_table(META)?.insert(name, &value.to_le_bytes()[..])?;
    Ok(())
}

pub(super) fn apply_write(
    transaction: &WriteTransaction,
    write: &mut Write,
    revision: Revision,
) -> Outcome<()> {
    match write {
        Write::PutKey(key) => {
            key.revision = revision;
            let bytes = record::encode(&KeyRecord::from(&**key));
            transaction.open_table(KEYS)?.insert(key.id.as_u128(), &bytes[..])?;
        }
        Write::DeleteKey(stone) => {
            transaction.open_table(KEYS)?.remove(stone.id.as_u128())?;
            let bytes = record::encode(&TombstoneRecord::from(&*stone));
            transaction.open_table(TOMBSTONES)?.insert(stone.id.as_u128(), &bytes[..])?;
            sealed::drop_secret(transaction, stone.id)?;
        }
        Write::PutToken(token) => {
            let bytes = record::encode(&TokenRecord::from(&*token));
            transaction.open_table(TOKENS)?.insert(token.id.as_str(), &bytes[..])?;
        }
        Write::DeleteToken(id) => {
            transaction.open_table(TOKENS)?.remove(id.as_str())?;
        }
        Write::PutRole(role) => {
            role.revision = revision;
            let bytes = record::encode(&RoleRecord::from(&*role));
            transaction.open_table(ROLES)?.insert(role.name.as_str(), &bytes[..])?;
        }
        Write::DeleteRole(name) => {
            transaction.open_table(ROLES)?.remove(name.as_str())?;
        }
        Write::PutOwner(owner) => {
            owner.revision = revision;
            let bytes = record::encode(&OwnerRecord::from(&*owner));
            transaction.open_table(OWNERS)?.insert(owner.name.as_str(), &bytes[..])?;
        }
        Write::DeleteOwner(name) => {
            transaction.open_table(OWNERS)?.remove(name.as_str())?;
        }
        Write::PutReplay(replay) => {
            replay.revision = revision;
            sealed::put_replay(transaction, replay)?;
        }
        Write::PutSealed(secret) => sealed::put_secret(transaction, secret)?,
        Write::DropSealed(key) => sealed::drop_secret(transaction, *key)?,
        Write::PutMasterCheck(check) => sealed::set_master_check(transaction, Some(check))?,
    }
    Ok(())
}

/// Writes audit entries, each chained to the one before.
pub(super) fn append_audit(transaction: &WriteTransaction, drafts: &[audit::Draft]) -> Outcome<()> {
    let mut table = transaction.open_table(AUDIT)?;
    let (mut seq, mut hash) = match table.last()? {
        Some((seq, stored)) => (seq.value(), audit::hash(stored.value())),
        None => (0, [0; 32]),
    };
    for draft in drafts {
        seq += 1;
        let bytes = record::encode(&AuditRecord::new(draft, seq, hash));
        hash = audit::hash(&bytes);
        table.insert(seq, &bytes[..])?;
    }
    Ok(())
}
