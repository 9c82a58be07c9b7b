//! A store with flipped bits: looking at it ends well, says what is damaged, and saves nothing that was not there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::tests::{key, open, put};
use super::*;
use crate::clock::Timestamp;
use crate::outcome::Outcome as Ended;
use crate::store::backup::{Reader, Record, Table, Writer};
use crate::store::examine::Examination;
use crate::store::sealed::{Replay, SealedSecret};
use crate::store::{AdminToken, Write};

type Records = BTreeSet<(Table, Vec<u8>, Vec<u8>)>;

const KEYS_MADE: u64 = 400;

fn kept_answer(key: KeyId) -> Replay {
    let made_at = Timestamp::from_secs(1_800_000_000);
    Replay { id: [8; 32], request: [9; 32], key, made_at, revision: 0, sealed: vec![7; 600] }
}

/// A store with something in every table, closed.
fn filled(folder: &Path) -> PathBuf {
    let path = folder.join("store.redb");
    let store = open(&path).unwrap();
    for id in 1..=KEYS_MADE {
        put(&store, &key(u128::from(id) << 64 | 0x1234_5678));
    }
    let at = Timestamp::from_secs(1_800_000_000);
    let gone = KeyId::from_u128(9);
    let token = AdminToken {
        id: "admt_one".into(),
        name: "one".into(),
        digest: crate::key::secret::Digest::from_bytes([7; 32]),
        fingerprint: "pca_…abcd".into(),
        permissions: vec!["api.admin".into()],
        owner: None,
        expires_at: None,
        created_at: at,
    };
    let role = Role {
        name: "reader".into(),
        description: String::new(),
        scopes: Vec::new(),
        limits: Vec::new(),
        created_at: at,
        updated_at: at,
        revision: 0,
    };
    let owner = Owner {
        name: "acme".into(),
        description: String::new(),
        max_active_keys: None,
        limits: Vec::new(),
        created_at: at,
        updated_at: at,
        revision: 0,
    };
    let stone = Tombstone { id: gone, name: "gone".into(), owner: None, deleted_at: at };
    let first = KeyId::from_u128(1 << 64 | 0x1234_5678);
    let writes = vec![
        Write::PutToken(token),
        Write::PutRole(role),
        Write::PutOwner(owner),
        Write::DeleteKey(stone),
        Write::PutSealed(SealedSecret { key: first, version: 1, sealed: vec![7; 60] }),
        Write::PutReplay(kept_answer(first)),
    ];
    store.commit(&mut Change { writes, audit: Vec::new() }).unwrap();
    store.route_numbers(&["/v1".into(), "/v2".into()]).unwrap();
    let counted: Vec<Counted> = (1..=KEYS_MADE)
        .map(|id| Counted {
            generation: u64::from(store.opening()) << 40 | id,
            row: UsageKey {
                key: KeyId::from_u128(u128::from(id) << 64 | 0x1234_5678),
                hour: 500_000,
                route: 1,
                outcome: Ended::Allowed,
                version: 1,
            },
            count: id,
            first_used: at,
            last_used: at,
        })
        .collect();
    store.merge_usage(&counted, Side::Alone).unwrap();
    // Of a process that hands over.
    store.merge_usage(&[Counted { generation: 7, count: 3, ..counted[0] }], Side::Predecessor).unwrap();
    path
}

fn examine(path: &Path) -> (Examination, Records) {
    let mut records = Records::new();
    let examined = Examination::of(path, &mut |record| {
        records.insert((record.table, record.key.to_vec(), record.value.to_vec()));
        Ok(())
    });
    (examined.unwrap(), records)
}

fn stored(path: &Path) -> Records {
    let mut records = Records::new();
    open(path)
        .unwrap()
        .records(&mut |record: Record<'_>| {
            records.insert((record.table, record.key.to_vec(), record.value.to_vec()));
            ControlFlow::Continue(())
        })
        .unwrap();
    records
}

#[test]
fn a_whole_store_is_found_whole_and_is_not_changed_by_looking() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path());
    let before = fs::read(&path).unwrap();
    let (examined, found) = examine(&path);
    assert_eq!((examined.wrong, &examined.findings[..]), (0, &[][..]));
    assert_eq!(fs::read(&path).unwrap(), before);
    for table in Table::ALL {
        let count = examined.count(table);
        assert_eq!(count.stored, Some(count.readable), "{table:?}");
        assert!(count.readable > 0, "{table:?} is empty, so nothing is shown of it");
    }
    assert_eq!(examined.chain.entries(), KEYS_MADE);
    // Opening counts itself in `meta`; all else is what the engine reads.
    let but_meta = |records: Records| -> Records {
        records.into_iter().filter(|(table, ..)| *table != Table::Meta).collect()
    };
    assert_eq!(but_meta(found), but_meta(stored(&path)));
}

