//! `portcullis store`: checks, backups and their restoring, and another master key.

mod backup;
mod check;
mod reseal;
mod restore;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use super::client::Connection;
use super::output::Form;

/// Check, back up and restore the store
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  portcullis store backup --out keys-$(date +%F).backup\n  \
                        portcullis store check --config portcullis.toml\n  \
                        portcullis store restore --config portcullis.toml keys-2026-11-21.backup")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(CheckArgs),
    Backup(BackupArgs),
    Restore(RestoreArgs),
    Reseal(reseal::Args),
}

/// Say whether a store is whole, what in it is damaged, and what can be saved
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Say whether a store is whole, what in it is damaged, and what can be saved. No gateway may have it \
                  open. Every page and every record is read, the digests of secrets, the sums of the ledger, the chain \
                  of the audit log and the head of the usage file among them; the store is not changed, however \
                  damaged it is.\n\n\
                  Exit status 1 if anything is wrong. --salvage then writes what is whole as a backup, which `store \
                  restore` makes a store of.",
    after_help = "Examples:\n  portcullis store check --config portcullis.toml\n  \
                  portcullis store check --config portcullis.toml --salvage saved.backup"
)]
struct CheckArgs {
    /// The configuration of the store
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Write all that is whole to this file, as a backup
    #[arg(long, value_name = "OUT")]
    salvage: Option<PathBuf>,
}

/// Back up the store: keys, roles, owners, tokens, usage and the audit log
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Back up the store: keys, roles, owners, admin tokens, usage and the audit log, all of one moment, in \
                  one file of mode 0600. It holds hashes of secrets, and no secret; recoverable ones only sealed.\n\n\
                  Without --config the gateway that runs makes it, without a pause (its admin API, the permission \
                  api.admin); with --config it is made from the store of a gateway that does not run. The file \
                  appears under its name once it is whole and was read back; an existing one is not overwritten.",
    after_help = "Examples:\n  portcullis store backup --out today.backup\n  \
                  portcullis store backup --out today.backup --config portcullis.toml"
)]
struct BackupArgs {
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The configuration of a store that no gateway has open
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

/// Make a store of a backup, for a gateway that does not run
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Make a store of a backup, for a gateway that does not run. The backup is read whole first; one that \
                  was cut short or changed by one bit is refused, and nothing happens.\n\n\
                  Where a store is already, it stays and nothing is restored, unless --force is given: then it and its \
                  usage file get other names, which are printed. Usage that was counted after the backup was made is \
                  in those, and not in the restored store.",
    after_help = "Example:\n  portcullis store restore --config portcullis.toml today.backup --force"
)]
struct RestoreArgs {
    /// The backup
    backup: PathBuf,
    /// The configuration that says where the store belongs
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Set aside a store that is there already
    #[arg(long)]
    force: bool,
}

/// Does what was asked for.
///
/// # Errors
/// What cannot be read, written, reached or trusted.
pub(super) fn run(args: &Args, form: Form) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Check(args) => check::run(args, form),
        Command::Backup(args) => backup::run(args, form),
        Command::Restore(args) => restore::run(args, form),
        Command::Reseal(args) => reseal::run(args, form),
    }
}
