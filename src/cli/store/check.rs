//! Says what of a store is damaged and what can be saved, and saves it.

use std::fmt::Write as _;
use std::io::{BufWriter, Write};
use std::process::ExitCode;

use anyhow::Context;
use serde_json::{Value, json};

use super::CheckArgs;
use super::backup::Draft;
use crate::app::offline;
use crate::cli::output::{self, Form, Unit, tame};
use crate::clock::{Clock, SystemClock};
use crate::config::file;
use crate::manage::audit::hex;
use crate::store::backup::{Table, Writer};
use crate::store::examine::{Examination, Finding};

/// The format of the records that this version saves.
const STORE_FORMAT: u32 = crate::store::embedded::RECORD_FORMAT;
const COLUMNS: [&str; 3] = ["table", "stored", "readable"];

/// Looks at a store.
///
/// # Errors
/// It cannot be looked at. Damage is no error of this command but its result.
pub(super) fn run(args: &CheckArgs, form: Form) -> anyhow::Result<ExitCode> {
    let config = file::load(&args.config)?;
    let path = offline::store_file(&config)?;
    let bar = output::progress(None, Unit::Bytes);
    let mut examined = match &args.salvage {
        None => Examination::of(path, &mut |record| {
            bar.inc((record.key.len() + record.value.len()) as u64);
            Ok(())
        })?,
        Some(out) => {
            let draft = Draft::create(out)?;
            let mut buffer = BufWriter::new(&draft.file);
            let mut writer = Writer::begin(&mut buffer, STORE_FORMAT, SystemClock::new().now())?;
            let examined = Examination::of(path, &mut |record| {
                bar.inc((record.key.len() + record.value.len()) as u64);
                writer.record(record)
            })?;
            writer.finish().and_then(|_| buffer.flush()).context("what can be saved cannot be written")?;
            drop(buffer);
            let written = draft.finish()?;
            output::note(format!("{}: {} records saved", out.display(), written.records));
            examined
        }
    };
    bar.finish_and_clear();
    if let Some(fault) = offline::usage_fault(&config, examined.store_id)? {
        examined.note("usage file", None, fault);
    }
    match form {
        Form::Json => output::json(&as_json(&path.display().to_string(), &examined))?,
        Form::Table | Form::Csv => output::write(&as_text(&path.display().to_string(), &examined))?,
    }
    Ok(if examined.wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn as_json(path: &str, examined: &Examination) -> Value {
    let finding = |one: &Finding| json!({"place": one.place, "id": one.id, "detail": one.detail});
    let tables = Table::ALL.map(|table| {
        let count = examined.count(table);
        json!({"table": table.name(), "stored": count.stored, "readable": count.readable})
    });
    json!({
        "file": path,
        "ok": examined.wrong == 0,
        "wrong": examined.wrong,
        "findings": examined.findings.iter().map(finding).collect::<Vec<_>>(),
        "tables": tables,
        "audit": {
            "broken_at": examined.broken_at,
            "newest_hash": examined.chain.newest_hash().as_ref().map(hex),
        },
    })
}

fn as_text(path: &str, examined: &Examination) -> String {
    let rows = Table::ALL.map(|table| {
        let count = examined.count(table);
        let stored = count.stored.map_or_else(|| "unknown".to_owned(), |stored| stored.to_string());
        vec![table.name().to_owned(), stored, count.readable.to_string()]
    });
    let mut text = output::table(&COLUMNS, rows, &COLUMNS);
    text.push('\n');
    if examined.wrong == 0 {
        return text + &format!("{path}: whole\n");
    }
    for Finding { place, id, detail } in &examined.findings {
        let id = id.as_ref().map(|id| format!(" {}", tame(id))).unwrap_or_default();
        // Writing into a text does not fail.
        let _ = writeln!(text, "{place}{id}: {}", tame(detail));
    }
    let more = examined.wrong.saturating_sub(examined.findings.len() as u64);
    if more > 0 {
        let _ = writeln!(text, "and {more} more");
    }
    let (keys, of) = (examined.count(Table::Keys).readable, examined.count(Table::Keys).stored);
    let of = of.map(|of| format!(" of {of}")).unwrap_or_default();
    text + &format!(
        "{path}: damaged; {keys}{of} keys can be saved (--salvage OUT writes a backup of all that is whole, for \
         `portcullis store restore`)\n"
    )
}
