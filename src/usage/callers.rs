//! Who uses which secret of a key that is being rotated: the last callers of each, in memory.
//!
//! Only keys whose rotation runs, or ended lately, are watched ([`crate::snapshot::Entry::is_rotating`]); a request of
//! any other pays one branch. What is here is bounded, and is lost at a restart: counts and times of use are the
//! ledger's.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use parking_lot::Mutex;

use crate::clock::Timestamp;
use crate::key::KeyId;
use crate::key::redact::holds_secret;
use crate::snapshot::Found;

/// Callers remembered for each secret.
pub const MAX_CALLERS: usize = 8;
/// Bytes remembered of a `User-Agent`.
pub const MAX_USER_AGENT_BYTES: usize = 200;
/// Secrets of a key whose callers are remembered.
const MAX_SECRETS: usize = 16;
/// Parts of the table, each with a lock of its own.
const SHARDS: usize = 64;
/// Keys in a part: 8,192 in all. Beyond it, the key whose last caller is longest ago makes room.
const MAX_KEYS: usize = 128;

/// Who sent a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// From where, behind trusted proxies.
    pub address: IpAddr,
    /// What it calls itself: visible ASCII and blanks, cut to [`MAX_USER_AGENT_BYTES`]. None where a secret stands in it.
    pub user_agent: Option<Box<str>>,
    /// When it last did.
    pub at: Timestamp,
}

/// The last callers of each secret of one key, newest first.
#[derive(Debug)]
struct Watched {
    secrets: Vec<(u32, VecDeque<Caller>)>,
    last: Timestamp,
}

/// The callers of every key that is watched.
#[derive(Debug)]
pub struct Callers {
    shards: [Mutex<HashMap<KeyId, Watched>>; SHARDS],
}

impl Default for Callers {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl Callers {
    /// Notes a request, let through or not. A caller that is known already moves to the front.
    pub fn note(&self, found: &Found, address: IpAddr, user_agent: Option<&[u8]>, now: Timestamp) {
        let user_agent = user_agent.filter(|text| !holds_secret(text));
        let mut shard = self.shard(found.entry.id).lock();
        if shard.len() >= MAX_KEYS && !shard.contains_key(&found.entry.id) {
            let oldest = shard.iter().min_by_key(|(_, watched)| watched.last).map(|(key, _)| *key);
            oldest.and_then(|key| shard.remove(&key));
        }
        let new = || Watched { secrets: Vec::new(), last: now };
        let watched = shard.entry(found.entry.id).or_insert_with(new);
        watched.last = now;
        watched.note(found.version, address, user_agent, now);
    }

    /// The last callers of each of a key's secrets, newest first.
    pub fn of(&self, key: KeyId) -> Vec<(u32, Vec<Caller>)> {
        let shard = self.shard(key).lock();
        let secrets = shard.get(&key).map_or(&[][..], |watched| &watched.secrets);
        secrets.iter().map(|(version, callers)| (*version, callers.iter().cloned().collect())).collect()
    }

    /// Forgets a key that is deleted.
    pub fn forget(&self, key: KeyId) {
        self.shard(key).lock().remove(&key);
    }

    fn shard(&self, key: KeyId) -> &Mutex<HashMap<KeyId, Watched>> {
        // The low bits of an ID are random, or count up within a millisecond. The remainder is below the number of shards.
        &self.shards[usize::try_from(key.as_u128() % (SHARDS as u128)).unwrap_or(0)]
    }
}

impl Watched {
    fn note(&mut self, version: u32, address: IpAddr, user_agent: Option<&[u8]>, now: Timestamp) {
        let callers = self.callers(version);
        let same_agent = |known: Option<&str>| match (known, user_agent) {
            (None, None) => true,
            (Some(known), Some(text)) => known.bytes().eq(tame(text)),
            _ => false,
        };
        let is_known =
            |caller: &Caller| caller.address == address && same_agent(caller.user_agent.as_deref());
        let known = callers.iter().position(is_known).and_then(|at| callers.remove(at));
        let new = || Caller {
            address,
            user_agent: user_agent.map(|text| tame(text).map(char::from).collect()),
            at: now,
        };
        callers.truncate(MAX_CALLERS - 1);
        callers.push_front(known.map_or_else(new, |known| Caller { at: known.at.max(now), ..known }));
    }

    fn callers(&mut self, version: u32) -> &mut VecDeque<Caller> {
        let at = self.secrets.iter().position(|(number, _)| *number == version).unwrap_or_else(|| {
            if self.secrets.len() >= MAX_SECRETS {
                self.secrets.remove(0);
            }
            self.secrets.push((version, VecDeque::new()));
            self.secrets.len() - 1
        });
        &mut self.secrets[at].1
    }
}

/// What a client calls itself, harmless wherever it is shown.
fn tame(text: &[u8]) -> impl Iterator<Item = u8> {
    let harmless = |byte: &u8| if byte.is_ascii_graphic() || *byte == b' ' { *byte } else { b'?' };
    text.iter().take(MAX_USER_AGENT_BYTES).map(harmless)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::key::secret::NewSecret;

    fn watched() -> Watched {
        Watched { secrets: Vec::new(), last: Timestamp::from_secs(0) }
    }

    fn note(watched: &mut Watched, version: u32, address: u32, second: u64) {
        watched.note(version, Ipv4Addr::from(address).into(), None, Timestamp::from_secs(second));
    }

    #[test]
    fn each_secret_keeps_its_last_callers_newest_first() {
        let mut watched = watched();
        for second in 0..20 {
            note(&mut watched, 1, second % 10, u64::from(second));
            note(&mut watched, 2, 7, u64::from(second));
        }
        let at =
            |version| watched.callers(version).iter().map(|caller| caller.at.as_secs()).collect::<Vec<_>>();
        let mut at = at;
        assert_eq!(at(1), (12..20).rev().collect::<Vec<_>>());
        assert_eq!(at(2), [19]);
    }

    #[test]
    fn a_name_is_harmless_and_has_an_end() {
        let mut watched = watched();
        let address = Ipv4Addr::LOCALHOST.into();
        let long = ["\u{1b}[31mcurl\"/8 é\n".as_bytes(), &[b'x'; 1000]].concat();
        for second in 0..3 {
            watched.note(1, address, Some(&long), Timestamp::from_secs(second));
        }
        let caller = &watched.callers(1)[0];
        let name = caller.user_agent.as_deref().unwrap();
        assert!(name.starts_with("?[31mcurl\"/8 ???xxx"), "{name}");
        assert_eq!((name.len(), caller.at.as_secs()), (MAX_USER_AGENT_BYTES, 2));
        assert_eq!(watched.callers(1).len(), 1, "known again by what is kept of its name");
    }

    #[test]
    fn a_secret_in_a_name_is_seen() {
        let secret = NewSecret::generate("pc", "live").unwrap();
        for text in [secret.expose().to_owned(), format!("bot/1 (key={}; x)", secret.expose())] {
            assert!(holds_secret(text.as_bytes()), "{}", text.len());
        }
        assert!(!holds_secret(b"Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"));
    }

    #[test]
    fn the_number_of_secrets_has_an_end() {
        let mut watched = watched();
        (0..100).for_each(|version| note(&mut watched, version, 1, 1));
        assert_eq!(watched.secrets.len(), MAX_SECRETS);
        assert_eq!(watched.secrets.last().map(|(version, _)| *version), Some(99));
    }
}
