//! CSV (RFC 4180, UTF-8, commas) with a header row that names the columns.

use anyhow::{Context, bail};
use csv::{ErrorKind, Position, ReaderBuilder, StringRecord};
use serde_json::{Map, Value, json};

use super::{Converted, Place, put};
use crate::cli::keys::flags;

/// The columns there may be. `name` and one of the secrets are needed.
const COLUMNS: [&str; 19] = [
    "name",
    "secret",
    "secret_sha256",
    "fingerprint",
    "id",
    "description",
    "owner",
    "environment",
    "role",
    "scopes",
    "tags",
    "metadata",
    "ip_allow",
    "limits",
    "quotas",
    "max_concurrent",
    "expires_at",
    "created_at",
    "status",
];

/// Converts a table.
pub(super) fn convert(bytes: &[u8], out: &mut Converted) -> anyhow::Result<()> {
    let mut reader = ReaderBuilder::new().from_reader(bytes);
    let header = reader.headers().context("the header row cannot be read")?.clone();
    let columns = columns(&header)?;
    let mut lines = Lines { bytes, at: 0, line: 1 };
    for row in reader.records() {
        match row {
            Ok(row) => {
                let place = Place::Line(lines.of(row.position()));
                match read(&columns, &row) {
                    Ok(fields) => out.key(place, fields),
                    Err(why) => out.refuse(place, why),
                }
            }
            Err(error) => {
                let line = lines.of(error.position());
                // Its own words may quote the row.
                let why = match error.kind() {
                    ErrorKind::UnequalLengths { expected_len, len, .. } => {
                        format!("it has {len} cells, and the header has {expected_len}")
                    }
                    ErrorKind::Utf8 { .. } => "it is not UTF-8".to_owned(),
                    _ => return Err(anyhow::anyhow!("the table cannot be read on from line {line}")),
                };
                out.refuse(Place::Line(line), why);
            }
        }
    }
    Ok(())
}

/// Counts lines up to a row. The reader's own count lags behind where lines end with a carriage return and a line feed.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u64,
}

impl Lines<'_> {
    fn of(&mut self, position: Option<&Position>) -> u64 {
        let begins = position.and_then(|position| usize::try_from(position.byte()).ok()).unwrap_or(self.at);
        let rest = self.bytes.get(begins..).unwrap_or_default();
        let ends = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let passed = self.bytes.get(self.at..begins + ends).unwrap_or_default();
        self.line += memchr::memchr_iter(b'\n', passed).count() as u64;
        self.at = begins + ends;
        self.line
    }
}

fn columns(header: &StringRecord) -> anyhow::Result<Vec<&'static str>> {
    let mut columns: Vec<&'static str> = Vec::new();
    for name in header {
        let name = name.trim();
        let Some(known) = COLUMNS.into_iter().find(|column| *column == name) else {
            // The first row of a table without a header holds secrets.
            bail!("the header row has a column that is not known; there may be {}", COLUMNS.join(", "));
        };
        if columns.contains(&known) {
            bail!("the column {known} is there twice");
        }
        columns.push(known);
    }
    let has = |name: &str| columns.contains(&name);
    if !has("name") || !(has("secret") || has("secret_sha256")) {
        bail!("the header row needs the column name, and secret or secret_sha256");
    }
    Ok(columns)
}

fn read(columns: &[&'static str], row: &StringRecord) -> Result<Map<String, Value>, String> {
    let mut fields = Map::new();
    for (column, cell) in columns.iter().zip(row).filter(|(_, cell)| !cell.is_empty()) {
        put(&mut fields, column, value(column, cell).map_err(|why| format!("{column}: {why}"))?);
    }
    Ok(fields)
}

fn value(column: &str, cell: &str) -> Result<Value, String> {
    let trimmed = cell.trim();
    let items = |separators: &'static [char]| {
        trimmed.split(separators).map(str::trim).filter(|item| !item.is_empty())
    };
    let read = |one: fn(&str) -> Result<Value, String>| items(&[';']).map(one).collect::<Result<Vec<_>, _>>();
    Ok(match column {
        "scopes" | "ip_allow" => items(&[' ', ';']).map(|item| json!(item)).collect(),
        "tags" => items(&[';']).map(|item| json!(item)).collect(),
        "limits" => read(flags::limit)?.into(),
        "quotas" => read(flags::quota)?.into(),
        "metadata" => serde_json::from_str(trimmed).map_err(|_| "must be a JSON object")?,
        "max_concurrent" => trimmed.parse::<u64>().map_err(|_| "must be a whole number")?.into(),
        // A blank belongs to no secret, and is refused with it.
        "secret" | "name" | "description" => cell.into(),
        _ => trimmed.into(),
    })
}