#[test]
fn every_table_of_the_file_is_known_and_all_but_kept_answers_are_in_a_backup() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path());
    let backed_up: BTreeSet<Table> = stored(&path).into_iter().map(|(table, ..)| table).collect();
    assert_eq!(backed_up, Table::ALL.into_iter().filter(|table| table.is_backed_up()).collect());
    let store = open(&path).unwrap();
    let names = store.read(|transaction| {
        use redb::TableHandle;
        Ok(transaction.list_tables()?.map(|table| table.name().to_owned()).collect::<BTreeSet<_>>())
    });
    assert_eq!(names.unwrap(), Table::ALL.map(|table| table.name().to_owned()).into());
}

#[test]
fn a_store_that_was_not_closed_is_whole_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path());
    let store = open(&path).unwrap();
    put(&store, &key(u128::MAX));
    let copy = folder.path().join("copy.redb");
    fs::copy(&path, &copy).unwrap();
    drop(store);
    let (examined, _) = examine(&copy);
    assert_eq!(examined.findings, []);
    assert_eq!(examined.count(Table::Keys).readable, KEYS_MADE + 1);
}

/// Flips one bit after another, each alone: all of the head, and others at random.
#[test]
fn one_flipped_bit_costs_nothing_wherever_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path());
    let whole = fs::read(&path).unwrap();
    let (_, records) = examine(&path);
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap() * 8;
    let in_head = (0..320 * 8).step_by(13);
    let anywhere: Vec<usize> = (0..120).map(|_| random.random_range(0..used)).collect();
    let damaged = folder.path().join("damaged.redb");
    let mut noticed = 0;
    for bit in in_head.chain(anywhere) {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&damaged, &flipped).unwrap();
        let (examined, found) = examine(&damaged);
        noticed += u32::from(examined.wrong > 0);
        assert!(found == records, "bit {bit} cost or made up something: {:?}", examined.findings);
    }
    println!("{noticed} noticed");
    assert!(noticed > 30, "the flips hit nothing");
}

#[test]
fn a_damaged_record_is_named_by_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path());
    let mut bytes = fs::read(&path).unwrap();
    let id = 200_u128 << 64 | 0x1234_5678;
    let name = format!("key {id}");
    let at: Vec<usize> = memchr::memmem::find_iter(&bytes, name.as_bytes()).collect();
    assert!(!at.is_empty());
    // Also in pages that are not in use any more.
    for place in at {
        bytes[place] ^= 0x3c;
    }
    fs::write(&path, &bytes).unwrap();
    let (examined, found) = examine(&path);
    let id = KeyId::from_u128(id).to_string();
    let named = examined.findings.iter().any(|one| one.place == "keys" && one.id.as_ref() == Some(&id));
    assert!(named, "{:?}", examined.findings);
    let keys = found.iter().filter(|(table, ..)| *table == Table::Keys).count() as u64;
    assert_eq!((keys, examined.count(Table::Keys).readable), (KEYS_MADE - 1, KEYS_MADE - 1));
}

#[test]
fn scribbles_cuts_and_foreign_files_end_well() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path());
    let whole = fs::read(&path).unwrap();
    let (_, records) = examine(&path);
    let mut random = StdRng::seed_from_u64(7);
    let mut scribbled = whole.clone();
    for _ in 0..200 {
        let at = random.random_range(0..whole.len());
        scribbled[at] = random.random();
    }
    let forms = [
        Vec::new(),
        b"SQLite format 3\0".to_vec(),
        vec![0xff; 9000],
        whole[..whole.len() / 2].to_vec(),
        scribbled,
    ];
    for (number, bytes) in forms.into_iter().enumerate() {
        fs::write(&path, &bytes).unwrap();
        let (examined, found) = examine(&path);
        assert!(examined.wrong > 0, "form {number}");
        assert!(found.is_subset(&records), "form {number}");
    }
}

