//! What it does not start with: one line that says what is wrong with which file, and nothing changed.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use redb::{Database, TableDefinition};
use serde_json::json;

use crate::support::{Fixture, Process, START, Server, config_file, serve};

/// Runs a start that must fail: what it said.
pub(super) fn refused(command: &mut Command) -> String {
    let mut process = Process::start(command);
    let status = process.wait(START);
    let said = process.stderr();
    assert_eq!(status.code(), Some(1), "{said}{}", process.stdout());
    assert_eq!(said.lines().count(), 1, "{said}");
    for text in [&said, &process.stdout()] {
        assert!(!text.contains("panic"), "{text}");
    }
    said
}

/// The files of a folder and what they hold.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let files = files.filter(|entry| entry.metadata().unwrap().is_file());
    files.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

/// A fixture whose store has keys, and its configuration file.
fn with_store() -> (Fixture, std::path::PathBuf) {
    let fixture = Fixture::new();
    let config = config_file(&fixture);
    let server = Server::start(&config);
    for _ in 0..20 {
        server.admin.key(&json!({"description": "x".repeat(500)}));
    }
    drop(server);
    (fixture, config)
}

#[test]
fn a_damaged_foreign_or_empty_store_is_named_and_left_as_it_is() {
    let (fixture, config) = with_store();
    let path = fixture.store_path();
    let whole = fs::read(&path).unwrap();
    let scribbled = |from: usize, step: usize| {
        let mut bytes = whole.clone();
        bytes.iter_mut().skip(from).step_by(step).for_each(|byte| *byte ^= 0x5a);
        bytes
    };
    let forms = [
        ("empty", Vec::new()),
        ("text", b"this is not a store".to_vec()),
        ("of another program", [&b"SQLite format 3\0"[..], &[0; 8_192]].concat()),
        ("zeroes", vec![0; whole.len()]),
        ("its first block", whole[..4_096].to_vec()),
        ("its first half", whole[..whole.len() / 2].to_vec()),
        ("scribbled over", scribbled(4_096, 97)),
        ("with a scribbled head", scribbled(9, 3)),
    ];
    for (name, bytes) in forms {
        fs::write(&path, &bytes).unwrap();
        let before = contents(fixture.folder.path());
        let said = refused(&mut serve(&config));
        assert!(said.contains("portcullis.redb"), "{name}: {said}");
        assert!(said.contains("restore the file from a backup"), "{name}: {said}");
        assert_eq!(
            contents(fixture.folder.path()).keys().collect::<Vec<_>>(),
            before.keys().collect::<Vec<_>>(),
            "{name}"
        );
        assert_eq!(fs::read(&path).unwrap().len(), bytes.len(), "{name}");
    }
    fs::write(&path, &whole).unwrap();
    assert_eq!(Server::start(&config).admin.get("/api/v1/keys").json()["total"], 20, "the backup works");
}

#[test]
fn a_redb_file_of_another_program_and_a_store_of_a_newer_version_are_named() {
    let (fixture, config) = with_store();
    let path = fixture.store_path();
    let meta = TableDefinition::<&str, &[u8]>::new("meta");
    let newer = Database::open(&path).unwrap();
    let write = newer.begin_write().unwrap();
    write.open_table(meta).unwrap().insert("format", &99_u64.to_le_bytes()[..]).unwrap();
    write.commit().unwrap();
    drop(newer);
    let said = refused(&mut serve(&config));
    assert!(said.contains("portcullis.redb") && said.contains("99") && said.contains("newer"), "{said}");
    fs::remove_file(&path).unwrap();
    let foreign = Database::create(&path).unwrap();
    let write = foreign.begin_write().unwrap();
    write.open_table(TableDefinition::<u64, u64>::new("accounts")).unwrap().insert(1, 2).unwrap();
    write.commit().unwrap();
    drop(foreign);
    let said = refused(&mut serve(&config));
    assert!(said.contains("portcullis.redb") && said.contains("no store of portcullis"), "{said}");
}

#[test]
fn a_store_that_is_gone_is_not_replaced_by_an_empty_one() {
    let (fixture, config) = with_store();
    let path = fixture.store_path();
    let kept = fixture.folder.path().join("kept");
    fs::rename(&path, &kept).unwrap();
    let before = contents(fixture.folder.path());
    let said = refused(&mut serve(&config));
    assert!(said.contains("portcullis.redb: the store is gone") && said.contains("store restore"), "{said}");
    assert_eq!(contents(fixture.folder.path()), before);
    fs::rename(&kept, &path).unwrap();
    assert_eq!(Server::start(&config).admin.get("/api/v1/keys").json()["total"], 20);
    // Whoever wants an empty one can have it.
    fs::remove_file(&path).unwrap();
    fs::remove_file(path.with_extension("usage")).unwrap();
    assert_eq!(Server::start(&config).admin.get("/api/v1/keys").json()["total"], 0);
}

