//! The same changes, while many clients send without a pause.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::{Change, ROUTE, changes, is, send, verdict};
use crate::support::{Client, Fixture, Gateway, eventually};

/// Clients at once.
const CLIENTS: usize = 32;
/// Requests of all clients before, and after, the change.
const ENOUGH: usize = 4 * CLIENTS;

/// What the clients of one change saw.
#[derive(Default)]
struct Watch {
    /// Set once the change was answered.
    changed: AtomicBool,
    over: AtomicBool,
    early: AtomicUsize,
    late: AtomicUsize,
    violations: Mutex<Vec<String>>,
}

impl Watch {
    fn hammer(&self, gateway: &Gateway, secret: &str, change: &Change) {
        let mut client = Client::new(gateway.address);
        while !self.over.load(Ordering::SeqCst) {
            // Read before the request starts: what starts after the answer must see the new state.
            let late = self.changed.load(Ordering::SeqCst);
            let answer = client.get("/v1/x", secret);
            let right = is(&answer, change.after) || (!late && is(&answer, change.before));
            if !right {
                self.violations.lock().unwrap().push(format!("{:?}, late: {late}", verdict(&answer)));
            }
            if late { &self.late } else { &self.early }.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[test]
fn no_request_that_starts_after_a_change_was_answered_sees_the_old_state() {
    let gateway = Fixture::with(ROUTE).start();
    for change in changes() {
        let (id, secret) = change.made(&gateway.admin);
        let watch = Watch::default();
        thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| watch.hammer(&gateway, &secret, &change));
            }
            eventually("requests before the change", || watch.early.load(Ordering::SeqCst) >= ENOUGH);
            send(&gateway.admin, &id, change.call);
            watch.changed.store(true, Ordering::SeqCst);
            eventually("requests after the change", || watch.late.load(Ordering::SeqCst) >= ENOUGH);
            watch.over.store(true, Ordering::SeqCst);
        });
        let violations = watch.violations.into_inner().unwrap();
        assert!(violations.is_empty(), "{}: {} violations: {violations:?}", change.name(), violations.len());
    }
}

#[test]
fn a_new_secret_works_from_its_answer_on_while_the_old_one_is_hammered() {
    let gateway = Fixture::with(ROUTE).start();
    let (id, first) = gateway.admin.key(&serde_json::json!({"scopes": ["*"]}));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = Client::new(gateway.address);
                while !over.load(Ordering::SeqCst) {
                    client.get("/v1/x", &first);
                }
            });
        }
        let mut client = Client::new(gateway.address);
        let mut old = first.clone();
        for round in 0..20 {
            let answer = send(&gateway.admin, &id, ("POST", "/rotate", "")).json();
            let new = answer["secret"].as_str().unwrap().to_owned();
            assert_eq!(client.get("/v1/x", &new).status, 200, "round {round}");
            assert_eq!(client.get("/v1/x", &old).code(), "secret_retired", "round {round}");
            old = new;
        }
        over.store(true, Ordering::SeqCst);
    });
}
