//! `portcullis audit`: who did what, over the admin API.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use clap::Subcommand;
use serde_json::{Value, json};

use super::client::{Client, Connection, Query};
use super::keys::time;
use super::output::{self, Form, cell};
use crate::app::offline;
use crate::clock::Timestamp;
use crate::config::file;
use crate::manage::audit::{Verified, verified_json};
use crate::store::{StoreError, examine};

const PATH: &str = "/audit";
const COLUMNS: [&str; 7] = ["seq", "at", "actor", "action", "target", "outcome", "address"];
/// Entries that are listed where none are asked for.
const DEFAULT_LIMIT: u16 = 50;

/// Read the audit log
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Every change and every refused attempt, newest first, in a chain of hashes that `verify` walks.",
    after_help = "Examples:\n  portcullis audit list --action key.revoke\n  \
                  portcullis audit export --from 2026-11-01T00:00:00Z > audit.ndjson\n  portcullis audit verify"
)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List entries, newest first
    List {
        #[command(flatten)]
        filter: Filter,
        /// How many, 1 to 200
        #[arg(long, value_name = "N", default_value_t = DEFAULT_LIMIT)]
        limit: u16,
    },
    /// Write entries as JSON Lines, newest first, with the records before and after
    Export {
        #[command(flatten)]
        filter: Filter,
    },
    /// Walk the chain of hashes: exit status 1 if it is broken
    #[command(
        long_about = "Walk the chain of hashes, oldest entry first, and name the first entry that does not follow from \
                      the one before it; exit status 1 if there is one. Without --config the gateway that runs does \
                      it, with it the store of a gateway that does not run is read, and not changed.",
        after_help = "Examples:\n  portcullis audit verify\n  portcullis audit verify --config portcullis.toml"
    )]
    Verify {
        /// Read the store of this configuration, with no gateway running
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

#[derive(Debug, clap::Args)]
struct Filter {
    /// Only by this admin token
    #[arg(long, value_name = "ID")]
    actor: Option<String>,
    /// Only of this action, such as key.create
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Only on this key, role, owner or token
    #[arg(long, value_name = "ID")]
    target: Option<String>,
    /// Only with this outcome: done, or the code of a refusal
    #[arg(long, value_name = "CODE")]
    outcome: Option<String>,
    /// The first moment, such as 2026-11-01T00:00:00Z
    #[arg(long, value_name = "RFC3339", value_parser = time)]
    from: Option<Timestamp>,
    /// The first moment after
    #[arg(long, value_name = "RFC3339", value_parser = time)]
    to: Option<Timestamp>,
}

impl Filter {
    fn query(&self) -> Query<'_> {
        vec![
            ("actor", self.actor.clone()),
            ("action", self.action.clone()),
            ("target", self.target.clone()),
            ("outcome", self.outcome.clone()),
            ("from", self.from.map(|at| at.to_string())),
            ("to", self.to.map(|at| at.to_string())),
        ]
    }
}

/// Does what was asked for.
///
/// # Errors
/// What the admin API refused, why it was not reached, or where the chain is broken.
pub(super) fn run(args: &Args, form: Form) -> anyhow::Result<ExitCode> {
    if let Command::Verify { config: Some(config) } = &args.command {
        verify(&verify_offline(config)?, form)?;
        return Ok(ExitCode::SUCCESS);
    }
    let client = Client::new(&args.connection)?;
    match &args.command {
        Command::List { filter, limit } => {
            let mut query = filter.query();
            query.push(("limit", Some(limit.to_string())));
            let body = client.get(PATH, &query)?.body;
            match form {
                Form::Json => output::json(&body)?,
                Form::Table | Form::Csv => {
                    output::write(&table(body["items"].as_array().map_or(&[], Vec::as_slice)))?;
                }
            }
        }
        Command::Export { filter } => {
            output::write(&client.get_text(PATH, &filter.query(), "application/x-ndjson")?)?;
        }
        Command::Verify { .. } => verify(&client.get("/audit/verify", &Vec::new())?.body, form)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What the admin API answers, told from the store's file alone.
fn verify_offline(config: &Path) -> anyhow::Result<Value> {
    let config = file::load(config)?;
    let path = offline::store_file(&config)?;
    let (mut verified, mut over) = (Verified::default(), ControlFlow::Continue(()));
    let read = examine::audit_log(path, &mut |entry| {
        if over.is_continue() {
            over = match entry {
                Ok(entry) => verified.look_at(&entry),
                Err(_) => verified.is_unreadable(),
            };
        }
    });
    read.map_err(|error| match error {
        StoreError::InUse { path } => anyhow::anyhow!(
            "{}: the store is in use; a gateway that runs walks the chain itself: leave --config away",
            path.display()
        ),
        error => error.into(),
    })?;
    Ok(verified_json(&verified))
}

fn verify(body: &Value, form: Form) -> anyhow::Result<()> {
    if form == Form::Json {
        output::json(body)?;
    }
    if body["intact"] != json!(true) {
        bail!(
            "the chain is broken at entry {}: it does not follow from the one before it",
            body["broken_at"]
        );
    }
    if form != Form::Json {
        let hash = body["newest_hash"].as_str().unwrap_or("none");
        output::line(&format!("{} entries, none missing or changed; newest hash {hash}", body["entries"]))?;
    }
    Ok(())
}

fn table(entries: &[Value]) -> String {
    let row = |entry: &Value| COLUMNS.iter().map(|column| cell(&entry[*column])).collect();
    output::table(&COLUMNS, entries.iter().map(row), &["target"])
}
