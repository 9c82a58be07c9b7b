//! The command line: what can be asked for. Each group of commands has a file of its own, which does it.
//!
//! Commands that need a running gateway talk to its admin API and know nothing of the store; only `serve`,
//! `quickstart` and what is given --config open one. Results go to standard output, everything said about them to standard
//! error, so that a result can be piped.

mod audit;
mod client;
mod groups;
mod keys;
mod output;
mod quickstart;
mod serve;
mod store;
mod tokens;
mod usage;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use output::{Closed, Form};

/// The variable that holds the admin token, for the gateway and for its clients.
const ADMIN_TOKEN_VARIABLE: &str = "PORTCULLIS_ADMIN_TOKEN";

const TOUR: &str = "\
A tour:
  portcullis quickstart                     try it: a gateway, a demo API, a key
  portcullis check --config FILE            is the configuration right?
  portcullis serve --config FILE            run the gateway
  portcullis keys create --name ci          make a key, print its secret
  portcullis usage --group-by key           who used what
  portcullis store backup --out FILE        keep a copy of all of it

Exit status: 0 done, 1 failed, 2 wrong usage.";

/// An API-key gateway: lets a request through to your API only with a valid key
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, after_help = TOUR, max_term_width = 110)]
pub struct Cli {
    /// How results are written: table, json (what the API answers), or csv (usage alone)
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t = Form::Table,
        value_name = "FORM",
        hide_possible_values = true,
        display_order = 900
    )]
    output: Form,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Quickstart(quickstart::Args),
    Serve(serve::ServeArgs),
    Check(serve::CheckArgs),
    Keys(keys::Args),
    #[command(about = "Manage roles: scopes and limits that many keys share")]
    Roles(groups::Args),
    #[command(about = "Manage owners: caps and limits for all of an owner's keys")]
    Owners(groups::Args),
    AdminTokens(tokens::Args),
    Usage(usage::Args),
    Audit(audit::Args),
    Store(store::Args),
}

/// The command cannot be what was meant: exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct WrongUsage(String);

impl WrongUsage {
    fn error(detail: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(Self(detail.into()))
    }
}

/// Reads the command line. Ends the process where it is wrong, or asks for help.
pub fn parse() -> Cli {
    let cli = Cli::parse();
    if cli.output == Form::Csv && !matches!(cli.command, Command::Usage(_)) {
        let detail = "`--output csv` is for `portcullis usage`; choose table or json";
        Cli::command().error(ErrorKind::ArgumentConflict, detail).exit();
    }
    cli
}

/// Does what was asked for.
///
/// # Errors
/// What to say on standard error; [`exit_status`] has the status to end with.
pub fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    match &cli.command {
        Command::Quickstart(args) => quickstart::run(args, cli.output),
        Command::Serve(args) => serve::serve(args),
        Command::Check(args) => serve::check(args, cli.output),
        Command::Keys(args) => keys::run(args, cli.output),
        Command::Roles(args) => groups::run(groups::Kind::Role, args, cli.output),
        Command::Owners(args) => groups::run(groups::Kind::Owner, args, cli.output),
        Command::AdminTokens(args) => tokens::run(args, cli.output),
        Command::Usage(args) => usage::run(args, cli.output),
        Command::Audit(args) => audit::run(args, cli.output),
        Command::Store(args) => store::run(args, cli.output),
    }
}

/// The status to end with after an error: 0 where only the reader of standard output left (`| head`), 2 for wrong
/// usage, 1 for everything else.
pub fn exit_status(error: &anyhow::Error) -> u8 {
    match (error.downcast_ref::<Closed>(), error.downcast_ref::<WrongUsage>()) {
        (Some(Closed), _) => 0,
        (None, Some(_)) => 2,
        (None, None) => 1,
    }
}

/// The configuration's file.
#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// The configuration file
    #[arg(long = "config", value_name = "FILE")]
    path: PathBuf,
}

/// Reads a small text file, whole.
///
/// # Errors
/// It cannot be read, has over `most` bytes, or is not UTF-8. What it holds is not repeated.
fn read_bounded(path: &Path, most: u64) -> anyhow::Result<String> {
    let named = || format!("{}: cannot be read", path.display());
    let mut text = String::new();
    let file = std::fs::File::open(path).with_context(named)?;
    file.take(most + 1).read_to_string(&mut text).with_context(named)?;
    if text.len() as u64 > most {
        anyhow::bail!("{}: has over {most} bytes", path.display());
    }
    Ok(text)
}

/// The admin token of the environment; a variable that is set to nothing is not set.
fn admin_token() -> Option<String> {
    std::env::var(ADMIN_TOKEN_VARIABLE).ok().filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_form_may_be_chosen_anywhere() {
        for words in [
            ["portcullis", "--output", "json", "keys", "list"],
            ["portcullis", "keys", "--output", "json", "list"],
            ["portcullis", "keys", "list", "--output", "json"],
        ] {
            assert_eq!(Cli::try_parse_from(words).unwrap().output, Form::Json);
        }
    }

    #[test]
    fn a_token_is_never_an_argument() {
        let words = ["portcullis", "keys", "list", "--admin-token", "pca_admin_x"];
        assert!(Cli::try_parse_from(words).is_err());
    }
}
