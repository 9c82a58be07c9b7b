//! What is printed, and the same as a Markdown table for `benches/RESULTS.md`.

use std::fmt::Write as _;

use crate::figures::{self, Sample};
use crate::measure::{Kind, Line};

/// The file that the table is written to, where it is set.
const FILE_VARIABLE: &str = "PORTCULLIS_BENCH_RESULTS";
const MIB: f64 = 1024.0 * 1024.0;
/// The lines that the others, and the aims, are compared with; `main` gives them these names.
pub const FORWARD_ONLY: &str = "forward-only Pingora";
pub const KEYED: &str = "Portcullis";
pub const MILLION: &str = "Portcullis, 1,000,000 keys";
pub const ENVOY: &str = "Envoy";

/// An aim: one line's processor time divided by another's, and how that should be.
struct Aim {
    what: &'static str,
    ours: (Kind, &'static str),
    base: (Kind, &'static str),
    should: Should,
}

enum Should {
    BeAtMost(f64),
    BeAtLeast(f64),
}

const AIMS: [Aim; 4] = [
    Aim {
        what: "keyed request : forward-only Pingora",
        ours: (Kind::Forwarded, KEYED),
        base: (Kind::Forwarded, FORWARD_ONLY),
        should: Should::BeAtMost(1.10),
    },
    Aim {
        what: "Envoy : keyed request",
        ours: (Kind::Forwarded, ENVOY),
        base: (Kind::Forwarded, KEYED),
        should: Should::BeAtLeast(1.9),
    },
    Aim {
        what: "refused request : forward-only Pingora",
        ours: (Kind::Refused, KEYED),
        base: (Kind::Forwarded, FORWARD_ONLY),
        should: Should::BeAtMost(0.45),
    },
    Aim {
        what: "1,000,000 keys : 10,000 keys",
        ours: (Kind::Forwarded, MILLION),
        base: (Kind::Forwarded, KEYED),
        should: Should::BeAtMost(1.10),
    },
];

/// Prints everything, and writes the table.
pub fn report(machine: &[String], lines: &[Line<'_>], left_out: &[String]) -> anyhow::Result<()> {
    for line in lines {
        print(line, lines);
    }
    let mut text = machine.iter().fold(String::new(), |text, said| text + "- " + said + "\n");
    for said in left_out {
        writeln!(text, "- **left out**: {said}")?;
    }
    table(&mut text, lines, Kind::Forwarded)?;
    table(&mut text, lines, Kind::Refused)?;
    aims(&mut text, lines)?;
    if let Some(path) = std::env::var_os(FILE_VARIABLE) {
        std::fs::write(path, text)?;
    }
    Ok(())
}

fn print(line: &Line<'_>, lines: &[Line<'_>]) {
    let refused = if line.kind == Kind::Refused { ", refused (401, connection kept)" } else { "" };
    figures::title(&format!("{}{refused}", line.name));
    let some = |what, values: &Vec<f64>, decimals, unit| {
        if !values.is_empty() {
            figures::sampled(what, &Sample::new(values.clone()), decimals, unit);
        }
    };
    some("processor time a request", &line.cpu, 2, "us");
    some("  of it beside requests: merging usage", &line.background, 2, "us");
    if let Some(base) = find(lines, Kind::Forwarded, FORWARD_ONLY).filter(|_| !line.cpu.is_empty()) {
        figures::sampled("  ratio to forward-only Pingora", &Sample::ratios(&line.cpu, &base.cpu), 3, "");
    }
    some("processor time a request at a fixed rate", &line.paced_cpu, 2, "us");
    some("requests a second", &line.rate, 0, "");
    let (middle, tail, what) = latencies(line, lines);
    figures::sampled(&format!("{what}p50 at a fixed rate"), &middle, 0, "us");
    figures::sampled(&format!("{what}p99 at a fixed rate"), &tail, 0, "us");
    if line.memory.is_finite() {
        figures::once("resident memory", line.memory / MIB, 0, "MiB");
    }
}

/// Of what reaches the upstream, what it is slower than the direct way, round by round.
fn latencies(line: &Line<'_>, lines: &[Line<'_>]) -> (Sample, Sample, &'static str) {
    let direct = lines.iter().find(|line| line.kind == Kind::Direct);
    match direct.filter(|_| line.kind == Kind::Forwarded) {
        Some(direct) => {
            let middle = Sample::differences(&line.middle, &direct.middle);
            (middle, Sample::differences(&line.tail, &direct.tail), "added ")
        }
        None => (Sample::new(line.middle.clone()), Sample::new(line.tail.clone()), ""),
    }
}

fn find<'a, 'b>(lines: &'a [Line<'b>], kind: Kind, name: &str) -> Option<&'a Line<'b>> {
    lines.iter().find(|line| line.kind == kind && line.name == name)
}

