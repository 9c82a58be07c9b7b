//! `portcullis store reseal`: another master key for recoverable secrets, or none.

use std::process::ExitCode;

use serde_json::json;

use crate::app::reseal::SealedStore;
use crate::cli::output::{self, Form, Unit};
use crate::cli::{ConfigFile, WrongUsage};
use crate::config::{Config, MasterKey, file};
use crate::manage::recover::MasterKeyChange;

/// Seal recoverable secrets with another master key, or erase them
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Seal recoverable secrets with another master key, or erase them. The gateway must not run. The new \
                  master key is the one that keys.master_key_env of the configuration names, the old one is in the \
                  variable that --old-master-key-env names. It is one transaction: a run that broke off changed \
                  nothing, and one that is repeated says that it is done.\n\n\
                  With --erase every sealed secret is forgotten, and the master key with them; the keys themselves go \
                  on working. No master key is needed for that: set keys.recoverable = false where it is lost, or to \
                  have no secret that can be read again.",
    after_help = "Examples, where the configuration names PORTCULLIS_MASTER_KEY:\n  \
                  (umask 077; openssl rand -base64 32 > new.key)      keep it: without it no secret is shown again\n  \
                  OLD=$(cat old.key) PORTCULLIS_MASTER_KEY=$(cat new.key) \\\n    \
                  portcullis store reseal --config portcullis.toml --old-master-key-env OLD\n  \
                  portcullis store reseal --config portcullis.toml --erase"
)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// The environment variable that holds the master key until now
    #[arg(long, value_name = "NAME", required_unless_present = "erase")]
    old_master_key_env: Option<String>,
    /// Forget every sealed secret instead
    #[arg(long, conflicts_with = "old_master_key_env")]
    erase: bool,
}

/// Seals anew, or erases.
///
/// # Errors
/// Nothing was changed.
pub(super) fn run(args: &Args, form: Form) -> anyhow::Result<ExitCode> {
    let config = file::load(&args.config.path)?;
    match &args.old_master_key_env {
        Some(variable) => reseal(&config, variable, form)?,
        None => erase(&config, form)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn reseal(config: &Config, variable: &str, form: Form) -> anyhow::Result<()> {
    let old = MasterKey::read(variable, &|name| std::env::var(name).ok())
        .map_err(|detail| WrongUsage::error(format!("--old-master-key-env: {detail}")))?;
    let Some(new) = &config.keys.master_key else {
        let detail = "keys.recoverable is false in this configuration; set it, and keys.master_key_env to the \
                      variable of the new master key, or give --erase";
        return Err(WrongUsage::error(detail));
    };
    let store = SealedStore::open(config)?;
    let bar = output::progress(Some(store.count()?), Unit::Keys);
    let changed = store.reseal(&old, new, &|| bar.inc(1));
    bar.finish_and_clear();
    let (count, said) = match changed? {
        MasterKeyChange::Done(count) => {
            (count, format!("{count} sealed with the master key of `{}`", new.variable()))
        }
        MasterKeyChange::Already => {
            (0, format!("the secrets are sealed with the master key of `{}` already", new.variable()))
        }
        MasterKeyChange::Unused => (0, "the store has no sealed secrets and no master key yet".into()),
    };
    report(form, "resealed", count, &said)
}

fn erase(config: &Config, form: Form) -> anyhow::Result<()> {
    let store = SealedStore::open(config)?;
    let bar = output::progress(Some(store.count()?), Unit::Keys);
    let erased = store.erase(&|| bar.inc(1));
    bar.finish_and_clear();
    let count = erased?;
    report(form, "erased", count, &format!("{count} sealed secrets erased; the keys go on working"))
}

fn report(form: Form, done: &str, count: u64, said: &str) -> anyhow::Result<()> {
    match form {
        Form::Json => output::json(&json!({ done: count })),
        Form::Table | Form::Csv => output::line(said),
    }
}
