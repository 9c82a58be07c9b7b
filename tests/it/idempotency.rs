//! `Idempotency-Key`: a repeated call gets the first answer, and nothing new is made.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use portcullis::clock::{ManualClock, Timestamp};
use portcullis::manage::replay::MAX_REPLAYS;
use redb::{Database, TableDefinition};
use serde_json::{Value, json};

use crate::support::{
    Admin, Answer, Client, Fixture, Process, Server, TOKEN, config_file, eventually, serve,
};

const KEYS: &str = "/api/v1/keys";
const ONCE: &str = "8e03978e-40d5-43dd-bc93-6894a57f9324";

fn create(admin: &Admin, once: &str, name: &str) -> Answer {
    admin.call("POST", KEYS, &[("Idempotency-Key", once)], &json!({"name": name}).to_string())
}

fn rotate(admin: &Admin, id: &str, once: &str, body: &str) -> Answer {
    admin.call("POST", &format!("{KEYS}/{id}/rotate"), &[("idempotency-key", once)], body)
}

fn total(admin: &Admin) -> Value {
    admin.get(KEYS).json()["total"].clone()
}

fn replayed(answer: &Answer) -> bool {
    answer.header("idempotency-replayed") == Some("true")
}

/// Everything of an answer that a repetition must repeat.
fn whole(answer: &Answer) -> (u16, Vec<u8>, Vec<Option<String>>) {
    let names = ["location", "etag", "cache-control", "content-type"];
    (answer.status, answer.body.clone(), names.map(|name| answer.header(name).map(str::to_owned)).to_vec())
}

#[test]
fn a_repeated_create_is_answered_as_the_first_and_makes_nothing() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    let first = create(&gateway.admin, ONCE, "a");
    assert_eq!((first.status, replayed(&first)), (201, false));
    assert_eq!(first.header("cache-control"), Some("no-store"));
    let (id, secret) =
        (first.json()["key"]["id"].clone(), first.json()["secret"].as_str().unwrap().to_owned());
    let path = format!("{KEYS}/{}", id.as_str().unwrap());
    assert_eq!(first.header("location"), Some(path.as_str()));
    assert_eq!(first.header("etag"), gateway.admin.get(&path).header("etag"));
    // What happens to the key meanwhile does not change the answer.
    assert_eq!(Client::new(gateway.address).get("/v1/x", &secret).status, 200);
    assert_eq!(gateway.admin.patch(&path, &json!({"name": "b"})).status, 200);
    for _ in 0..3 {
        let again = create(&gateway.admin, ONCE, "a");
        assert!(replayed(&again));
        assert_eq!(whole(&again), whole(&first));
    }
    // The same document, written otherwise.
    let spaced = gateway.admin.call("POST", KEYS, &[("Idempotency-Key", ONCE)], "{ \"name\":\n\"a\" }");
    assert_eq!(whole(&spaced), whole(&first));
    assert_eq!(total(&gateway.admin), 1);
    let made = gateway.admin.get("/api/v1/audit?action=key.create").json();
    assert_eq!(made["total"], 1, "one key, one entry");
    let shown = gateway.admin.get("/api/v1/audit?action=key.replay").json();
    assert_eq!((&shown["total"], &shown["items"][0]["target"]), (&json!(4), &id));
}

#[test]
fn a_repeated_rotation_is_answered_as_the_first_and_keeps_the_secret() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    let (id, _) = gateway.admin.key(&json!({}));
    let path = format!("{KEYS}/{id}");
    let etag = gateway.admin.get(&path).header("etag").unwrap().to_owned();
    let body = r#"{"grace": "0s"}"#;
    let headers = [("idempotency-key", ONCE), ("if-match", &*etag)];
    let turn = || gateway.admin.call("POST", &format!("{path}/rotate"), &headers, body);
    let first = turn();
    assert_eq!(first.status, 200);
    let again = turn();
    assert!(replayed(&again), "the ETag that it names is an old one now, and the answer is the first one's");
    assert_eq!(whole(&again), whole(&first));
    assert_eq!(gateway.admin.show(&id)["versions"].as_array().unwrap().len(), 2);
    let secret = first.json()["secret"].as_str().unwrap().to_owned();
    assert_eq!(Client::new(gateway.address).get("/v1/x", &secret).status, 200);
    // An empty body is another one than this.
    let other = rotate(&gateway.admin, &id, ONCE, "");
    assert_eq!((other.status, other.code().as_str()), (422, "idempotency_key_reused"));
}

