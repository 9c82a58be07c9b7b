//! What a decision costs by itself, without HTTP, at 10, 10,000 and 1,000,000 keys.
//!
//! One decision is what the gateway does for a request between its head and its forwarding: it reads the clocks, finds
//! the credential, hashes it, looks the key up, authorizes it, charges one rate limit, and counts the request in the
//! usage file. Keys come in random order, so at a million each is cold. A refused decision is one for a secret that no
//! key has.
//!
//! How to read it: nanoseconds a decision on one thread, the median of the rounds and from the least to the most. The
//! three numbers of keys take turns within each round, so that what else the machine does hits all alike; the ratio is
//! taken round by round. Bytes a key are resident memory (`/proc/self/statm`) before and after: first the keys alone
//! with their names, then again once each was used, which gives it a limit's state and a usage counter.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[path = "support/figures.rs"]
#[expect(dead_code, reason = "the other benchmarks use the rest of it")]
mod figures;
#[path = "support/secrets.rs"]
#[expect(dead_code, reason = "the other benchmarks use the rest of it")]
mod secrets;

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use figures::Sample;
use http::{HeaderMap, HeaderValue};
use portcullis::admission::policy::Policy;
use portcullis::admission::{Judge, Moment, Passage, Request};
use portcullis::app::Core;
use portcullis::clock::{SystemClock, Timestamp};
use portcullis::config::{Config, file};
use portcullis::key::secret::{NewSecret, SecretHasher};
use portcullis::key::{Key, KeyId, Profile, SecretVersion, Switch};
use portcullis::outcome::Outcome;
use secrets::{Numbers, secret};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How many keys there are in each world; the largest first, so that its memory is measured on a fresh heap.
const SIZES: [usize; 3] = [1_000_000, 10_000, 10];
const ROUNDS: usize = 15;
/// Requests that are made ready at once, before the clock is started.
const BATCH: usize = 256;
/// Batches of one world in one round.
const BATCHES: usize = 300;
/// Numbers from here on are secrets of no key.
const UNKNOWN: usize = 1 << 40;
const PAGE_BYTES: f64 = 4096.0;

const CONFIG: &str = r#"
[store]
path = "portcullis.redb"
[upstreams.api]
targets = ["127.0.0.1:9"]
[[routes]]
path = "/v1"
upstream = "api"
scopes = ["models:read"]
limits = [{ name = "minute", requests = 1000000000, window = "1m" }]
"#;

/// A gateway's data with this many keys.
struct World {
    keys: usize,
    core: Core,
    judge: Judge,
    policy: Policy,
    _folder: tempfile::TempDir,
}

/// What the decisions are expected to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    Allowed,
    Refused,
}

impl World {
    fn new(keys: usize) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = config(folder.path())?;
        let core = Core::open(&config, Arc::new(SystemClock::new()))?;
        let hasher = SecretHasher::new(None);
        let route = config.routes.first().context("no route")?;
        let policy = Policy::new(route, "/v1", 0);
        let prefix = config.keys.prefix.clone();
        let judge = Judge::new(Arc::clone(&core.snapshot), hasher, Arc::clone(&core.quotas), prefix);
        Ok(Self { keys, core, judge, policy, _folder: folder })
    }

    fn load_keys(&self) -> anyhow::Result<()> {
        let (hasher, now) = (SecretHasher::new(None), self.core.clock.now());
        for number in 0..self.keys {
            self.core.snapshot.load(&key(number, &hasher, now)?);
        }
        Ok(())
    }

    /// Uses each key once, so that each has its limit's state and its counter.
    fn touch_keys(&self) -> anyhow::Result<()> {
        for number in 0..self.keys {
            anyhow::ensure!(self.decide(&headers(number)?) == Expected::Allowed, "key {number} was refused");
        }
        Ok(())
    }

    /// One decision, as the gateway makes it.
    fn decide(&self, headers: &HeaderMap) -> Expected {
        let clock = &self.core.clock;
        let now = Moment { wall: clock.now(), monotonic: clock.monotonic() };
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let request = Request { policy: &self.policy, headers, query: None, address, declared_body: None };
        match self.judge.admit(&request, now) {
            Ok(Passage::Keyed(permit)) => {
                self.core.ledger.settle(permit.found(), self.policy.number, Outcome::Allowed, clock.now());
                Expected::Allowed
            }
            Ok(Passage::Public) | Err(_) => Expected::Refused,
        }
    }

    /// Nanoseconds a decision, over one round.
    fn round(&self, numbers: &mut Numbers, expected: Expected) -> anyhow::Result<f64> {
        let clock = &self.core.clock;
        let first = if expected == Expected::Allowed { 0 } else { UNKNOWN };
        let mut nanos = 0;
        for _ in 0..BATCHES {
            let ready: Vec<HeaderMap> =
                (0..BATCH).map(|_| headers(first + numbers.below(self.keys))).collect::<Result<_, _>>()?;
            let started = clock.monotonic();
            let as_expected = ready.iter().filter(|headers| self.decide(headers) == expected).count();
            nanos += clock.monotonic().since(started).as_nanos();
            anyhow::ensure!(as_expected == BATCH, "a decision at {} keys was not as expected", self.keys);
        }
        #[expect(clippy::cast_precision_loss, reason = "a figure to print")]
        let each = nanos as f64 / (BATCH * BATCHES) as f64;
        Ok(each)
    }
}

