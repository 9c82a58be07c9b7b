//! `SIGHUP`: routes, upstreams and limits of the file take the place of those in force, with no request lost.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use rustix::process::Signal;
use serde_json::json;

use crate::support::{Client, Fixture, Server, Upstream, config_file, eventually};

const SECOND: &str = "\n[[routes]]\npath = \"/v2\"\nupstream = \"api\"\nscopes = [\"models:read\"]\n";

#[test]
fn a_hang_up_puts_the_files_routes_in_force_and_loses_no_request() {
    let fixture = Fixture::new();
    let config = config_file(&fixture);
    let server = Server::start(&config);
    let (_, secret) = server.admin.key(&json!({}));
    let first = fs::read_to_string(&config).unwrap();
    let (over, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = Client::new(server.address);
                while !over.load(Ordering::SeqCst) {
                    assert_eq!(client.get("/v1/x", &secret).status, 200, "a request was lost");
                    sent.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let status = || Client::new(server.address).get("/v2/x", &secret).status;
        for round in 0..5 {
            assert_eq!(status(), 404);
            fs::write(&config, format!("{first}{SECOND}")).unwrap();
            server.process.signal(Signal::HUP);
            eventually("the new route is in force", || status() == 403);
            fs::write(&config, &first).unwrap();
            server.process.signal(Signal::HUP);
            eventually("the new route is gone", || status() == 404);
            eventually("requests go on", || sent.load(Ordering::SeqCst) > 20 * (round + 1));
        }
        over.store(true, Ordering::SeqCst);
    });
}

#[test]
fn a_bad_file_leaves_the_old_one_in_force_and_says_why() {
    let fixture = Fixture::new();
    let config = config_file(&fixture);
    let server = Server::start(&config);
    let (_, secret) = server.admin.key(&json!({}));
    let first = fs::read_to_string(&config).unwrap();
    let bad = [
        first.replace("path = \"/v1\"", "path = \"v1\""),
        "this is not TOML".to_owned(),
        String::new(),
        format!("{first}\n[[routes]]\npath = \"/v3\"\nupstream = \"nobody\"\n"),
    ];
    for (number, text) in (1..).zip(bad) {
        fs::write(&config, text).unwrap();
        server.process.signal(Signal::HUP);
        let refused = || server.process.stdout().matches("configuration not reloaded").count();
        eventually("the refusal is said", || refused() == number);
        assert_eq!(Client::new(server.address).get("/v1/x", &secret).status, 200);
        assert_eq!(server.admin.get("/readyz").status, 200);
    }
    fs::remove_file(&config).unwrap();
    server.process.signal(Signal::HUP);
    eventually("a missing file is said", || {
        server.process.stdout().matches("configuration not reloaded").count() == 5
    });
    assert!(server.process.stdout().contains("portcullis.toml"));
    assert_eq!(Client::new(server.address).get("/v1/x", &secret).status, 200);
}

#[test]
fn a_reload_moves_a_route_to_another_upstream_and_keeps_its_keys_limits() {
    let limited = "[[routes]]\npath = \"/v1\"\nupstream = \"api\"\nlimits = [{ name = \"day\", requests = 3, window = \"1d\" }]\n";
    let (fixture, other) = (Fixture::with(limited), Upstream::start());
    let config = config_file(&fixture);
    let server = Server::start(&config);
    let (id, secret) = server.admin.key(&json!({}));
    let mut client = Client::new(server.address);
    assert_eq!(client.get("/v1/x", &secret).status, 200);
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace(&fixture.upstream.address.to_string(), &other.address.to_string()))
        .unwrap();
    server.process.signal(Signal::HUP);
    eventually("the reload is said", || server.process.stdout().contains("configuration reloaded"));
    assert_eq!(client.get("/v1/x", &secret).status, 200);
    assert_eq!((fixture.upstream.count(), other.count()), (1, 1));
    assert_eq!((client.get("/v1/x", &secret).status, client.get("/v1/x", &secret).status), (200, 429));
    let rows = server.admin.get("/api/v1/usage?group_by=route").json()["items"].clone();
    assert_eq!(
        (&rows[0]["route"], &rows[0]["requests"], &rows[0]["denied"]),
        (&json!("/v1"), &json!(3), &json!(1))
    );
    assert_eq!(server.admin.show(&id)["usage"]["requests"], 3);
}
