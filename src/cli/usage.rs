//! `portcullis usage`: who used what, over the admin API.

use std::process::ExitCode;

use anyhow::Context;
use serde_json::{Value, json};

use super::client::{Client, Connection, Query};
use super::keys::time;
use super::output::{self, Form, cell};
use crate::clock::Timestamp;

/// Where it is read.
const PATH: &str = "/usage";

/// Report who used what
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Report requests that were let through and refused, by time and, with --group-by, by key, owner, \
                  route or outcome. Usage outlives its key. Times are UTC; without --from the last 30 days.",
    after_help = "Examples:\n  portcullis usage --group-by owner --step month\n  \
                  portcullis usage --from 2026-11-01T00:00:00Z --to 2026-12-01T00:00:00Z --group-by key --output csv\n  \
                  portcullis usage --key key_01… --step hour --group-by outcome"
)]
pub(super) struct Args {
    /// The first moment, such as 2026-11-01T00:00:00Z [default: 30 days before the end]
    #[arg(long, value_name = "RFC3339", value_parser = time)]
    from: Option<Timestamp>,
    /// The first moment after [default: now]
    #[arg(long, value_name = "RFC3339", value_parser = time)]
    to: Option<Timestamp>,
    /// How long one row's time is [default: day]
    #[arg(long, value_parser = ["hour", "day", "month"])]
    step: Option<String>,
    /// What it is divided by
    #[arg(long, value_parser = ["key", "owner", "route", "outcome"])]
    group_by: Option<String>,
    /// Only this key's; it may be deleted
    #[arg(long, value_name = "ID")]
    key: Option<String>,
    /// Only this owner's
    #[arg(long, value_name = "SLUG")]
    owner: Option<String>,
    /// Only on this route
    #[arg(long, value_name = "ROUTE")]
    route: Option<String>,
    /// Only with this outcome: allowed, or a code such as rate_limited
    #[arg(long, value_name = "CODE")]
    outcome: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

impl Args {
    fn query(&self) -> Query<'_> {
        vec![
            ("from", self.from.map(|at| at.to_string())),
            ("to", self.to.map(|at| at.to_string())),
            ("step", self.step.clone()),
            ("group_by", self.group_by.clone()),
            ("key", self.key.clone()),
            ("owner", self.owner.clone()),
            ("route", self.route.clone()),
            ("outcome", self.outcome.clone()),
        ]
    }
}

/// Reports usage. Rows are fetched in one answer rather than in pages: it is one reading of the ledger.
///
/// # Errors
/// What the admin API refused, or standard output takes nothing.
pub(super) fn run(args: &Args, form: Form) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.connection)?;
    if form == Form::Csv {
        output::write(&client.get_text(PATH, &args.query(), "text/csv")?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let lines = client.get_text(PATH, &args.query(), "application/x-ndjson")?;
    let rows = lines.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>();
    let rows = rows.context("the answer is not of the admin API's form")?;
    match form {
        Form::Json => {
            let total = rows.len();
            output::json(&json!({"items": rows, "next_cursor": null, "prev_cursor": null, "total": total}))?;
        }
        _ if rows.is_empty() => output::note("no usage in this time"),
        Form::Table | Form::Csv => output::write(&table(&rows, args.group_by.as_deref()))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn table(rows: &[Value], group: Option<&str>) -> String {
    let columns: Vec<&str> = ["start"].into_iter().chain(group).chain(["requests", "denied"]).collect();
    let row = |row: &Value| columns.iter().map(|name| cell(&row[*name])).collect();
    output::table(&columns, rows.iter().map(row), &columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_column_for_the_group() {
        let rows = [json!({"start": "2026-11-21T00:00:00Z", "owner": null, "requests": 7, "denied": 0})];
        assert_eq!(
            table(&rows, Some("owner")),
            "START                 OWNER  REQUESTS  DENIED\n2026-11-21T00:00:00Z  -      7         0\n"
        );
        assert!(!table(&rows, None).contains("OWNER"));
    }
}
