//! `portcullis roles` and `portcullis owners`: what many keys share, over the admin API.

use std::process::ExitCode;

use clap::Subcommand;
use http::Method;
use serde_json::{Map, Value, json};

use super::WrongUsage;
use super::client::{Client, Connection};
use super::keys::limit;
use super::output::{self, Form, cell};
use crate::document::slugs::is_slug;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Role,
    Owner,
}

impl Kind {
    const fn path(self) -> &'static str {
        match self {
            Self::Role => "/roles",
            Self::Owner => "/owners",
        }
    }

    const fn columns(self) -> [&'static str; 4] {
        match self {
            Self::Role => ["name", "scopes", "limits", "description"],
            Self::Owner => ["name", "max_active_keys", "limits", "description"],
        }
    }
}

/// Manage what many keys share
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Roles give scopes, and limits, to the keys that have them; owners have a cap on active keys, and \
                  limits that all of their keys share. A change holds for all of their keys on the next request.",
    after_help = "Examples:\n  portcullis roles create reader --scope models:read\n  \
                  portcullis roles update reader --scope models:read --scope files:read\n  \
                  portcullis owners create acme --max-active-keys 10 --limit team=1000/1m"
)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make one
    Create(Terms),
    /// List all of them
    List,
    /// Show one
    Show(Named),
    /// Change one: what is named replaces what was there
    Update(Update),
    /// Remove one
    Delete(Named),
}

#[derive(Debug, clap::Args)]
struct Named {
    /// Its name
    #[arg(value_parser = slug)]
    name: String,
}

#[derive(Debug, clap::Args)]
struct Terms {
    #[command(flatten)]
    named: Named,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// A scope that it gives (roles; may be repeated)
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
    /// How many of its keys may be active at once (owners)
    #[arg(long, value_name = "N")]
    max_active_keys: Option<u64>,
    /// A rate limit, such as minute=600/1m (may be repeated)
    #[arg(long, value_name = "NAME=REQUESTS/WINDOW[:burst=N]", value_parser = limit)]
    limit: Vec<Value>,
}

#[derive(Debug, clap::Args)]
struct Update {
    #[command(flatten)]
    terms: Terms,
    /// A field that is taken away: description, scopes, limits or max_active_keys (may be repeated)
    #[arg(long, value_name = "FIELD", value_parser = ["description", "scopes", "limits", "max_active_keys"])]
    clear: Vec<String>,
}

fn slug(text: &str) -> Result<String, String> {
    if is_slug(text) { Ok(text.to_owned()) } else { Err("must be a slug, such as acme or team-7".into()) }
}

impl Terms {
    /// The fields that were named, and no others.
    fn document(&self) -> Map<String, Value> {
        let fields = [
            ("description", self.description.as_ref().map(|text| json!(text))),
            ("scopes", (!self.scope.is_empty()).then(|| json!(self.scope))),
            ("max_active_keys", self.max_active_keys.map(|most| json!(most))),
            ("limits", (!self.limit.is_empty()).then(|| json!(self.limit))),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}

/// Does what was asked for.
///
/// # Errors
/// What the admin API refused, or why it was not reached.
pub(super) fn run(kind: Kind, args: &Args, form: Form) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.connection)?;
    let at = |name: &str| format!("{}/{name}", kind.path());
    match &args.command {
        Command::List => list(&client, kind, form)?,
        Command::Show(named) => show(&client.get(&at(&named.name), &Vec::new())?.body, kind, form)?,
        Command::Create(terms) => {
            let mut document = terms.document();
            document.insert("name".into(), json!(terms.named.name));
            show(&client.change(&Method::POST, kind.path(), None, Some(&document.into()))?.body, kind, form)?;
        }
        Command::Update(update) => {
            let mut patch = update.terms.document();
            patch.extend(update.clear.iter().map(|name| (name.clone(), Value::Null)));
            if patch.is_empty() {
                return Err(WrongUsage::error("nothing to change: name a field, or --clear FIELD"));
            }
            let path = at(&update.terms.named.name);
            show(&client.change(&Method::PATCH, &path, None, Some(&patch.into()))?.body, kind, form)?;
        }
        Command::Delete(named) => {
            client.change(&Method::DELETE, &at(&named.name), None, None)?;
            output::gone(&named.name, "deleted", form)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(client: &Client, kind: Kind, form: Form) -> anyhow::Result<()> {
    let items = client.get_all(kind.path(), &Vec::new())?;
    if form == Form::Json {
        let total = items.len();
        return output::json(
            &json!({"items": items, "next_cursor": null, "prev_cursor": null, "total": total}),
        );
    }
    output::write(&table(&items, kind))
}

fn show(item: &Value, kind: Kind, form: Form) -> anyhow::Result<()> {
    if form == Form::Json {
        return output::json(item);
    }
    output::write(&table(std::slice::from_ref(item), kind))
}

fn table(items: &[Value], kind: Kind) -> String {
    let columns = kind.columns();
    let limits = |limits: &Value| {
        let one = |limit: &Value| {
            format!("{}={}/{}", text(&limit["name"]), limit["requests"], text(&limit["window"]))
        };
        limits
            .as_array()
            .map_or_else(String::new, |limits| limits.iter().map(one).collect::<Vec<_>>().join(" "))
    };
    let shown = |item: &Value, column: &&str| match *column {
        "limits" => cell(&json!(limits(&item["limits"]))),
        column => cell(&item[column]),
    };
    let row = |item: &Value| columns.iter().map(|column| shown(item, column)).collect();
    output::table(&columns, items.iter().map(row), &["name"])
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_shown_in_one_row() {
        let role = json!({
            "name": "reader", "scopes": ["models:read"], "description": "",
            "limits": [{"name": "minute", "requests": 5, "window": "1m", "burst": 5}],
        });
        let table = table(&[role], Kind::Role);
        assert!(
            table.contains("reader") && table.contains("models:read") && table.contains("minute=5/1m"),
            "{table}"
        );
    }
}
