//! Backups, their restoring, and the check of a store, as an operator has them: with the real binary.

mod check;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

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
