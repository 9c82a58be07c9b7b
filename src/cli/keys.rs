//! `portcullis keys`: the life of keys, over the admin API.

mod check;
mod convert;
mod export;
mod flags;
mod import;
mod lines;
mod list;
mod pages;
mod rotation;
mod show;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Subcommand;
use http::Method;
use serde_json::{Map, Value, json};

use super::WrongUsage;
use super::client::{Answer, Client, Conditions, Connection};
use super::output::{self, Form};
use crate::clock::{Clock, SystemClock};
use crate::key::KeyId;
use crate::manage::replay::{IdempotencyKey, MAX_KEY_CHARS};
use crate::quantity;
use flags::{Cleared, Profile};
pub(super) use flags::{limit, time};

/// Create, list, change, rotate, revoke, import and export keys
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A secret goes to standard output alone, everything said about it to standard error:\n  \
                        SECRET=$(portcullis keys create --name ci)"
)]
pub(super) struct Args {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Create(CreateArgs),
    List(list::Args),
    /// Show one key, with its secrets' fingerprints and its usage
    Show(Target),
    /// Print a key's secret again, where keys.recoverable keeps it
    #[command(
        after_help = "The secret goes to standard output alone. It needs the permission api.key.reveal, and every call \
                      is in the audit log.\n\nExample:\n  SECRET=$(portcullis keys reveal key_01…)"
    )]
    Reveal(Target),
    Update(UpdateArgs),
    /// Let a disabled key through again
    Enable(Changed),
    /// Refuse a key until it is enabled again; nothing is lost
    Disable(Changed),
    Rotate(RotateArgs),
    Rotation(rotation::Args),
    Revoke(RevokeArgs),
    Delete(DeleteArgs),
    Check(check::Args),
    Import(import::Args),
    Export(export::Args),
}

/// Make a key and print its secret
#[derive(Debug, clap::Args)]
#[command(
    mut_arg("name", |arg| arg.required(true)),
    after_help = "The secret is shown this once, and goes to standard output alone.\n\nExamples:\n  \
                  portcullis keys create --name ci --owner acme --limit minute=600/1m --quota monthly=1000000/month\n  \
                  SECRET=$(portcullis keys create --name nightly --scope models:read --expires-in 90d)\n  \
                  portcullis keys create --name ci --idempotency-key $ONCE    with ONCE=$(uuidgen): safe to run again"
)]
struct CreateArgs {
    #[command(flatten)]
    profile: Profile,
    /// The environment, a part of the secret that never changes [default: live]
    #[arg(long, value_name = "WORD")]
    environment: Option<String>,
    #[command(flatten)]
    once: Once,
}

/// Change a key; takes effect on its next request
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Change a key; takes effect on its next request. What is not named stays as it is. A list (--tag, \
                  --scope, --ip-allow, --limit, --quota) replaces the one that was there; --metadata adds to what was \
                  there, and `--clear metadata.KEY` takes one away. The environment is a part of the secret and \
                  cannot be changed.",
    after_help = "Examples:\n  portcullis keys update key_01… --limit minute=1200/1m --description 'twice as much'\n  \
                  portcullis keys update key_01… --clear expires_at --if-match r7"
)]
struct UpdateArgs {
    #[command(flatten)]
    changed: Changed,
    #[command(flatten)]
    profile: Profile,
    /// Take a field away, such as owner, expires_at, limits or metadata.KEY (may be repeated)
    #[arg(long, value_name = "FIELD")]
    clear: Vec<Cleared>,
}

/// Give a key a new secret and print it
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The new secret is shown this once, and goes to standard output alone.\n\nExamples:\n  \
                        portcullis keys rotate key_01… --grace 24h     the old secret works one day longer\n  \
                        portcullis keys rotate key_01… --grace 1h --watch\n                                                 … and who still uses it\n  \
                        portcullis keys rotate key_01…                 it leaked: the old one is dead at once"
)]
struct RotateArgs {
    #[command(flatten)]
    changed: Changed,
    /// How long the old secret goes on working
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    grace: String,
    /// Then say on standard error how the old secret's traffic fades, until its grace has ended or Ctrl-C
    #[arg(long)]
    watch: bool,
    /// How often --watch looks, 100ms to 1h
    #[arg(long, value_name = "DURATION", default_value = "5s", requires = "watch", value_parser = rotation::interval)]
    every: Duration,
    #[command(flatten)]
    once: Once,
}

