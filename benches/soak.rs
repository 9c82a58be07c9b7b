//! A long run at a fixed rate while keys come and go: whether memory and descriptors stay where they are, and every
//! request is counted.
//!
//! `make soak`, or `SOAK_MINUTES=30 SOAK_RATE=10000 cargo bench --bench soak`. The gateway runs on one core with one
//! worker; this client and the upstream on another. 16 connections send [`DEFAULT_RATE`] requests a second, each with one
//! of 10,000 keys. Beside them, ten times a second, one more key is made, used, rotated, used, revoked, refused on the
//! very next request of the same connection, and deleted.
//!
//! Every half minute a line says how the process stands. In the end its counters must be exactly what was sent; the slope
//! of its memory is that of a straight line (least squares) through the second half of the run.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[path = "support/admin.rs"]
mod admin;
#[path = "support/figures.rs"]
#[expect(dead_code, reason = "the other benchmarks use the rest of it")]
mod figures;
#[path = "support/machine.rs"]
#[expect(dead_code, reason = "the other benchmarks use the rest of it")]
mod machine;
#[path = "support/secrets.rs"]
#[expect(dead_code, reason = "the other benchmarks use the rest of it")]
mod secrets;
#[path = "support/site.rs"]
mod site;
#[path = "support/wire.rs"]
mod wire;

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use figures::{once, title};
use machine::{Cores, now};
use site::{PATH, Site, ask, connect, wait_until};
use wire::{Requests, Secrets, request};

const KEYS: usize = 10_000;
const CONNECTIONS: u32 = 16;
const DEFAULT_MINUTES: u64 = 30;
const DEFAULT_RATE: u64 = 10_000;
const LOOK_EVERY: Duration = Duration::from_secs(30);
const CHURN_EVERY: Duration = Duration::from_millis(100);
/// What the gateway gets before its counters are read: they are merged once a second.
const SETTLE: Duration = Duration::from_secs(3);
const MIB: f64 = 1_048_576.0;

fn main() -> anyhow::Result<()> {
    let minutes = setting("SOAK_MINUTES", DEFAULT_MINUTES)?;
    let rate = setting("SOAK_RATE", DEFAULT_RATE)?;
    let cores = Cores::take()?;
    let gateway = Gateway::start(cores)?;
    title(&format!("A soak of {minutes} minutes at {rate} requests a second (benches/soak.rs)"));
    let run = Run { end: now() + Duration::from_secs(60 * minutes), ..Run::default() };
    let secrets = Secrets::new(0..KEYS);
    let looks = thread::scope(|scope| {
        let lanes: Vec<_> = (0..CONNECTIONS)
            .map(|lane| {
                let (run, gateway, secrets) = (&run, &gateway, secrets.clone());
                scope.spawn(move || run.watched(|| run.lane(gateway, secrets, lane, rate)))
            })
            .collect();
        let churn = scope.spawn(|| run.watched(|| run.churn(&gateway)));
        let looks = run.watch(&gateway);
        for one in lanes.into_iter().chain([churn]) {
            one.join().map_err(|_| anyhow::anyhow!("a client has ended in a panic"))??;
        }
        looks
    })?;
    thread::sleep(SETTLE);
    run.report(&gateway, &looks)
}

fn setting(name: &str, default: u64) -> anyhow::Result<u64> {
    let Some(text) = std::env::var_os(name) else { return Ok(default) };
    let number = text.to_str().and_then(|text| text.parse().ok()).filter(|number| *number > 0);
    number.with_context(|| format!("{name} must be a whole number above 0"))
}

/// What was sent, and until when more is.
struct Run {
    end: Instant,
    /// Something failed: all are to end.
    failed: AtomicBool,
    allowed: AtomicU64,
    refused: AtomicU64,
    churned: AtomicU64,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            end: now(),
            failed: AtomicBool::new(false),
            allowed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            churned: AtomicU64::new(0),
        }
    }
}

/// How the process stood.
struct Look {
    hours: f64,
    mib: f64,
    descriptors: usize,
}

impl Run {
    fn goes(&self) -> bool {
        now() < self.end && !self.failed.load(Ordering::Relaxed)
    }

    /// Does the work, and ends all where it fails.
    fn watched(&self, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
        let done = work();
        if done.is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
        done
    }

    /// One connection's share of the rate.
    fn lane(&self, gateway: &Gateway, secrets: Secrets, lane: u32, rate: u64) -> anyhow::Result<()> {
        let mut client = gateway.connect()?;
        let mut requests = Requests::new(PATH, Some(secrets), lane.into());
        let gap = Duration::from_secs(CONNECTIONS.into()).div_f64(f64::from(u32::try_from(rate)?));
        let mut due = now() + gap * lane / CONNECTIONS;
        while self.goes() {
            wait_until(due);
            client.ask(requests.next(), 200)?;
            self.allowed.fetch_add(1, Ordering::Relaxed);
            due += gap;
        }
        Ok(())
    }

