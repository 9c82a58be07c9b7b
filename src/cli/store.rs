//! `portcullis store`: work on the store of a gateway that does not run.

mod reseal;

use std::process::ExitCode;

use clap::Subcommand;

use super::output::Form;

/// Work on the store of a gateway that does not run
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Reseal(reseal::Args),
}

/// Does what was asked for.
///
/// # Errors
/// What failed; the store is as it was.
pub(super) fn run(args: &Args, form: Form) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Reseal(args) => reseal::run(args, form),
    }
}