/// How a call is repeated safely
#[derive(Debug, clap::Args)]
struct Once {
    /// Repeating the command with the same text within 24 hours prints the same secret and makes nothing new; use a
    /// random one, such as from uuidgen
    #[arg(long = "idempotency-key", value_name = "TEXT", value_parser = idempotency_key)]
    key: Option<String>,
}

/// What the admin API takes. The error does not repeat it.
fn idempotency_key(text: &str) -> Result<String, String> {
    let good = IdempotencyKey::new(text).is_some();
    if good {
        Ok(text.to_owned())
    } else {
        Err(format!("must be 1 to {MAX_KEY_CHARS} visible ASCII characters"))
    }
}

/// Refuse a key for good, and cut what it has running
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Streams and WebSockets that the key has open are cut before this returns, and it says how many. \
                        Clients see a connection that closes in the middle.\n\nFor a while only: `portcullis keys disable`.\n\nExample:\n  \
                        portcullis keys revoke key_01… --reason 'found in a public repository'"
)]
struct RevokeArgs {
    #[command(flatten)]
    changed: Changed,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Remove a key; its usage is kept
#[derive(Debug, clap::Args)]
#[command(after_help = "Asks first on a terminal.\n\nExample:\n  portcullis keys delete key_01… --yes")]
struct DeleteArgs {
    #[command(flatten)]
    changed: Changed,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// Which key
#[derive(Debug, clap::Args)]
struct Target {
    /// The key's ID: `key_` and 26 characters
    id: String,
}

impl Target {
    /// The ID, if it can be one. What is none is not repeated: it may be a secret that was pasted here.
    fn id(&self) -> anyhow::Result<KeyId> {
        let none = "what was given is no key ID, which is `key_` and 26 characters; `portcullis keys list --q NAME` \
                    finds a key by its name";
        self.id.parse().map_err(|_| WrongUsage::error(none))
    }

