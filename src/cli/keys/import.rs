//! `portcullis keys import`: keys from elsewhere, into a gateway that runs or a store that does not.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::convert::{self, Converted, Place, Source};
use super::lines::{Batch, Batches, Bounds};
use crate::app::{Core, offline};
use crate::cli::client::{Client, Connection};
use crate::cli::output::{self, Form, Unit, tame};
use crate::clock::{Clock, SystemClock, Timestamp};
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
                  that does not run.\n\n\
                  With --from the export of another gateway is read instead, and its clients keep their secrets:\n\
                  \x20 kong    `deck gateway dump` (or `deck dump`, `kong config db_export`), YAML or JSON:\n\
                  \x20         consumers[].keyauth_credentials[]; or what GET /key-auths answers\n\
                  \x20 apisix  what GET /apisix/admin/consumers (or …/{username}/credentials) answers, or apisix.yaml:\n\
                  \x20         plugins.key-auth.key; a key that APISIX encrypted is refused\n\
                  \x20 unkey   the keys of a migration or of apis.listKeys, JSON or one a line: hash (SHA-256 in base64\n\
                  \x20         or hex) or plaintext\n\
                  \x20 csv     a header row of name, secret or secret_sha256, description, owner, environment, role,\n\
                  \x20         scopes, tags, ip_allow, limits, quotas, max_concurrent, expires_at, created_at, status,\n\
                  \x20         metadata, fingerprint, id; lists with `;` (scopes and ip_allow also with blanks)\n\
                  What cannot be taken over is counted on standard error.",
    after_help = "A line:\n  {\"name\": \"ci\", \"owner\": \"acme\", \"secret\": \"old-secret-of-20-characters\"}\n\n\
                  Examples:\n  portcullis keys import keys.jsonl\n  \
                  portcullis keys import keys.jsonl --config portcullis.toml\n  \
                  zcat keys.jsonl.gz | portcullis keys import -\n  \
                  portcullis keys import --from kong kong.yaml"
)]
pub(super) struct Args {
    /// The file, a line of JSON a key; `-` is standard input
    file: PathBuf,
    /// Read the export of another gateway: kong, apisix, unkey or csv
    #[arg(long, value_enum, value_name = "SOURCE", hide_possible_values = true)]
    from: Option<Source>,
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
    let (input, length, converted) = read(args)?;
    let target = match &args.config {
        Some(path) => Target::Offline(Box::new(open_store(path)?)),
        None => Target::Online(Client::new(connection)?),
    };
    let bounds = if args.config.is_some() { OFFLINE } else { ONLINE };
    let bar = output::progress(length, Unit::Bytes);
    let mut import = Import { target, tally: Tally::default(), bar, places: converted.places };
    import.refuse(converted.refused);
    import.note(converted.noted);
    let ended = import.all(&mut Batches::new(input, bounds));
    import.bar.finish_and_clear();
    import.tally.report(form)?;
    ended?;
    import.target.close()?;
    Ok(if import.tally.refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

type Input = Box<dyn BufRead>;

/// The lines to import, how many bytes they are if that is known, and where they were in another gateway's export.
fn read(args: &Args) -> anyhow::Result<(Input, Option<u64>, Converted)> {
    let (mut input, length, taken_at) = open(&args.file)?;
    let Some(source) = args.from else { return Ok((input, length, Converted::default())) };
    let mut converted = convert::convert(source, &mut input, taken_at)
        .with_context(|| format!("{}: cannot be imported", args.file.display()))?;
    let text = std::mem::take(&mut converted.text).into_bytes();
    let length = text.len() as u64;
    Ok((Box::new(Cursor::new(text)), Some(length), converted))
}

/// A file, how many bytes it has if that is known, and when it was written.
fn open(path: &Path) -> anyhow::Result<(Input, Option<u64>, Timestamp)> {
    let now = SystemClock::new().now();
    if path.as_os_str() == "-" {
        return Ok((Box::new(BufReader::with_capacity(READ_BUFFER_BYTES, std::io::stdin())), None, now));
    }
    let named = || format!("{}: cannot be read", path.display());
    let file = File::open(path).with_context(named)?;
    let about = file.metadata().with_context(named)?;
    let length = about.is_file().then_some(about.len());
    let written = about.modified().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    let written = written.map_or(now, |at| Timestamp::from_secs(at.as_secs()).min(now));
    Ok((Box::new(BufReader::with_capacity(READ_BUFFER_BYTES, file)), length, written))
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
    noted: Vec<Value>,
}

impl Tally {
    fn report(&self, form: Form) -> anyhow::Result<()> {
        match form {
            Form::Json => output::json(&json!({
                "imported": self.imported,
                "refused_count": self.refused,
                "refused": self.listed,
                "noted": self.noted,
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
    /// Where each line was, in another gateway's export.
    places: Vec<Place>,
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
            let places = &self.places;
            let refused = refused.into_iter().map(|(number, why)| (place(places, number), why)).collect();
            self.refuse(refused);
            self.bar.inc(batch.read);
            self.bar.set_message(format!("{} imported, {} refused", self.tally.imported, self.tally.refused));
        }
        Ok(())
    }

    /// Names each refused line at once: there may be too many to keep.
    fn refuse(&mut self, refused: Vec<(Place, String)>) {
        self.tally.refused += refused.len() as u64;
        self.bar.suspend(|| {
            for (place, why) in &refused {
                output::note(format!("{place}: {}", tame(why)));
            }
        });
        let room = LISTED_REFUSALS.saturating_sub(self.tally.listed.len());
        let listed = refused.into_iter().take(room).map(|(place, why)| {
            let (name, place) = place.as_json();
            json!({name: place, "detail": why})
        });
        self.tally.listed.extend(listed);
    }

    /// Says what was not taken over, or not as it was.
    fn note(&mut self, noted: BTreeMap<String, u64>) {
        for (what, count) in noted {
            let what = tame(&what);
            self.bar.suspend(|| output::note(format!("{count} x {what}")));
            self.tally.noted.push(json!({"what": what, "count": count}));
        }
    }
}

/// Where a line was, given its number from 1.
fn place(places: &[Place], number: u64) -> Place {
    let index = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
    index.and_then(|index| places.get(index)).cloned().unwrap_or(Place::Line(number))
}
