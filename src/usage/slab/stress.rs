//! What the slab promises when many threads use it, and when the process is killed.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use super::tests::{count_times, key};
use super::*;
use crate::usage::cell::Kind;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const THREADS: u32 = 4;

fn open() -> (tempfile::TempDir, Slab) {
    let folder = tempfile::tempdir().unwrap();
    let (slab, _) = Slab::open(&folder.path().join("usage.cells"), 1, 1).unwrap();
    (folder, slab)
}

/// A ledger as the real one works: for each key what is settled, and the generation that still counts.
#[derive(Default)]
struct Ledger {
    rows: HashMap<CellKey, (u64, u64, u64)>,
}

impl Ledger {
    fn merge(&mut self, slab: &Slab) {
        slab.drain_dirty(|reading| {
            let (settled, generation, count) = self.rows.entry(reading.key).or_default();
            assert!(*generation <= reading.generation, "generations only go up");
            if *generation != reading.generation {
                *settled += *count;
                *generation = reading.generation;
            }
            *count = reading.count;
            slab.mark_merged(reading.index, reading.generation, reading.count);
        });
    }

    fn total(&self, key: &CellKey) -> u64 {
        self.rows.get(key).map_or(0, |(settled, _, count)| settled + count)
    }
}

/// Runs `work` on some threads, and `beside` over and over on this one until they are done.
fn race(work: impl Fn(u32) + Sync, mut beside: impl FnMut()) {
    let running = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            running.fetch_add(1, Ordering::SeqCst);
            let (work, running) = (&work, &running);
            scope.spawn(move || {
                work(thread);
                running.fetch_sub(1, Ordering::SeqCst);
            });
        }
        while running.load(Ordering::SeqCst) > 0 {
            beside();
        }
    });
}

#[test]
fn no_count_is_missed_while_the_ledger_drains() {
    // Many cells with few counts each: a count that is missed shows only if no other comes after it.
    const CELLS: u128 = 2_000;
    const ROUNDS: u64 = 200;
    let (_folder, slab) = open();
    let keys: Vec<_> = (0..CELLS).map(|id| key(id, 1)).collect();
    let cells: Vec<_> = keys.iter().map(|key| slab.find_or_claim(key, NOW).unwrap()).collect();
    let mut known: HashMap<CellIndex, u64, foldhash::fast::RandomState> = HashMap::default();
    for round in 1..=ROUNDS {
        let work = |_| keys.iter().zip(&cells).for_each(|(key, cell)| slab.add(*cell, key, NOW).unwrap());
        let mut drain = || slab.drain_dirty(|reading| known.extend([(reading.index, reading.count)]));
        race(work, &mut drain);
        drain();
        let missed = cells.iter().filter(|cell| known[cell] != round * u64::from(THREADS)).count();
        assert_eq!((round, missed), (round, 0));
    }
}

#[test]
fn every_request_counts_once_while_cells_are_recycled_under_it() {
    const EACH: u64 = 150_000;
    const KEYS: u64 = 3;
    let (_folder, slab) = open();
    let hints = [const { AtomicU32::new(0) }; 2];
    let mut ledger = Ledger::default();
    let mut recycled = 0;
    let work = |thread| {
        for n in 0..EACH {
            // Two threads share a hint, and the keys alternate under it: hints are often of another key.
            slab.count(&key(u128::from(n / 4 % KEYS), 1), &hints[thread as usize % 2], NOW);
        }
    };
    race(work, || {
        ledger.merge(&slab);
        recycled += slab.recycle(2, |_| false);
    });
    ledger.merge(&slab);
    let total: u64 = (0..KEYS).map(|id| ledger.total(&key(u128::from(id), 1))).sum();
    assert_eq!(total, u64::from(THREADS) * EACH);
    assert!(recycled > 0, "the race took place");
    slab.recycle(2, |_| false);
    assert_eq!((slab.used_cells(), slab.lost()), (0, 0));
}

