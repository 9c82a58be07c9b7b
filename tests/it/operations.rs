//! The real binary: how it stops. How it starts, what it says and what it does at a hang-up are in the modules below.

mod disk;
mod log;
mod refusals;
mod reload;
mod tokens;

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::support::{Answer, Client, Fixture, Server, Stopwatch, config_file, eventually};

/// How long an end may take that has nothing to wait for.
const PROMPTLY: Duration = Duration::from_secs(5);

/// One route, and this grace.
fn with_grace(grace: &str) -> Fixture {
    let text = format!(
        "[gateway]\nlisten = [\"127.0.0.1:0\"]\nshutdown_grace = \"{grace}\"\n[[routes]]\npath = \"/v1\"\nupstream = \"api\"\n"
    );
    Fixture::with(&text)
}

fn refuses_connections(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

fn requests(server: &Server, id: &str) -> u64 {
    server.admin.show(id)["usage"]["requests"].as_u64().unwrap()
}

/// Clients that each send one request, which runs when this returns.
fn running<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    server: &Server,
    fixture: &Fixture,
    path: &'static str,
    secret: &'scope str,
) -> Vec<thread::ScopedJoinHandle<'scope, io::Result<Answer>>> {
    let before = fixture.upstream.count();
    let address = server.address;
    let client = move || Client::new(address).try_get(path, secret);
    let clients = (0..4).map(|_| scope.spawn(client)).collect();
    eventually("all requests run", || fixture.upstream.count() == before + 4);
    clients
}

#[test]
fn term_and_int_finish_what_runs_refuse_what_is_new_and_end_as_soon_as_all_is_done() {
    let fixture = with_grace("60s");
    let config = config_file(&fixture);
    let mut key = None;
    for (round, signal) in (1..).zip([Signal::TERM, Signal::INT]) {
        let mut server = Server::start(&config);
        let (id, secret) = key.get_or_insert_with(|| server.admin.key(&json!({}))).clone();
        // Connections that wait hold nothing up.
        let mut idle = Client::new(server.address);
        assert_eq!(idle.get("/v1/x", &secret).status, 200);
        let (address, admin) = (server.address, server.admin.address);
        let _idle_admin = TcpStream::connect(admin).unwrap();
        let watch = thread::scope(|scope| {
            let clients = running(scope, &server, &fixture, "/v1/slow/800", &secret);
            server.process.signal(signal);
            eventually("new connections are refused", || refuses_connections(address));
            let ready = server.admin.get("/readyz");
            assert_eq!((ready.status, &ready.json()["status"]), (503, &json!("not_ready")));
            assert_eq!(server.admin.get("/livez").status, 200);
            for client in clients {
                let answer = client.join().unwrap().unwrap();
                assert_eq!((answer.status, &answer.body[..]), (200, &b"slow"[..]), "{signal:?}");
            }
            Stopwatch::start()
        });
        let status = server.process.wait(PROMPTLY);
        assert_eq!(status.code(), Some(0), "{signal:?}: {}", server.process.stderr());
        assert!(watch.elapsed() < PROMPTLY, "{:?} for nothing", watch.elapsed());
        assert_eq!(server.process.stderr(), "", "{signal:?}");
        assert_eq!(requests(&Server::start(&config), &id), 5 * round, "all of it is counted");
    }
}

#[test]
fn what_outlasts_the_grace_is_cut_off_and_counted() {
    let fixture = with_grace("300ms");
    let config = config_file(&fixture);
    let mut server = Server::start(&config);
    let (id, secret) = server.admin.key(&json!({}));
    thread::scope(|scope| {
        let clients = running(scope, &server, &fixture, "/v1/hang", &secret);
        let watch = Stopwatch::start();
        server.process.signal(Signal::TERM);
        assert_eq!(server.process.wait(PROMPTLY).code(), Some(0));
        assert!(watch.elapsed() >= Duration::from_millis(300), "cut after {:?}", watch.elapsed());
        for client in clients {
            assert!(client.join().unwrap().is_err(), "an answer to a request that was cut");
        }
    });
    assert!(server.process.stdout().contains("requests\":4"), "it says how many were cut");
    assert_eq!(requests(&Server::start(&config), &id), 4);
}

#[test]
fn a_second_signal_ends_it_at_once_and_what_was_answered_stays_counted() {
    let fixture = with_grace("60s");
    let config = config_file(&fixture);
    let mut server = Server::start(&config);
    let (id, secret) = server.admin.key(&json!({}));
    assert_eq!(Client::new(server.address).get("/v1/x", &secret).status, 200);
    thread::scope(|scope| {
        let clients = running(scope, &server, &fixture, "/v1/hang", &secret);
        server.process.signal(Signal::TERM);
        let address = server.address;
        eventually("it is stopping", || refuses_connections(address));
        server.process.signal(Signal::INT);
        let status = server.process.wait(PROMPTLY);
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(2), "{status}");
        drop(clients);
    });
    assert!((1..=5).contains(&requests(&Server::start(&config), &id)));
}

#[test]
fn what_was_answered_stays_counted_whatever_signal_ends_it() {
    let fixture = Fixture::new();
    let config = config_file(&fixture);
    let mut key = None;
    for (round, signal) in (1..).zip([Signal::QUIT, Signal::ABORT, Signal::KILL, Signal::HUP, Signal::TERM]) {
        let mut server = Server::start(&config);
        let (id, secret) = key.get_or_insert_with(|| server.admin.key(&json!({}))).clone();
        assert_eq!(requests(&server, &id), 3 * (round - 1), "before {signal:?}");
        let mut client = Client::new(server.address);
        for _ in 0..3 {
            assert_eq!(client.get("/v1/x", &secret).status, 200);
        }
        server.process.signal(signal);
        if signal == Signal::HUP {
            // A hang-up ends nothing.
            assert_eq!(server.admin.get("/livez").status, 200);
            server.process.kill();
        }
        server.process.wait(PROMPTLY);
    }
    let (id, _) = key.unwrap();
    assert_eq!(requests(&Server::start(&config), &id), 15);
}

#[test]
fn health_is_told_without_a_token() {
    let fixture = Fixture::new();
    let server = Server::start(&config_file(&fixture));
    let stranger = crate::support::Admin::new(server.admin.address, "x");
    for (path, status) in [("/livez", "live"), ("/readyz", "ready")] {
        let answer = stranger.get(path);
        assert_eq!((answer.status, &answer.json()["status"]), (200, &json!(status)), "{path}");
    }
}
