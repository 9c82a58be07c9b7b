//! A damaged store: what a check says of it, and what of it can be saved.

use std::fs;
use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use redb::{ReadableDatabase, ReadableTable, TableDefinition};
use serde_json::{Value, json};

use super::{done, failed, furnish, path, run, text};
use crate::support::{Client, Fixture, config_file};

/// A closed store with keys, and the bytes of its file.
fn closed(fixture: &Fixture) -> (Vec<(String, String)>, Vec<u8>) {
    config_file(fixture);
    let gateway = fixture.start();
    furnish(&gateway);
    let keys: Vec<_> =
        (0..60).map(|n| gateway.admin.key(&json!({"name": format!("name-of-key-{n:04}")}))).collect();
    gateway.stop();
    (keys, fs::read(fixture.store_path()).unwrap())
}

fn flip(bytes: &mut [u8], needle: &[u8]) {
    let places: Vec<usize> = memchr::memmem::find_iter(bytes, needle).collect();
    assert!(!places.is_empty());
    for place in places {
        bytes[place] ^= 0x3c;
    }
}

#[test]
fn a_check_names_the_damaged_key_and_what_is_saved_restores() {
    let fixture = Fixture::new();
    let (keys, mut bytes) = closed(&fixture);
    let check = ["store", "check", "--config", "portcullis.toml", "--output", "json"];
    let sound = run(&fixture, None, &check);
    done(&sound);
    assert_eq!(fs::read(fixture.store_path()).unwrap(), bytes, "a check changed the store");
    let found: Value = serde_json::from_slice(&sound.stdout).unwrap();
    assert_eq!((&found["ok"], &found["findings"]), (&json!(true), &json!([])));

    flip(&mut bytes, b"name-of-key-0030");
    fs::write(fixture.store_path(), &bytes).unwrap();
    let salvage = [&check[..], &["--salvage", "saved.backup"]].concat();
    let damaged = run(&fixture, None, &salvage);
    failed(&damaged);
    let found: Value = serde_json::from_slice(&damaged.stdout).unwrap();
    let findings = found["findings"].as_array().unwrap();
    let named = findings.iter().any(|one| one["place"] == "keys" && one["id"] == keys[30].0);
    assert!(named, "{found:#}");
    let table = |name: &str| {
        let tables = found["tables"].as_array().unwrap();
        tables.iter().find(|table| table["table"] == name).unwrap().clone()
    };
    assert_eq!((&table("keys")["stored"], &table("keys")["readable"]), (&json!(62), &json!(61)));
    assert_eq!(fs::read(fixture.store_path()).unwrap(), bytes, "a check changed the store");

    let restore = ["store", "restore", "--config", "portcullis.toml", "saved.backup", "--force"];
    done(&run(&fixture, None, &restore));
    let gateway = fixture.start();
    for (number, (_, secret)) in keys.iter().enumerate() {
        let expected = if number == 30 { 401 } else { 200 };
        assert_eq!(Client::new(gateway.address).get("/v1/x", secret).status, expected, "key {number}");
    }
}

#[test]
fn a_check_ends_well_after_flips_anywhere() {
    let fixture = Fixture::new();
    let (_, whole) = closed(&fixture);
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap();
    let mut damaged = 0;
    for round in 0..30 {
        let mut bytes = whole.clone();
        // From one flip to many, the head of the file among them.
        for _ in 0..=round {
            let at = random.random_range(0..used);
            bytes[at] ^= 1 << random.random_range(0..8);
        }
        bytes[random.random_range(0..320)] ^= 1;
        fs::write(fixture.store_path(), &bytes).unwrap();
        let output = run(&fixture, None, &["store", "check", "--config", "portcullis.toml"]);
        let said = text(&output);
        assert!(matches!(output.status.code(), Some(0 | 1)) && !said.contains("panic"), "{round}: {said}");
        assert!(said.contains("whole") || said.contains("damaged"), "{round}: {said}");
        damaged += u32::from(output.status.code() == Some(1));
    }
    assert!(damaged > 15, "the flips hit nothing");
    let usage = path(&fixture, "portcullis.usage");
    fs::write(fixture.store_path(), &whole).unwrap();
    let mut bytes = fs::read(&usage).unwrap();
    bytes[20] ^= 1;
    fs::write(&usage, bytes).unwrap();
    let said = failed(&run(&fixture, None, &["store", "check", "--config", "portcullis.toml"]));
    assert!(said.contains("portcullis.usage"), "{said}");
}

const AUDIT: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("audit");

/// Changes the log behind the gateway's back.
fn tamper(store: &Path, change: impl FnOnce(&mut redb::Table<'_, u64, &'static [u8]>)) {
    let database = redb::Database::open(store).unwrap();
    let transaction = database.begin_write().unwrap();
    change(&mut transaction.open_table(AUDIT).unwrap());
    transaction.commit().unwrap();
}

#[test]
fn an_offline_verification_names_the_first_broken_link() {
    let fixture = Fixture::new();
    closed(&fixture);
    let verify = ["audit", "verify", "--config", "portcullis.toml"];
    let sound = run(&fixture, None, &verify);
    done(&sound);
    let whole = fs::read(fixture.store_path()).unwrap();
    let entries = {
        let database = redb::Database::open(fixture.store_path()).unwrap();
        let table = database.begin_read().unwrap().open_table(AUDIT).unwrap();
        redb::ReadableTableMetadata::len(&table).unwrap()
    };
    assert!(text(&sound).contains(&format!("{entries} entries")), "{}", text(&sound));

    tamper(&fixture.store_path(), |log| drop(log.remove(7).unwrap()));
    let broken = failed(&run(&fixture, None, &verify));
    assert!(broken.contains("entry 7"), "{broken}");

    // An entry in the place of another, each whole by itself.
    fs::write(fixture.store_path(), &whole).unwrap();
    tamper(&fixture.store_path(), |log| {
        let other = log.get(4).unwrap().unwrap().value().to_vec();
        log.insert(9, &other[..]).unwrap();
    });
    let broken = failed(&run(&fixture, None, &verify));
    assert!(broken.contains("entry 9"), "{broken}");
    let check = failed(&run(&fixture, None, &["store", "check", "--config", "portcullis.toml"]));
    assert!(check.contains("audit 9"), "{check}");

    // One bit of an entry, which the page's checksum tells.
    let mut bytes = whole;
    flip(&mut bytes, b"name-of-key-0040");
    fs::write(fixture.store_path(), &bytes).unwrap();
    failed(&run(&fixture, None, &verify));
}