/// More than a bit: what is found is what was there, and what is lost is noticed.
#[test]
fn nothing_is_made_up_and_no_loss_goes_unnoticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path());
    let whole = fs::read(&path).unwrap();
    let (_, records) = examine(&path);
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap();
    let damaged = folder.path().join("damaged.redb");
    let mut lossy = 0;
    for round in 0..80 {
        let mut bytes = whole.clone();
        let at = random.random_range(0..used - 64);
        let length = random.random_range(1..64);
        bytes[at..at + length].iter_mut().for_each(|byte| *byte = random.random());
        fs::write(&damaged, &bytes).unwrap();
        let (examined, found) = examine(&damaged);
        assert!(found.is_subset(&records), "round {round} made something up");
        assert!(examined.wrong > 0 || found == records, "round {round} cost something and was not noticed");
        lossy += u32::from(found != records);
    }
    assert!(lossy > 5, "the damage hit nothing");
}

#[test]
fn a_store_of_a_newer_version_is_called_that() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path());
    let store = open(&path).unwrap();
    store.write(|transaction| set_meta_u64(transaction, tables::FORMAT, 2)).unwrap();
    drop(store);
    let (examined, _) = examine(&path);
    assert_eq!(examined.findings.len(), 1);
    assert!(examined.findings[0].detail.contains("newer portcullis"), "{:?}", examined.findings);
}

/// Records that agree with none are found, though each is whole.
#[test]
fn records_that_do_not_agree_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path());
    let store = open(&path).unwrap();
    let mut twin = key(77);
    twin.versions = store.key(KeyId::from_u128(1 << 64 | 0x1234_5678)).unwrap().unwrap().versions;
    twin.profile.role = Some("ghost".into());
    put(&store, &twin);
    store
        .write(|transaction| {
            transaction.open_table(AUDIT)?.remove(5)?;
            transaction
                .open_table(TOTALS)?
                .remove(rows::totals_key(KeyId::from_u128(3 << 64 | 0x1234_5678), 1))?;
            Ok(())
        })
        .unwrap();
    drop(store);
    let (examined, _) = examine(&path);
    let at: BTreeMap<&str, u32> = examined.findings.iter().fold(BTreeMap::new(), |mut sum, one| {
        *sum.entry(one.place).or_default() += 1;
        sum
    });
    assert_eq!(at, [("audit", 1), ("keys", 2), ("usage_totals", 1)].into(), "{:?}", examined.findings);
    assert_eq!(examined.broken_at, Some(5));
}

#[test]
fn a_backup_restores_to_the_same_records_and_a_new_id() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path());
    let store = open(&path).unwrap();
    let (id, opening) = (store.store_id(), store.opening());
    let mut bytes = Vec::new();
    let mut writer = Writer::begin(&mut bytes, store.record_format(), Timestamp::from_secs(1)).unwrap();
    store
        .records(&mut |record| {
            writer.record(record).unwrap();
            ControlFlow::Continue(())
        })
        .unwrap();
    let written = writer.finish().unwrap();
    drop(store);
    let young = folder.path().join("young.redb");
    let restored = restore(&young, Reader::open(&bytes[..]).unwrap()).unwrap();
    assert_eq!((restored.backup, restored.keys), (written, KEYS_MADE));
    assert_eq!(examine(&young).0.findings, []);
    let but_meta = |records: Records| -> Records {
        records.into_iter().filter(|(table, ..)| *table != Table::Meta).collect()
    };
    assert_eq!(but_meta(stored(&young)), but_meta(stored(&path)));
    let again = open(&young).unwrap();
    assert_ne!(again.store_id(), id);
    assert!(again.opening() > opening, "a generation would be used twice");
}

/// What is lost of the store's own facts is made up for, so that nothing is counted twice or for another route.
#[test]
fn what_is_saved_of_a_store_without_its_facts_restores() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path());
    let mut bytes = Vec::new();
    let mut writer = Writer::begin(&mut bytes, 1, Timestamp::from_secs(1)).unwrap();
    for (table, key, value) in examine(&path).1 {
        if !matches!(table, Table::Meta | Table::Routes) {
            writer.record(Record { table, key: &key, value: &value }).unwrap();
        }
    }
    writer.finish().unwrap();
    let young = folder.path().join("young.redb");
    restore(&young, Reader::open(&bytes[..]).unwrap()).unwrap();
    assert_eq!(examine(&young).0.findings, []);
    let store = open(&young).unwrap();
    assert_eq!(store.opening(), 2, "above every generation of the ledger");
    assert_eq!(store.route_numbers(&["/v3".into()]).unwrap(), [2]);
    assert_eq!(put(&store, &key(5)), KEYS_MADE + 2);
}
