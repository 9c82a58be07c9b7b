//! The tables of what is sealed.

use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata, WriteTransaction};

use super::tables::{MASTER_CHECK, META, REPLAY_TIMES, REPLAYS, SEALED};
use super::write::append_audit;
use super::{EmbeddedStore, Fault, Outcome};
use crate::clock::Timestamp;
use crate::key::KeyId;
use crate::store::record::{self, Damage, ReplayRecord, SealedRecord};
use crate::store::sealed::{Replay, ReplayId, Resealed, Sealed, SealedSecret};
use crate::store::{StoreError, audit};

/// Sealed secrets that are in memory at once while they are sealed anew.
const RESEAL_AT_ONCE: usize = 1_000;

impl Sealed for EmbeddedStore {
    fn replay(&self, id: &ReplayId) -> Result<Option<Replay>, StoreError> {
        self.read(|transaction| replay(transaction, id))
    }

    fn replay_count(&self) -> Result<u64, StoreError> {
        self.read(|transaction| Ok(transaction.open_table(REPLAYS)?.len()?))
    }

    fn purge_replays(&self, made_before: Timestamp, most: usize) -> Result<usize, StoreError> {
        // Most often there is nothing to do, and a look costs no commit.
        if !self.read(|transaction| has_replay_before(transaction, made_before))? {
            return Ok(0);
        }
        self.write(|transaction| purge_replays(transaction, made_before, most))
    }

    fn sealed_secret(&self, key: KeyId) -> Result<Option<SealedSecret>, StoreError> {
        self.read(|transaction| secret(transaction, key))
    }

    fn sealed_count(&self) -> Result<u64, StoreError> {
        self.read(|transaction| Ok(transaction.open_table(SEALED)?.len()?))
    }

    fn master_check(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(master_check)
    }

    fn reseal(
        &self,
        master_check: Option<&[u8]>,
        audit: &[audit::Draft],
        each: &mut dyn FnMut(SealedSecret) -> Resealed,
    ) -> Result<u64, StoreError> {
        self.write(|transaction| {
            append_audit(transaction, audit)?;
            set_master_check(transaction, master_check)?;
            reseal(transaction, each)
        })
    }
}

fn replay(transaction: &ReadTransaction, id: &ReplayId) -> Outcome<Option<Replay>> {
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

fn has_replay_before(transaction: &ReadTransaction, made_before: Timestamp) -> Outcome<bool> {
    let times = transaction.open_table(REPLAY_TIMES)?;
    let oldest = times.first()?;
    Ok(oldest.is_some_and(|(row, _)| row.value().0 < made_before.as_millis()))
}

fn purge_replays(transaction: &WriteTransaction, made_before: Timestamp, most: usize) -> Outcome<usize> {
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

fn secret(transaction: &ReadTransaction, key: KeyId) -> Outcome<Option<SealedSecret>> {
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

fn master_check(transaction: &ReadTransaction) -> Outcome<Option<Vec<u8>>> {
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
fn reseal(transaction: &WriteTransaction, each: &mut dyn FnMut(SealedSecret) -> Resealed) -> Outcome<u64> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::secret::SecretHasher;
    use crate::store::embedded::Peppering;
    use crate::store::{Change, Store, Write};

    fn kept(id: u8, made_at: u64) -> Change {
        let (key, made_at) = (KeyId::from_u128(1), Timestamp::from_millis(made_at));
        let replay = Replay { id: [id; 32], request: [0; 32], key, made_at, revision: 0, sealed: vec![id] };
        Change { writes: vec![Write::PutReplay(replay)], audit: Vec::new() }
    }

    #[test]
    fn the_oldest_answers_are_forgotten_first_and_a_newer_one_stays_in_place_of_an_older() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.redb");
        let store = EmbeddedStore::open(&path, Peppering(&SecretHasher::new(None))).unwrap();
        for (id, made_at) in [(1, 30), (2, 10), (3, 20), (2, 40)] {
            store.commit(&mut kept(id, made_at)).unwrap();
        }
        let there = || [1, 2, 3].map(|id| store.replay(&[id; 32]).unwrap().is_some());
        let purge = |before, most| store.purge_replays(Timestamp::from_millis(before), most).unwrap();
        assert_eq!(store.replay(&[2; 32]).unwrap().unwrap().revision, 4);
        assert_eq!((purge(20, 9), there()), (0, [true, true, true]), "its older answer is no reason");
        assert_eq!((purge(40, 1), there()), (1, [true, true, false]));
        assert_eq!((purge(40, 9), there()), (1, [false, true, false]));
        assert_eq!((purge(41, 9), store.replay_count().unwrap()), (1, 0));
    }
}