fn config(folder: &Path) -> anyhow::Result<Config> {
    Ok(file::parse(CONFIG, folder, &folder.join("bench.toml"), &|_| None)?)
}

fn key(number: usize, hasher: &SecretHasher, now: Timestamp) -> anyhow::Result<Key> {
    let secret = NewSecret::import(&secret(number)).context("a secret that can be none")?;
    let version = SecretVersion {
        version: 1,
        digest: hasher.digest(&secret),
        algorithm: hasher.algorithm(),
        fingerprint: secret.fingerprint(),
        created_at: now,
        superseded: None,
    };
    let scope = portcullis::key::scope::Scope::parse("models:*").context("a scope that is none")?;
    let profile = Profile {
        name: format!("key {number:07}"),
        description: String::new(),
        owner: Some(format!("owner-{}", number % 1_000)),
        environment: "live".to_owned(),
        tags: Vec::new(),
        metadata: "{}".to_owned(),
        role: None,
        scopes: vec![scope],
        ip_allow: Vec::new(),
        limits: Vec::new(),
        quotas: Vec::new(),
        max_concurrent: None,
        expires_at: None,
    };
    Ok(Key {
        id: KeyId::from_u128((u128::from(now.as_millis()) << 80) + number as u128),
        profile,
        switch: Switch::On,
        revoked: None,
        created_at: now,
        created_by: "bench".to_owned(),
        updated_at: now,
        rotated_at: None,
        versions: vec![version],
        revision: 1,
    })
}

/// The header fields of a small request with this key.
fn headers(number: usize) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert("host", HeaderValue::from_static("api.example.com"));
    headers.insert("user-agent", HeaderValue::from_static("bench/1"));
    headers.insert("accept", HeaderValue::from_static("*/*"));
    headers.insert("authorization", HeaderValue::try_from(format!("Bearer {}", secret(number)))?);
    Ok(headers)
}

/// This process's resident memory, in bytes.
fn resident_bytes() -> anyhow::Result<f64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: f64 = statm.split_whitespace().nth(1).context("no resident pages in statm")?.parse()?;
    Ok(pages * PAGE_BYTES)
}

/// Makes the worlds, and measures what a key of the largest takes.
fn worlds() -> anyhow::Result<Vec<World>> {
    let mut worlds = Vec::new();
    for keys in SIZES {
        let world = World::new(keys)?;
        let empty = resident_bytes()?;
        world.load_keys()?;
        let loaded = resident_bytes()?;
        world.touch_keys()?;
        let used = resident_bytes()?;
        if keys == SIZES[0] {
            #[expect(clippy::cast_precision_loss, reason = "a figure to print")]
            let each = |bytes: f64| bytes / keys as f64;
            figures::title(&format!("Memory at {keys} keys (names of 11 bytes)"));
            figures::once("a key, loaded", each(loaded - empty), 0, "bytes");
            figures::once("a key, used: with limit state and counter", each(used - empty), 0, "bytes");
        }
        worlds.push(world);
    }
    Ok(worlds)
}

/// Rounds of every world in turn; one list of nanoseconds for each.
fn measure(worlds: &[World], expected: Expected) -> anyhow::Result<Vec<Vec<f64>>> {
    let mut numbers = Numbers::from_seed(1);
    let mut taken = vec![Vec::new(); worlds.len()];
    for _ in 0..ROUNDS {
        for (world, taken) in worlds.iter().zip(&mut taken) {
            taken.push(world.round(&mut numbers, expected)?);
        }
    }
    Ok(taken)
}

fn main() -> anyhow::Result<()> {
    let worlds = worlds()?;
    for (what, expected) in [("allowed", Expected::Allowed), ("refused", Expected::Refused)] {
        let taken = measure(&worlds, expected)?;
        figures::title(&format!("Decisions that are {what}, one thread"));
        for (world, taken) in worlds.iter().zip(&taken).rev() {
            figures::sampled(&format!("{} keys", world.keys), &Sample::new(taken.clone()), 0, "ns");
        }
        if let [largest, .., smallest] = &taken[..] {
            figures::sampled("1,000,000 keys : 10 keys", &Sample::ratios(largest, smallest), 2, "");
        }
    }
    Ok(())
}
