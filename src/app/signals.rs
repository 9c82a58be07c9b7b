//! Signals: TERM and INT stop gracefully, a second one at once; HUP reloads the configuration.

use std::path::Path;

use anyhow::Context;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::App;
use crate::config::file;

/// Blocks until a signal says to stop.
pub(super) fn wait(app: &App, config_path: Option<&Path>) -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).context("signals cannot be heard")?;
    for signal in signals.forever() {
        match signal {
            SIGHUP => reload(app, config_path),
            _ => break,
        }
    }
    tracing::info!("stopping: running requests are finished, no new ones are taken");
    // From here on a second signal ends the process at once, as a shell's user expects.
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register_conditional_default(signal, std::sync::Arc::new(true.into()))
            .context("signals cannot be heard")?;
    }
    Ok(())
}

fn reload(app: &App, config_path: Option<&Path>) {
    let Some(path) = config_path else { return };
    let reloaded = file::load(path).map_err(anyhow::Error::from).and_then(|config| app.reload(&config));
    match reloaded {
        Ok(()) => tracing::info!(path = %path.display(), "configuration reloaded"),
        Err(error) => {
            tracing::error!(path = %path.display(), "configuration not reloaded, the old one stays: {error:#}");
        }
    }
}
