//! `portcullis keys import`: keys from elsewhere, into a gateway that runs or a store that does not.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::lines::{Batch, Batches, Bounds};
use crate::app::{Core, offline};
use crate::cli::client::{Client, Connection};
use crate::cli::output::{self, Form, Unit, tame};
use crate::config::file;
use crate::manage::{Actor, import};
use crate::store::StoreError;

/// What one call of the admin API takes.
const ONLINE: Bounds = Bounds { lines: 2_000, bytes: 8 << 20 };
/// What one transaction of the store takes.
const OFFLINE: Bounds = Bounds { lines: import::MAX_LINES, bytes: 32 << 20 };
/// What is read from a file at once, in bytes.
const READ_BUFFER_BYTES: usize = 1 << 20;
/// Refused lines that `--output json` lists; standard error has them all.
const LISTED_REFUSALS: usize = 10_000;

/// Import keys with the secrets that their clients have already
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Import keys with the secrets that their clients have already. FILE holds a JSON object a line: \
                  `name`, and `secret` or `secret_sha256` (64 hex digits), and any other field of a key. A line is \
                  imported whole or not at all; each one that is refused is named on standard error, and the exit \
                  status is then 1.\n\n\
                  Without --config the lines go to the running gateway, with it straight into the store of a gateway \
                  that does not run.",
    after_help = "A line:\n  {\"name\": \"ci\", \"owner\": \"acme\", \"secret\": \"old-secret-of-20-characters\"}\n\n\
                  Examples:\n  portcullis keys import keys.jsonl\n  \
                  portcullis keys import keys.jsonl --config portcullis.toml\n  \
                  zcat keys.jsonl.gz | portcullis keys import -"
)]
pub(super) struct Args {
    /// The file, a line of JSON a key; `-` is standard input
    file: PathBuf,
    /// Import into the store of this configuration, with no gateway running
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Imports a file.
///
/// # Errors
/// It broke off; what was imported until then stays, and is reported.
pub(super) fn run(args: &Args, connection: &Connection, form: Form) -> anyhow::Result<ExitCode> {
    // First the file: a mistyped name is the likeliest mistake.
    let (input, length) = open(&args.file)?;
    let target = match &args.config {
        Some(path) => Target::Offline(Box::new(open_store(path)?)),
        None => Target::Online(Client::new(connection)?),
    };
    let bounds = if args.config.is_some() { OFFLINE } else { ONLINE };
    let mut import = Import { target, tally: Tally::default(), bar: output::progress(length, Unit::Bytes) };
    let ended = import.all(&mut Batches::new(input, bounds));
    import.bar.finish_and_clear();
    import.tally.report(form)?;
    ended?;
    import.target.close()?;
    Ok(if import.tally.refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

type Input = Box<dyn BufRead>;

/// The lines, and how many bytes there are if that is known.
fn open(path: &Path) -> anyhow::Result<(Input, Option<u64>)> {
    if path.as_os_str() == "-" {
        return Ok((Box::new(BufReader::with_capacity(READ_BUFFER_BYTES, std::io::stdin())), None));
    }
    let named = || format!("{}: cannot be read", path.display());
    let file = File::open(path).with_context(named)?;
    let about = file.metadata().with_context(named)?;
    let length = about.is_file().then_some(about.len());
    Ok((Box::new(BufReader::with_capacity(READ_BUFFER_BYTES, file)), length))
}

fn open_store(config: &Path) -> anyhow::Result<Core> {
    let config = file::load(config)?;
    offline::open(&config).map_err(|error| match error.downcast_ref() {
        Some(StoreError::InUse { path }) => anyhow::anyhow!(
            "{}: the store is in use; a gateway that runs takes imports itself: leave --config away (its admin API is \
             PORTCULLIS_ADMIN_URL), or stop it first",
            path.display()
        ),
        _ => error,
    })
}

/// Where the keys go.
enum Target {
    Online(Client),
    Offline(Box<Core>),
}

impl Target {
    /// Imports a batch: how many became keys, and each line that was refused.
    fn take(&self, batch: &mut Batch) -> anyhow::Result<(u64, Vec<(u64, String)>)> {
        match self {
            Self::Offline(core) => {
                let actor = Actor::local("offline");
                let report = core.manage.import_keys(&actor, batch.text.lines(), batch.first)?;
                Ok((report.imported, report.refused))
            }
            Self::Online(client) => {
                let answer = client.import(std::mem::take(&mut batch.text))?;
                let refused = answer["refused"].as_array().into_iter().flatten();
                let refused = refused.map(|one| {
                    // The gateway counts the lines of one call from 1.
                    let number = one["line"].as_u64().unwrap_or(1).saturating_sub(1) + batch.first;
                    (number, one["detail"].as_str().unwrap_or("refused").to_owned())
                });
                Ok((answer["imported"].as_u64().unwrap_or(0), refused.collect()))
            }
        }
    }

    /// Leaves a store with everything merged and its files closed.
    fn close(self) -> anyhow::Result<()> {
        match self {
            Self::Online(_) => Ok(()),
            Self::Offline(core) => core.ledger.merge().map(drop).context("the store cannot be closed"),
        }
    }
}

/// What became of the lines.
#[derive(Debug, Default)]
struct Tally {
    imported: u64,
    refused: u64,
    listed: Vec<Value>,
}

impl Tally {
    fn report(&self, form: Form) -> anyhow::Result<()> {
        match form {
            Form::Json => output::json(&json!({
                "imported": self.imported,
                "refused_count": self.refused,
                "refused": self.listed,
            })),
            Form::Table | Form::Csv => {
                output::line(&format!("imported {}, refused {}", self.imported, self.refused))
            }
        }
    }
}

struct Import {
    target: Target,
    tally: Tally,
    bar: ProgressBar,
}

impl Import {
    fn all(&mut self, batches: &mut Batches<Input>) -> anyhow::Result<()> {
        while let Some(mut batch) = batches.next().context("the file cannot be read on")? {
            let (first, last) = (batch.first, batch.first + batch.lines - 1);
            let taken = self.target.take(&mut batch);
            let (imported, refused) = taken.with_context(|| {
                format!("stopped at lines {first} to {last}; what comes after is not imported, and running it again \
                         refuses what is there already")
            })?;
            self.tally.imported += imported;
            let mut refused: Vec<_> = batch.refused.into_iter().chain(refused).collect();
            refused.sort_unstable_by_key(|(number, _)| *number);
            self.refuse(refused);
            self.bar.inc(batch.read);
            self.bar.set_message(format!("{} imported, {} refused", self.tally.imported, self.tally.refused));
        }
        Ok(())
    }

    /// Names each refused line at once: there may be too many to keep.
    fn refuse(&mut self, refused: Vec<(u64, String)>) {
        self.tally.refused += refused.len() as u64;
        self.bar.suspend(|| {
            for (number, why) in &refused {
                output::note(format!("line {number}: {}", tame(why)));
            }
        });
        let room = LISTED_REFUSALS.saturating_sub(self.tally.listed.len());
        let listed =
            refused.into_iter().take(room).map(|(number, why)| json!({"line": number, "detail": why}));
        self.tally.listed.extend(listed);
    }
}
