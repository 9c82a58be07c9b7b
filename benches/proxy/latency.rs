//! Latency at a fixed rate, whatever the answers take: each request has its moment before the load begins, and its
//! latency is counted from that moment, so that a request that had to wait for an earlier answer counts its wait.
//!
//! A thread for each connection, so that the system's own timers wake it; the moments are at random (a Poisson stream),
//! and the same for all that is measured.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::num::NonZeroU64;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;

use crate::load::Load;
use crate::machine::now;
use crate::secrets::Numbers;
use crate::wire::{self, Requests};

/// Requests a second, over all connections.
pub const RATE: f64 = 10_000.0;
/// So many that a request seldom waits for the one before it on its own connection.
pub const CONNECTIONS: usize = 64;
/// How long one turn is.
const TURN: Duration = Duration::from_millis(1_600);
/// The first moments are not counted: connections are taken up, caches fill.
const WARM_UP: Duration = Duration::from_millis(100);
/// A request that takes longer is a fault.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What the requests of one turn took, from their moment on.
pub struct Latencies {
    /// In microseconds, sorted.
    sorted: Vec<f64>,
    /// All that were sent.
    pub sent: usize,
}

impl Latencies {
    /// The latency that this share of the requests does not exceed.
    pub fn quantile(&self, share: f64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
        let place = (self.sorted.len().saturating_sub(1)) as f64 * share;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the list")]
        self.sorted.get(place.round() as usize).copied().unwrap_or(f64::NAN)
    }
}

/// One turn of this load, at the fixed rate.
pub fn measure(load: &Load) -> anyhow::Result<Latencies> {
    let ready = Arc::new(Barrier::new(CONNECTIONS));
    let threads: Vec<_> = (0..CONNECTIONS as u64)
        .map(|seed| {
            let (load, ready) = (load.clone(), Arc::clone(&ready));
            thread::Builder::new().stack_size(256 << 10).spawn(move || one_connection(&load, seed, &ready))
        })
        .collect::<Result<_, _>>()?;
    let mut all = Latencies { sorted: Vec::new(), sent: 0 };
    for thread in threads {
        let Ok(latencies) = thread.join() else { anyhow::bail!("a connection's thread panicked") };
        let (sent, counted) = latencies?;
        all.sent += sent;
        all.sorted.extend(counted);
    }
    all.sorted.sort_by(f64::total_cmp);
    Ok(all)
}

/// How many were sent, and the latencies of those that count.
fn one_connection(load: &Load, seed: u64, ready: &Barrier) -> anyhow::Result<(usize, Vec<f64>)> {
    // Without it the system wakes a sleeper up to 50 us late.
    let exact = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    let stream = connect(load);
    let moments = moments(seed);
    // All arrive here, also those that failed, so that none waits for ever.
    ready.wait();
    exact?;
    let (mut stream, started) = (stream?, now());
    let mut requests = Requests::new(load.path, load.secrets.clone(), seed);
    let (mut counted, mut buffer) = (Vec::with_capacity(moments.len()), vec![0; wire::MAX_ANSWER]);
    for &moment in &moments {
        thread::sleep(moment.saturating_sub(started.elapsed()));
        stream.write_all(requests.next())?;
        let end = read_answer(&mut stream, &mut buffer)?;
        let took = started.elapsed().saturating_sub(moment);
        wire::expect(buffer.get(..end).unwrap_or_default(), end, load.status)?;
        if moment >= WARM_UP {
            counted.push(took.as_secs_f64() * 1e6);
        }
    }
    Ok((moments.len(), counted))
}

fn connect(load: &Load) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(load.addresses.first().context("no address")?)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    Ok(stream)
}

/// One connection's share of a Poisson stream.
fn moments(seed: u64) -> Vec<Duration> {
    let mut numbers = Numbers::from_seed(seed ^ 0x007A_7E00);
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let mean_gap = CONNECTIONS as f64 / RATE;
    let mut at = Duration::ZERO;
    let mut moments = Vec::new();
    loop {
        let gap = -mean_gap * (1.0 - numbers.share()).ln();
        at += Duration::from_secs_f64(gap);
        if at > TURN {
            return moments;
        }
        moments.push(at);
    }
}

/// Reads one answer and says where it ends.
fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) -> anyhow::Result<usize> {
    let (mut filled, mut end) = (0, None);
    while end.is_none_or(|end| filled < end) {
        let room = buffer.get_mut(filled..).context("an answer that is too long")?;
        let read = stream.read(room).context("reading an answer")?;
        anyhow::ensure!(read > 0, "the connection was closed");
        filled += read;
        end = wire::end(buffer.get(..filled).unwrap_or_default())?;
    }
    anyhow::ensure!(end == Some(filled), "more than one answer");
    end.context("no answer")
}