#[test]
fn a_store_that_another_process_has_is_named_and_that_process_goes_on() {
    let fixture = Fixture::new();
    let config = config_file(&fixture);
    let server = Server::start(&config);
    let (id, _) = server.admin.key(&json!({}));
    let said = refused(&mut serve(&config));
    assert!(
        said.contains("portcullis.redb") && said.contains("in use") && said.contains("stop that process"),
        "{said}"
    );
    assert_eq!(server.admin.show(&id)["status"], "active");
    assert_eq!(server.admin.get("/readyz").status, 200);
}

#[test]
fn a_port_that_is_taken_is_named_and_no_store_is_made() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for table in ["[gateway]", "[admin]"] {
        let fixture = Fixture::new();
        let config = config_file(&fixture);
        let text = fs::read_to_string(&config).unwrap();
        let (before, after) = text.split_once(table).unwrap();
        fs::write(&config, format!("{before}{table}{}", after.replacen("127.0.0.1:0", &address, 1))).unwrap();
        let said = refused(&mut serve(&config));
        assert!(said.contains(&address) && said.contains("free the port"), "{table}: {said}");
        assert_eq!(contents(fixture.folder.path()).keys().collect::<Vec<_>>(), ["portcullis.toml"]);
    }
}

/// As a user who may do nothing here. Only root can become one.
fn as_nobody(command: &mut Command) -> &mut Command {
    command.uid(65_534).gid(65_534)
}

#[test]
fn files_that_may_not_be_written_are_named() {
    let (fixture, config) = with_store();
    let (folder, root) = (fixture.folder.path(), rustix::process::geteuid().is_root());
    // As root nothing is forbidden, so the binary runs as somebody else, who must be able to reach it.
    let open = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let binary = folder.join("portcullis");
    fs::copy(env!("CARGO_BIN_EXE_portcullis"), &binary).unwrap();
    open(&binary, 0o755);
    open(&config, 0o644);
    let run = || {
        let mut command = Command::new(&binary);
        command.args(["serve", "--config"]).arg(&config).env("PORTCULLIS_ADMIN_TOKEN", crate::support::TOKEN);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        if root { refused(as_nobody(&mut command)) } else { refused(&mut command) }
    };
    open(folder, 0o555);
    open(&fixture.store_path(), 0o444);
    let said = run();
    assert!(said.contains("portcullis.redb") && said.contains("ermission"), "a store to read: {said}");
    open(&fixture.store_path(), 0o000);
    let said = run();
    assert!(said.contains("portcullis.redb") && said.contains("ermission"), "a store to nobody: {said}");
    open(folder, 0o755);
    for path in [fixture.store_path(), fixture.store_path().with_extension("usage")] {
        fs::remove_file(path).unwrap();
    }
    open(folder, 0o555);
    let said = run();
    assert!(said.contains("portcullis.redb") && said.contains("cannot be made"), "a folder to read: {said}");
    assert!(!fixture.store_path().exists());
    open(folder, 0o755);
}

#[test]
fn a_path_where_no_file_can_be_is_named() {
    let fixture = Fixture::new();
    let config = config_file(&fixture);
    let text = fs::read_to_string(&config).unwrap();
    fs::create_dir(fixture.folder.path().join("a-folder")).unwrap();
    fs::write(fixture.folder.path().join("a-file"), "").unwrap();
    for path in ["a-folder", "a-file/portcullis.redb"] {
        fs::write(&config, text.replace("portcullis.redb", path)).unwrap();
        let said = refused(&mut serve(&config));
        assert!(said.contains(path.split('/').next().unwrap()), "{path}: {said}");
    }
    fs::write(&config, &text).unwrap();
    fs::create_dir(fixture.folder.path().join("portcullis.usage")).unwrap();
    let said = refused(&mut serve(&config));
    assert!(said.contains("portcullis.usage"), "{said}");
}

#[test]
fn a_bad_configuration_is_named_by_file_line_and_path() {
    let fixture = Fixture::new();
    let config = config_file(&fixture);
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("path = \"/v1\"", "path = \"/v1\"\ncolour = 1")).unwrap();
    let said = refused(&mut serve(&config));
    assert!(said.contains("portcullis.toml:") && said.contains("routes[0].colour"), "{said}");
    assert_eq!(contents(fixture.folder.path()).keys().collect::<Vec<_>>(), ["portcullis.toml"]);
    fs::remove_file(&config).unwrap();
    let said = refused(&mut serve(&config));
    assert!(said.contains("portcullis.toml"), "{said}");
}
