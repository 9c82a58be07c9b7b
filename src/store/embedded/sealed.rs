//! The tables of what is sealed.

use redb::{ReadTransaction, ReadableTable, WriteTransaction};

use super::Outcome;
use super::tables::{REPLAY_TIMES, REPLAYS};
use crate::clock::Timestamp;
use crate::store::record::{self, ReplayRecord};
use crate::store::sealed::{Replay, ReplayId};

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
