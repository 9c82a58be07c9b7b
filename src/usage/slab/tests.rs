//! What the slab promises, one thread at a time.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::key::KeyId;
use crate::usage::cell::Kind;

pub(super) const STORE: u128 = 0xfeed;
const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
pub(super) const CELLS: usize = segment::SEGMENT_CELLS;

pub(super) fn key(id: u128, hour: u32) -> CellKey {
    CellKey { key: KeyId::from_u128(id), version: 1, hour, route: 2, kind: Kind(3) }
}

pub(super) struct Place {
    pub(super) folder: TempDir,
    pub(super) path: PathBuf,
}

pub(super) fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("usage.cells");
    Place { folder, path }
}

impl Place {
    pub(super) fn open(&self, epoch: u32) -> (Slab, Opened) {
        Slab::open(&self.path, STORE, epoch).unwrap()
    }
}

pub(super) fn count_times(slab: &Slab, key: &CellKey, times: usize) {
    let hint = AtomicU32::new(0);
    (0..times).for_each(|_| slab.count(key, &hint, NOW));
}

pub(super) fn counts(slab: &Slab) -> BTreeMap<CellKey, u64> {
    let mut counts = BTreeMap::new();
    slab.cells(|reading| {
        assert_eq!(counts.insert(reading.key, reading.count), None, "two cells for {:?}", reading.key);
    });
    counts
}

fn drained(slab: &Slab) -> Vec<Reading> {
    let mut readings = Vec::new();
    slab.drain_dirty(|reading| readings.push(reading));
    readings
}

pub(super) fn merge(slab: &Slab) {
    for reading in drained(slab) {
        slab.mark_merged(reading.index, reading.generation, reading.count);
    }
}

#[test]
fn counts_are_found_again_after_the_process_ended_without_a_word() {
    let place = place();
    let (slab, opened) = place.open(1);
    assert_eq!(opened, Opened::default());
    count_times(&slab, &key(1, 10), 5);
    count_times(&slab, &key(2, 10), 7);
    // The file as a killed process leaves it; this one goes on.
    let copy = place.folder.path().join("copy");
    fs::copy(&place.path, &copy).unwrap();
    count_times(&slab, &key(1, 10), 1);
    let (reopened, opened) = Slab::open(&copy, STORE, 2).unwrap();
    assert_eq!(opened, Opened { recovered: 2, ..Opened::default() });
    assert_eq!(counts(&reopened), BTreeMap::from([(key(1, 10), 5), (key(2, 10), 7)]));
    assert_eq!(drained(&reopened).len(), 2, "all that was recovered is offered to the ledger");
    count_times(&reopened, &key(1, 10), 1);
    assert_eq!(counts(&reopened)[&key(1, 10)], 6, "and goes on in its cell");
}

#[test]
fn a_reading_says_what_when_and_how_often() {
    let place = place();
    let (slab, _) = place.open(9);
    let key =
        CellKey { key: KeyId::from_u128(u128::MAX), version: 7, hour: 99, route: 65_535, kind: Kind(255) };
    let hint = AtomicU32::new(0);
    for second in [100, 130, 120] {
        slab.count(&key, &hint, Timestamp::from_secs(second));
    }
    let readings = drained(&slab);
    assert_eq!(readings.len(), 1);
    assert_eq!((readings[0].key, readings[0].count), (key, 3));
    assert_eq!(readings[0].generation, (9 << 40) + 1);
    assert_eq!(readings[0].first_used, Timestamp::from_secs(100));
    assert_eq!(readings[0].last_used, Timestamp::from_secs(130));
    assert_eq!(slab.find(&key), Some(readings[0].index));
    assert_eq!(slab.find(&CellKey { version: 8, ..key }), None);
}

#[test]
fn a_cell_is_offered_again_after_a_change_and_when_it_is_put_back() {
    let place = place();
    let (slab, _) = place.open(1);
    count_times(&slab, &key(1, 1), 2);
    let first = drained(&slab)[0];
    assert_eq!(drained(&slab), []);
    slab.mark_dirty(first.index);
    assert_eq!(drained(&slab), [first]);
    count_times(&slab, &key(1, 1), 1);
    assert_eq!(drained(&slab)[0].count, 3);
}