#[test]
fn another_body_is_refused_and_another_call_is_another() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    let first = create(&gateway.admin, ONCE, "a");
    let other = create(&gateway.admin, ONCE, "b");
    assert_eq!((other.status, other.code().as_str()), (422, "idempotency_key_reused"));
    assert_eq!(other.header("content-type"), Some("application/problem+json"));
    assert_eq!(total(&gateway.admin), 1);
    let refusals = gateway.admin.get("/api/v1/audit?outcome=idempotency_key_reused").json();
    assert_eq!(refusals["total"], 1);
    // The same text for another path, another key or from another caller is no repetition.
    let id = first.json()["key"]["id"].as_str().unwrap().to_owned();
    let (other, _) = gateway.admin.key(&json!({}));
    let mut secrets = BTreeSet::new();
    for id in [&id, &other] {
        let answer = rotate(&gateway.admin, id, ONCE, "");
        assert_eq!((answer.status, replayed(&answer)), (200, false));
        secrets.insert(answer.json()["secret"].as_str().unwrap().to_owned());
    }
    let terms = json!({"name": "other", "permissions": ["api.key.*"]});
    let token = gateway.admin.post("/api/v1/admin-tokens", &terms).json()["secret"].clone();
    let caller = Admin::new(gateway.admin.address, token.as_str().unwrap());
    let theirs = create(&caller, ONCE, "a");
    assert_eq!((theirs.status, replayed(&theirs)), (201, false));
    secrets.insert(theirs.json()["secret"].as_str().unwrap().to_owned());
    assert_eq!(secrets.len(), 3);
    assert_eq!(total(&gateway.admin), 3);
}

#[test]
fn a_refused_call_is_not_kept_and_a_bad_header_is_named() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    assert_eq!(create(&gateway.admin, ONCE, "").status, 422);
    assert_eq!(create(&gateway.admin, ONCE, "a").status, 201, "the refusal changed nothing");
    let (id, _) = gateway.admin.key(&json!({}));
    for bad in ["", "two words", &"x".repeat(256)] {
        for answer in [create(&gateway.admin, bad, "b"), rotate(&gateway.admin, &id, bad, "")] {
            assert_eq!((answer.status, answer.code().as_str()), (400, "bad_request"), "{bad:?}");
            assert!(answer.json()["detail"].as_str().unwrap().contains("Idempotency-Key"));
        }
    }
    let twice = [("idempotency-key", "a"), ("idempotency-key", "a")];
    assert_eq!(gateway.admin.call("POST", KEYS, &twice, r#"{"name": "b"}"#).status, 400);
    assert_eq!(create(&gateway.admin, &"x".repeat(255), "b").status, 201);
    assert_eq!(total(&gateway.admin), 3);
}

#[test]
fn of_calls_at_once_one_makes_a_key_and_the_others_wait_or_get_its_answer() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    let (mut round, mut waited) = (0, 0);
    eventually("a call meets the first one while it runs", || {
        round += 1;
        let once = format!("round-{round}");
        let answers: Vec<Answer> = std::thread::scope(|scope| {
            let calls: Vec<_> = (0..8).map(|_| scope.spawn(|| create(&gateway.admin, &once, "a"))).collect();
            calls.into_iter().map(|call| call.join().unwrap()).collect()
        });
        let (made, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 201);
        let bodies: BTreeSet<&[u8]> = made.iter().map(|answer| &answer.body[..]).collect();
        assert_eq!(bodies.len(), 1, "one secret");
        assert_eq!(made.iter().filter(|answer| !replayed(answer)).count(), 1);
        for answer in &refused {
            assert_eq!((answer.status, answer.code().as_str()), (409, "idempotency_in_progress"));
            assert_eq!(answer.header("retry-after"), Some("1"));
        }
        waited += refused.len();
        assert_eq!(total(&gateway.admin), round);
        waited > 0
    });
}

#[test]
fn an_answer_is_kept_over_restarts_for_24_hours_and_then_forgotten() {
    let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_795_266_000)));
    let fixture = Fixture::new().clock(clock.clone());
    let gateway = fixture.start();
    let first = create(&gateway.admin, ONCE, "a");
    gateway.stop();
    clock.advance(Duration::from_hours(24) - Duration::from_millis(1));
    let gateway = fixture.start();
    let again = create(&gateway.admin, ONCE, "a");
    assert!(replayed(&again));
    assert_eq!(whole(&again), whole(&first));
    let store = Arc::clone(&gateway.app().core.store);
    assert_eq!(store.replay_count().unwrap(), 1);
    clock.advance(Duration::from_millis(2));
    let late = create(&gateway.admin, ONCE, "a");
    assert_eq!((late.status, replayed(&late)), (201, false));
    assert_ne!(late.json()["secret"], first.json()["secret"]);
    clock.advance(Duration::from_hours(25));
    eventually("what is over is forgotten", || store.replay_count().unwrap() == 0);
    assert_eq!(total(&gateway.admin), 2);
}

