//! Committed changes as bytes, for a process that checks keys from memory and has no store any more.
//!
//! Only what the decision reads is in them: keys, roles and owners. What else changes leaves an empty message behind, so
//! that whoever waits for its answer knows that everything before was heard.

use super::record::{self, Damage, KeyRecord, OwnerRecord, RoleRecord};
use super::{Tombstone, Write};
use crate::clock::Timestamp;
use crate::key::KeyId;

/// A message is ended at the first write that brings it over this.
const FULL_BYTES: usize = 256 << 10;

const PUT_KEY: u8 = 1;
const DELETE_KEY: u8 = 2;
const PUT_ROLE: u8 = 3;
const DELETE_ROLE: u8 = 4;
const PUT_OWNER: u8 = 5;
const DELETE_OWNER: u8 = 6;

/// Bytes that are no change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what another process sent is no change")]
pub struct NoChange;

impl From<Damage> for NoChange {
    fn from(_: Damage) -> Self {
        Self
    }
}

/// The messages that tell of these writes, of which there is at least one unless there is nothing to tell.
pub fn encode(writes: &[Write]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    let mut message = Vec::new();
    for write in writes {
        put(&mut message, write);
        if message.len() > FULL_BYTES {
            messages.push(std::mem::take(&mut message));
        }
    }
    if !message.is_empty() || (messages.is_empty() && !writes.is_empty()) {
        messages.push(message);
    }
    messages
}

/// What a message tells of.
///
/// # Errors
/// It is none.
pub fn decode(mut message: &[u8]) -> Result<Vec<Write>, NoChange> {
    let mut writes = Vec::new();
    while let Some((kind, rest)) = message.split_first() {
        let (name, rest) = take(rest)?;
        let (body, rest) = take(rest)?;
        writes.push(read(*kind, name, body)?);
        message = rest;
    }
    Ok(writes)
}

fn put(message: &mut Vec<u8>, write: &Write) {
    let mut add = |kind: u8, name: &[u8], body: &[u8]| {
        message.push(kind);
        for part in [name, body] {
            // No record comes near 4 GiB: what may be in one is bounded where it is read.
            message.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
            message.extend_from_slice(part);
        }
    };
    let id = |id: KeyId| id.as_u128().to_le_bytes();
    match write {
        Write::PutKey(key) => add(PUT_KEY, &id(key.id), &record::encode(&KeyRecord::from(&**key))),
        Write::DeleteKey(stone) => add(DELETE_KEY, &id(stone.id), &[]),
        Write::PutRole(role) => {
            add(PUT_ROLE, role.name.as_bytes(), &record::encode(&RoleRecord::from(role)));
        }
        Write::DeleteRole(name) => add(DELETE_ROLE, name.as_bytes(), &[]),
        Write::PutOwner(owner) => {
            add(PUT_OWNER, owner.name.as_bytes(), &record::encode(&OwnerRecord::from(owner)));
        }
        Write::DeleteOwner(name) => add(DELETE_OWNER, name.as_bytes(), &[]),
        Write::PutToken(_)
        | Write::DeleteToken(_)
        | Write::PutReplay(_)
        | Write::PutSealed(_)
        | Write::DropSealed(_)
        | Write::PutMasterCheck(_) => {}
    }
}

fn take(bytes: &[u8]) -> Result<(&[u8], &[u8]), NoChange> {
    let (length, rest) = bytes.split_first_chunk().ok_or(NoChange)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| NoChange)?;
    rest.split_at_checked(length).ok_or(NoChange)
}

fn read(kind: u8, name: &[u8], body: &[u8]) -> Result<Write, NoChange> {
    let id =
        || name.try_into().map(|bytes| KeyId::from_u128(u128::from_le_bytes(bytes))).map_err(|_| NoChange);
    let text = || std::str::from_utf8(name).map_err(|_| NoChange);
    Ok(match kind {
        PUT_KEY => Write::PutKey(Box::new(record::decode::<KeyRecord>(body)?.into_key(id()?)?)),
        DELETE_KEY => Write::DeleteKey(Tombstone {
            id: id()?,
            name: String::new(),
            owner: None,
            deleted_at: Timestamp::default(),
        }),
        PUT_ROLE => Write::PutRole(record::decode::<RoleRecord>(body)?.into_role(text()?)?),
        DELETE_ROLE => Write::DeleteRole(text()?.to_owned()),
        PUT_OWNER => Write::PutOwner(record::decode::<OwnerRecord>(body)?.into_owner(text()?)),
        DELETE_OWNER => Write::DeleteOwner(text()?.to_owned()),
        _ => return Err(NoChange),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_read_back_and_anything_else_is_refused() {
        let stone = |id| Tombstone {
            id: KeyId::from_u128(id),
            name: "x".into(),
            owner: None,
            deleted_at: Timestamp::default(),
        };
        let writes = [
            Write::DeleteKey(stone(7)),
            Write::DropSealed(KeyId::from_u128(7)),
            Write::DeleteRole("ops".into()),
            Write::DeleteOwner("acme".into()),
        ];
        let messages = encode(&writes);
        assert_eq!(messages.len(), 1);
        let told = decode(&messages[0]).unwrap();
        let [Write::DeleteKey(gone), Write::DeleteRole(role), Write::DeleteOwner(owner)] = &told[..] else {
            panic!("{told:?}")
        };
        assert_eq!((gone.id, role.as_str(), owner.as_str()), (KeyId::from_u128(7), "ops", "acme"));
        for cut in 1..messages[0].len() {
            let whole_writes = decode(&messages[0][..cut]).map(|told| told.len());
            assert!(whole_writes.is_err() || whole_writes.is_ok_and(|told| told < 3), "{cut}");
        }
        assert!(decode(&[9, 0, 0, 0, 0, 0, 0, 0, 0]).is_err());
        assert!(encode(&[]).is_empty());
        assert_eq!(encode(&[Write::DeleteToken("admt_x".into())]), [Vec::<u8>::new()], "an empty message");
    }
}
