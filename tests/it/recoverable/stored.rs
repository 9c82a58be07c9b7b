//! What of a recoverable secret is in the store's file.

use std::fs;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableHandle};
use serde_json::json;

use super::{MASTER, ON, post, reveal, revealed, start};
use crate::support::{Client, Fixture};

const SEALED: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("sealed_secrets");

#[test]
fn neither_a_secret_nor_the_master_key_is_in_a_file() {
    let fixture = Fixture::with(ON);
    let gateway = start(&fixture, ON);
    let (id, first) = gateway.admin.key(&json!({}));
    let second =
        post(&gateway.admin, &id, "rotate", &json!({})).json()["secret"].as_str().unwrap().to_owned();
    revealed(&gateway.admin, &id);
    gateway.stop();
    let master: Vec<u8> = (0..32).collect();
    let private = [
        &first.as_bytes()[first.len() - 30..],
        &second.as_bytes()[second.len() - 30..],
        MASTER.as_bytes(),
        &master,
    ];
    for entry in fs::read_dir(fixture.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        for text in private {
            let found = bytes.windows(text.len()).any(|window| window == text);
            assert!(!found, "{:?} is in {}", String::from_utf8_lossy(text), path.display());
        }
    }
}

#[test]
fn a_sealed_secret_in_another_keys_place_does_not_open() {
    let fixture = Fixture::with(ON);
    let gateway = start(&fixture, ON);
    let ids = [0, 1].map(|_| gateway.admin.key(&json!({})).0);
    gateway.stop();
    let database = Database::open(fixture.store_path()).unwrap();
    let write = database.begin_write().unwrap();
    {
        let mut table = write.open_table(SEALED).unwrap();
        let rows: Vec<(u128, Vec<u8>)> = table
            .iter()
            .unwrap()
            .map(|row| row.map(|(key, value)| (key.value(), value.value().to_vec())).unwrap())
            .collect();
        assert_eq!(rows.len(), 2);
        table.insert(rows[0].0, &rows[1].1[..]).unwrap();
        table.insert(rows[1].0, &rows[0].1[..]).unwrap();
    }
    write.commit().unwrap();
    drop(database);
    let gateway = start(&fixture, ON);
    for id in &ids {
        let answer = reveal(&gateway.admin, id);
        assert_eq!((answer.status, answer.code().as_str()), (500, "internal_error"));
        assert!(!String::from_utf8(answer.body).unwrap().contains("pc_live_"));
    }
}

#[test]
fn a_store_from_before_sealed_things_opens_and_takes_them() {
    let fixture = Fixture::with(ON);
    let gateway = start(&fixture, super::OFF);
    let (id, secret) = gateway.admin.key(&json!({}));
    gateway.stop();
    let database = Database::open(fixture.store_path()).unwrap();
    let write = database.begin_write().unwrap();
    for name in ["sealed_secrets", "replays", "replay_times"] {
        let tables: Vec<_> = write.list_tables().unwrap().collect();
        let table = tables.into_iter().find(|table| table.name() == name).unwrap();
        assert!(write.delete_table(table).unwrap(), "{name}");
    }
    write.commit().unwrap();
    drop(database);
    let gateway = start(&fixture, ON);
    assert_eq!(Client::new(gateway.address).get("/v1/x", &secret).status, 200);
    post(&gateway.admin, &id, "rotate", &json!({}));
    let secret = revealed(&gateway.admin, &id);
    assert_eq!(Client::new(gateway.address).get("/v1/x", &secret).status, 200);
    gateway.stop();
    let database = Database::open(fixture.store_path()).unwrap();
    let read = database.begin_read().unwrap();
    assert_eq!(read.open_table(SEALED).unwrap().iter().unwrap().count(), 1);
}
