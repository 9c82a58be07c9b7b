//! What a benchmark prints: one line a figure, aligned, and the same lines at the end of `make bench`.

use std::fs::OpenOptions;
use std::io::Write as _;

/// The file that the lines are added to as well, where it is set: `make bench` prints it at the end.
const FILE_VARIABLE: &str = "PORTCULLIS_BENCH_FIGURES";

/// Measurements of one thing.
pub struct Sample(Vec<f64>);

impl Sample {
    pub fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// The middle one; of an even number, the lower of the two.
    pub fn median(&self) -> f64 {
        self.0.get(self.0.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
    }

    /// Each of them divided by the one of `base` that was measured in the same round.
    pub fn ratios(ours: &[f64], base: &[f64]) -> Self {
        Self::new(ours.iter().zip(base).map(|(ours, base)| ours / base).collect())
    }

    /// What is left of each of them without the one of `base` that was measured in the same round.
    pub fn differences(ours: &[f64], base: &[f64]) -> Self {
        Self::new(ours.iter().zip(base).map(|(ours, base)| ours - base).collect())
    }

    /// For a table: the median, and from the least to the most; nothing where nothing was measured.
    pub fn cell(&self, decimals: usize) -> String {
        match (self.0.first(), self.0.last()) {
            (Some(least), Some(most)) => {
                format!("{:.decimals$} ({least:.decimals$} to {most:.decimals$})", self.median())
            }
            _ => String::new(),
        }
    }

    fn range(&self, decimals: usize) -> String {
        let (least, most) = (self.0.first().copied(), self.0.last().copied());
        let (least, most) = (least.unwrap_or(f64::NAN), most.unwrap_or(f64::NAN));
        format!("{least:.decimals$} to {most:.decimals$}, n = {}", self.0.len())
    }
}

/// A title above the lines that follow.
pub fn title(text: &str) {
    line(&format!("\n{text}"));
}

/// A figure that was measured several times: the median, and from the least to the most.
pub fn sampled(what: &str, sample: &Sample, decimals: usize, unit: &str) {
    row(what, sample.median(), decimals, unit, &sample.range(decimals));
}

/// A figure that was measured once.
pub fn once(what: &str, value: f64, decimals: usize, unit: &str) {
    row(what, value, decimals, unit, "");
}

fn row(what: &str, value: f64, decimals: usize, unit: &str, note: &str) {
    let note = if note.is_empty() { String::new() } else { format!("  ({note})") };
    line(format!("  {what:<52}{value:>12.decimals$} {unit:<7}{note}").trim_end());
}

fn line(text: &str) {
    println!("{text}");
    let Some(path) = std::env::var_os(FILE_VARIABLE) else { return };
    let added = OpenOptions::new().create(true).append(true).open(path);
    if let Err(error) = added.and_then(|mut file| writeln!(file, "{text}")) {
        println!("(the line is not in the file that {FILE_VARIABLE} names: {error})");
    }
}
