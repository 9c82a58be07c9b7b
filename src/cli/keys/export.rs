//! `portcullis keys export`: every key as a line of JSON. Secrets are not in it: nobody has them.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::pages::Pages;
use crate::cli::client::Client;
use crate::cli::output::{self, Unit};

/// Write every key as a line of JSON, oldest first, without any secret
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A line can be imported elsewhere once its secret, or its SHA-256, is added.\n\nExamples:\n  \
                        portcullis keys export --file keys.jsonl\n  \
                        portcullis keys export | jq -r 'select(.owner == \"acme\") | .name'"
)]
pub(super) struct Args {
    /// Write to this file, readable by its owner alone, instead of standard output; one that exists is replaced
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Exports all keys.
///
/// # Errors
/// What the admin API refused, or nothing can be written. A file is whole, or not there.
pub(super) fn run(client: &Client, args: &Args) -> anyhow::Result<()> {
    let Some(path) = &args.file else {
        walk(client, &mut |lines| output::write(lines))?;
        return Ok(());
    };
    let named = || format!("{}: cannot be written", path.display());
    let young = PathBuf::from(format!("{}.part", path.display()));
    let mut file = BufWriter::new(create(&young).with_context(named)?);
    let written = walk(client, &mut |lines| file.write_all(lines.as_bytes()).with_context(named));
    let done = written.and_then(|keys| keep(file, &young, path).with_context(named).map(|()| keys));
    if done.is_err() {
        // Half an export is none; that it stays behind is the smaller trouble.
        let _ = std::fs::remove_file(&young);
    }
    output::note(format!("exported {} keys to {}", done?, path.display()));
    Ok(())
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn keep(file: BufWriter<File>, young: &Path, path: &Path) -> io::Result<()> {
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    std::fs::rename(young, path)
}

/// Hands on the lines of each page; how many keys there were. Oldest first, so that a key which is made meanwhile only
/// adds to the end.
fn walk(client: &Client, write: &mut dyn FnMut(&str) -> anyhow::Result<()>) -> anyhow::Result<u64> {
    let mut pages = Pages::new(client, vec![("sort", Some("created_at".to_owned()))]);
    let (mut bar, mut keys) = (None, 0);
    while let Some(page) = pages.next()? {
        let bar = bar.get_or_insert_with(|| output::progress(Some(page.total), Unit::Keys));
        let lines = output::lines(&page.items);
        bar.suspend(|| write(&lines))?;
        keys += u64::try_from(page.items.len()).unwrap_or(0);
        bar.set_position(keys);
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    Ok(keys)
}
