//! Clients of keys that no writer touches.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::json;

use super::book::Book;
use crate::support::{Admin, Client, Upstream};

/// What the key with a quota may do in its month.
const QUOTA: u64 = 200;

/// A kind of request: a key, a path, and the statuses that it may have.
struct Kind {
    id: String,
    secret: String,
    path: &'static str,
    statuses: &'static [u16],
}

/// The kinds.
pub(super) struct Traffic {
    kinds: Vec<Kind>,
    /// Set once the quota was said to be used up.
    used_up: AtomicBool,
}

impl Traffic {
    pub fn new(admin: &Admin) -> Self {
        let quota = json!({"quotas": [{"name": "q", "requests": QUOTA, "window": "month"}]});
        let kind = |path, statuses, fields: &serde_json::Value| {
            let (id, secret) = admin.key(fields);
            Kind { id, secret, path, statuses }
        };
        let kinds = vec![
            kind("/v1/x", &[200, 429], &quota),
            kind("/v1/x", &[200], &json!({})),
            kind("/v1/bytes/20000", &[200], &json!({})),
            kind("/v1/slow/20", &[200], &json!({})),
            kind("/scoped", &[403], &json!({})),
            kind("/v1/x", &[401], &json!({})),
        ];
        let disabled = &kinds[5].id;
        assert_eq!(admin.post(&format!("/api/v1/keys/{disabled}/disable"), &json!({})).status, 200);
        Self { kinds, used_up: AtomicBool::new(false) }
    }

    pub fn ids(&self) -> impl Iterator<Item = &String> {
        self.kinds.iter().map(|kind| &kind.id)
    }

    /// Sends requests until one is not answered.
    pub fn run(&self, address: SocketAddr, mut random: StdRng, book: &Book) {
        let mut client = Client::new(address);
        loop {
            let kind = &self.kinds[random.random_range(0..self.kinds.len())];
            // Read before: once it was said, nothing passes that starts later.
            let used_up = self.used_up.load(Ordering::SeqCst);
            match client.try_get(kind.path, &kind.secret) {
                Ok(answer) => {
                    assert!(kind.statuses.contains(&answer.status), "{} for {}", answer.status, kind.path);
                    assert!(
                        !(used_up && kind.statuses.contains(&429) && answer.status == 200),
                        "a quota came back"
                    );
                    book.note(&kind.id, answer.status);
                    if answer.status == 429 {
                        self.used_up.store(true, Ordering::SeqCst);
                    }
                }
                Err(_) => return book.lose(&kind.id),
            }
        }
    }

    /// However often it was killed, no more passed than the quota allows.
    pub fn check_quota(&self, book: &Book, upstream: &Upstream) {
        let id = &self.kinds[0].id;
        let forwarded = upstream.counts_by("x-portcullis-key-id").get(id).copied().unwrap_or(0);
        assert!(forwarded as u64 <= QUOTA, "{forwarded} of {QUOTA} passed");
        let seen = book.of(id);
        if self.used_up.load(Ordering::SeqCst) {
            assert!(seen.passed + seen.unknown >= QUOTA, "used up after {seen:?}");
        }
    }

    /// The test was long enough to show it.
    pub fn check_quota_was_reached(&self, book: &Book) {
        assert!(self.used_up.load(Ordering::SeqCst), "{:?} of {QUOTA}", book.of(&self.kinds[0].id));
    }
}
