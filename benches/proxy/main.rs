//! What a request costs: Portcullis beside a proxy that only forwards, and beside nginx, HAProxy and Envoy as gateways
//! with keys.
//!
//! Everything runs on this machine, over the loopback: each contender on one core, with one worker thread; the client
//! and the upstream (`examples/bench_upstream.rs`) on another. Each has 10,000 keys and one rate limit of each key that
//! never refuses; Portcullis counts usage and sets identity and rate headers beside that. The others set one identity
//! header. Before it is measured each must do what it is there for (`enforce.rs`): who does not is left out, and said.
//! In the end Portcullis must have counted every request.
//!
//! Two kinds of load, in turns of all contenders within each round, so that what else the machine does hits all alike;
//! ratios and differences are taken round by round.
//!
//! - As fast as it goes (`support/load.rs`): 16 kept connections send one small GET after the other. Processor time a
//!   request is user and system time of the contender's processes (`/proc/PID/stat`), what Portcullis does afterwards
//!   with the usage included. Where a contender's core was not busy, the client's core was the bound of its requests a
//!   second.
//! - At a fixed rate (`latency.rs`): what a request takes from the moment that it was due.
//!
//! Ratios travel between machines, microseconds and requests a second do not.
//!
//! `PORTCULLIS_BENCH_ROUNDS` sets the rounds, `PORTCULLIS_BENCH_ONLY` names contenders (`forward,portcullis,million,
//! log,public,nginx,haproxy,envoy,beside`), `PORTCULLIS_BENCH_BESIDE` another build of Portcullis to measure beside
//! this one. With the argument `train` it drives `PORTCULLIS_BIN` alone, once, for a profile (`train.rs`); with `threads`
//! it compares numbers of worker threads (`threads.rs`).
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod contenders;
mod enforce;
#[path = "../support/figures.rs"]
mod figures;
mod latency;
#[path = "../support/load.rs"]
mod load;
#[path = "../support/machine.rs"]
#[expect(dead_code, reason = "the other benchmarks use the rest of it")]
mod machine;
mod measure;
mod report;
#[path = "../support/secrets.rs"]
mod secrets;
mod threads;
mod train;
mod versions;
#[path = "../support/wire.rs"]
mod wire;

use std::net::SocketAddr;
use std::process::Command;

use anyhow::ensure;
use contenders::{AccessLog, Site, Software};
use enforce::UNKNOWN;
use load::{Client, Load};
use machine::{Cores, Process};
use measure::{CONNECTIONS, Kind, Line, REQUESTS};
use wire::Secrets;

const KEYS: usize = 10_000;
const MANY_KEYS: usize = 1_000_000;
/// Requests a minute that each key has: more than can be sent.
const LIMIT: u64 = 60_000_000;
const ROUNDS: usize = 7;

/// A contender that is not measured yet.
struct Entry {
    word: &'static str,
    name: &'static str,
    software: Software,
    keys: usize,
    /// How it is got, where it is not there.
    missing: &'static str,
}

/// A contender that runs, and does what it must.
struct Running {
    word: &'static str,
    name: &'static str,
    keys: usize,
    site: Site,
    process: Process,
    /// What Portcullis had counted before it was measured.
    counted: usize,
}

fn entries() -> Vec<Entry> {
    let ours = |log| Software::Portcullis { binary: machine::gateway(), log };
    let entry = |word, name, software, keys, missing| Entry { word, name, software, keys, missing };
    let built = "`make bench` builds it";
    let set_up = "`make bench-setup` installs it";
    let mut entries = vec![
        entry("forward", report::FORWARD_ONLY, Software::ForwardOnly, 0, built),
        entry("portcullis", report::KEYED, ours(AccessLog::Off), KEYS, built),
        entry("million", report::MILLION, ours(AccessLog::Off), MANY_KEYS, built),
        entry("log", "Portcullis, access log on", ours(AccessLog::On), KEYS, built),
        entry("nginx", "nginx", Software::Nginx, KEYS, set_up),
        entry("haproxy", "HAProxy", Software::HaProxy, KEYS, set_up),
        entry("envoy", report::ENVOY, Software::Envoy, KEYS, set_up),
    ];
    if let Some(binary) = std::env::var_os("PORTCULLIS_BENCH_BESIDE") {
        let other = Software::Portcullis { binary: binary.into(), log: AccessLog::Off };
        entries.push(entry("beside", "Portcullis, the other build", other, KEYS, "no such file"));
    }
    entries
}

/// Whether a contender of this name is asked for.
fn wanted(word: &str) -> bool {
    let only = std::env::var("PORTCULLIS_BENCH_ONLY").unwrap_or_default();
    only.is_empty() || only.split(',').any(|one| one == word)
}