#[test]
fn after_kill_9_an_acknowledged_answer_is_there_and_an_open_one_is_whole_or_nothing() {
    let fixture = Fixture::new();
    let config = config_file(&fixture);
    let mut server = Server::start(&config);
    for round in 0..8_u64 {
        let once = format!("kill-{round}");
        let address = server.admin.address;
        // The moment of the kill is what differs; some calls are answered before it and some are not.
        let answered = std::thread::scope(|scope| {
            let call = scope.spawn(|| {
                let body = r#"{"name": "a"}"#;
                let bearer = format!("Bearer {TOKEN}");
                let headers = [("authorization", &*bearer), ("idempotency-key", &*once)];
                Client::new(address).try_send("POST", KEYS, &headers, body).ok()
            });
            std::thread::sleep(Duration::from_millis(round * 2));
            server.process.kill();
            call.join().unwrap()
        });
        server = Process::start(&mut serve(&config)).serving();
        let again = create(&server.admin, &once, "a");
        assert_eq!(again.status, 201, "round {round}");
        if let Some(first) = answered {
            assert_eq!(whole(&again), whole(&first), "round {round}");
        }
        assert_eq!(total(&server.admin), round + 1, "round {round}");
        let secret = again.json()["secret"].as_str().unwrap().to_owned();
        assert_eq!(Client::new(server.address).get("/v1/x", &secret).status, 200, "round {round}");
    }
}

#[test]
fn neither_the_secret_nor_the_header_is_in_a_file() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    let secret = create(&gateway.admin, ONCE, "a").json()["secret"].as_str().unwrap().to_owned();
    create(&gateway.admin, ONCE, "a");
    create(&gateway.admin, ONCE, "b");
    gateway.stop();
    for entry in fs::read_dir(fixture.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        for text in [&secret[secret.len() - 30..], ONCE] {
            let found = bytes.windows(text.len()).any(|window| window == text.as_bytes());
            assert!(!found, "{text} is in {}", path.display());
        }
    }
}

#[test]
fn the_command_line_repeats_a_command_safely() {
    let fixture = Fixture::new();
    let server = Server::start(&config_file(&fixture));
    let run = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.args(words).env("PORTCULLIS_ADMIN_TOKEN", TOKEN);
        command.env("PORTCULLIS_ADMIN_URL", format!("http://{}", server.admin.address));
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let made = ["keys", "create", "--name", "ci", "--idempotency-key", ONCE];
    let first = run(&made);
    assert_eq!(first.0, Some(0));
    assert_eq!(run(&made), first);
    assert_eq!(total(&server.admin), 1);
    let id = server.admin.get(KEYS).json()["items"][0]["id"].as_str().unwrap().to_owned();
    let turned = ["keys", "rotate", &id, "--idempotency-key", ONCE];
    let second = run(&turned);
    assert_eq!(run(&turned), second);
    assert_ne!(second.1, first.1);
    for wrong in [&["a b"][..], &[ONCE, "--expires-in", "90d"]] {
        let words = [&["keys", "create", "--name", "x", "--idempotency-key"], wrong].concat();
        assert_eq!(run(&words).0, Some(2), "{words:?}");
    }
    assert_eq!(total(&server.admin), 1);
}

#[test]
fn when_no_more_answers_can_be_kept_a_call_that_wants_one_is_refused_and_others_go_on() {
    let fixture = Fixture::new();
    fixture.start().stop();
    let table = TableDefinition::<[u8; 32], &[u8]>::new("replays");
    let database = Database::open(fixture.store_path()).unwrap();
    let write = database.begin_write().unwrap();
    {
        let mut table = write.open_table(table).unwrap();
        for number in 0..MAX_REPLAYS {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&number.to_be_bytes());
            table.insert(id, &[][..]).unwrap();
        }
    }
    write.commit().unwrap();
    drop(database);
    let gateway = fixture.start();
    let refused = create(&gateway.admin, ONCE, "a");
    assert_eq!((refused.status, refused.code().as_str()), (429, "too_many_replays"));
    assert_eq!(total(&gateway.admin), 0);
    gateway.admin.key(&json!({}));
}
