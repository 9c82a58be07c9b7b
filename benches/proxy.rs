//! What a request costs: the gateway beside a proxy that only forwards (`examples/forward_only.rs`).
//!
//! Everything runs on this machine, over the loopback: the proxies on one core, each with one worker thread; this
//! client and the upstream (`examples/bench_upstream.rs`) on another. 16 connections stay open and send one small GET
//! after the other. The gateway has 10,000 keys, one rate limit that never refuses, usage counted, and identity and
//! rate headers set. Before anything is measured it must refuse a request without a key, and strip the credential and
//! set the identity of one with a key; each answer of the load is looked at, and in the end the gateway must have
//! counted every one.
//!
//! How to read it: processor time a request, user and system, of the whole process (`/proc/PID/stat`), the merge of
//! its usage into the ledger included: each round is watched until a while after its last answer. The contenders take
//! turns in each round, so that what else the machine does hits all alike, and the ratios are taken round by round.
//! Ratios travel between machines, microseconds and requests a second do not.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[path = "support/figures.rs"]
#[expect(dead_code, reason = "the other benchmarks use the rest of it")]
mod figures;
#[path = "support/load.rs"]
mod load;
#[path = "support/machine.rs"]
#[expect(dead_code, reason = "the other benchmarks use the rest of it")]
mod machine;
#[path = "support/secrets.rs"]
mod secrets;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use figures::Sample;
use load::{Client, Load, request};
use machine::{Cores, Process};
use secrets::secret;

const KEYS: usize = 10_000;
const ROUNDS: usize = 9;
/// Requests of one contender in one round: enough that a tick of the processor clock (10 ms) is little.
const REQUESTS: usize = 40_000;
const WARM_UP: usize = 20_000;
const CONNECTIONS: usize = 16;
/// After a round's last answer: the gateway merges its usage once a second.
const AFTERWARDS: Duration = Duration::from_millis(1_200);
/// Numbers from here on are secrets of no key.
const UNKNOWN: usize = 1 << 40;

/// A proxy under load.
struct Contender<'a> {
    name: &'static str,
    process: &'a Process,
    load: Load,
    /// Microseconds of processor time a request, by round.
    cpu: Vec<f64>,
    /// Of these, those outside the worker thread.
    background: Vec<f64>,
    /// Requests a second, by round.
    rate: Vec<f64>,
}

/// A gateway that runs.
struct Gateway {
    process: Process,
    address: SocketAddr,
    admin: SocketAddr,
    _folder: tempfile::TempDir,
}

/// Whether the gateway writes a line for each request.
#[derive(Clone, Copy)]
enum AccessLog {
    Off,
    On,
}

impl Gateway {
    fn start(upstream: SocketAddr, log: AccessLog, cores: Cores) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let (address, admin) = (machine::free_address()?, machine::free_address()?);
        let config = folder.path().join("bench.toml");
        let access = matches!(log, AccessLog::On);
        std::fs::write(
            &config,
            format!(
                r#"
[gateway]
listen = ["{address}"]
threads = 1
[admin]
listen = "{admin}"
[log]
access = {access}
[upstreams.api]
targets = ["{upstream}"]
[[routes]]
path = "/v1"
upstream = "api"
scopes = ["models:read"]
limits = [{{ name = "minute", requests = 1000000000, window = "1m" }}]
[[routes]]
path = "/public"
upstream = "api"
access = "public"
"#
            ),
        )?;
        import_keys(folder.path(), &config)?;
        let mut command = Command::new(machine::gateway());
        let mut process = Process::start_measured(command.arg("serve").arg("--config").arg(&config), cores)?;
        process.wait_for(admin, "/readyz")?;
        Ok(Self { process, address, admin, _folder: folder })
    }

    /// The requests that it has counted as let through on the route for keys.
    fn counted(&self) -> anyhow::Result<usize> {
        let metrics = machine::get(self.admin, "/metrics")?;
        let series = r#"portcullis_requests_total{outcome="allowed",route="/v1"} "#;
        let count = metrics.lines().find_map(|line| line.strip_prefix(series)).context("no such series")?;
        Ok(count.parse()?)
    }
}

fn import_keys(folder: &Path, config: &Path) -> anyhow::Result<()> {
    let mut lines = String::new();
    for number in 0..KEYS {
        let (secret, owner) = (secret(number), number % 100);
        writeln!(
            lines,
            r#"{{"name":"key {number:05}","owner":"owner-{owner}","scopes":["models:*"],"secret":"{secret}"}}"#
        )?;
    }
    let file = folder.join("keys.jsonl");
    std::fs::write(&file, lines)?;
    let mut import = Command::new(machine::gateway());
    let output = import.args(["keys", "import"]).arg(&file).arg("--config").arg(config).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "the keys were not imported: {said}");
    Ok(())
}

