//! A new process takes over from one that runs: no request lost, no connection refused, each request counted once, and
//! whatever fails on the way, one of the two serves as before.

mod activation;
mod faults;
mod following;
mod load;
mod order;
mod stopping;

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::support::{
    Admin, Client, Fixture, H2, Process, Server, block, config_file, eventually, serve, whole,
};

/// How long an old process may take to end once its last request has.
const END: Duration = Duration::from_secs(10);

/// A folder with a configuration, and the process that serves from it.
struct World {
    fixture: Fixture,
    config: PathBuf,
    server: Server,
}

impl World {
    fn new() -> Self {
        Self::with("[[routes]]\npath = \"/v1\"\nupstream = \"api\"\n")
    }

    fn with(text: &str) -> Self {
        let fixture = Fixture::with(text);
        let config = config_file(&fixture);
        let server = Server::start(&config);
        Self { fixture, config, server }
    }

    /// A new process has taken over; the old one, which may still run.
    fn upgrade(&mut self) -> Server {
        let new = upgrade(&self.config);
        std::mem::replace(&mut self.server, new)
    }

    fn admin(&self) -> &Admin {
        &self.server.admin
    }

    fn usage(&self, id: &str) -> u64 {
        self.admin().show(id)["usage"]["requests"].as_u64().unwrap()
    }

    /// The usage files beside the store: of this process, and of those before it.
    fn usage_files(&self) -> usize {
        let of_usage =
            |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with("portcullis.usage");
        fs::read_dir(self.fixture.folder.path()).unwrap().flatten().filter(of_usage).count()
    }

    fn change(&self, id: &str, call: &str, body: &Value) {
        let answer = self.admin().post(&format!("/api/v1/keys/{id}/{call}"), body);
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    }
}

fn upgrading(config: &Path) -> Process {
    Process::start(serve(config).arg("--upgrade"))
}

fn upgrade(config: &Path) -> Server {
    upgrading(config).serving()
}

fn ends(mut old: Server) {
    assert_eq!(old.process.wait(END).code(), Some(0), "{}", old.process.stdout());
}

#[test]
fn a_new_process_has_the_same_places_and_the_old_one_finishes_what_it_has() {
    let mut world = World::new();
    let (id, secret) = world.admin().key(&json!({}));
    let mut idle = Client::new(world.server.address);
    assert_eq!(idle.get("/v1/x", &secret).status, 200);
    let mut stream = crate::support::Wire::open(world.server.address);
    stream.send(crate::support::get("/v1/stream/40", &secret));
    assert!(stream.head().starts_with("HTTP/1.1 200"));
    let (gateway, admin) = (world.server.address, world.admin().address);
    let old = world.upgrade();
    assert_eq!((world.server.address, world.admin().address), (gateway, admin));
    assert_eq!(Client::new(gateway).get("/v1/x", &secret).status, 200);
    let last = idle.get("/v1/x", &secret);
    assert_eq!((last.status, last.header("connection")), (200, Some("close")), "a last answer says so");
    assert_eq!(world.usage_files(), 2, "the old process counts in a file of its own");
    // Two events may come in one chunk on a machine that is busy. An empty one is the end: it is whole.
    let events: String =
        std::iter::from_fn(|| Some(stream.chunk()).filter(|chunk| !chunk.is_empty())).collect();
    assert_eq!(events, (0..40).map(|event| format!("event {event}\n")).collect::<String>());
    drop(stream);
    ends(old);
    eventually("all is counted", || world.usage(&id) == 4);
    eventually("the old one's file is merged and gone", || world.usage_files() == 1);
    assert_eq!(world.admin().get("/readyz").status, 200);
    world.admin().key(&json!({}));
}

#[test]
fn the_new_process_listens_where_its_own_configuration_says() {
    let folder = tempfile::tempdir().unwrap();
    let [stays, goes, comes] = ["stays", "goes", "comes"].map(|name| folder.path().join(name));
    let listen = |paths: [&Path; 2]| {
        let [one, other] = paths.map(|path| format!("\"unix:{}\"", path.display()));
        format!("listen = [\"127.0.0.1:0\", {one}, {other}]\n")
    };
    let before = listen([&stays, &goes]);
    let routes = "[[routes]]\npath = \"/v1\"\nupstream = \"api\"\n";
    let mut world = World::with(&format!("[gateway]\n{before}{routes}"));
    let answers = |path: &Path| {
        let Ok(mut stream) = UnixStream::connect(path) else { return false };
        stream.write_all(b"GET /v1/x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.starts_with("HTTP/1.1 401 ")
    };
    assert!(answers(&stays) && answers(&goes) && !answers(&comes));
    let text = fs::read_to_string(&world.config).unwrap();
    fs::write(&world.config, text.replace(&before, &listen([&stays, &comes]))).unwrap();
    let old = world.upgrade();
    ends(old);
    assert!(answers(&stays), "the file is not taken away by the old process");
    assert!(answers(&comes));
    assert!(!goes.exists(), "what is no longer listened on goes");
    drop(world);
}

/// HTTP/2 clients are told to go (GOAWAY), and no stream that was begun is lost.
#[test]
fn clients_of_http2_lose_no_stream() {
    let listen = "[gateway]\nlisten = [\"127.0.0.1:0\"]\nh2c = true\n";
    let mut world = World::with(&format!("{listen}[[routes]]\npath = \"/v1\"\nupstream = \"api\"\n"));
    let (id, secret) = world.admin().key(&json!({}));
    let address = world.server.address;
    let (over, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| block(asks_over_http2(address, &secret, &over, &answered)));
        }
        let slow = scope.spawn(|| {
            block(async { H2::connect(address).await.get("/v1/slow/2000", &secret).await.unwrap().status })
        });
        eventually("it runs", || {
            world.fixture.upstream.seen().iter().any(|seen| seen.target().contains("slow"))
        });
        let mut old = Vec::new();
        for _ in 0..3 {
            let before = answered.load(Ordering::SeqCst);
            eventually("they go on", || answered.load(Ordering::SeqCst) > before + 20);
            old.push(world.upgrade());
        }
        assert_eq!(slow.join().unwrap(), 200, "a stream that began before it");
        over.store(true, Ordering::SeqCst);
        old.into_iter().for_each(ends);
    });
    let answered = answered.load(Ordering::SeqCst) + 1;
    eventually("each is counted, once", || world.usage(&id) == answered);
}

