//! What the fuzz targets hold the product to, held again over every input they have kept (`fuzz/corpus`), and over
//! inputs near those: the same ones in each run. See `fuzz/README.md`.

#[path = "../../fuzz/invariants/mod.rs"]
mod invariants;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::Stopwatch;
use invariants::{Hold, TARGETS};

/// Inputs near those of the corpus, at most, for each target.
const MUTATIONS: usize = 3_000;
/// No further one is begun after this, for each target: enough for all of them on a machine that is not busy.
const BUDGET: Duration = Duration::from_secs(4);
/// Longer inputs are in the corpus for what they are, and are not bent.
const MOST_BYTES: usize = 4096;
/// A corpus stays small enough to be read in a review.
const MOST_FILES: usize = 400;

#[test]
fn heads() {
    replay("head");
}

#[test]
fn bodies() {
    replay("body");
}

#[test]
fn credentials() {
    replay("credential");
}

#[test]
fn configurations() {
    replay("config");
}

#[test]
fn bodies_of_admin_calls() {
    replay("admin");
}

#[test]
fn stored_records() {
    replay("records");
}

#[test]
fn each_corpus_is_that_of_a_target() {
    let mut folders: Vec<String> = fs::read_dir(corpora())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let mut targets = TARGETS.map(|(name, _)| name.to_owned());
    folders.sort();
    targets.sort();
    assert_eq!(folders, targets);
}

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

fn replay(target: &str) {
    let (_, hold) = TARGETS.into_iter().find(|(name, _)| *name == target).unwrap();
    let mut files: Vec<PathBuf> =
        fs::read_dir(corpora().join(target)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!((10..=MOST_FILES).contains(&files.len()), "{target}: {} files", files.len());
    let inputs: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    for (file, input) in files.iter().zip(&inputs) {
        check(hold, input, &file.display().to_string());
    }
    let (mut dice, time) = (Dice(0x9e37_79b9_7f4a_7c15), Stopwatch::start());
    let short: Vec<&Vec<u8>> = inputs.iter().filter(|input| input.len() <= MOST_BYTES).collect();
    for _ in 0..MUTATIONS {
        if time.elapsed() > BUDGET {
            break;
        }
        let (one, other) = (short[dice.below(short.len())], short[dice.below(short.len())]);
        check(hold, &dice.bent(one, other), "an input near the corpus");
    }
}

fn check(hold: Hold, input: &[u8], what: &str) {
    let held = catch_unwind(AssertUnwindSafe(|| hold(input)));
    assert!(held.is_ok(), "{what}: {}", input.escape_ascii());
}

/// Numbers that are the same in each run (xorshift64*).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// From 0 to `bound`, which may be 0.
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % bound.max(1)
    }

    /// An input with one to four changes: a byte set, bytes taken out, doubled, or brought in from another input.
    fn bent(&mut self, input: &[u8], other: &[u8]) -> Vec<u8> {
        let mut out = input.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(out.len());
            let end = at + self.below((out.len() - at).min(16));
            match self.below(5) {
                0 if !out.is_empty() => out[at] = u8::try_from(self.below(256)).unwrap(),
                1 if !out.is_empty() => out[at] ^= 1 << self.below(8),
                2 => drop(out.drain(at..end)),
                3 => drop(out.splice(at..at, out[at..end].to_vec())),
                _ => {
                    let from = self.below(other.len());
                    let piece = &other[from..from + self.below((other.len() - from).min(40))];
                    out.splice(at..at, piece.iter().copied());
                }
            }
        }
        out
    }
}
