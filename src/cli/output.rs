//! What people and scripts see: results on standard output, everything else on standard error.

use std::fmt::{self, Display};
use std::io::{self, ErrorKind, IsTerminal, Write};

use anyhow::Context;
use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

/// Blanks between two columns.
const GAP: u16 = 2;

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Form {
    /// Aligned columns, for people
    Table,
    /// What the admin API answers
    Json,
    /// For spreadsheets
    Csv,
}

/// Whoever read standard output wants no more, as `head` does. Nothing is wrong.
#[derive(Debug, thiserror::Error)]
#[error("standard output was closed")]
pub(super) struct Closed;

/// Writes a text as it is.
///
/// # Errors
/// [`Closed`], or what failed.
pub(super) fn write(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Closed.into()),
        Err(error) => Err(error).context("standard output cannot be written"),
    }
}

/// Writes a line.
///
/// # Errors
/// As [`write`].
pub(super) fn line(text: &str) -> anyhow::Result<()> {
    write(&format!("{text}\n"))
}

/// Writes an answer for scripts, indented so that people can read it too.
///
/// # Errors
/// As [`write`].
pub(super) fn json(value: &Value) -> anyhow::Result<()> {
    line(&format!("{value:#}"))
}

/// Writes a secret, alone on its line. A reader that left is a failure here: the secret is shown this once.
///
/// # Errors
/// It was not taken.
pub(super) fn secret(secret: &str) -> anyhow::Result<()> {
    let written = writeln!(io::stdout().lock(), "{secret}").and_then(|()| io::stdout().flush());
    written.context("the secret could not be written and is lost; `portcullis keys rotate` makes another one")
}

/// Says something about a result, on standard error.
pub(super) fn note(text: impl Display) {
    // There is no place left to say that it could not be said.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Says that what has this name is no longer there, as JSON also on standard output: the admin API answers with nothing.
///
/// # Errors
/// As [`write`].
pub(super) fn gone(name: &str, how: &str, form: Form) -> anyhow::Result<()> {
    note(format!("{name} is {how}"));
    if form == Form::Json { json(&json!({"deleted": name})) } else { Ok(()) }
}

/// Whether a person can be asked.
pub(super) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks; anything but yes is no.
///
/// # Errors
/// Standard input cannot be read.
pub(super) fn confirm(question: &str) -> anyhow::Result<Answer> {
    let mut err = io::stderr().lock();
    write!(err, "{question} [y/N] ")
        .and_then(|()| err.flush())
        .context("standard error cannot be written")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).context("standard input cannot be read")?;
    let yes = matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes");
    Ok(if yes { Answer::Yes } else { Answer::No })
}

/// What a person said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Do it.
    Yes,
    /// Leave it.
    No,
}

/// A table with a header, to standard output. Columns named in `whole` are never broken, whatever the terminal's width.
pub(super) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>, whole: &[&str]) -> String {
    let mut table = plain_table();
    table.set_header(header.iter().map(|name| name.to_uppercase()));
    add_rows(&mut table, rows);
    for (index, name) in header.iter().enumerate() {
        set_column(&mut table, index, if whole.contains(name) { Wrap::Never } else { Wrap::AtNeed });
    }
    finish(&table)
}

/// Rows without a header: names and values.
pub(super) fn pairs(rows: impl IntoIterator<Item = (String, String)>) -> String {
    let mut table = plain_table();
    add_rows(&mut table, rows.into_iter().map(|(name, value)| vec![name, value]));
    set_column(&mut table, 0, Wrap::Never);
    set_column(&mut table, 1, Wrap::AtNeed);
    finish(&table)
}

#[derive(Clone, Copy)]
enum Wrap {
    Never,
    AtNeed,
}

fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table
}

fn add_rows(table: &mut Table, rows: impl IntoIterator<Item = Vec<String>>) {
    for row in rows {
        table.add_row(row.iter().map(|cell| tame(cell)).collect::<Vec<_>>());
    }
}

fn set_column(table: &mut Table, index: usize, wrap: Wrap) {
    let Some(column) = table.column_mut(index) else { return };
    column.set_padding((0, GAP));
    if matches!(wrap, Wrap::Never) {
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
}

fn finish(table: &Table) -> String {
    lines(table.lines().map(|line| line.trim_end().to_owned()))
}

/// Each as a line.
pub(super) fn lines(items: impl IntoIterator<Item = impl Display>) -> String {
    let mut text = String::new();
    for item in items {
        // Writing into a text does not fail.
        let _ = fmt::Write::write_fmt(&mut text, format_args!("{item}\n"));
    }
    text
}

/// A text without control characters: what others wrote must not drive the terminal.
pub(super) fn tame(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A JSON value as a cell: `-` for nothing.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) if text.is_empty() => "-".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "-".into(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// What a progress bar counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Keys.
    Keys,
    /// Bytes of a file.
    Bytes,
}

/// A progress bar on standard error, drawn on a terminal alone; a spinner where the end is not known.
pub(super) fn progress(total: Option<u64>, unit: Unit) -> ProgressBar {
    let template = match (total, unit) {
        (Some(_), Unit::Keys) => "{wide_bar} {human_pos}/{human_len} keys, {per_sec:.0}, {eta} left",
        (Some(_), Unit::Bytes) => "{wide_bar} {decimal_bytes}/{decimal_total_bytes}, {eta} left {msg}",
        (None, Unit::Keys) => "{spinner} {human_pos} keys, {elapsed}",
        (None, Unit::Bytes) => "{spinner} {decimal_bytes}, {elapsed} {msg}",
    };
    let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_are_aligned_and_lines_end_without_blanks() {
        let rows = [["a", "long one"], ["bbb", ""]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&["id", "name"], rows, &["id"]), "ID   NAME\na    long one\nbbb\n");
        assert_eq!(pairs([("id".into(), "7".into()), ("name".into(), "x".into())]), "id    7\nname  x\n");
    }

    #[test]
    fn what_others_wrote_does_not_drive_the_terminal() {
        assert_eq!(tame("a\u{1b}[31mb\nc"), "a [31mb c");
    }

    #[test]
    fn nothing_is_a_dash() {
        assert_eq!([json!(null), json!(""), json!("x"), json!(7)].map(|v| cell(&v)), ["-", "-", "x", "7"]);
    }
}