#[test]
fn a_hint_of_another_key_or_hour_is_corrected() {
    let place = place();
    let (slab, _) = place.open(1);
    let hint = AtomicU32::new(0);
    for (id, hour) in [(1, 1), (2, 1), (1, 2), (1, 1)] {
        slab.count(&key(id, hour), &hint, NOW);
    }
    hint.store(u32::MAX, Ordering::Relaxed);
    slab.count(&key(2, 1), &hint, NOW);
    assert_eq!(counts(&slab), BTreeMap::from([(key(1, 1), 2), (key(2, 1), 2), (key(1, 2), 1)]));
}

#[test]
fn only_what_is_over_and_merged_and_not_kept_is_recycled() {
    let place = place();
    let (slab, _) = place.open(1);
    for hour in [1, 2, 3] {
        count_times(&slab, &key(1, hour), 4);
    }
    assert_eq!(slab.recycle(u32::MAX, |_| false), 0, "nothing is merged");
    let readings = drained(&slab);
    assert_eq!(slab.recycle(u32::MAX, |_| false), 0, "taken is not merged");
    for reading in readings {
        slab.mark_merged(reading.index, reading.generation, reading.count);
    }
    count_times(&slab, &key(1, 1), 1);
    assert_eq!(
        slab.recycle(3, |key| key.hour == 2),
        0,
        "hour 1 moved on, hour 2 is kept, hour 3 is not over"
    );
    merge(&slab);
    assert_eq!(slab.recycle(3, |key| key.hour == 2), 1);
    assert_eq!(counts(&slab), BTreeMap::from([(key(1, 2), 4), (key(1, 3), 4)]));
    assert_eq!(slab.used_cells(), 2);
}

#[test]
fn a_recycled_cell_refuses_its_old_key_and_comes_back_as_another_generation() {
    let place = place();
    let (slab, _) = place.open(1);
    count_times(&slab, &key(1, 1), 3);
    let old = drained(&slab)[0];
    slab.mark_merged(old.index, old.generation, old.count);
    assert_eq!(slab.recycle(2, |_| false), 1);
    assert_eq!(slab.add(old.index, &old.key, NOW), Err(Recycled));
    assert_eq!(slab.charge_up_to(old.index, &old.key, 9), Charge::Recycled);
    let new = slab.find_or_claim(&key(2, 1), NOW).unwrap();
    assert_eq!(new, old.index, "the cell is used again");
    assert_eq!(slab.add(old.index, &old.key, NOW), Err(Recycled));
    assert_eq!(slab.raise_count(new, old.generation, 100), Err(Recycled));
    slab.mark_merged(new, old.generation, 0);
    let reading = slab.read(new).unwrap();
    assert_eq!((reading.key, reading.count), (key(2, 1), 0));
    assert!(reading.generation > old.generation);
}

#[test]
fn charges_stop_at_the_limit_and_can_be_taken_back() {
    let place = place();
    let (slab, _) = place.open(1);
    let key = key(1, 1);
    let index = slab.find_or_claim(&key, NOW).unwrap();
    assert_eq!(slab.charge_up_to(index, &key, 0), Charge::Full { used: 0 });
    assert_eq!(slab.charge_up_to(index, &key, 2), Charge::Charged { used: 1 });
    assert_eq!(slab.charge_up_to(index, &key, 2), Charge::Charged { used: 2 });
    assert_eq!(slab.charge_up_to(index, &key, 2), Charge::Full { used: 2 });
    (0..3).for_each(|_| slab.refund(index, &key).unwrap());
    assert_eq!(slab.used(index, &key), Ok(0), "never below nothing");
    slab.seed(index, &key, 8).unwrap();
    slab.seed(index, &key, 5).unwrap();
    assert_eq!(slab.used(index, &key), Ok(8));
    assert_eq!(slab.charge_up_to(index, &key, 5), Charge::Full { used: 8 });
    let reading = drained(&slab)[0];
    slab.raise_count(index, reading.generation, 11).unwrap();
    assert_eq!(drained(&slab)[0].count, 11);
}

