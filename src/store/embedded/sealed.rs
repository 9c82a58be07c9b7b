//! The tables of what is sealed.

use redb::{ReadTransaction, ReadableTable, WriteTransaction};

use super::tables::{MASTER_CHECK, META, REPLAY_TIMES, REPLAYS, SEALED};
use super::{Fault, Outcome};
use crate::clock::Timestamp;
use crate::key::KeyId;
use crate::store::record::{self, Damage, ReplayRecord, SealedRecord};
use crate::store::sealed::{Replay, ReplayId, Resealed, SealedSecret};

/// Sealed secrets that are in memory at once while they are sealed anew.
const RESEAL_AT_ONCE: usize = 1_000;

pub(super) fn replay(transaction: &ReadTransaction, id: &ReplayId) -> Outcome<Option<Replay>> {
    let stored = transaction.open_table(REPLAYS)?.get(id)?;
    let decode = |bytes: &[u8]| record::decode::<ReplayRecord>(bytes).map(|r| r.into_replay(*id));
    Ok(stored.map(|value| decode(value.value())).transpose()?)
}

/// Keeps an answer, in place of one that was found by the same.
pub(super) fn put_replay(transaction: &WriteTransaction, replay: &Replay) -> Outcome<()> {
    let mut times = transaction.open_table(REPLAY_TIMES)?;
    let bytes = record::encode(&ReplayRecord::from(replay));
    if let Some(older) = transaction.open_table(REPLAYS)?.insert(replay.id, &bytes[..])? {
        let older = record::decode::<ReplayRecord>(older.value())?.into_replay(replay.id);
        times.remove((older.made_at.as_millis(), replay.id))?;
    }
    times.insert((replay.made_at.as_millis(), replay.id), ())?;
    Ok(())
}

pub(super) fn has_replay_before(transaction: &ReadTransaction, made_before: Timestamp) -> Outcome<bool> {
    let times = transaction.open_table(REPLAY_TIMES)?;
    let oldest = times.first()?;
    Ok(oldest.is_some_and(|(row, _)| row.value().0 < made_before.as_millis()))
}

pub(super) fn purge_replays(
    transaction: &WriteTransaction,
    made_before: Timestamp,
    most: usize,
) -> Outcome<usize> {
    let mut times = transaction.open_table(REPLAY_TIMES)?;
    let mut replays = transaction.open_table(REPLAYS)?;
    for purged in 0..most {
        let oldest = times.first()?.map(|(row, _)| row.value());
        let Some((at, id)) = oldest.filter(|(at, _)| *at < made_before.as_millis()) else {
            return Ok(purged);
        };
        times.remove((at, id))?;
        replays.remove(id)?;
    }
    Ok(most)
}

pub(super) fn secret(transaction: &ReadTransaction, key: KeyId) -> Outcome<Option<SealedSecret>> {
    let stored = transaction.open_table(SEALED)?.get(key.as_u128())?;
    Ok(stored.map(|value| read_secret(key.as_u128(), value.value())).transpose()?)
}

fn read_secret(key: u128, stored: &[u8]) -> Result<SealedSecret, Damage> {
    record::decode::<SealedRecord>(stored).map(|record| record.into_secret(KeyId::from_u128(key)))
}

pub(super) fn put_secret(transaction: &WriteTransaction, secret: &SealedSecret) -> Outcome<()> {
    let bytes = record::encode(&SealedRecord::from(secret));
    transaction.open_table(SEALED)?.insert(secret.key.as_u128(), &bytes[..])?;
    Ok(())
}

pub(super) fn drop_secret(transaction: &WriteTransaction, key: KeyId) -> Outcome<()> {
    transaction.open_table(SEALED)?.remove(key.as_u128())?;
    Ok(())
}

pub(super) fn master_check(transaction: &ReadTransaction) -> Outcome<Option<Vec<u8>>> {
    let stored = transaction.open_table(META)?.get(MASTER_CHECK)?;
    Ok(stored.map(|value| value.value().to_vec()))
}

pub(super) fn set_master_check(transaction: &WriteTransaction, check: Option<&[u8]>) -> Outcome<()> {
    let mut meta = transaction.open_table(META)?;
    match check {
        Some(check) => meta.insert(MASTER_CHECK, check)?,
        None => meta.remove(MASTER_CHECK)?,
    };
    Ok(())
}

/// Walks all sealed secrets, a bounded number of them at once.
pub(super) fn reseal(
    transaction: &WriteTransaction,
    each: &mut dyn FnMut(SealedSecret) -> Resealed,
) -> Outcome<u64> {
    let mut table = transaction.open_table(SEALED)?;
    let (mut walked, mut from) = (0, Some(0));
    while let Some(first) = from {
        let mut some = Vec::with_capacity(RESEAL_AT_ONCE);
        for row in table.range(first..)?.take(RESEAL_AT_ONCE) {
            let (key, stored) = row?;
            some.push(read_secret(key.value(), stored.value())?);
        }
        from = some.last().and_then(|last| last.key.as_u128().checked_add(1));
        for secret in some {
            let key = secret.key.as_u128();
            match each(secret) {
                Resealed::Keep(secret) => {
                    let bytes = record::encode(&SealedRecord::from(&secret));
                    table.insert(key, &bytes[..])?;
                }
                Resealed::Erase => {
                    table.remove(key)?;
                }
                Resealed::BreakOff => return Err(Fault::Full("it was broken off")),
            }
            walked += 1;
        }
    }
    Ok(walked)
}