fn start(client: &Client, entry: &Entry, upstream: SocketAddr, cores: Cores) -> anyhow::Result<Running> {
    ensure!(entry.software.binary().is_some(), "it is not there: {}", entry.missing);
    let site = Site::new(entry.software.clone(), entry.keys, upstream, cores)?;
    if entry.software == Software::ForwardOnly {
        let process = site.start(LIMIT)?;
        // This also shows that the check can fail.
        ensure!(enforce::keys(client, site.address).is_err(), "it passed for a gateway with keys");
        return Ok(Running { word: entry.word, name: entry.name, keys: KEYS, site, process, counted: 0 });
    }
    enforce::check(client, &site)?;
    let process = site.start(LIMIT)?;
    enforce::keys(client, site.address)?;
    let mut counted = 0;
    if matches!(entry.software, Software::Portcullis { .. }) {
        enforce::headers(client, site.address)?;
        counted = site.counted()?;
    }
    Ok(Running { word: entry.word, name: entry.name, keys: entry.keys, site, process, counted })
}

/// The lines of the comparison: what each contender is measured for.
fn lines<'a>(running: &'a [Running], upstream: SocketAddr) -> Vec<Line<'a>> {
    let (known, many) = (Secrets::new(0..KEYS), Secrets::new(0..MANY_KEYS));
    let unknown = Secrets::new(UNKNOWN..UNKNOWN + KEYS);
    let load = |address, path, secrets: &Secrets, status| {
        let secrets = Some(secrets.clone());
        Load { addresses: vec![address], path, secrets, connections: CONNECTIONS, requests: REQUESTS, status }
    };
    let keyed = "/v1/models";
    let direct = load(upstream, keyed, &known, 200);
    let mut lines = vec![Line::new("direct".to_owned(), Kind::Direct, None, direct)];
    let line = |one: &'a Running, name: String, kind, load| {
        let line = Line::new(name, kind, Some(&one.process), load);
        if one.name.starts_with(report::KEYED) { line.with_afterwards() } else { line }
    };
    for one in running {
        let secrets = if one.keys == MANY_KEYS { &many } else { &known };
        let load = load(one.site.address, keyed, secrets, 200);
        lines.push(line(one, one.name.to_owned(), Kind::Forwarded, load));
    }
    if let Some(one) = running.iter().find(|one| one.word == "portcullis" && wanted("public")) {
        let load = load(one.site.address, "/public/models", &known, 200);
        lines.push(line(
            one,
            "Portcullis, public route: no key is checked".to_owned(),
            Kind::Forwarded,
            load,
        ));
    }
    for one in running.iter().filter(|one| !["forward", "million", "log"].contains(&one.word)) {
        let load = load(one.site.address, keyed, &unknown, 401);
        lines.push(line(one, one.name.to_owned(), Kind::Refused, load));
    }
    lines
}

/// Portcullis must have counted every request with a key.
fn verify_counts(running: &[Running], lines: &[Line<'_>]) -> anyhow::Result<()> {
    for one in running.iter().filter(|one| one.name.starts_with(report::KEYED)) {
        let keyed = |line: &&Line<'_>| line.kind == Kind::Forwarded && line.name == one.name;
        let sent: usize = lines.iter().filter(keyed).map(|line| line.sent).sum();
        let counted = one.site.counted()? - one.counted;
        ensure!(counted == sent, "{}: {counted} counted, {sent} sent", one.name);
    }
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let asked = |what: &str| std::env::args().any(|argument| argument == what);
    let cores = if asked("threads") { Cores::FREE } else { Cores::take()? };
    let client = Client::new()?;
    let upstream = machine::free_address()?;
    let mut serving = Command::new(machine::example("bench_upstream")?);
    let mut serving = Process::start(serving.arg(upstream.to_string()))?;
    serving.wait_for(upstream, "/v1/models")?;
    if asked("train") {
        return train::drive(&client, upstream, cores);
    }
    if asked("threads") {
        return threads::compare(&client, upstream, rounds()?);
    }
    let (mut running, mut left_out) = (Vec::new(), Vec::new());
    let entries: Vec<Entry> = entries().into_iter().filter(|entry| wanted(entry.word)).collect();
    for entry in &entries {
        println!("checking and starting {}", entry.name);
        match start(&client, entry, upstream, cores) {
            Ok(one) => running.push(one),
            Err(error) => left_out.push(format!("{}: {error:#}", entry.name)),
        }
    }
    say_left_out(&left_out);
    let rounds = rounds()?;
    let mut lines = lines(&running, upstream);
    measure::rounds(&client, &mut lines, rounds)?;
    verify_counts(&running, &lines)?;
    let machine = versions::all(entries.iter().map(|entry| &entry.software), rounds)?;
    report::report(&machine, &lines, &left_out)?;
    say_left_out(&left_out);
    Ok(())
}

fn rounds() -> anyhow::Result<usize> {
    Ok(std::env::var("PORTCULLIS_BENCH_ROUNDS").map_or(Ok(ROUNDS), |text| text.parse())?)
}

/// Loudly: a figure that is missing must not look like one that nobody wanted.
fn say_left_out(left_out: &[String]) {
    for said in left_out {
        figures::title(&format!("!!! NOT MEASURED: {said}"));
    }
}
