//! A crowd at the door: what many clients that want nothing good cost the gateway, and those that do.
//!
//! The gateway runs on one core, the clients and the upstream on the other. A probe sends one good request after the
//! other, [`PROBE_EVERY`], on a connection of its own, and each is timed from when it should have been sent. It does so
//! on a quiet gateway first, then beside each crowd:
//!
//! - 10,000 kept connections, each of which has had one answer and waits;
//! - 2,000 connections that send half a head and then a byte a second, each at a moment of its own: all must be closed at
//!   the head's time;
//! - 1,000,000 requests with a different unknown secret each, [`FLOOD_RATE`] a second.
//!
//! How to read it: resident memory (`VmRSS`) before and after, by connection; the 99th percentile of the probe beside
//! the quiet one of the same run. Ratios travel between machines, microseconds do not.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[path = "support/admin.rs"]
#[expect(dead_code, reason = "the other benchmarks use the rest of it")]
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
#[expect(dead_code, reason = "the other benchmarks use the rest of it")]
mod site;
#[path = "support/wire.rs"]
#[expect(dead_code, reason = "the other benchmarks use the rest of it")]
mod wire;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use figures::{once, title};
use machine::{Cores, now};
use secrets::secret;
use site::{PATH, Site, ask, connect, read_answer, wait_until};
use wire::request;

const IDLE: usize = 10_000;
const HALF_HEADS: usize = 2_000;
const FLOOD: usize = 1_000_000;
/// Requests of the flood a second.
const FLOOD_RATE: u32 = 10_000;
/// The flood's connections.
const FLOOD_CONNECTIONS: usize = 16;
const PROBE_EVERY: Duration = Duration::from_millis(4);
const WARM_UP: Duration = Duration::from_secs(5);
const QUIET: Duration = Duration::from_secs(10);
const HEAD_TIME: Duration = Duration::from_secs(5);
/// How often a half head gets another byte.
const BYTE_EVERY: Duration = Duration::from_secs(1);
/// In how many turns they get it.
const TURNS: usize = 100;
/// How late the last half head may be seen closed: a refused client is read from for a while, and is looked at once a
/// second.
const HEAD_SLACK: Duration = Duration::from_secs(4);
/// What the gateway gets before its memory is looked at: the usage is merged once a second.
const SETTLE: Duration = Duration::from_secs(3);
const MIB: f64 = 1_048_576.0;

fn main() -> anyhow::Result<()> {
    let cores = Cores::take()?;
    let gateway = Gateway::start(cores)?;
    title("A crowd at the door (benches/crowd.rs)");
    gateway.probed_for(WARM_UP)?;
    let quiet = gateway.probed_for(QUIET)?;
    once("p99 of good requests, quiet", quiet.p99, 0, "us");
    flood(&gateway, &quiet)?;
    half_heads(&gateway, &quiet)?;
    idle(&gateway, &quiet)
}

/// Ten thousand that wait.
fn idle(gateway: &Gateway, quiet: &Latency) -> anyhow::Result<()> {
    let before = gateway.site.process.resident_bytes()?;
    let mut crowd = Vec::with_capacity(IDLE);
    for _ in 0..IDLE {
        let mut stream = gateway.connect()?;
        ask(&mut stream, &request(PATH, Some(&gateway.secret)), 200)?;
        crowd.push(stream);
    }
    thread::sleep(SETTLE);
    let grown = gateway.site.process.resident_bytes()? - before;
    let beside = gateway.probed_for(QUIET)?;
    once("10,000 idle connections: memory for each", grown / 10_000.0 / 1024.0, 1, "KiB");
    once("  p99 of good requests beside them / quiet", beside.p99 / quiet.p99, 2, "x");
    // They are all still served.
    for stream in &mut crowd {
        ask(stream, &request(PATH, Some(&gateway.secret)), 200)?;
    }
    Ok(())
}

/// Gives each half head its byte until all are closed: the most memory meanwhile, and when the last was found closed.
fn trickle(
    gateway: &Gateway,
    crowd: &mut [Option<TcpStream>],
    started: Instant,
) -> anyhow::Result<(f64, Option<Duration>)> {
    let (mut most, mut last_closed) = (0.0_f64, None);
    let (began, turns) = (now(), u32::try_from(TURNS)?);
    for (turn, count) in (0..TURNS).cycle().zip(1..) {
        if crowd.iter().all(Option::is_none) || started.elapsed() > HEAD_TIME * 4 {
            break;
        }
        most = most.max(gateway.site.process.resident_bytes()?);
        for place in crowd.iter_mut().skip(turn).step_by(TURNS) {
            if place.as_mut().is_some_and(|stream| !trickles(stream)) {
                *place = None;
                last_closed = Some(started.elapsed());
            }
        }
        wait_until(began + BYTE_EVERY * count / turns);
    }
    Ok((most, last_closed))
}