fn table(text: &mut String, lines: &[Line<'_>], kind: Kind) -> std::fmt::Result {
    let (what, latency) = match kind {
        Kind::Refused => ("refused: unknown key, kept connection", ""),
        Kind::Direct | Kind::Forwarded => ("forwarded", "added "),
    };
    writeln!(
        text,
        "\n| {what} | CPU a request, µs | × forward-only | requests a second | core busy | CPU at the fixed rate, µs | × forward-only | {latency}p50, µs | {latency}p99, µs | memory, MiB |\n|---|---|---|---|---|---|---|---|---|---|"
    )?;
    let base = find(lines, Kind::Forwarded, FORWARD_ONLY);
    let direct = |line: &Line<'_>| line.kind == Kind::Direct && kind == Kind::Forwarded;
    for line in lines.iter().filter(|line| line.kind == kind || direct(line)) {
        let cell = |values: &Vec<f64>, decimals| Sample::new(values.clone()).cell(decimals);
        let ratio = |of: for<'l> fn(&'l Line<'_>) -> &'l Vec<f64>| {
            base.map_or_else(String::new, |base| Sample::ratios(of(line), of(base)).cell(2))
        };
        let (middle, tail, _) = latencies(line, lines);
        let percent: Vec<f64> = line.busy.iter().map(|share| share * 100.0).collect();
        let busy = if percent.is_empty() {
            String::new()
        } else {
            format!("{:.0} %", Sample::new(percent).median())
        };
        let memory =
            if line.memory.is_finite() { format!("{:.0}", line.memory / MIB) } else { String::new() };
        let own = if line.kind == Kind::Direct { " (its own, not added)" } else { "" };
        writeln!(
            text,
            "| {}{own} | {} | {} | {} | {busy} | {} | {} | {} | {} | {memory} |",
            line.name,
            cell(&line.cpu, 1),
            ratio(|line| &line.cpu),
            cell(&line.rate, 0),
            cell(&line.paced_cpu, 1),
            ratio(|line| &line.paced_cpu),
            middle.cell(0),
            tail.cell(0),
        )?;
    }
    Ok(())
}

fn aims(text: &mut String, lines: &[Line<'_>]) -> std::fmt::Result {
    writeln!(text, "\n| aim, by CPU a request | measured | wanted | |\n|---|---|---|---|")?;
    figures::title("Aims, by processor time a request");
    for aim in &AIMS {
        let (ours, base) = (find(lines, aim.ours.0, aim.ours.1), find(lines, aim.base.0, aim.base.1));
        let (Some(ours), Some(base)) = (ours, base) else { continue };
        let ratios = Sample::ratios(&ours.cpu, &base.cpu);
        let (wanted, reached) = match aim.should {
            Should::BeAtMost(most) => (format!("≤ {most:.2}"), ratios.median() <= most),
            Should::BeAtLeast(least) => (format!("≥ {least:.2}"), ratios.median() >= least),
        };
        let verdict = if reached { "reached" } else { "not reached" };
        figures::sampled(&format!("{} ({wanted}: {verdict})", aim.what), &ratios, 3, "");
        writeln!(text, "| {} | {} | {wanted} | {verdict} |", aim.what, ratios.cell(2))?;
    }
    Ok(())
}
