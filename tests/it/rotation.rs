//! A rotation one can watch: which secret is used how much, and by whom.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use portcullis::clock::{ManualClock, Timestamp};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    Admin, Answer, Client, Fixture, Gateway, Process, Server, TOKEN, config_file, eventually, send, within,
};

const ROUTE: &str = r#"
    [[routes]]
    path = "/v1"
    upstream = "api"
"#;

/// 2026-11-21T13:00:00Z
const START: u64 = 1_795_266_000;

fn rotate(admin: &Admin, id: &str, grace: &str) -> String {
    let answer = admin.post(&format!("/api/v1/keys/{id}/rotate"), &json!({"grace": grace}));
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    answer.json()["secret"].as_str().unwrap().to_owned()
}

/// The versions, oldest first.
fn versions(admin: &Admin, id: &str) -> Vec<Value> {
    let answer = admin.get(&format!("/api/v1/keys/{id}/rotation"));
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let body = answer.json();
    assert_eq!(body.as_object().unwrap().len(), 1, "versions alone: {body}");
    body["versions"].as_array().unwrap().clone()
}

fn fields(version: &Value, names: [&str; 4]) -> [Value; 4] {
    names.map(|name| version[name].clone())
}

/// A request with this secret, from a client of this name.
fn call(gateway: &Gateway, secret: &str, agent: &str) -> Answer {
    let agent = if agent.is_empty() { String::new() } else { format!("user-agent: {agent}\r\n") };
    let head = format!("GET /v1/x HTTP/1.1\r\nhost: it\r\nauthorization: Bearer {secret}\r\n{agent}\r\n");
    send(gateway.address, head)
}