/// Two thousand that never end their head.
fn half_heads(gateway: &Gateway, quiet: &Latency) -> anyhow::Result<()> {
    thread::sleep(SETTLE);
    let before = gateway.site.process.resident_bytes()?;
    let mut crowd: Vec<Option<TcpStream>> = Vec::with_capacity(HALF_HEADS);
    let started = now();
    for number in 0..HALF_HEADS {
        wait_until(started + BYTE_EVERY * u32::try_from(number)? / u32::try_from(HALF_HEADS)?);
        let mut stream = gateway.connect()?;
        stream.write_all(b"GET /v1/models HTTP/1.1\r\nhost: api.example.com\r\nx-slow: ")?;
        stream.set_nonblocking(true)?;
        crowd.push(Some(stream));
    }
    let all_open = started.elapsed();
    let (mut most, mut last_closed) = (0.0, None);
    let beside = gateway.probed(|| {
        (most, last_closed) = trickle(gateway, &mut crowd, started)?;
        Ok(())
    })?;
    let last =
        last_closed.filter(|_| crowd.iter().all(Option::is_none)).context("half heads were left open")?;
    anyhow::ensure!(last <= all_open + HEAD_TIME + HEAD_SLACK, "the last half head was open for {last:?}");
    once("2,000 half heads: memory for each", (most - before).max(0.0) / 2_000.0 / 1024.0, 1, "KiB");
    once("  the last one closed after (header_timeout: 5 s)", last.as_secs_f64(), 1, "s");
    once("  p99 of good requests beside them / quiet", beside.p99 / quiet.p99, 2, "x");
    Ok(())
}

/// Sends a byte more; `false` where the gateway has closed.
fn trickles(stream: &mut TcpStream) -> bool {
    let mut answer = [0; 512];
    match stream.read(&mut answer) {
        Ok(0) => false,
        // The answer 408; the end follows.
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::WouldBlock => stream.write(b"x").is_ok(),
        Err(_) => false,
    }
}

/// A million secrets that are nobody's.
fn flood(gateway: &Gateway, quiet: &Latency) -> anyhow::Result<()> {
    thread::sleep(SETTLE);
    let before = gateway.site.process.resident_bytes()?;
    let started = now();
    let beside = gateway.probed(|| {
        let mut streams = (0..FLOOD_CONNECTIONS).map(|_| gateway.connect()).collect::<Result<Vec<_>, _>>()?;
        for number in 0..FLOOD / FLOOD_CONNECTIONS {
            let due =
                started + Duration::from_secs(1) / FLOOD_RATE * u32::try_from(number * FLOOD_CONNECTIONS)?;
            wait_until(due);
            for (lane, stream) in streams.iter_mut().enumerate() {
                // Numbers from here on are secrets of no key.
                let unknown = secret((1 << 40) + number * FLOOD_CONNECTIONS + lane);
                stream.write_all(&request(PATH, Some(&unknown)))?;
            }
            for stream in &mut streams {
                read_answer(stream, 401)?;
            }
        }
        Ok(())
    })?;
    #[expect(clippy::cast_precision_loss, reason = "a million")]
    let rate = FLOOD as f64 / started.elapsed().as_secs_f64();
    thread::sleep(SETTLE);
    let grown = gateway.site.process.resident_bytes()? - before;
    once("1,000,000 unknown secrets: sent", rate, 0, "/s");
    once("  memory grew by", grown / MIB, 2, "MiB");
    once("  p99 of good requests beside them / quiet", beside.p99 / quiet.p99, 2, "x");
    anyhow::ensure!(grown < 16.0 * MIB, "memory grew with secrets that are nobody's");
    Ok(())
}

/// A gateway that runs, with one key.
struct Gateway {
    site: Site,
    secret: String,
}

impl Gateway {
    fn start(cores: Cores) -> anyhow::Result<Self> {
        let bounds = format!("header_timeout = \"{}s\"\nidle_timeout = \"10m\"", HEAD_TIME.as_secs());
        Ok(Self { site: Site::start(cores, &bounds, "", 1)?, secret: secret(0) })
    }

    fn connect(&self) -> anyhow::Result<TcpStream> {
        connect(self.site.address)
    }

    /// Runs the probe alone.
    fn probed_for(&self, time: Duration) -> anyhow::Result<Latency> {
        self.probed(|| {
            thread::sleep(time);
            Ok(())
        })
    }

    /// Does the work beside the probe.
    fn probed(&self, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Latency> {
        let probe = Probe::start(self.connect()?, request(PATH, Some(&self.secret)));
        let done = work();
        let latency = probe.stop()?;
        done?;
        Ok(latency)
    }
}

/// How long good requests took, in microseconds.
struct Latency {
    p99: f64,
}

/// One good request after the other.
struct Probe {
    stop: Arc<AtomicBool>,
    work: JoinHandle<anyhow::Result<Vec<f64>>>,
}

impl Probe {
    fn start(mut stream: TcpStream, request: Vec<u8>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let work = thread::spawn(move || {
            let mut took = Vec::new();
            let mut due = now();
            while !told.load(Ordering::Relaxed) {
                wait_until(due);
                ask(&mut stream, &request, 200)?;
                took.push(due.elapsed().as_secs_f64() * 1e6);
                due += PROBE_EVERY;
            }
            Ok(took)
        });
        Self { stop, work }
    }

    fn stop(self) -> anyhow::Result<Latency> {
        self.stop.store(true, Ordering::Relaxed);
        let took = self.work.join().map_err(|_| anyhow::anyhow!("the probe has ended in a panic"))?;
        let mut took = took.context("a good request was not answered")?;
        took.sort_by(f64::total_cmp);
        let place = took.len() * 99 / 100;
        Ok(Latency { p99: took.get(place).copied().context("the probe sent nothing")? })
    }
}
