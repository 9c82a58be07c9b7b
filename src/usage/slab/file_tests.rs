//! What the slab makes of files that are not as it left them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, PermissionsExt};

use proptest::prelude::*;

use super::tests::{CELLS, Place, STORE, count_times, counts, key, merge, place};
use super::*;

impl Place {
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn write(&self, bytes: &[u8], offset: u64) {
        OpenOptions::new().write(true).open(&self.path).unwrap().write_all_at(bytes, offset).unwrap();
    }
}

#[test]
fn an_open_file_is_not_opened_again() {
    let place = place();
    let (slab, _) = place.open(1);
    let error = Slab::open(&place.path, STORE, 2).unwrap_err();
    assert!(matches!(error, SlabError::InUse { .. }), "{error}");
    drop(slab);
    place.open(2);
}

#[test]
fn a_file_is_not_set_aside_while_its_process_has_it() {
    let place = place();
    let (slab, _) = place.open(1);
    place.write(b"x", 0);
    let error = Foreign::open(&place.path, STORE).unwrap_err();
    assert!(matches!(error, SlabError::InUse { .. }), "{error}");
    assert_eq!(place.names(), ["usage.cells"]);
    drop(slab);
    let (none, fault) = Foreign::open(&place.path, STORE).unwrap();
    assert!(none.is_none());
    assert_eq!(fault, Some(Fault::NotUsage));
    assert_eq!(place.names(), ["usage.cells.damaged-1"]);
}

fn seen(foreign: &Foreign) -> BTreeMap<CellKey, u64> {
    let mut seen = BTreeMap::new();
    foreign.readings(|reading| assert_eq!(seen.insert(reading.key, reading.count), None)).unwrap();
    seen
}

#[test]
fn another_processs_file_is_read_as_it_grows() {
    let place = place();
    let (slab, _) = place.open(1);
    let mut foreign = Foreign::open(&place.path, STORE).unwrap().0.unwrap();
    assert_eq!(seen(&foreign), BTreeMap::new());
    for id in 0..CELLS as u128 + 10 {
        count_times(&slab, &key(id, 1), 1 + usize::from(id == 7));
    }
    assert!(slab.capacity() > CELLS);
    let counted = seen(&foreign);
    assert!(counted == counts(&slab) && counted.len() == CELLS + 10 && counted[&key(7, 1)] == 2);
    assert!(!foreign.is_final());
    drop(slab);
    assert!(foreign.is_final() && foreign.fault().is_none() && seen(&foreign) == counted);
}

/// Reading what a mapping has behind the end of its file is the end of the process (SIGBUS).
#[test]
fn another_processs_file_that_is_cut_while_it_is_read_is_read_as_far_as_it_goes() {
    let place = place();
    let (slab, _) = place.open(1);
    (0..100).for_each(|id| count_times(&slab, &key(id, 1), 3));
    let foreign = Foreign::open(&place.path, STORE).unwrap().0.unwrap();
    assert_eq!(seen(&foreign).len(), 100);
    let cut = |length| OpenOptions::new().write(true).open(&place.path).unwrap().set_len(length).unwrap();
    // As where the growth of the file failed in the middle.
    cut(file::length(1) + segment::SEGMENT_BYTES / 2);
    assert_eq!(seen(&foreign).len(), 100);
    for (length, left) in [(file::HEADER_BYTES + 64 * 60 + 7, 60), (file::HEADER_BYTES, 0), (10, 0)] {
        cut(length);
        assert_eq!(seen(&foreign).len(), left);
        assert_eq!(foreign.fault(), Some(Fault::Truncated));
    }
}

