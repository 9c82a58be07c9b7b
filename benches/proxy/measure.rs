//! The turns: each line of the comparison in each round, first as fast as it goes, then at a fixed rate.

use std::time::Duration;

use anyhow::Context as _;

use crate::latency;
use crate::load::{Client, Load};
use crate::machine::Process;

/// Requests of one line in one round: enough that a tick of the processor clock (10 ms) is little.
pub const REQUESTS: usize = 40_000;
pub const WARM_UP: usize = 20_000;
pub const CONNECTIONS: usize = 16;
/// After a turn's last answer: Portcullis merges its usage once a second, and that counts.
const AFTERWARDS: Duration = Duration::from_millis(1_200);
/// The name of the threads of Portcullis that serve requests.
const WORKERS: &str = "gateway";

/// What a line is measured for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The client straight to the upstream.
    Direct,
    /// A request that reaches the upstream.
    Forwarded,
    /// A request that is refused, on a kept connection.
    Refused,
}

/// A contender under one load, and what was measured, by round.
pub struct Line<'a> {
    pub name: String,
    pub kind: Kind,
    /// None: what answers is not measured.
    process: Option<&'a Process>,
    pub load: Load,
    afterwards: Duration,
    /// Microseconds of processor time a request.
    pub cpu: Vec<f64>,
    /// Of these, those outside the worker threads; nothing where they are not told apart.
    pub background: Vec<f64>,
    /// Requests a second.
    pub rate: Vec<f64>,
    /// Share of the core that it used while it was under load.
    pub busy: Vec<f64>,
    /// Microseconds of processor time a request at the fixed rate, where all wake their peers equally often.
    pub paced_cpu: Vec<f64>,
    /// Latencies at the fixed rate, in microseconds.
    pub middle: Vec<f64>,
    pub tail: Vec<f64>,
    /// Resident memory after the load, in bytes.
    pub memory: f64,
    /// Requests that it was sent.
    pub sent: usize,
}

impl<'a> Line<'a> {
    pub fn new(name: String, kind: Kind, process: Option<&'a Process>, load: Load) -> Self {
        let (cpu, background, rate, busy) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (paced_cpu, middle, tail) = (Vec::new(), Vec::new(), Vec::new());
        let (afterwards, memory, sent) = (Duration::ZERO, f64::NAN, 0);
        Self {
            name,
            kind,
            process,
            load,
            afterwards,
            cpu,
            background,
            rate,
            busy,
            paced_cpu,
            middle,
            tail,
            memory,
            sent,
        }
    }

    /// With what it does after the last answer, and what its worker threads do told apart.
    pub fn with_afterwards(mut self) -> Self {
        self.afterwards = AFTERWARDS;
        self
    }

    fn warm_up(&mut self, client: &Client) -> anyhow::Result<()> {
        client.run(&Load { requests: WARM_UP, ..self.load.clone() })?;
        self.sent += WARM_UP / CONNECTIONS * CONNECTIONS;
        Ok(())
    }

    /// As fast as it goes.
    fn throughput(&mut self, client: &Client) -> anyhow::Result<()> {
        let before = self.used()?;
        let took = client.run(&self.load)?;
        self.sent += self.load.requests / CONNECTIONS * CONNECTIONS;
        std::thread::sleep(self.afterwards);
        let after = self.used()?;
        #[expect(clippy::cast_precision_loss, reason = "a figure to print")]
        let requests = self.load.requests as f64;
        self.rate.push(requests / took.as_secs_f64());
        if let (Some((before, workers_before)), Some((after, workers_after))) = (before, after) {
            let (used, by_workers) = (after - before, workers_after - workers_before);
            self.cpu.push(used / requests * 1e6);
            self.busy.push((used / took.as_secs_f64()).min(1.0));
            if self.afterwards > Duration::ZERO {
                self.background.push((used - by_workers).max(0.0) / requests * 1e6);
            }
        }
        Ok(())
    }

    /// Processor time so far: all of it, and that of the worker threads.
    fn used(&self) -> anyhow::Result<Option<(f64, f64)>> {
        self.process.map(|process| Ok((process.cpu()?, process.cpu_of_threads(WORKERS)?))).transpose()
    }

    fn latency(&mut self) -> anyhow::Result<()> {
        let before = self.used()?;
        let latencies = latency::measure(&self.load)?;
        self.sent += latencies.sent;
        std::thread::sleep(self.afterwards);
        if let (Some((before, _)), Some((after, _))) = (before, self.used()?) {
            #[expect(clippy::cast_precision_loss, reason = "a figure to print")]
            self.paced_cpu.push((after - before) / latencies.sent as f64 * 1e6);
        }
        self.middle.push(latencies.quantile(0.5));
        self.tail.push(latencies.quantile(0.99));
        Ok(())
    }
}

/// All lines, in turns: every second round the other way about, so that what follows what evens out.
pub fn rounds(client: &Client, lines: &mut [Line<'_>], rounds: usize) -> anyhow::Result<()> {
    for line in lines.iter_mut() {
        line.warm_up(client).with_context(|| format!("warming up: {}", line.name))?;
    }
    for round in 0..rounds {
        println!("round {} of {rounds}", round + 1);
        let mut order: Vec<usize> = (0..lines.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for &number in &order {
            let Some(line) = lines.get_mut(number) else { continue };
            line.throughput(client).with_context(|| format!("under load: {}", line.name))?;
        }
        for &number in &order {
            let Some(line) = lines.get_mut(number) else { continue };
            line.latency().with_context(|| format!("at a fixed rate: {}", line.name))?;
        }
    }
    for line in lines {
        line.memory = line.process.map_or(Ok(f64::NAN), Process::resident_bytes)?;
    }
    Ok(())
}