    /// Keys that come and go.
    fn churn(&self, gateway: &Gateway) -> anyhow::Result<()> {
        let mut client = gateway.connect()?;
        let mut due = now();
        while self.goes() {
            wait_until(due);
            let made = gateway.admin("POST", "/api/v1/keys", r#"{"name":"churn","scopes":["models:*"]}"#)?;
            let id = made["key"]["id"].as_str().context("a key without an ID")?;
            let first = made["secret"].as_str().context("a key without its secret")?;
            client.ask(&request(PATH, Some(first)), 200)?;
            let rotated = gateway.admin("POST", &format!("/api/v1/keys/{id}/rotate"), r#"{"grace":"1h"}"#)?;
            let second = rotated["secret"].as_str().context("a rotation without its secret")?;
            client.ask(&request(PATH, Some(first)), 200)?;
            client.ask(&request(PATH, Some(second)), 200)?;
            gateway.admin("POST", &format!("/api/v1/keys/{id}/revoke"), "{}")?;
            client.ask(&request(PATH, Some(first)), 401)?;
            client.ask(&request(PATH, Some(second)), 401)?;
            gateway.admin("DELETE", &format!("/api/v1/keys/{id}"), "")?;
            self.allowed.fetch_add(3, Ordering::Relaxed);
            self.refused.fetch_add(2, Ordering::Relaxed);
            self.churned.fetch_add(1, Ordering::Relaxed);
            due = now().max(due + CHURN_EVERY);
        }
        Ok(())
    }

    /// Looks at the process until the end.
    fn watch(&self, gateway: &Gateway) -> anyhow::Result<Vec<Look>> {
        let started = now();
        let mut looks = Vec::new();
        let mut due = started;
        while self.goes() {
            wait_until(due.min(self.end));
            due += LOOK_EVERY;
            let look = Look {
                hours: started.elapsed().as_secs_f64() / 3600.0,
                mib: gateway.0.process.resident_bytes()? / MIB,
                descriptors: gateway.0.process.descriptors()?,
            };
            println!(
                "  {:>5.1} min  {:>8.1} MiB  {:>4} descriptors  {:>10} requests  {:>6} keys came and went",
                look.hours * 60.0,
                look.mib,
                look.descriptors,
                self.allowed.load(Ordering::Relaxed),
                self.churned.load(Ordering::Relaxed)
            );
            looks.push(look);
        }
        Ok(looks)
    }

    fn report(&self, gateway: &Gateway, looks: &[Look]) -> anyhow::Result<()> {
        let second_half = looks.get(looks.len() / 2..).unwrap_or_default();
        let last = second_half.last().context("the run was too short to look at anything")?;
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
        let number = |count: &AtomicU64| count.load(Ordering::Relaxed) as f64;
        once("requests that passed", number(&self.allowed), 0, "");
        once("keys that came and went", number(&self.churned), 0, "");
        once("memory at the end", last.mib, 1, "MiB");
        once("  its slope in the second half", slope(second_half), 2, "MiB/h");
        let descriptors = || second_half.iter().map(|look| look.descriptors);
        let spread = descriptors().max().unwrap_or(0) - descriptors().min().unwrap_or(0);
        println!("  descriptors: {} at the end, {spread} between the most and the fewest", last.descriptors);
        let counted = gateway.counted()?;
        let sent = (self.allowed.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed));
        println!("  counted {counted:?}, sent {sent:?} (passed, revoked)");
        anyhow::ensure!(counted == sent, "the counters are not what was sent");
        Ok(())
    }
}

/// MiB an hour, by least squares.
fn slope(looks: &[Look]) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
    let count = looks.len() as f64;
    let mean = |of: fn(&Look) -> f64| looks.iter().map(of).sum::<f64>() / count;
    let (hours, mib) = (mean(|look| look.hours), mean(|look| look.mib));
    let both: f64 = looks.iter().map(|look| (look.hours - hours) * (look.mib - mib)).sum();
    both / looks.iter().map(|look| (look.hours - hours).powi(2)).sum::<f64>()
}

/// One connection after the other: the gateway closes one that has carried as many requests as one may.
struct Connection {
    address: SocketAddr,
    stream: TcpStream,
}

impl Connection {
    /// One request and its answer.
    fn ask(&mut self, request: &[u8], status: u16) -> anyhow::Result<()> {
        let answer = ask(&mut self.stream, request, status)?.to_ascii_lowercase();
        if memchr::memmem::find(&answer, b"\r\nconnection: close").is_some() {
            self.stream = connect(self.address)?;
        }
        Ok(())
    }
}

/// A gateway that runs.
struct Gateway(Site);

impl Gateway {
    fn start(cores: Cores) -> anyhow::Result<Self> {
        let route = "scopes = [\"models:read\"]\n\
                     limits = [{ name = \"minute\", requests = 1000000000, window = \"1m\" }]";
        Ok(Self(Site::start(cores, "threads = 1", route, KEYS)?))
    }

    fn connect(&self) -> anyhow::Result<Connection> {
        let address = self.0.address;
        Ok(Connection { address, stream: connect(address)? })
    }

    fn admin(&self, method: &str, path: &str, body: &str) -> anyhow::Result<serde_json::Value> {
        admin::done(self.0.admin, method, path, body)
    }

    /// What it has counted as passed, and as refused since the key was revoked.
    fn counted(&self) -> anyhow::Result<(u64, u64)> {
        let metrics = machine::get(self.0.admin, "/metrics")?;
        let of = |outcome: &str| {
            let series = format!("portcullis_requests_total{{outcome=\"{outcome}\",route=\"/v1\"}} ");
            let count = metrics.lines().find_map(|line| line.strip_prefix(series.as_str()));
            count.map_or(Ok(0), |count| count.trim().parse::<u64>())
        };
        Ok((of("allowed")?, of("key_revoked")?))
    }
}
