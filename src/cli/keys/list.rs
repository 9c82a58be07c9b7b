//! `portcullis keys list`: one page, or all of them.

use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::flags::time;
use super::pages::Pages;
use crate::cli::client::{Client, Query};
use crate::cli::output::{self, Form, Unit, cell};
use crate::clock::Timestamp;

/// Keys that one table aligns; a longer listing is aligned piece by piece.
const TABLE_ROWS: usize = 10_000;
/// The columns: what they are called, and where their value is.
const COLUMNS: [(&str, &str); 8] = [
    ("id", "/id"),
    ("name", "/name"),
    ("status", "/status"),
    ("owner", "/owner"),
    ("fingerprint", "/fingerprint"),
    ("requests", "/usage/requests"),
    ("last used", "/usage/last_used_at"),
    ("expires", "/expires_at"),
];
/// The columns that people copy from.
const WHOLE: [&str; 4] = ["id", "status", "fingerprint", "requests"];

/// List keys, newest first
#[derive(Debug, clap::Args)]
#[command(after_help = "Without --all one page is shown, and where the next one starts.\n\nExamples:\n  \
                        portcullis keys list --owner acme --status active\n  \
                        portcullis keys list --unused-since 2026-08-01T00:00:00Z --sort -last_used_at\n  \
                        portcullis keys list --all --output json | jq -r '.items[].id'")]
pub(super) struct Args {
    /// Only active, disabled, expired or revoked ones
    #[arg(long, value_parser = ["active", "disabled", "expired", "revoked"])]
    status: Option<String>,
    /// Only this owner's
    #[arg(long, value_name = "SLUG")]
    owner: Option<String>,
    /// Only this environment's
    #[arg(long, value_name = "WORD")]
    environment: Option<String>,
    /// Only with this role
    #[arg(long, value_name = "SLUG")]
    role: Option<String>,
    /// Only with this tag
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// Only with this text in name, description, ID or fingerprint
    #[arg(long, value_name = "TEXT")]
    q: Option<String>,
    /// Only those not used since then
    #[arg(long, value_name = "RFC3339", value_parser = time)]
    unused_since: Option<Timestamp>,
    /// The order [default: -created_at]
    #[arg(
        long,
        allow_hyphen_values = true,
        value_parser = ["-created_at", "created_at", "name", "-last_used_at", "-requests"]
    )]
    sort: Option<String>,
    /// Keys on the page [default: 50]
    #[arg(long, value_name = "1-200", value_parser = clap::value_parser!(u16).range(1..=200), conflicts_with = "all")]
    limit: Option<u16>,
    /// Where the page starts, as the page before said
    #[arg(long, value_name = "CURSOR", conflicts_with = "all")]
    cursor: Option<String>,
    /// Every page
    #[arg(long)]
    all: bool,
}

impl Args {
    fn filters(&self) -> Query<'_> {
        vec![
            ("status", self.status.clone()),
            ("owner", self.owner.clone()),
            ("environment", self.environment.clone()),
            ("role", self.role.clone()),
            ("tag", self.tag.clone()),
            ("q", self.q.clone()),
            ("unused_since", self.unused_since.map(|at| at.to_string())),
            ("sort", self.sort.clone()),
        ]
    }
}

/// Lists keys.
///
/// # Errors
/// What the admin API refused, or standard output takes nothing.
pub(super) fn run(client: &Client, args: &Args, form: Form) -> anyhow::Result<()> {
    match (args.all, form) {
        (false, form) => one_page(client, args, form),
        (true, Form::Json) => all_json(Pages::new(client, args.filters())),
        (true, Form::Table | Form::Csv) => all_table(Pages::new(client, args.filters())),
    }
}

fn one_page(client: &Client, args: &Args, form: Form) -> anyhow::Result<()> {
    let mut query = args.filters();
    query.extend([("limit", args.limit.map(|limit| limit.to_string())), ("cursor", args.cursor.clone())]);
    let page = client.get("/keys", &query)?.body;
    if form == Form::Json {
        return output::json(&page);
    }
    let items = page["items"].as_array().map_or(&[][..], Vec::as_slice);
    if items.is_empty() {
        output::note("no key is like that");
        return Ok(());
    }
    output::write(&table(items))?;
    if let Some(cursor) = page["next_cursor"].as_str() {
        let total = &page["total"];
        output::note(format!(
            "{} of {total} keys; the next page: --cursor {cursor}, or all: --all",
            items.len()
        ));
    }
    Ok(())
}

fn table(keys: &[Value]) -> String {
    let header = COLUMNS.map(|(name, _)| name);
    let row = |key: &Value| COLUMNS.iter().map(|(_, at)| shown(key.pointer(at))).collect();
    output::table(&header, keys.iter().map(row), &WHOLE)
}

/// A time without its parts of a second; anything else as it is.
pub(super) fn shown(value: Option<&Value>) -> String {
    let text = cell(value.unwrap_or(&Value::Null));
    match Timestamp::parse_rfc3339(&text) {
        Some(at) => Timestamp::from_secs(at.as_secs()).to_string(),
        None => text,
    }
}

fn all_table(mut pages: Pages<'_>) -> anyhow::Result<()> {
    let (mut keys, mut bar, mut any) = (Vec::new(), None, false);
    while let Some(page) = pages.next()? {
        let bar = bar.get_or_insert_with(|| output::progress(Some(page.total), Unit::Keys));
        advance(bar, page.items.len());
        any |= !page.items.is_empty();
        keys.extend(page.items);
        if keys.len() >= TABLE_ROWS {
            bar.suspend(|| output::write(&table(&keys)))?;
            keys.clear();
        }
    }
    finish(bar);
    if !any {
        output::note("no key is like that");
    }
    if keys.is_empty() { Ok(()) } else { output::write(&table(&keys)) }
}

/// The API's form of a page that holds everything, written as the pages come.
fn all_json(mut pages: Pages<'_>) -> anyhow::Result<()> {
    let (mut bar, mut total, mut comma) = (None, 0, "\n");
    output::write("{\"items\": [")?;
    while let Some(page) = pages.next()? {
        let bar = bar.get_or_insert_with(|| output::progress(Some(page.total), Unit::Keys));
        advance(bar, page.items.len());
        total = page.total;
        let mut text = String::new();
        for key in &page.items {
            text.push_str(comma);
            text.push_str(&key.to_string());
            comma = ",\n";
        }
        bar.suspend(|| output::write(&text))?;
    }
    finish(bar);
    let rest = json!({"next_cursor": null, "prev_cursor": null, "total": total}).to_string();
    output::line(&format!("\n], {}", &rest[1..]))
}

fn advance(bar: &ProgressBar, by: usize) {
    bar.inc(u64::try_from(by).unwrap_or(0));
}

fn finish(bar: Option<ProgressBar>) {
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_to_the_second() {
        assert_eq!(shown(Some(&json!("2026-11-21T13:00:00.123Z"))), "2026-11-21T13:00:00Z");
        assert_eq!(shown(Some(&json!("ci"))), "ci");
        assert_eq!(shown(None), "-");
    }
}
