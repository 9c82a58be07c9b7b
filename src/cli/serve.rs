//! `portcullis serve` and `portcullis check`.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use serde_json::json;

use super::output::{self, Form};
use super::{ConfigFile, admin_token};
use crate::app::signals::Early;
use crate::app::upgrade::{Origin, Started};
use crate::app::{self, App};
use crate::clock::SystemClock;
use crate::config::CoreDumps;
use crate::config::file::{self, ConfigError, ConfigFault};
use crate::manage::tokens::FirstToken;
use crate::telemetry;

/// Run the gateway
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Run the gateway: the proxy on [gateway].listen and the admin API on [admin].listen, until TERM or \
                  INT. HUP, as POST /api/v1/reload, reloads routes, upstreams, limits, certificates, trusted \
                  proxies and the log's level; a bad file is refused and the old one stays in force.\n\n\
                  With --upgrade it takes over from the gateway that runs: listening sockets, store and usage, with \
                  no request lost. The old one finishes what it has, within its [gateway].shutdown_grace, and ends. \
                  If the new one cannot start, the old one goes on. USR2 has a running gateway start its own program \
                  again with --upgrade.\n\n\
                  At the first start of a new store the first admin token is taken from PORTCULLIS_ADMIN_TOKEN; \
                  without it one is made and printed once to standard error.\n\n\
                  The admin API is described at /api/v1/openapi.json, and answers to localhost, its own address and \
                  the names in [admin].hosts.",
    after_help = "Example:\n  PORTCULLIS_ADMIN_TOKEN=$(cat token) portcullis serve --config /etc/portcullis.toml\n  \
                  portcullis serve --config /etc/portcullis.toml --upgrade\n\n\
                  Environment:\n  PORTCULLIS_ADMIN_TOKEN  an admin token that may do everything\n  RUST_LOG                \
                  replaces log.level, such as portcullis=debug"
)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// Take over from the gateway that runs with this configuration's store, without losing a request
    #[arg(long)]
    upgrade: bool,
}

/// Say whether a configuration file is right, and if not, what is wrong on which line
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Each fault is a line of standard error: FILE:LINE: path: what is wrong. Nothing is opened or bound.\n\n\
                  Examples:\n  portcullis check --config portcullis.toml\n  portcullis check --config portcullis.toml \
                  --output json | jq .faults"
)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    config: ConfigFile,
}

/// Runs the gateway until a signal.
///
/// # Errors
/// It cannot start, or its last counts could not be kept.
pub(super) fn serve(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    // First of all: a hang-up in the middle of the start must not end it.
    let early = Early::keep()?;
    let started = Started::now().context("the program's own file cannot be found")?;
    let activated = if args.upgrade { None } else { Some(Origin::activated()?) };
    let path = args.config.path.as_path();
    let config = file::load(path)?;
    let mut log = telemetry::init(&config.log);
    if config.gateway.core_dumps == CoreDumps::Off {
        keep_memory_private()?;
    }
    let origin = match activated {
        Some(activated) => activated,
        None => Origin::running(&config)?,
    };
    let origin = origin.heard_by(&early);
    let app = app::build_from(&config, admin_token().as_deref(), Arc::new(SystemClock::new()), origin)?;
    app.started_as(started);
    if let FirstToken::Made(token) = &app.first_token {
        output::note(format!("first admin token (shown once): {}", token.expose()));
    }
    app.configured_by(path, log.control());
    let hearing = app.hear(Some(&early))?;
    announce(&app, path);
    let ended = app.run_until_signal(hearing)?;
    app.end(ended)?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// No core dumps, and no debuggers (`PR_SET_DUMPABLE`): what is in memory stays there.
fn keep_memory_private() -> anyhow::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context("core dumps cannot be switched off")
}

fn announce(app: &App, path: &Path) {
    for address in &app.gateway_addresses {
        tracing::info!(%address, "the gateway listens");
    }
    for path in &app.gateway_sockets {
        tracing::info!(address = format!("unix:{}", path.display()), "the gateway listens");
    }
    for address in &app.tls_addresses {
        tracing::info!(%address, "the gateway listens for TLS");
    }
    tracing::info!(address = %app.admin_address, "the admin API listens");
    tracing::info!(config = %path.display(), version = env!("CARGO_PKG_VERSION"), "ready");
}

/// Validates a file.
///
/// # Errors
/// It cannot be read. Faults in it are no error of this command but its result.
pub(super) fn check(args: &CheckArgs, form: Form) -> anyhow::Result<ExitCode> {
    let path = args.config.path.as_path();
    let name = path.display().to_string();
    match file::load(path) {
        Ok(config) => {
            let (routes, upstreams) = (config.routes.len(), config.upstreams.len());
            match form {
                Form::Json => output::json(
                    &json!({"file": name, "ok": true, "routes": routes, "upstreams": upstreams, "faults": []}),
                )?,
                Form::Table | Form::Csv => output::line(&format!(
                    "{name}: ok ({}, {})",
                    counted(routes, "route"),
                    counted(upstreams, "upstream")
                ))?,
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(ConfigError::Invalid { faults, path }) if form == Form::Json => {
            let fault = |one: &ConfigFault| json!({"line": one.line, "path": one.path, "detail": one.detail});
            let faults: Vec<_> = faults.iter().map(fault).collect();
            output::json(&json!({"file": path.display().to_string(), "ok": false, "faults": faults}))?;
            Ok(ExitCode::FAILURE)
        }
        // As a compiler writes them, for editors that jump to a line.
        Err(error @ ConfigError::Invalid { .. }) => {
            output::note(error);
            Ok(ExitCode::FAILURE)
        }
        Err(error) => Err(error.into()),
    }
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