fn names(version: &Value) -> Vec<&str> {
    version["callers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["user_agent"].as_str().unwrap_or(""))
        .collect()
}

#[test]
fn each_secret_tells_how_much_and_by_whom_it_is_used() {
    let clock = Arc::new(ManualClock::at(Timestamp::from_secs(START)));
    let gateway = Fixture::with(ROUTE).clock(clock.clone()).start();
    let (id, old) = gateway.admin.key(&json!({}));
    let unused = versions(&gateway.admin, &id);
    assert_eq!(
        unused[0].as_object().unwrap().keys().collect::<Vec<_>>(),
        [
            "version",
            "fingerprint",
            "state",
            "created_at",
            "expires_at",
            "requests",
            "first_used_at",
            "last_used_at",
            "callers"
        ]
    );
    assert_eq!(
        fields(&unused[0], ["requests", "first_used_at", "last_used_at", "expires_at"]),
        [json!(0), Value::Null, Value::Null, Value::Null]
    );
    call(&gateway, &old, "early");
    assert_eq!(
        versions(&gateway.admin, &id)[0]["callers"],
        json!([]),
        "nobody watches a key that is not rotated"
    );

    clock.advance(Duration::from_mins(1));
    let new = rotate(&gateway.admin, &id, "1h");
    for (secret, agent) in [(&old, "ci"), (&old, "batch/2"), (&new, "web"), (&old, "ci"), (&old, "")] {
        clock.advance(Duration::from_mins(1));
        assert_eq!(call(&gateway, secret, agent).status, 200);
    }
    let seen = versions(&gateway.admin, &id);
    let times = ["2026-11-21T13:00:00Z", "2026-11-21T13:06:00Z", "2026-11-21T14:01:00Z"].map(|at| json!(at));
    let [first, last, end] = times;
    assert_eq!(
        fields(&seen[0], ["requests", "first_used_at", "last_used_at", "expires_at"]),
        [json!(5), first, last, end]
    );
    let caller = |agent: Value, at: &str| json!({"address": "127.0.0.1", "user_agent": agent, "at": at});
    let newest_first = [
        caller(Value::Null, "2026-11-21T13:06:00Z"),
        caller(json!("ci"), "2026-11-21T13:05:00Z"),
        caller(json!("batch/2"), "2026-11-21T13:03:00Z"),
    ];
    assert_eq!(seen[0]["callers"], json!(newest_first));
    assert_eq!((&seen[0]["state"], &seen[1]["state"]), (&json!("retiring"), &json!("active")));
    assert_eq!((&seen[1]["requests"], names(&seen[1])), (&json!(1), vec!["web"]));
    let key = gateway.admin.show(&id);
    for (version, shown) in seen.iter().zip(key["versions"].as_array().unwrap()) {
        for name in
            ["version", "fingerprint", "state", "created_at", "expires_at", "requests", "last_used_at"]
        {
            assert_eq!(version[name], shown[name], "{name} is that of the key itself");
        }
    }

    // Over: a caller of the old secret is refused, which is no use of it, and is still told.
    clock.advance(Duration::from_hours(1));
    assert_eq!(call(&gateway, &old, "left behind").code(), "secret_retired");
    let seen = versions(&gateway.admin, &id);
    assert_eq!((&seen[0]["state"], &seen[0]["requests"]), (&json!("retired"), &json!(5)));
    assert_eq!(names(&seen[0])[0], "left behind");
    clock.advance(Duration::from_hours(24));
    call(&gateway, &old, "too late");
    assert_eq!(
        names(&versions(&gateway.admin, &id)[0])[0],
        "left behind",
        "watched for a day after the grace"
    );
}

#[test]
fn the_last_callers_are_few_and_harmless() {
    let gateway = Fixture::with(ROUTE).start();
    let (id, old) = gateway.admin.key(&json!({}));
    rotate(&gateway.admin, &id, "1h");
    let long = format!("{}\u{e9}", "x".repeat(1000));
    call(&gateway, &old, &long);
    for number in 0..20 {
        call(&gateway, &old, &format!("client/{number}"));
        call(&gateway, &old, "steady");
    }
    call(&gateway, &old, "quo\"te\t\u{e9}");
    let seen = versions(&gateway.admin, &id);
    let last = ["steady", "client/19", "client/18", "client/17", "client/16", "client/15", "client/14"];
    assert_eq!(names(&seen[0])[0], "quo\"te???");
    assert_eq!(names(&seen[0])[1..], last);
    call(&gateway, &old, &long);
    let cut = names(&versions(&gateway.admin, &id)[0])[0].to_owned();
    assert_eq!(cut, "x".repeat(200));
}

#[test]
fn who_may_see_the_key_may_see_its_rotation() {
    let gateway = Fixture::with(ROUTE).start();
    let (mine, _) = gateway.admin.key(&json!({"owner": "acme"}));
    let (theirs, _) = gateway.admin.key(&json!({"owner": "other"}));
    let token = |permission: &str| {
        let body = json!({"name": "t", "permissions": [permission], "owner": "acme"});
        let answer = gateway.admin.post("/api/v1/admin-tokens", &body).json();
        Admin::new(gateway.admin.address, answer["secret"].as_str().unwrap())
    };
    let path = |id: &str| format!("/api/v1/keys/{id}/rotation");
    let viewer = token("api.key.view");
    assert_eq!(viewer.get(&path(&mine)).status, 200);
    assert_eq!(
        (viewer.get(&path(&theirs)).status, viewer.get(&path(&theirs)).code()),
        (404, "not_found".into())
    );
    assert_eq!(token("api.key.update").get(&path(&mine)).status, 403);
    assert_eq!(gateway.admin.get(&format!("{}?limit=1", path(&mine))).status, 422);
    assert_eq!(gateway.admin.get(&path("key_00000000000000000000000000")).status, 404);
}

#[test]
fn counts_and_times_of_each_secret_survive_a_kill_and_a_restart() {
    let fixture = Fixture::with(ROUTE);
    let config = config_file(&fixture);
    let mut server = Server::start(&config);
    let (id, old) = server.admin.key(&json!({}));
    let new = rotate(&server.admin, &id, "1h");
    let use_both = |server: &Server| {
        let mut client = Client::new(server.address);
        for secret in [&old, &old, &new] {
            assert_eq!(client.get("/v1/x", secret).status, 200);
        }
    };
    let known = |admin: &Admin| -> Vec<[Value; 4]> {
        let all = versions(admin, &id);
        all.iter().map(|one| fields(one, ["requests", "first_used_at", "last_used_at", "state"])).collect()
    };
    use_both(&server);
    let before = known(&server.admin);
    assert_eq!((&before[0][0], &before[1][0]), (&json!(2), &json!(1)));
    server.process.kill();
    let mut server = Server::start(&config);
    assert_eq!(known(&server.admin), before);
    assert_eq!(versions(&server.admin, &id)[0]["callers"], json!([]), "callers are of this process");
    use_both(&server);
    // Nothing has read the usage since: what was counted last is in the mapped file alone.
    server.process.kill();
    let mut server = Server::start(&config);
    let after = known(&server.admin);
    assert_eq!((&after[0][0], &after[1][0]), (&json!(4), &json!(2)));
    assert_eq!([&after[0][1], &after[1][1]], [&before[0][1], &before[1][1]], "the first use stays the first");
    assert!(after[0][2].as_str() > before[0][2].as_str(), "the last use moves on");
    server.process.signal(Signal::TERM);
    assert!(server.process.wait(Duration::from_secs(10)).success());
    assert_eq!(known(&Server::start(&config).admin), after);
}

/// `portcullis keys …` against this gateway.
fn cli(gateway: &Gateway, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command
        .args(["keys", "--admin-url", &format!("http://{}", gateway.admin.address)])
        .args(words)
        .env("PORTCULLIS_ADMIN_TOKEN", TOKEN)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[test]
fn the_command_line_watches_the_old_secret_until_its_grace_has_ended() {
    let gateway = Fixture::with(ROUTE).start();
    let (id, old) = gateway.admin.key(&json!({}));
    let words = ["rotate", &id, "--grace", "2s", "--watch", "--every", "100ms"];
    let mut watching = Process::start(&mut cli(&gateway, &words));
    eventually("it watches", || watching.stderr().contains("0 requests"));
    assert_eq!(call(&gateway, &old, "ci-bot").status, 200);
    eventually("it sees the request", || watching.stderr().contains("1 requests (+1)"));
    let status = watching.wait(Duration::from_secs(10));
    let (secret, said) = (watching.stdout(), watching.stderr());
    assert!(status.success(), "{said}");
    assert!(said.contains("ci-bot") && said.contains("The grace has ended"), "{said}");
    let new = secret.trim_end();
    assert!(
        new.starts_with("pc_live_") && !new.contains(char::is_whitespace),
        "the secret alone: {secret:?}"
    );
    assert!(!said.contains(new), "and nowhere else");
    assert_eq!(call(&gateway, new, "ci-bot").status, 200);
    assert_eq!(call(&gateway, &old, "ci-bot").code(), "secret_retired");
    let table = cli(&gateway, &["rotation", &id]).output().unwrap();
    let table = String::from_utf8(table.stdout).unwrap();
    for text in ["retired", "active", "FIRST_USED_AT", "USER_AGENT", "127.0.0.1", "ci-bot"] {
        assert!(table.contains(text), "{text}: {table}");
    }
    let json = cli(&gateway, &["rotation", &id, "--output", "json"]).output().unwrap();
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["versions"].as_array().unwrap().len(), 2);
}

#[test]
fn an_interrupt_ends_the_watching_and_not_the_grace() {
    let gateway = Fixture::with(ROUTE).start();
    let (id, old) = gateway.admin.key(&json!({}));
    let mut watching = Process::start(&mut cli(&gateway, &["rotate", &id, "--grace", "1h", "--watch"]));
    within(Duration::from_secs(10), "it watches", || watching.stderr().contains("0 requests").then_some(()));
    watching.signal(Signal::INT);
    assert_eq!(watching.wait(Duration::from_secs(5)).code(), Some(0), "{}", watching.stderr());
    assert_eq!(call(&gateway, &old, "").status, 200);
    let nothing = cli(&gateway, &["rotate", &id, "--watch"]).output().unwrap();
    assert_eq!(nothing.status.code(), Some(2), "without a grace there is nothing to watch");
    assert_eq!(call(&gateway, &old, "").status, 200, "and nothing was rotated");
}