/// What it must do before its speed means anything.
fn verify(client: &Client, gateway: &Gateway) -> anyhow::Result<()> {
    let known = secret(0);
    let without = client.ask(gateway.address, &request("/v1/models", None))?;
    anyhow::ensure!(without.starts_with("HTTP/1.1 401 "), "without a key: {without}");
    let unknown = client.ask(gateway.address, &request("/v1/models", Some(&secret(UNKNOWN))))?;
    anyhow::ensure!(unknown.starts_with("HTTP/1.1 401 "), "with an unknown key: {unknown}");
    let with = client.ask(gateway.address, &request("/v1/echo", Some(&known)))?;
    anyhow::ensure!(with.starts_with("HTTP/1.1 200 "), "with a key: {with}");
    let (head, forwarded) = with
        .to_ascii_lowercase()
        .split_once("\r\n\r\n")
        .map_or_else(|| (String::new(), String::new()), |(head, body)| (head.to_owned(), body.to_owned()));
    for header in ["ratelimit:", "ratelimit-policy:", "x-request-id:"] {
        anyhow::ensure!(head.contains(header), "the answer lacks {header} {with}");
    }
    for header in ["x-portcullis-key-id:", "x-portcullis-key-name: key 00000", "x-forwarded-for:"] {
        anyhow::ensure!(forwarded.contains(header), "the upstream was not sent {header} {with}");
    }
    anyhow::ensure!(!forwarded.contains("authorization"), "the upstream was sent the credential");
    Ok(())
}

impl<'a> Contender<'a> {
    fn new(name: &'static str, process: &'a Process, load: Load) -> Self {
        Self { name, process, load, cpu: Vec::new(), background: Vec::new(), rate: Vec::new() }
    }

    fn round(&mut self, client: &Client) -> anyhow::Result<()> {
        let (before, worker_before) = (self.process.cpu()?, self.process.cpu_of_threads("gateway")?);
        let took = client.run(&self.load).with_context(|| format!("under load: {}", self.name))?;
        std::thread::sleep(AFTERWARDS);
        let used = self.process.cpu()? - before;
        let by_worker = self.process.cpu_of_threads("gateway")? - worker_before;
        #[expect(clippy::cast_precision_loss, reason = "a figure to print")]
        let requests = self.load.requests as f64;
        self.cpu.push(used / requests * 1e6);
        self.background.push((used - by_worker).max(0.0) / requests * 1e6);
        self.rate.push(requests / took.as_secs_f64());
        Ok(())
    }

    /// With the ratio to what is beside it.
    fn print(&self, base: Option<&Self>) {
        figures::title(self.name);
        figures::sampled("processor time a request", &Sample::new(self.cpu.clone()), 2, "us");
        if let Some(base) = base {
            let background = Sample::new(self.background.clone());
            figures::sampled("  of it beside requests: merging usage", &background, 2, "us");
            figures::sampled("ratio to the forward-only proxy", &Sample::ratios(&self.cpu, &base.cpu), 3, "");
        }
        figures::sampled("requests a second", &Sample::new(self.rate.clone()), 0, "");
    }
}

fn start_forward_only(upstream: SocketAddr, cores: Cores) -> anyhow::Result<(Process, SocketAddr)> {
    let address = machine::free_address()?;
    let mut command = Command::new(machine::example("forward_only")?);
    let arguments = [address.to_string(), upstream.to_string()];
    let mut process = Process::start_measured(command.args(arguments), cores)?;
    process.wait_for(address, "/v1/models")?;
    Ok((process, address))
}

fn main() -> anyhow::Result<()> {
    let cores = Cores::take()?;
    let client = Client::new()?;
    let upstream = machine::free_address()?;
    let mut serving = Command::new(machine::example("bench_upstream")?);
    let mut serving = Process::start(serving.arg(upstream.to_string()))?;
    serving.wait_for(upstream, "/v1/models")?;
    let (forward_only, forward_address) = start_forward_only(upstream, cores)?;
    let quiet = Gateway::start(upstream, AccessLog::Off, cores)?;
    let logging = Gateway::start(upstream, AccessLog::On, cores)?;
    for gateway in [&quiet, &logging] {
        verify(&client, gateway)?;
    }
    let load = |address, path, secrets, status| Load {
        address,
        path,
        secrets,
        connections: CONNECTIONS,
        requests: REQUESTS,
        status,
    };
    let (known, unknown) = (Some(0..KEYS), Some(UNKNOWN..UNKNOWN + KEYS));
    let keyed = |gateway: &Gateway| load(gateway.address, "/v1/models", known.clone(), 200);
    let forwarded = load(forward_address, "/v1/models", known.clone(), 200);
    let public = load(quiet.address, "/public/models", known.clone(), 200);
    let refused = load(quiet.address, "/v1/models", unknown, 401);
    let mut contenders = [
        Contender::new("Forward-only proxy", &forward_only, forwarded),
        Contender::new("Gateway, with a key", &quiet.process, keyed(&quiet)),
        Contender::new("Gateway, with a key, access log on", &logging.process, keyed(&logging)),
        Contender::new("Gateway, public route: no key is checked", &quiet.process, public),
        Contender::new("Gateway, unknown key: 401, connection kept", &quiet.process, refused),
    ];
    for contender in &contenders {
        client.run(&Load { requests: WARM_UP, ..contender.load.clone() })?;
    }
    for _ in 0..ROUNDS {
        for contender in &mut contenders {
            contender.round(&client)?;
        }
    }
    let [base, others @ ..] = &contenders;
    base.print(None);
    for contender in others {
        contender.print(Some(base));
    }
    for gateway in [&quiet, &logging] {
        // One more: the look at what the upstream gets.
        let sent = (REQUESTS / CONNECTIONS * ROUNDS + WARM_UP / CONNECTIONS) * CONNECTIONS + 1;
        anyhow::ensure!(gateway.counted()? == sent, "{} counted, {sent} sent", gateway.counted()?);
    }
    Ok(())
}
