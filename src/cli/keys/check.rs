//! `portcullis keys check`: would this request pass, and which rule says no?

use serde_json::{Map, Value, json};

use super::Target;
use crate::cli::client::Client;
use crate::cli::output::{self, Form, cell};

/// Would a request pass with this key?
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Runs the gateway's own rules and charges nothing. Exit status 1 if the request would be \
                        refused.\n\nExample:\n  portcullis keys check key_01… --path /v1/models --address 203.0.113.7"
)]
pub(super) struct Args {
    #[command(flatten)]
    target: Target,
    /// The request's path
    #[arg(long, value_name = "PATH")]
    path: String,
    /// The request's method
    #[arg(long, value_name = "METHOD", default_value = "GET")]
    method: String,
    /// The request's host
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// The client's address [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
}

/// Asks, and shows every rule.
///
/// # Errors
/// The request would be refused, or could not be judged.
pub(super) fn run(client: &Client, args: &Args, form: Form) -> anyhow::Result<()> {
    let mut asked = Map::new();
    asked.insert("method".into(), json!(args.method));
    asked.insert("path".into(), json!(args.path));
    asked.extend(args.host.iter().map(|host| ("host".to_owned(), json!(host))));
    asked.extend(args.address.iter().map(|address| ("address".to_owned(), json!(address))));
    let path = args.target.path("/check")?;
    let body = client.change(&http::Method::POST, &path, None, Some(&asked.into()))?.body;
    match form {
        Form::Json => output::json(&body)?,
        Form::Table | Form::Csv => output::write(&table(&body))?,
    }
    match body["code"].as_str() {
        None => Ok(()),
        Some(code) => anyhow::bail!("the request would be refused: {code}"),
    }
}

fn table(body: &Value) -> String {
    let row = |step: &Value| {
        let says = if step["passed"] == json!(true) { "yes" } else { "no" };
        vec![cell(&step["rule"]), says.to_owned(), cell(&step["detail"])]
    };
    let steps = body["steps"].as_array().map_or(&[][..], Vec::as_slice);
    output::table(&["rule", "passes", "why not"], steps.iter().map(row), &["why not"])
}