    fn path(&self, call: &str) -> anyhow::Result<String> {
        Ok(format!("/keys/{}{call}", self.id()?))
    }
}

/// Which key, as it was when somebody looked
#[derive(Debug, clap::Args)]
struct Changed {
    #[command(flatten)]
    target: Target,
    /// Only if the key is still the one that `keys show` showed with this etag, such as r7
    #[arg(long, value_name = "ETAG", value_parser = etag)]
    if_match: Option<String>,
}

/// An entity tag with or without its quotes, which no shell likes.
fn etag(text: &str) -> Result<String, String> {
    let bare = text.trim_matches('"');
    let good = !bare.is_empty() && bare.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
    if good { Ok(format!("\"{bare}\"")) } else { Err("must be an etag, such as r7".into()) }
}

/// Does what was asked for.
///
/// # Errors
/// What the admin API refused, or why it was not reached.
pub(super) fn run(args: &Args, form: Form) -> anyhow::Result<ExitCode> {
    if let Command::Import(import) = &args.command {
        return import::run(import, &args.connection, form);
    }
    let client = Client::new(&args.connection)?;
    match &args.command {
        Command::Create(args) => create(&client, args, form),
        Command::List(args) => list::run(&client, args, form),
        Command::Show(target) => show::key(&client.get(&target.path("")?, &Vec::new())?, form),
        Command::Reveal(target) => reveal(&client, target, form),
        Command::Update(args) => update(&client, args, form),
        Command::Enable(changed) => post(&client, changed, "/enable", None, form),
        Command::Disable(changed) => post(&client, changed, "/disable", None, form),
        Command::Rotate(args) => rotate(&client, args, form),
        Command::Rotation(args) => rotation::run(&client, args, form),
        Command::Revoke(args) => revoke(&client, args, form),
        Command::Delete(args) => delete(&client, args, form),
        Command::Check(args) => check::run(&client, args, form),
        Command::Import(_) => Ok(()),
        Command::Export(args) => export::run(&client, args),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn create(client: &Client, args: &CreateArgs, form: Form) -> anyhow::Result<()> {
    if args.once.key.is_some() && args.profile.hangs_on_the_time() {
        return Err(WrongUsage::error(
            "--expires-in is another time whenever the command is run again; give --expires-at with --idempotency-key",
        ));
    }
    let mut document = args.profile.document(SystemClock::new().now());
    document.extend(args.environment.iter().map(|name| ("environment".to_owned(), json!(name))));
    let conditions = Conditions { if_match: None, once: args.once.key.as_deref() };
    let answer = client.change_once(&Method::POST, "/keys", &conditions, Some(&document.into()))?;
    issued(&answer, form)
}

fn reveal(client: &Client, target: &Target, form: Form) -> anyhow::Result<()> {
    let answer = client.get(&target.path("/secret")?, &Vec::new())?;
    if form == Form::Json {
        return output::json(&answer.body);
    }
    let Some(secret) = answer.body["secret"].as_str() else { bail!("the answer holds no secret") };
    output::line(secret)
}

fn update(client: &Client, args: &UpdateArgs, form: Form) -> anyhow::Result<()> {
    let mut patch = args.profile.document(SystemClock::new().now());
    for cleared in &args.clear {
        cleared.put(&mut patch).map_err(WrongUsage::error)?;
    }
    if patch.is_empty() {
        return Err(WrongUsage::error(
            "nothing to change: name a field, such as --description, or --clear FIELD",
        ));
    }
    let path = args.changed.target.path("")?;
    let etag = args.changed.if_match.as_deref();
    show::key(&client.change(&Method::PATCH, &path, etag, Some(&patch.into()))?, form)
}

fn rotate(client: &Client, args: &RotateArgs, form: Form) -> anyhow::Result<()> {
    if args.watch && quantity::parse_duration(&args.grace).is_ok_and(|grace| grace.is_zero()) {
        return Err(WrongUsage::error("without a grace there is nothing to watch: add, for one, --grace 1h"));
    }
    let path = args.changed.target.path("/rotate")?;
    let body = json!({"grace": args.grace});
    let conditions =
        Conditions { if_match: args.changed.if_match.as_deref(), once: args.once.key.as_deref() };
    let answer = client.change_once(&Method::POST, &path, &conditions, Some(&body))?;
    issued(&answer, form)?;
    if args.watch { rotation::watch(client, &args.changed.target, args.every) } else { Ok(()) }
}

fn revoke(client: &Client, args: &RevokeArgs, form: Form) -> anyhow::Result<()> {
    let mut body = Map::new();
    body.extend(args.reason.iter().map(|reason| ("reason".to_owned(), json!(reason))));
    post(client, &args.changed, "/revoke", Some(&body.into()), form)
}

fn post(
    client: &Client,
    changed: &Changed,
    call: &str,
    body: Option<&Value>,
    form: Form,
) -> anyhow::Result<()> {
    let path = changed.target.path(call)?;
    show::key(&client.change(&Method::POST, &path, changed.if_match.as_deref(), body)?, form)
}

fn delete(client: &Client, args: &DeleteArgs, form: Form) -> anyhow::Result<()> {
    let path = args.changed.target.path("")?;
    if !args.yes && output::is_interactive() {
        let key = client.get(&path, &Vec::new())?.body;
        let (name, id) = (output::tame(key["name"].as_str().unwrap_or("")), &args.changed.target.id);
        let question =
            format!("Delete {name:?} ({id})? Its clients are refused at once, and it does not come back.");
        if output::confirm(&question)? == output::Answer::No {
            bail!("nothing was deleted");
        }
    }
    client.change(&Method::DELETE, &path, args.changed.if_match.as_deref(), None)?;
    output::gone(&args.changed.target.id, "deleted; its usage is kept", form)
}

/// A new secret alone on standard output, and the key it belongs to on standard error.
fn issued(answer: &Answer, form: Form) -> anyhow::Result<()> {
    if form == Form::Json {
        return output::json(&answer.body);
    }
    let Some(secret) = answer.body["secret"].as_str() else { bail!("the answer holds no secret") };
    let written = output::secret(secret);
    // Also where the secret is lost: whoever rotates needs the ID.
    output::note(show::text(&answer.body["key"], answer.etag.as_deref()).trim_end());
    written?;
    output::note("\nThe secret is shown this once; unless keys.recoverable is set, only its hash is kept.");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_needs_no_quotes() {
        assert_eq!(etag("r7").as_deref(), Ok("\"r7\""));
        assert_eq!(etag("\"r7\"").as_deref(), Ok("\"r7\""));
        assert!(etag("").is_err() && etag("a b").is_err());
    }

    #[test]
    fn a_secret_in_the_place_of_an_id_is_not_repeated() {
        let target = Target { id: "pc_live_0123456789abcdefghijklmnopqrstuv012345".into() };
        let error = target.id().unwrap_err();
        assert!(!error.to_string().contains("pc_live"), "{error}");
        assert_eq!(crate::cli::exit_status(&error), 2);
    }
}
