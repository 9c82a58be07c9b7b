//! Makes a store of a backup.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use indicatif::ProgressBar;
use serde_json::json;

use super::RestoreArgs;
use crate::app::offline::{self, Existing};
use crate::cli::output::{self, Form, Unit};
use crate::config::file;
use crate::store::backup::{self, Reader};

/// What is read at once, in bytes.
const BUFFER_BYTES: usize = 1 << 20;

/// Restores a backup.
///
/// # Errors
/// Nothing was restored.
pub(super) fn run(args: &RestoreArgs, form: Form) -> anyhow::Result<ExitCode> {
    let named = || format!("{}: cannot be restored", args.backup.display());
    let config = file::load(&args.config)?;
    let existing = if args.force { Existing::SetAside } else { Existing::Refuse };
    let bar = progress(&args.backup)?;
    backup::verify(open(&args.backup, &bar)?).with_context(named)?;
    bar.set_position(0);
    let reader = Reader::open(open(&args.backup, &bar)?).with_context(named)?;
    let made = reader.created_at();
    let placed = offline::restore(&config, reader, existing)?;
    bar.finish_and_clear();
    for aside in &placed.aside {
        output::note(format!("what was there is now {}", aside.display()));
    }
    let (records, keys) = (placed.restored.backup.records, placed.restored.keys);
    let aside: Vec<String> = placed.aside.iter().map(|path| path.display().to_string()).collect();
    match form {
        Form::Json => output::json(
            &json!({"records": records, "keys": keys, "made_at": made.to_string(), "set_aside": aside}),
        ),
        Form::Table | Form::Csv => {
            output::line(&format!("restored {records} records, {keys} keys among them, as of {made}"))
        }
    }?;
    Ok(ExitCode::SUCCESS)
}

/// The backup is read twice: to the end, to see that it is whole, and once more to make a store of it.
fn progress(path: &Path) -> anyhow::Result<ProgressBar> {
    let about = std::fs::metadata(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    Ok(output::progress(Some(about.len()), Unit::Bytes))
}

fn open(path: &Path, bar: &ProgressBar) -> anyhow::Result<impl Read + use<>> {
    let file = File::open(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    Ok(BufReader::with_capacity(BUFFER_BYTES, bar.wrap_read(file)))
}
