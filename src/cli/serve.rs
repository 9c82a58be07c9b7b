//! `portcullis serve` and `portcullis check`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use serde_json::json;

use super::output::{self, Form};
use super::{ConfigFile, admin_token};
use crate::app::{self, App};
use crate::config::CoreDumps;
use crate::config::file::{self, ConfigError, ConfigFault};
use crate::manage::tokens::FirstToken;
use crate::telemetry;

/// Run the gateway
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Run the gateway: the proxy on [gateway].listen and the admin API on [admin].listen, until TERM or \
                  INT. HUP reloads routes, upstreams and certificates; a bad file is refused and the old one stays in force.\n\n\
                  At the first start of a new store the first admin token is taken from PORTCULLIS_ADMIN_TOKEN; \
                  without it one is made and printed once to standard error.\n\n\
                  The admin API is described at /api/v1/openapi.json, and answers to localhost, its own address and \
                  the names in [admin].hosts.",
    after_help = "Example:\n  PORTCULLIS_ADMIN_TOKEN=$(cat token) portcullis serve --config /etc/portcullis.toml\n\n\
                  Environment:\n  PORTCULLIS_ADMIN_TOKEN  an admin token that may do everything\n  RUST_LOG                \
                  replaces log.level, such as portcullis=debug"
)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    config: ConfigFile,
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
    let path = args.config.path.as_path();
    let config = file::load(path)?;
    let _log = telemetry::init(&config.log);
    if config.gateway.core_dumps == CoreDumps::Off {
        keep_memory_private()?;
    }
    let app = app::build(&config, admin_token().as_deref())?;
    if let FirstToken::Made(token) = &app.first_token {
        output::note(format!("first admin token (shown once): {}", token.expose()));
    }
    announce(&app, path);
    app.run_until_signal(Some(path))?;
    app.stop()?;
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
