//! Upgrades in a row under load.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::{World, ends};
use crate::support::{Admin, Client, Stopwatch, eventually};

/// The variable that asks for the long form.
const LONG: &str = "PORTCULLIS_LONG";
/// Clients that keep their connections.
const CLIENTS: u64 = 50;
/// Clients that open a connection for each request.
const STRANGERS: u64 = 4;

/// What the clients saw.
#[derive(Default)]
struct Seen {
    over: AtomicBool,
    answered: AtomicU64,
    failed: Mutex<Vec<String>>,
}

impl Seen {
    fn ask(&self, client: &mut Client, secret: &str) {
        match client.try_get("/v1/x", secret) {
            Ok(answer) if answer.status == 200 => {
                self.answered.fetch_add(1, Ordering::SeqCst);
            }
            Ok(answer) => self.failed.lock().unwrap().push(format!("{} {}", answer.status, answer.code())),
            Err(error) => self.failed.lock().unwrap().push(error.to_string()),
        }
    }

    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::SeqCst)
    }
}

/// What an admin caller saw that creates keys all the time.
#[derive(Default)]
struct Writes {
    done: u64,
    refused: u64,
    /// Each time for which they were refused: from the last one that was done before to the first one after.
    windows: Vec<Duration>,
}

fn write(admin: &Admin, seen: &Seen) -> Writes {
    let mut writes = Writes::default();
    let (mut last_done, mut refusing) = (Stopwatch::start(), false);
    while seen.goes_on() {
        let asked = Stopwatch::start();
        let answer = admin.post("/api/v1/keys", &json!({"name": "x"}));
        match answer.status {
            201 => {
                if refusing {
                    writes.windows.push(last_done.elapsed().saturating_sub(asked.elapsed()));
                }
                (last_done, refusing, writes.done) = (Stopwatch::start(), false, writes.done + 1);
            }
            503 => {
                assert_eq!(answer.code(), "upgrade_in_progress");
                assert_eq!(answer.header("retry-after"), Some("1"));
                (refusing, writes.refused) = (true, writes.refused + 1);
            }
            other => panic!("{other}: {}", String::from_utf8_lossy(&answer.body)),
        }
        thread::sleep(Duration::from_millis(2));
    }
    writes.windows.sort_unstable();
    writes
}

#[test]
fn upgrades_under_fifty_clients_lose_no_request_and_refuse_no_connection() {
    let rounds = if std::env::var_os(LONG).is_some() { 20 } else { 3 };
    let mut world = World::new();
    let (id, secret) = world.admin().key(&json!({}));
    let (address, admin, seen) = (world.server.address, world.admin().clone(), Seen::default());
    let took = Mutex::new(Vec::new());
    let writes = thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (seen, secret) = (&seen, &secret);
            scope.spawn(move || {
                let mut client = Client::new(address);
                while seen.goes_on() {
                    seen.ask(&mut client, secret);
                    // Some are busy, and some mostly wait.
                    thread::sleep(Duration::from_millis(number * number / 4));
                }
            });
        }
        for _ in 0..STRANGERS {
            scope.spawn(|| {
                while seen.goes_on() {
                    seen.ask(&mut Client::new(address), &secret);
                    thread::sleep(Duration::from_millis(3));
                }
            });
        }
        let writing = scope.spawn(|| write(&admin, &seen));
        let mut old = Vec::new();
        for _ in 0..rounds {
            let before = seen.answered.load(Ordering::SeqCst);
            eventually("the clients go on", || seen.answered.load(Ordering::SeqCst) > before + 50);
            let watch = Stopwatch::start();
            old.push(world.upgrade());
            took.lock().unwrap().push(watch.elapsed());
        }
        let before = seen.answered.load(Ordering::SeqCst);
        eventually("the clients go on", || seen.answered.load(Ordering::SeqCst) > before + 50);
        seen.over.store(true, Ordering::SeqCst);
        old.into_iter().for_each(ends);
        writing.join().unwrap()
    });
    let answered = seen.answered.load(Ordering::SeqCst);
    println!(
        "{rounds} upgrades, {answered} requests answered, {} failed; admin writes: {} done, {} refused, for {:?}; \
         longest upgrade {:?}",
        seen.failed.lock().unwrap().len(),
        writes.done,
        writes.refused,
        writes.windows,
        took.lock().unwrap().iter().max()
    );
    assert_eq!(*seen.failed.lock().unwrap(), [""; 0], "of {answered}");
    eventually("each is counted, once", || world.usage(&id) == answered);
    eventually("every file is merged", || world.usage_files() == 1);
    assert_eq!(world.usage(&id), answered);
    // A machine that has something else to do makes some of them longer.
    let window = writes.windows.get(writes.windows.len() / 4).copied().unwrap_or_default();
    assert!(writes.done > 0 && window <= Duration::from_secs(1), "refused for {:?}", writes.windows);
}