async fn asks_over_http2(address: SocketAddr, secret: &str, over: &AtomicBool, answered: &AtomicU64) {
    let credential = format!("Bearer {secret}");
    let headers = [("authorization", credential.as_str())];
    let mut client = H2::connect(address).await;
    while !over.load(Ordering::SeqCst) {
        // What cannot be begun was not sent.
        let Ok((answer, _)) = client.begin(Method::GET, "/v1/x", &headers, true).await else {
            client = H2::connect(address).await;
            continue;
        };
        assert_eq!(whole(answer.await.unwrap()).await.unwrap().status, 200);
        answered.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn without_a_running_gateway_there_is_nothing_to_upgrade() {
    let fixture = Fixture::new();
    let config = config_file(&fixture);
    for _ in 0..2 {
        let mut alone = upgrading(&config);
        assert_eq!(alone.wait(END).code(), Some(1));
        let said = alone.stderr();
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains("no gateway runs") && said.contains("start without --upgrade"), "{said}");
        // Nor where one ran.
        let mut server = Server::start(&config);
        server.process.signal(rustix::process::Signal::TERM);
        assert_eq!(server.process.wait(END).code(), Some(0));
    }
}

#[test]
fn a_quota_counts_over_processes() {
    let mut world = World::new();
    let quota = json!({"quotas": [{"name": "day", "requests": 10, "window": "day"}]});
    let (id, secret) = world.admin().key(&quota);
    let left = |answer: &crate::support::Answer| {
        let text = answer.header("ratelimit").unwrap().to_owned();
        text.split_once("r=").unwrap().1.split(';').next().unwrap().parse::<u64>().unwrap()
    };
    let (mut one, mut two) = (Client::new(world.server.address), Client::new(world.server.address));
    assert_eq!(left(&one.get("/v1/x", &secret)), 9);
    assert_eq!(left(&two.get("/v1/x", &secret)), 8);
    let old = world.upgrade();
    let mut new = Client::new(world.server.address);
    assert_eq!(left(&new.get("/v1/x", &secret)), 7, "what the old process charged is charged");
    assert_eq!(one.get("/v1/x", &secret).status, 200);
    assert_eq!(two.get("/v1/x", &secret).status, 200);
    ends(old);
    eventually("it is merged", || world.usage_files() == 1 && world.usage(&id) == 5);
    assert_eq!(left(&new.get("/v1/x", &secret)), 4, "and what it charged after that");
    let old = world.upgrade();
    assert_eq!(left(&Client::new(world.server.address).get("/v1/x", &secret)), 3);
    drop((new, one, two, old));
    world.server.process.kill();
    world.server = Server::start(&world.config);
    let mut client = Client::new(world.server.address);
    for expected in [2, 1, 0] {
        assert_eq!(left(&client.get("/v1/x", &secret)), expected);
    }
    assert_eq!(client.get("/v1/x", &secret).code(), "quota_exceeded");
}

/// What the new process charges the old one does not see, but it has one more answer for each connection at most.
#[test]
fn a_quota_is_passed_by_no_more_than_one_request_a_kept_connection() {
    let mut world = World::new();
    let quota = json!({"quotas": [{"name": "day", "requests": 6, "window": "day"}]});
    let (_, secret) = world.admin().key(&quota);
    let mut kept: Vec<Client> = (0..3).map(|_| Client::new(world.server.address)).collect();
    assert!(kept.iter_mut().all(|client| client.get("/v1/x", &secret).status == 200));
    let old = world.upgrade();
    let mut new = Client::new(world.server.address);
    assert!((0..3).all(|_| new.get("/v1/x", &secret).status == 200));
    assert_eq!(new.get("/v1/x", &secret).code(), "quota_exceeded");
    for client in &mut kept {
        let last = client.get("/v1/x", &secret);
        assert_eq!((last.status, last.closed), (200, true));
        assert_eq!(client.get("/v1/x", &secret).code(), "quota_exceeded", "from the new process");
    }
    ends(old);
    eventually("all is merged", || world.usage_files() == 1);
    assert_eq!(new.get("/v1/x", &secret).code(), "quota_exceeded");
}
