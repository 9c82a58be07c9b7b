//! What was measured, and on what: the lines above the tables.

use std::process::Command;

use crate::contenders::Software;
use crate::latency;
use crate::measure::{CONNECTIONS, REQUESTS};

/// The date, the machine, the versions and the method.
pub fn all<'a>(contenders: impl Iterator<Item = &'a Software>, rounds: usize) -> anyhow::Result<Vec<String>> {
    let mut versions: Vec<String> = Vec::new();
    for version in contenders.filter_map(Software::version) {
        if !versions.contains(&version) {
            versions.push(version);
        }
    }
    let lock = include_str!("../../Cargo.lock");
    let pingora =
        lock.split_once("name = \"pingora\"\nversion = \"").and_then(|(_, rest)| rest.split('"').next());
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let cpus = std::fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("?");
    let cores = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let commit = said_by("git", &["rev-parse", "--short", "HEAD"]);
    Ok(vec![
        format!("{}, commit {commit}", today()),
        format!("{}, {cores} cores, Linux {}", model.trim_start_matches([' ', '\t', ':']), kernel.trim()),
        format!(
            "{}; pingora {}; {}",
            said_by("rustc", &["--version"]),
            pingora.unwrap_or("?"),
            versions.join("; ")
        ),
        format!(
            "{rounds} rounds, median (least to most); in each {REQUESTS} requests of each line on {CONNECTIONS} \
             connections, then {:.0} requests a second on {}",
            latency::RATE,
            latency::CONNECTIONS
        ),
    ])
}

#[expect(clippy::disallowed_methods, reason = "the day of a measurement is the real one")]
fn today() -> String {
    jiff::Timestamp::now().strftime("%F").to_string()
}

fn said_by(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(|_| "?".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
