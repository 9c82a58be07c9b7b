//! Backups, their restoring, and the check of a store, as an operator has them: with the real binary.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use redb::{ReadableDatabase, ReadableTable, TableDefinition};
use serde_json::{Value, json};

use crate::support::{Admin, Client, Fixture, Gateway, TOKEN, config_file};

/// Runs the binary in the fixture's folder.
fn run(fixture: &Fixture, admin: Option<&Admin>, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(args).current_dir(fixture.folder.path()).env_remove("RUST_LOG");
    command.env_remove("PORTCULLIS_ADMIN_TOKEN").env("PORTCULLIS_ADMIN_URL", "http://127.0.0.1:1");
    if let Some(admin) = admin {
        command.env("PORTCULLIS_ADMIN_TOKEN", TOKEN);
        command.env("PORTCULLIS_ADMIN_URL", format!("http://{}", admin.address));
    }
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn done(output: &Output) {
    assert!(output.status.success(), "{}", text(output));
}

fn failed(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", text(output));
    assert!(!text(output).contains("panic"), "{}", text(output));
    text(output)
}

/// A gateway with a key, a role, an owner, a second token, a revoked and a deleted key.
fn furnish(gateway: &Gateway) -> (String, String) {
    let admin = &gateway.admin;
    assert_eq!(admin.post("/api/v1/roles", &json!({"name": "reader", "scopes": ["models:*"]})).status, 201);
    assert_eq!(admin.post("/api/v1/owners", &json!({"name": "acme", "max_active_keys": 9})).status, 201);
    let token = json!({"name": "viewer", "permissions": ["api.key.view"]});
    assert_eq!(admin.post("/api/v1/admin-tokens", &token).status, 201);
    let (id, secret) = admin.key(&json!({"name": "first", "owner": "acme", "role": "reader", "tags": ["a"]}));
    let (revoked, _) = admin.key(&json!({"name": "second"}));
    admin.post(&format!("/api/v1/keys/{revoked}/revoke"), &json!({}));
    let (deleted, _) = admin.key(&json!({"name": "third"}));
    admin.call("DELETE", &format!("/api/v1/keys/{deleted}"), &[], "");
    (id, secret)
}

fn ask(gateway: &Gateway, secret: &str, times: u32) {
    let mut client = Client::new(gateway.address);
    for _ in 0..times {
        assert_eq!(client.get("/v1/x", secret).status, 200);
    }
}

/// Everything that an operator can read.
fn seen(gateway: &Gateway) -> Vec<Value> {
    let paths =
        ["/keys", "/roles", "/owners", "/admin-tokens", "/usage?group_by=key", "/usage?group_by=route"];
    paths.map(|path| gateway.admin.get(&format!("/api/v1{path}")).json()["items"].clone()).into()
}

fn audit(gateway: &Gateway) -> Vec<Value> {
    gateway.admin.get("/api/v1/audit?limit=200").json()["items"].as_array().unwrap().clone()
}

fn requests(gateway: &Gateway, id: &str) -> Value {
    gateway.admin.show(id)["usage"]["requests"].clone()
}

fn path(fixture: &Fixture, name: &str) -> PathBuf {
    fixture.folder.path().join(name)
}

#[test]
fn a_backup_of_a_running_gateway_restores_to_the_same_keys_ledger_and_audit_chain() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    let (id, secret) = furnish(&gateway);
    ask(&gateway, &secret, 37);
    done(&run(&fixture, Some(&gateway.admin), &["store", "backup", "--out", "a.backup"]));
    let (before, log) = (seen(&gateway), audit(&gateway));
    assert_eq!(log[0]["action"], "store.backup");
    gateway.stop();

    let bytes = fs::read(path(&fixture, "a.backup")).unwrap();
    assert!(memchr::memmem::find(&bytes, &secret.as_bytes()[8..]).is_none(), "a secret is in the backup");
    let mode = fs::metadata(path(&fixture, "a.backup")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let other = Fixture::new();
    config_file(&other);
    let backup = path(&fixture, "a.backup");
    let restore = ["store", "restore", "--config", "portcullis.toml", backup.to_str().unwrap()];
    done(&run(&other, None, &restore));
    done(&run(&other, None, &["store", "check", "--config", "portcullis.toml"]));
    let restored = other.start();
    assert_eq!(seen(&restored), before);
    assert_eq!(audit(&restored), log, "not the same chain");
    assert_eq!(requests(&restored, &id), 37);
    ask(&restored, &secret, 3);
    assert_eq!(requests(&restored, &id), 40);
}

/// A backup is of one moment: its ledger adds up, its chain is whole, and no key is there without its audit entry.
#[test]
fn backups_under_traffic_and_changes_are_each_of_one_moment() {
    let fixture = Fixture::new();
    config_file(&fixture);
    let gateway = fixture.start();
    let (id, secret) = furnish(&gateway);
    let over = AtomicBool::new(false);
    let asked = AtomicU64::new(0);
    let mut counted = Vec::new();
    thread::scope(|threads| {
        threads.spawn(|| {
            let mut client = Client::new(gateway.address);
            while !over.load(Ordering::Acquire) {
                assert_eq!(client.get("/v1/x", &secret).status, 200);
                asked.fetch_add(1, Ordering::AcqRel);
            }
        });
        threads.spawn(|| {
            while !over.load(Ordering::Acquire) {
                gateway.admin.key(&json!({}));
            }
        });
        for number in 0..4 {
            let before = asked.load(Ordering::Acquire);
            let out = format!("{number}.backup");
            done(&run(&fixture, Some(&gateway.admin), &["store", "backup", "--out", &out]));
            counted.push((before, asked.load(Ordering::Acquire) + 1));
        }
        over.store(true, Ordering::Release);
    });
    gateway.stop();
    for (number, (least, most)) in counted.into_iter().enumerate() {
        let backup = format!("{number}.backup");
        let restore = ["store", "restore", "--config", "portcullis.toml", "--force", &backup];
        done(&run(&fixture, None, &restore));
        done(&run(&fixture, None, &["store", "check", "--config", "portcullis.toml"]));
        let gateway = fixture.start();
        let requests = requests(&gateway, &id).as_u64().unwrap();
        assert!((least..=most).contains(&requests), "{least} <= {requests} <= {most}");
        let keys = gateway.admin.get("/api/v1/keys").json()["total"].as_u64().unwrap();
        let made = gateway.admin.get("/api/v1/audit?action=key.create&outcome=done").json()["total"].as_u64();
        assert_eq!(Some(keys + 1), made, "one was deleted");
        gateway.stop();
    }
}

#[test]
fn usage_counted_after_the_backup_is_not_merged_into_the_restored_store() {
    let fixture = Fixture::new();
    config_file(&fixture);
    let gateway = fixture.start();
    let (id, secret) = furnish(&gateway);
    ask(&gateway, &secret, 5);
    done(&run(&fixture, Some(&gateway.admin), &["store", "backup", "--out", "a.backup"]));
    ask(&gateway, &secret, 20);
    let (newer, _) = gateway.admin.key(&json!({"name": "after the backup"}));
    gateway.stop();
    let store = fs::read(fixture.store_path()).unwrap();

    let restore = ["store", "restore", "--config", "portcullis.toml", "a.backup"];
    let refusal = failed(&run(&fixture, None, &restore));
    assert!(refusal.contains("--force"), "{refusal}");
    assert_eq!(fs::read(fixture.store_path()).unwrap(), store, "the refused restore changed the store");

    let forced = run(&fixture, None, &[&restore[..], &["--force"]].concat());
    done(&forced);
    for name in ["portcullis.redb.replaced-1", "portcullis.usage.replaced-1"] {
        assert!(text(&forced).contains(name), "{}", text(&forced));
    }
    assert_eq!(fs::read(path(&fixture, "portcullis.redb.replaced-1")).unwrap(), store);

    for round in 1..=2 {
        let gateway = fixture.start();
        assert_eq!(requests(&gateway, &id), 5 + (round - 1) * 2, "round {round}");
        assert_eq!(gateway.admin.get(&format!("/api/v1/keys/{newer}")).status, 404);
        ask(&gateway, &secret, 2);
        assert_eq!(requests(&gateway, &id), 5 + round * 2);
        gateway.stop();
    }
}

/// Also where the old usage file could not be taken away, such as after a crash in the middle of a restore.
#[test]
fn a_usage_file_of_the_replaced_store_is_foreign_to_the_restored_one() {
    let fixture = Fixture::new();
    config_file(&fixture);
    let gateway = fixture.start();
    let (id, secret) = furnish(&gateway);
    ask(&gateway, &secret, 5);
    done(&run(&fixture, Some(&gateway.admin), &["store", "backup", "--out", "a.backup"]));
    ask(&gateway, &secret, 20);
    gateway.stop();
    done(&run(&fixture, None, &["store", "restore", "--config", "portcullis.toml", "a.backup", "--force"]));
    fs::rename(path(&fixture, "portcullis.usage.replaced-1"), path(&fixture, "portcullis.usage")).unwrap();
    let check = failed(&run(&fixture, None, &["store", "check", "--config", "portcullis.toml"]));
    assert!(check.contains("another store"), "{check}");
    let gateway = fixture.start();
    assert_eq!(requests(&gateway, &id), 5);
    ask(&gateway, &secret, 1);
    assert_eq!(requests(&gateway, &id), 6);
}

#[test]
fn a_backup_that_is_cut_or_changed_is_refused_before_anything_is_restored() {
    let fixture = Fixture::new();
    config_file(&fixture);
    let gateway = fixture.start();
    furnish(&gateway);
    gateway.stop();
    done(&run(&fixture, None, &["store", "backup", "--config", "portcullis.toml", "--out", "a.backup"]));
    let whole = fs::read(path(&fixture, "a.backup")).unwrap();
    let store = fs::read(fixture.store_path()).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 4;
    let longer = [&whole[..], &whole[..]].concat();
    let cases = [
        ("cut", whole[..whole.len() - 1].to_vec(), "cut short"),
        ("flipped", flipped, "damaged"),
        ("longer", longer, "after its end"),
        ("foreign", b"{\"name\": \"ci\"}\n{\"name\": \"ci\"}".to_vec(), "no backup"),
        ("empty", Vec::new(), "no backup"),
    ];
    for (name, bytes, says) in cases {
        fs::write(path(&fixture, name), bytes).unwrap();
        let restore = ["store", "restore", "--config", "portcullis.toml", "--force", name];
        let refusal = failed(&run(&fixture, None, &restore));
        assert!(refusal.contains(says) && refusal.contains(name), "{name}: {refusal}");
        assert_eq!(fs::read(fixture.store_path()).unwrap(), store, "{name}");
    }
    let left: Vec<String> = fs::read_dir(fixture.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("replaced") || name.contains("restoring"))
        .collect();
    assert_eq!(left, [""; 0]);
}

#[test]
fn offline_work_on_a_store_in_use_is_refused_and_says_what_to_do() {
    let fixture = Fixture::new();
    config_file(&fixture);
    let gateway = fixture.start();
    done(&run(&fixture, Some(&gateway.admin), &["store", "backup", "--out", "a.backup"]));
    let again = failed(&run(&fixture, Some(&gateway.admin), &["store", "backup", "--out", "a.backup"]));
    assert!(again.contains("is there already"), "{again}");
    for args in [
        &["store", "backup", "--config", "portcullis.toml", "--out", "b.backup"][..],
        &["store", "check", "--config", "portcullis.toml"],
        &["store", "restore", "--config", "portcullis.toml", "--force", "a.backup"],
        &["audit", "verify", "--config", "portcullis.toml"],
    ] {
        let refusal = failed(&run(&fixture, None, args));
        assert!(refusal.contains("in use"), "{args:?}: {refusal}");
    }
    assert!(!path(&fixture, "b.backup").exists() && !path(&fixture, "b.backup.partial").exists());
    gateway.stop();
    done(&run(&fixture, None, &["store", "backup", "--config", "portcullis.toml", "--out", "b.backup"]));
}

/// Two at once would write to one file; the second leaves the first one's alone.
#[test]
fn a_restore_to_where_another_one_is_under_way_is_refused() {
    let fixture = Fixture::new();
    config_file(&fixture);
    let gateway = fixture.start();
    done(&run(&fixture, Some(&gateway.admin), &["store", "backup", "--out", "a.backup"]));
    gateway.stop();
    let young = path(&fixture, "portcullis.redb.restoring");
    fs::write(&young, "half a store").unwrap();
    let other = fs::File::open(&young).unwrap();
    other.try_lock().unwrap();
    let restore = ["store", "restore", "--config", "portcullis.toml", "a.backup", "--force"];
    let refusal = failed(&run(&fixture, None, &restore));
    assert!(refusal.contains("in use"), "{refusal}");
    assert_eq!(fs::read(&young).unwrap(), b"half a store");
    // What a restore left behind that was killed is no obstacle.
    drop(other);
    done(&run(&fixture, None, &restore));
    assert!(!young.exists());
}

#[test]
fn offline_work_makes_no_store_where_there_is_none() {
    let fixture = Fixture::new();
    config_file(&fixture);
    for args in [
        &["store", "backup", "--config", "portcullis.toml", "--out", "b.backup"][..],
        &["store", "check", "--config", "portcullis.toml"],
        &["audit", "verify", "--config", "portcullis.toml"],
    ] {
        let refusal = failed(&run(&fixture, None, args));
        assert!(refusal.contains("there is no store"), "{args:?}: {refusal}");
        assert!(!fixture.store_path().exists());
    }
}

#[test]
fn a_backup_needs_the_permission_for_everything_and_refusals_are_written_down() {
    let gateway = Fixture::new().start();
    let all_but = json!({"name": "most", "permissions": ["api.key.*", "api.audit.view", "api.usage.view"]});
    let answer = gateway.admin.post("/api/v1/admin-tokens", &all_but).json();
    let most = Admin::new(gateway.admin.address, answer["secret"].as_str().unwrap());
    let refused = most.call("POST", "/api/v1/backup", &[], "");
    assert_eq!((refused.status, &refused.json()["code"]), (403, &json!("permission_denied")));
    assert_eq!(
        Admin::new(gateway.admin.address, "wrong_token_000000").post("/api/v1/backup", &json!({})).status,
        401
    );
    let log = audit(&gateway);
    let denied = log.iter().find(|entry| entry["action"] == "store.backup").unwrap();
    assert_eq!(denied["outcome"], "permission_denied");
    // One after the other works: the place of a finished one is free again.
    for _ in 0..3 {
        let answer = gateway.admin.call("POST", "/api/v1/backup", &[], "");
        assert_eq!((answer.status, &answer.headers["cache-control"][..]), (200, "no-store"));
    }
}

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
