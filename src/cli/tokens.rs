//! `portcullis admin-tokens`: who may call the admin API, over the admin API.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Subcommand;
use http::Method;
use serde_json::{Map, Value, json};

use super::client::{Client, Connection};
use super::output::{self, Form, cell};
use crate::clock::{Clock, SystemClock};
use crate::quantity;

const PATH: &str = "/admin-tokens";
const COLUMNS: [&str; 6] = ["id", "name", "permissions", "owner", "expires_at", "fingerprint"];

/// Manage who may call the admin API
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Make, list and revoke admin tokens. A token has permissions, may be bound to one owner, and may end.",
    after_help = "Examples:\n  portcullis admin-tokens create --name dashboard --permission api.key.view\n  \
                  TOKEN=$(portcullis admin-tokens create --name acme --permission 'api.key.*' --owner acme)\n  \
                  portcullis admin-tokens revoke admt_01…"
)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a token; its secret goes to standard output, this once
    Create(Terms),
    /// List all tokens
    List,
    /// End a token at once
    Revoke {
        /// The token's ID
        id: String,
    },
}

#[derive(Debug, clap::Args)]
struct Terms {
    /// What people call it
    #[arg(long, value_name = "TEXT")]
    name: String,
    /// What it may do, such as api.key.view, api.key.* or api.admin (may be repeated)
    #[arg(long, value_name = "PERMISSION", required = true)]
    permission: Vec<String>,
    /// The only owner whose keys it sees and changes
    #[arg(long, value_name = "SLUG")]
    owner: Option<String>,
    /// When it ends, from now, such as 90d
    #[arg(long, value_name = "DURATION", value_parser = quantity::parse_duration)]
    expires_in: Option<Duration>,
}

/// Does what was asked for.
///
/// # Errors
/// What the admin API refused, or why it was not reached.
pub(super) fn run(args: &Args, form: Form) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.connection)?;
    match &args.command {
        Command::Create(terms) => create(&client, terms, form)?,
        Command::List => list(&client, form)?,
        Command::Revoke { id } => {
            let good = id.starts_with("admt_") && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if !good {
                return Err(super::WrongUsage::error(
                    "a token's ID starts with admt_; `admin-tokens list` shows it",
                ));
            }
            client.change(&Method::DELETE, &format!("{PATH}/{id}"), None, None)?;
            output::gone(id, "revoked", form)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn create(client: &Client, terms: &Terms, form: Form) -> anyhow::Result<()> {
    let mut document = Map::new();
    document.insert("name".into(), json!(terms.name));
    document.insert("permissions".into(), json!(terms.permission));
    document.extend(terms.owner.iter().map(|owner| ("owner".to_owned(), json!(owner))));
    let end = |span: &Duration| SystemClock::new().now().plus(*span).to_string();
    document.extend(terms.expires_in.iter().map(|span| ("expires_at".to_owned(), json!(end(span)))));
    let answer = client.change(&Method::POST, PATH, None, Some(&document.into()))?;
    if form == Form::Json {
        return output::json(&answer.body);
    }
    let Some(secret) = answer.body["secret"].as_str() else { bail!("the answer holds no secret") };
    let written = output::secret(secret);
    output::note(table(std::slice::from_ref(&answer.body["admin_token"])).trim_end());
    written?;
    output::note("\nThe token is shown this once; only its hash is kept.");
    Ok(())
}

fn list(client: &Client, form: Form) -> anyhow::Result<()> {
    let items = client.get_all(PATH, &Vec::new())?;
    if form == Form::Json {
        let total = items.len();
        return output::json(
            &json!({"items": items, "next_cursor": null, "prev_cursor": null, "total": total}),
        );
    }
    output::write(&table(&items))
}

fn table(tokens: &[Value]) -> String {
    let row = |token: &Value| COLUMNS.iter().map(|column| cell(&token[*column])).collect();
    output::table(&COLUMNS, tokens.iter().map(row), &["id"])
}
