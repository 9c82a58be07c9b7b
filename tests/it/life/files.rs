//! The files that a gateway makes: their names, and who may read them.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;

use crate::support::{Client, Fixture};

/// Each file of a folder, with its mode.
fn modes(folder: &Path) -> BTreeMap<String, u32> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let mode = |entry: fs::DirEntry| {
        let mode = entry.metadata().unwrap().permissions().mode() & 0o7777;
        (entry.file_name().into_string().unwrap(), mode)
    };
    entries.map(mode).collect()
}

fn expected() -> BTreeMap<String, u32> {
    [("portcullis.redb".to_owned(), 0o600), ("portcullis.usage".to_owned(), 0o600)].into()
}

#[test]
fn every_file_is_the_owners_alone() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    let (_, secret) = gateway.admin.key(&json!({}));
    Client::new(gateway.address).get("/v1/x", &secret);
    assert_eq!(modes(fixture.folder.path()), expected(), "while it runs");
    gateway.stop();
    assert_eq!(modes(fixture.folder.path()), expected(), "after a stop");
}

#[test]
fn a_file_that_others_may_read_is_closed_to_them_at_start() {
    let fixture = Fixture::new();
    fixture.start().stop();
    for name in expected().keys() {
        fs::set_permissions(fixture.folder.path().join(name), Permissions::from_mode(0o644)).unwrap();
    }
    let _gateway = fixture.start();
    assert_eq!(modes(fixture.folder.path()), expected());
}

#[test]
fn a_damaged_usage_file_is_set_aside_and_costs_only_what_was_not_merged() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    let (id, secret) = gateway.admin.key(&json!({}));
    for _ in 0..3 {
        assert_eq!(Client::new(gateway.address).get("/v1/x", &secret).status, 200);
    }
    gateway.stop();
    let usage = fixture.folder.path().join("portcullis.usage");
    for (round, rubbish) in [&b""[..], b"rubbish", &[0; 8192]].into_iter().enumerate() {
        fs::write(&usage, rubbish).unwrap();
        let gateway = fixture.start();
        assert_eq!(gateway.admin.show(&id)["usage"]["requests"], 3 + round);
        assert_eq!(Client::new(gateway.address).get("/v1/x", &secret).status, 200);
        gateway.stop();
        let aside = fixture.folder.path().join(format!("portcullis.usage.damaged-{}", round + 1));
        assert_eq!(fs::read(aside).unwrap(), rubbish, "nothing is thrown away");
    }
}
