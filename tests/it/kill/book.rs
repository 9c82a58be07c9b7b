//! What the clients know: how many requests of each key were answered, and of how many they cannot say.

use std::collections::BTreeMap;
use std::sync::Mutex;

/// What is known of one key's requests.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    /// Answered by the upstream: the whole answer arrived.
    pub passed: u64,
    /// Refused by the gateway: the whole answer arrived.
    pub refused: u64,
    /// Sent, and not answered: they may have been counted, or not.
    pub unknown: u64,
}

/// All keys'.
#[derive(Debug, Default)]
pub(super) struct Book(Mutex<BTreeMap<String, Seen>>);

impl Book {
    /// Notes a whole answer.
    pub fn note(&self, id: &str, status: u16) {
        self.change(id, |seen| if status == 200 { seen.passed += 1 } else { seen.refused += 1 });
    }

    /// Notes a request without an answer.
    pub fn lose(&self, id: &str) {
        self.change(id, |seen| seen.unknown += 1);
    }

    pub fn of(&self, id: &str) -> Seen {
        self.0.lock().unwrap().get(id).copied().unwrap_or_default()
    }

    pub fn keys(&self) -> Vec<(String, Seen)> {
        self.0.lock().unwrap().iter().map(|(id, seen)| (id.clone(), *seen)).collect()
    }

    /// How many requests were answered.
    pub fn answered(&self) -> u64 {
        self.0.lock().unwrap().values().map(|seen| seen.passed + seen.refused).sum()
    }

    fn change(&self, id: &str, change: impl FnOnce(&mut Seen)) {
        let mut book = self.0.lock().unwrap();
        change(book.entry(id.to_owned()).or_default());
    }
}
