//! Signals: TERM, INT and QUIT stop gracefully, a second one at once; HUP reloads the configuration. The service manager
//! is told of each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use super::App;
use super::notify::{Notify, State};
use super::reload::Unwritten;
use crate::manage::Actor;

/// The actor of a reload that a signal asked for, in the audit log.
const BY_SIGNAL: &str = "signal";

/// Hang-ups that came before anybody heard them: they end the process no more.
#[derive(Debug)]
pub struct HangUps(Arc<AtomicBool>);

impl HangUps {
    /// From here on a hang-up is kept until it is heard.
    ///
    /// # Errors
    /// The signal cannot be heard.
    pub fn keep() -> anyhow::Result<Self> {
        let came = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(SIGHUP, Arc::clone(&came)).context("signals cannot be heard")?;
        Ok(Self(came))
    }
}

/// Blocks until a signal says to stop.
pub(super) fn wait(app: &App, early: Option<&HangUps>) -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGQUIT, SIGHUP]).context("signals cannot be heard")?;
    if early.is_some_and(|early| early.0.swap(false, Ordering::AcqRel)) {
        reload(app);
    }
    let manager = Notify::new();
    manager.tell(State::Ready);
    Notify::keep_alive(app.proxies.handle());
    for signal in signals.forever() {
        match signal {
            SIGHUP => {
                manager.tell(State::Reloading);
                reload(app);
                manager.tell(State::Ready);
            }
            _ => break,
        }
    }
    manager.tell(State::Stopping);
    tracing::info!("stopping: running requests are finished, no new ones are taken");
    // From here on a second signal ends the process at once, as a shell's user expects.
    for signal in [SIGTERM, SIGINT, SIGQUIT] {
        signal_hook::flag::register_conditional_default(signal, Arc::new(true.into()))
            .context("signals cannot be heard")?;
    }
    Ok(())
}

fn reload(app: &App) {
    // What is wrong was said in the log, and `/readyz` says it.
    let _ = app.reloader.run(&Actor::local(BY_SIGNAL), Unwritten::Allow);
}
