//! A crowd of clients that lose nothing, whatever is done to the gateway meanwhile.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Scope};
use std::time::Duration;

use super::{Client, eventually};

/// The variable that asks for the long form of a test.
const LONG: &str = "PORTCULLIS_LONG";
/// Rounds of the long form.
const LONG_ROUNDS: usize = 20;
/// Clients that keep their connections.
const CLIENTS: u64 = 50;
/// Clients that open a connection for each request.
const STRANGERS: u64 = 4;

/// What the clients saw.
#[derive(Default)]
pub struct Crowd {
    over: AtomicBool,
    answered: AtomicU64,
    failed: Mutex<Vec<String>>,
}

/// How often a test does what it does: so often, or as often as its long form does.
pub fn rounds(short: usize) -> usize {
    if std::env::var_os(LONG).is_some() { LONG_ROUNDS } else { short }
}

impl Crowd {
    /// Starts the clients, which ask until [`Crowd::end`].
    pub fn begin<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        address: SocketAddr,
        secret: &'scope str,
    ) {
        for number in 0..CLIENTS {
            scope.spawn(move || {
                let mut client = Client::new(address);
                while self.goes_on() {
                    self.ask(&mut client, secret);
                    // Some are busy, and some mostly wait.
                    thread::sleep(Duration::from_millis(number * number / 4));
                }
            });
        }
        for _ in 0..STRANGERS {
            scope.spawn(move || {
                while self.goes_on() {
                    self.ask(&mut Client::new(address), secret);
                    thread::sleep(Duration::from_millis(3));
                }
            });
        }
    }

    fn ask(&self, client: &mut Client, secret: &str) {
        match client.try_get("/v1/x", secret) {
            Ok(answer) if answer.status == 200 => {
                self.answered.fetch_add(1, Ordering::SeqCst);
            }
            Ok(answer) => self.failed.lock().unwrap().push(format!("{} {}", answer.status, answer.code())),
            Err(error) => self.failed.lock().unwrap().push(error.to_string()),
        }
    }

    /// Whether they still ask.
    pub fn goes_on(&self) -> bool {
        !self.over.load(Ordering::SeqCst)
    }

    /// Waits until so many more were answered.
    pub fn is_answered(&self, more: u64) {
        let before = self.answered();
        eventually("the clients go on", || self.answered() > before + more);
    }

    /// Ends the clients; their last requests may still run.
    pub fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    /// Requests that were answered as they should.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::SeqCst)
    }

    /// What the others got.
    pub fn failed(&self) -> Vec<String> {
        self.failed.lock().unwrap().clone()
    }
}
