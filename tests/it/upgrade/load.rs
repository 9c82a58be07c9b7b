//! Upgrades in a row under load.

use std::thread;
use std::time::Duration;

use serde_json::json;

use super::{World, ends};
use crate::support::{Admin, Crowd, Stopwatch, eventually, rounds};

/// What an admin caller saw that creates keys all the time.
#[derive(Default)]
struct Writes {
    done: u64,
    refused: u64,
    /// Each time for which they were refused: from the last one that was done before to the first one after.
    windows: Vec<Duration>,
}

fn write(admin: &Admin, crowd: &Crowd) -> Writes {
    let mut writes = Writes::default();
    let (mut last_done, mut refusing) = (Stopwatch::start(), false);
    while crowd.goes_on() {
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
    let rounds = rounds(3);
    let mut world = World::new();
    let (id, secret) = world.admin().key(&json!({}));
    let (address, admin, crowd) = (world.server.address, world.admin().clone(), Crowd::default());
    let (mut took, watch) = (Vec::new(), Stopwatch::start());
    let writes = thread::scope(|scope| {
        crowd.begin(scope, address, &secret);
        let writing = scope.spawn(|| write(&admin, &crowd));
        let mut old = Vec::new();
        for _ in 0..rounds {
            crowd.is_answered(50);
            let watch = Stopwatch::start();
            old.push(world.upgrade());
            took.push(watch.elapsed());
        }
        crowd.is_answered(50);
        crowd.end();
        old.into_iter().for_each(ends);
        writing.join().unwrap()
    });
    let answered = crowd.answered();
    println!(
        "{rounds} upgrades, {answered} requests answered, {} failed, in {:?}; admin writes: {} done, {} refused, for \
         {:?}; longest upgrade {:?}",
        crowd.failed().len(),
        watch.elapsed(),
        writes.done,
        writes.refused,
        writes.windows,
        took.iter().max()
    );
    assert_eq!(crowd.failed(), [""; 0], "of {answered}");
    eventually("each is counted, once", || world.usage(&id) == answered);
    eventually("every file is merged", || world.usage_files() == 1);
    assert_eq!(world.usage(&id), answered);
    // A machine that has something else to do makes some of them longer.
    let window = writes.windows.get(writes.windows.len() / 4).copied().unwrap_or_default();
    assert!(writes.done > 0 && window <= Duration::from_secs(1), "refused for {:?}", writes.windows);
}