#[test]
fn a_quota_is_charged_to_its_limit_and_never_over() {
    const LIMIT: u64 = 100_000;
    let (_folder, slab) = open();
    let key = key(1, 1);
    let index = slab.find_or_claim(&key, NOW).unwrap();
    let (charged, refunded) = (AtomicU64::new(0), AtomicU64::new(0));
    let work = |thread| {
        for n in 0..LIMIT {
            match slab.charge_up_to(index, &key, LIMIT) {
                Charge::Charged { used } => {
                    assert!(used <= LIMIT);
                    charged.fetch_add(1, Ordering::Relaxed);
                }
                Charge::Full { used } => assert_eq!(used, LIMIT),
                Charge::Recycled => panic!("nothing is recycled here"),
            }
            if n % 10 == u64::from(thread) && slab.refund(index, &key).is_ok() {
                refunded.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    race(work, || assert!(slab.used(index, &key).unwrap() <= LIMIT));
    let used = charged.into_inner() - refunded.into_inner();
    assert_eq!(slab.used(index, &key), Ok(used));
}

#[test]
fn threads_that_claim_the_same_get_the_same_cell() {
    let (_folder, slab) = open();
    let hint = || AtomicU32::new(0);
    race(|_| (0..20_000).for_each(|id| slab.count(&key(id, 1), &hint(), NOW)), || ());
    assert_eq!(slab.used_cells(), 20_000);
    slab.cells(|reading| assert_eq!(reading.count, u64::from(THREADS)));
}

#[test]
fn threads_that_run_out_of_cells_grow_the_file_once() {
    let (_folder, slab) = open();
    let claims = segment::SEGMENT_CELLS as u128 / 2;
    let work = |thread| (0..claims).for_each(|id| count_times(&slab, &key(id, thread), 1));
    race(work, || slab.grow_ahead());
    assert_eq!(slab.used_cells(), 2 * segment::SEGMENT_CELLS);
    assert!(slab.capacity() <= 3 * segment::SEGMENT_CELLS);
    let mut cells = 0;
    slab.cells(|reading| cells += reading.count);
    assert_eq!(cells, 2 * segment::SEGMENT_CELLS as u64);
}

/// Where the process that is to be killed finds its file.
const VICTIM: &str = "PORTCULLIS_TEST_USAGE_VICTIM";

/// Not a test by itself: what the killed process does.
#[test]
fn victim() {
    let Some(path) = std::env::var_os(VICTIM) else {
        return;
    };
    let (slab, _) = Slab::open(Path::new(&path), 1, 1).unwrap();
    count_times(&slab, &key(1, 1), 100_000);
    println!("\ncounted");
    std::io::stdout().flush().unwrap();
    // Goes on where the kill can fall between any two instructions; the two kinds are counted in turn.
    let (first, second) = (AtomicU32::new(0), AtomicU32::new(0));
    let mut hour = 10;
    loop {
        slab.count(&CellKey { kind: Kind(1), ..key(2, hour) }, &first, NOW);
        slab.count(&CellKey { kind: Kind(2), ..key(2, hour) }, &second, NOW);
        hour = 10 + (hour + 1) % 50_000;
    }
}

#[test]
fn every_count_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("usage.cells");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "usage::slab::stress::victim", "--nocapture"])
        .env(VICTIM, &path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "counted"));
    child.kill().unwrap();
    child.wait().unwrap();
    let (slab, opened) = Slab::open(&path, 1, 2).unwrap();
    assert_eq!((opened.damaged, opened.superseded, opened.set_aside), (0, 0, None));
    let index = slab.find(&key(1, 1)).unwrap();
    assert_eq!(slab.used(index, &key(1, 1)), Ok(100_000));
    let mut sums = [0, 0];
    slab.cells(|reading| match reading.key.kind {
        Kind(1) => sums[0] += reading.count,
        Kind(2) => sums[1] += reading.count,
        _ => (),
    });
    assert!(sums[0] == sums[1] || sums[0] == sums[1] + 1, "one at most was on its way: {sums:?}");
}