#[test]
fn files_are_for_their_owner_alone() {
    let place = place();
    drop(place.open(1));
    let mode = || fs::metadata(&place.path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    fs::set_permissions(&place.path, fs::Permissions::from_mode(0o644)).unwrap();
    drop(place.open(2));
    assert_eq!(mode(), 0o600);
    assert_eq!(place.names(), ["usage.cells"], "no draft is left");
}

#[test]
fn a_place_that_cannot_be_written_is_an_error_that_names_it() {
    let place = place();
    let nowhere = place.folder.path().join("no/usage.cells");
    let error = Slab::open(&nowhere, STORE, 1).unwrap_err();
    assert!(error.to_string().contains("no/usage.cells"), "{error}");
    let error = Slab::open(place.folder.path(), STORE, 1).unwrap_err();
    assert!(matches!(error, SlabError::Open { .. }), "{error}");
    let error = Slab::open(&place.path, STORE, 1 << 24).unwrap_err();
    assert!(matches!(error, SlabError::Epoch { .. }), "{error}");
}

#[test]
fn what_cannot_be_used_is_set_aside_as_it_is() {
    type Damage = fn(&Place);
    let cases: [(Damage, Fault); 7] = [
        (|p| p.write(b"X", 0), Fault::NotUsage),
        (|p| p.write(&[2], 8), Fault::Format(2)),
        (|p| p.write(&[1], 35), Fault::Header),
        (|p| fs::write(&p.path, b"").unwrap(), Fault::Truncated),
        (|p| fs::write(&p.path, vec![0; 5000]).unwrap(), Fault::NotUsage),
        (
            |p| OpenOptions::new().write(true).open(&p.path).unwrap().set_len(90_000).unwrap(),
            Fault::Truncated,
        ),
        (|p| drop(Slab::open(&p.path, STORE + 1, 9).unwrap()), Fault::Foreign),
    ];
    let place = place();
    for (n, (damage, fault)) in (1..).zip(cases) {
        if fault == Fault::Foreign {
            fs::remove_file(&place.path).unwrap();
        } else {
            drop(place.open(1));
        }
        damage(&place);
        let before = fs::read(&place.path).unwrap();
        let (slab, opened) = place.open(2);
        let aside = opened.set_aside.clone().unwrap();
        assert_eq!(aside.fault, fault);
        assert_eq!(aside.path, place.folder.path().join(format!("usage.cells.damaged-{n}")));
        assert!(fs::read(&aside.path).unwrap() == before, "{fault:?}: not a byte of it was changed");
        assert_eq!(opened, Opened { set_aside: opened.set_aside.clone(), ..Opened::default() });
        count_times(&slab, &key(1, 1), 1);
    }
    assert_eq!(place.names().len(), 8);
}

#[test]
fn a_file_longer_than_its_header_says_keeps_its_whole_segments() {
    let place = place();
    drop(place.open(1));
    let longer = file::HEADER_BYTES + 2 * segment::SEGMENT_BYTES;
    OpenOptions::new().write(true).open(&place.path).unwrap().set_len(longer + 100).unwrap();
    let (slab, opened) = place.open(2);
    assert_eq!((slab.capacity(), opened), (2 * CELLS, Opened::default()));
    assert_eq!(fs::metadata(&place.path).unwrap().len(), longer);
}

#[test]
fn of_two_cells_for_the_same_the_later_one_counts() {
    let place = place();
    let (slab, _) = place.open(1);
    count_times(&slab, &key(1, 1), 3);
    let mut page = [0; 64];
    fs::File::open(&place.path).unwrap().read_exact_at(&mut page, file::HEADER_BYTES).unwrap();
    merge(&slab);
    slab.recycle(2, |_| false);
    count_times(&slab, &key(1, 1), 1);
    drop(slab);
    // As after a power loss: a page with the earlier use of the cell came back elsewhere.
    place.write(&page, file::HEADER_BYTES + 64 * 9);
    let (slab, opened) = place.open(2);
    assert_eq!(opened, Opened { recovered: 1, superseded: 1, ..Opened::default() });
    assert_eq!(counts(&slab), BTreeMap::from([(key(1, 1), 1)]));
    assert_eq!(slab.used_cells(), 1);
}

#[test]
fn an_epoch_that_comes_again_makes_no_generation_again() {
    let place = place();
    let mut seen = BTreeSet::new();
    for id in 0..5 {
        let (slab, _) = place.open(4);
        count_times(&slab, &key(id, 1), 1);
        slab.cells(|reading| seen.extend([reading.generation]));
    }
    assert_eq!(seen.len(), 5);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_the_file_holds_opening_and_counting_never_fails(
        flips in prop::collection::vec((0_usize..8192, any::<u8>()), 0..40),
        length in prop::option::of(0_u64..5_000_000),
    ) {
        let place = place();
        let (slab, _) = place.open(1);
        (0..70).for_each(|id| count_times(&slab, &key(id, 1), 2));
        drop(slab);
        for (offset, byte) in flips {
            place.write(&[byte], offset as u64);
        }
        if let Some(length) = length {
            OpenOptions::new().write(true).open(&place.path).unwrap().set_len(length).unwrap();
        }
        let (slab, opened) = place.open(2);
        prop_assert!(opened.recovered + opened.damaged + opened.superseded <= 70);
        let before = counts(&slab);
        (0..70).for_each(|id| count_times(&slab, &key(id, 1), 1));
        let after = counts(&slab);
        for id in 0..70 {
            let before = before.get(&key(id, 1)).copied().unwrap_or(0);
            prop_assert_eq!(after[&key(id, 1)], (before + 1).min(crate::usage::cell::MAX_COUNT));
        }
        merge(&slab);
        slab.recycle(u32::MAX, |_| false);
        prop_assert_eq!(slab.used_cells(), 0);
    }
}
