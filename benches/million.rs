//! A million keys: how long they take to import, to start with and to start again with after `kill -9`, the memory that
//! they take, and how long a page of their list takes.
//!
//! The keys are imported by the command line into a stopped gateway's store (`keys import FILE --config FILE`), then
//! the gateway is started, used with random keys, killed and started again. Each step is done once, for it is long.
//!
//! How to read it: a start is timed from the process's first moment until `/readyz` answers 200, which it does once
//! the gateway's own port answers. Memory is resident (`VmRSS`), and bytes a key are what the process has more than
//! one without keys, divided by the keys: their names, and what the store keeps in its cache, included.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[path = "support/admin.rs"]
#[expect(dead_code, reason = "the other benchmarks use the rest of it")]
mod admin;
#[path = "support/figures.rs"]
#[expect(dead_code, reason = "the other benchmarks use the rest of it")]
mod figures;
#[path = "support/lists.rs"]
mod lists;
#[path = "support/load.rs"]
mod load;
#[path = "support/machine.rs"]
#[expect(dead_code, reason = "the other benchmarks use the rest of it")]
mod machine;
#[path = "support/secrets.rs"]
#[expect(dead_code, reason = "the other benchmarks use the rest of it")]
mod secrets;
#[path = "support/wire.rs"]
mod wire;

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use load::{Client, Load};
use machine::{Process, now};
use secrets::secret;
use wire::{Secrets, request};

const KEYS: usize = 1_000_000;
/// The start without keys that memory is compared with.
const FEW: usize = 10;
const REQUESTS: usize = 200_000;
const CONNECTIONS: usize = 16;
const MIB: f64 = 1024.0 * 1024.0;

/// A store of so many keys, and the gateway over it.
struct Site {
    folder: tempfile::TempDir,
    keys: usize,
    address: SocketAddr,
    admin: SocketAddr,
}

impl Site {
    fn new(keys: usize, upstream: SocketAddr) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let (address, admin) = (machine::free_address()?, machine::free_address()?);
        let site = Self { folder, keys, address, admin };
        std::fs::write(
            site.config(),
            format!(
                r#"
[gateway]
listen = ["{address}"]
[admin]
listen = "{admin}"
[log]
access = false
[upstreams.api]
targets = ["{upstream}"]
[[routes]]
path = "/v1"
upstream = "api"
limits = [{{ name = "minute", requests = 1000000000, window = "1m" }}]
"#
            ),
        )?;
        Ok(site)
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("bench.toml")
    }

    /// Records the role that some keys have.
    fn record_role(&self) -> anyhow::Result<()> {
        let (process, _) = self.start()?;
        lists::record_role(self.admin)?;
        process.kill()
    }

    /// Imports the keys while nothing serves, and says how long that took.
    fn import(&self) -> anyhow::Result<Duration> {
        let lines = self.folder.path().join("keys.jsonl");
        write_keys(&lines, self.keys)?;
        let started = now();
        machine::import_keys(&machine::gateway(), &lines, &self.config())?;
        Ok(started.elapsed())
    }

    /// Starts the gateway, and says how long it took until it was ready.
    fn start(&self) -> anyhow::Result<(Process, Duration)> {
        let started = now();
        let mut command = Command::new(machine::gateway());
        command.env("PORTCULLIS_ADMIN_TOKEN", admin::TOKEN);
        let mut process = Process::start(command.arg("serve").arg("--config").arg(self.config()))?;
        process.wait_for(self.admin, "/readyz")?;
        Ok((process, started.elapsed()))
    }

    /// The time of one request on a connection of its own.
    fn first_request(&self, client: &Client) -> anyhow::Result<Duration> {
        let request = request("/v1/models", Some(&secret(self.keys / 2)));
        let started = now();
        let answer = client.ask(self.address, &request)?;
        anyhow::ensure!(answer.starts_with("HTTP/1.1 200 "), "the first request: {answer}");
        Ok(started.elapsed())
    }

    fn load(&self) -> Load {
        Load {
            addresses: vec![self.address],
            path: "/v1/models",
            secrets: Some(Secrets::new(0..lists::enabled(self.keys))),
            connections: CONNECTIONS,
            requests: REQUESTS,
            status: 200,
        }
    }
}

fn write_keys(path: &Path, keys: usize) -> anyhow::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for number in 0..keys {
        writeln!(file, "{}", lists::key(number, keys, &secret(number)))?;
    }
    file.flush()?;
    Ok(())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// What an almost empty gateway takes.
fn resident_without_keys(upstream: SocketAddr) -> anyhow::Result<f64> {
    let site = Site::new(FEW, upstream)?;
    site.record_role()?;
    site.import()?;
    let (process, took) = site.start()?;
    figures::once(&format!("start with {FEW} keys until ready"), millis(took), 0, "ms");
    process.resident_bytes()
}

fn main() -> anyhow::Result<()> {
    let client = Client::new()?;
    let upstream = machine::free_address()?;
    let mut serving = Command::new(machine::example("bench_upstream")?);
    let mut serving = Process::start(serving.arg(upstream.to_string()))?;
    serving.wait_for(upstream, "/v1/models")?;
    figures::title(&format!("{KEYS} keys"));
    let empty = resident_without_keys(upstream)?;
    let site = Site::new(KEYS, upstream)?;
    site.record_role()?;
    let took = site.import()?;
    #[expect(clippy::cast_precision_loss, reason = "figures to print")]
    let (keys, requests) = (KEYS as f64, REQUESTS as f64);
    figures::once("offline import", keys / took.as_secs_f64(), 0, "keys/s");
    let store = std::fs::metadata(site.folder.path().join("data/portcullis.redb")).context("the store")?;
    #[expect(clippy::cast_precision_loss, reason = "a figure to print")]
    figures::once("store on disk", store.len() as f64 / MIB, 0, "MiB");
    let (process, took) = site.start()?;
    figures::once("start until ready", millis(took), 0, "ms");
    let resident = process.resident_bytes()?;
    figures::once("resident memory", resident / MIB, 0, "MiB");
    figures::once("resident memory a key", (resident - empty) / keys, 0, "bytes");
    figures::once("first request after the start", millis(site.first_request(&client)?), 2, "ms");
    let took = client.run(&site.load())?;
    figures::once("requests a second, random keys", requests / took.as_secs_f64(), 0, "");
    let used = process.resident_bytes()?;
    figures::once(&format!("resident memory after {REQUESTS} requests"), used / MIB, 0, "MiB");
    lists::measure(site.admin)?;
    process.kill()?;
    let (process, took) = site.start()?;
    figures::once("start after kill -9 until ready", millis(took), 0, "ms");
    figures::once("resident memory then", process.resident_bytes()? / MIB, 0, "MiB");
    figures::once("first request after that", millis(site.first_request(&client)?), 2, "ms");
    Ok(())
}