#[test]
fn unmerged_is_what_the_ledger_was_not_offered() {
    let place = place();
    let (slab, _) = place.open(1);
    count_times(&slab, &key(1, 1), 5);
    let quota = CellKey { kind: Kind(9), ..key(1, 1) };
    count_times(&slab, &quota, 50);
    let requests = |kind| kind == Kind(3);
    assert_eq!(slab.unmerged(requests), 5);
    merge(&slab);
    assert_eq!(slab.unmerged(requests), 0);
    count_times(&slab, &key(1, 1), 2);
    assert_eq!(slab.unmerged(requests), 2);
}

#[test]
fn the_file_grows_and_every_cell_is_found_again() {
    let place = place();
    let (slab, _) = place.open(1);
    let ids = 0..(CELLS as u128 + 1000);
    ids.clone().for_each(|id| count_times(&slab, &key(id, 5), 1));
    assert_eq!((slab.capacity(), slab.used_cells()), (2 * CELLS, CELLS + 1000));
    assert_eq!(slab.health(), Health { memory_only: 0, refused: None });
    drop(slab);
    let (slab, opened) = place.open(2);
    assert_eq!(opened, Opened { recovered: CELLS + 1000, ..Opened::default() });
    assert_eq!(drained(&slab).len(), CELLS + 1000);
    assert!(ids.into_iter().all(|id| slab.find(&key(id, 5)).is_some()));
}

#[test]
fn on_a_full_disk_counting_goes_on_in_memory_until_there_is_room() {
    let place = place();
    let (slab, _) = place.open(1);
    // A handle that may not write stands for a disk that has no room.
    let refusing = fs::File::open(&place.path).unwrap();
    let writable = std::mem::replace(&mut slab.pool.growth.lock().file, refusing);
    for id in 0..CELLS as u128 + 10 {
        count_times(&slab, &key(id, 5), 2);
    }
    assert_eq!(slab.health().memory_only, 10);
    assert!(slab.health().refused.is_some());
    assert_eq!((counts(&slab).len(), slab.lost()), (CELLS + 10, 0));
    slab.grow_ahead();
    assert!(slab.health().refused.is_some());
    slab.pool.growth.lock().file = writable;
    slab.grow_ahead();
    count_times(&slab, &key(1_000_000, 6), 1);
    assert_eq!(slab.health(), Health { memory_only: 10, refused: None }, "new cells are in the file again");
    merge(&slab);
    assert_eq!(slab.recycle(6, |_| false), CELLS + 10);
    assert_eq!(slab.health(), Health { memory_only: 0, refused: None });
    drop(slab);
    assert_eq!(place.open(2).1.recovered, 1);
}

#[test]
fn the_file_grows_ahead_of_need() {
    let place = place();
    let (slab, _) = place.open(1);
    slab.grow_ahead();
    assert_eq!(slab.capacity(), CELLS);
    (0..CELLS as u128 - 100).for_each(|id| count_times(&slab, &key(id, 5), 1));
    slab.grow_ahead();
    slab.grow_ahead();
    assert_eq!(slab.capacity(), 2 * CELLS);
}

#[test]
fn what_finds_no_cell_at_all_is_counted_as_lost() {
    let place = place();
    let (mut slab, _) = place.open(1);
    slab.pool.max_segments = 1;
    (0..CELLS as u128 + 3).for_each(|id| count_times(&slab, &key(id, 5), 1));
    assert_eq!((slab.lost(), slab.used_cells()), (3, CELLS));
    assert_eq!(slab.find_or_claim(&key(u128::MAX, 5), NOW), None);
    merge(&slab);
    slab.recycle(6, |_| false);
    count_times(&slab, &key(u128::MAX, 5), 1);
    assert_eq!(slab.lost(), 3);
}
