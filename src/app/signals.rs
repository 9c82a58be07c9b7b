//! Signals: TERM, INT and QUIT stop gracefully, a second one at once; HUP reloads the configuration; USR2 starts a new
//! process that takes over. The service manager is told of each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::Context;
use parking_lot::Mutex;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR2};
use signal_hook::iterator::Signals;
use tokio::sync::watch;

use super::App;
use super::notify::{Notify, State};
use super::reload::Unwritten;
use crate::manage::Actor;

/// The actor of a reload that a signal asked for, in the audit log.
const BY_SIGNAL: &str = "signal";

/// Signals that came before anybody heard them: hang-ups from the first moment, and the others from the moment at which
/// the process is about to serve. They end the process no more.
#[derive(Clone)]
pub struct Early {
    hung_up: Arc<AtomicBool>,
    signals: Arc<Mutex<Option<Signals>>>,
}

impl std::fmt::Debug for Early {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Early({:?})", self.hung_up)
    }
}

/// What the process hears of signals.
pub struct Hearing {
    signals: Signals,
    /// A hang-up came before.
    hung_up: bool,
}

impl Early {
    /// From here on a hang-up is kept until it is heard.
    ///
    /// # Errors
    /// The signal cannot be heard.
    pub fn keep() -> anyhow::Result<Self> {
        let came = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(SIGHUP, Arc::clone(&came)).context("signals cannot be heard")?;
        Ok(Self { hung_up: came, signals: Arc::default() })
    }

    /// From here on each signal is kept until it is heard.
    pub(super) fn hear(&self) -> anyhow::Result<()> {
        *self.signals.lock() = Some(listen()?);
        Ok(())
    }
}

fn listen() -> anyhow::Result<Signals> {
    Signals::new([SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR2]).context("signals cannot be heard")
}

/// Why it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// A signal said so.
    BySignal,
    /// A new process serves.
    ByUpgrade,
}

/// Hears signals, those too that came early, and whoever asks to take over.
pub(super) fn hear(app: &App, early: Option<&Early>) -> anyhow::Result<Hearing> {
    let kept = early.and_then(|early| early.signals.lock().take());
    let signals = kept.map_or_else(listen, Ok)?;
    let hung_up = early.is_some_and(|early| early.hung_up.swap(false, Ordering::AcqRel));
    if let Err(error) = app.offer.listen(signals.handle()) {
        let socket = app.offer.at.display();
        tracing::warn!(%socket, %error, "no new process can take over from this one; restart it instead");
    }
    Ok(Hearing { signals, hung_up })
}

/// Blocks until a signal says to stop, or a new process has taken over.
pub(super) fn wait(app: &App, hearing: Hearing) -> anyhow::Result<Ended> {
    let Hearing { mut signals, hung_up } = hearing;
    let reloaded = hung_up.then(|| reload(app));
    let manager = Notify::new();
    manager.tell(State::Ready);
    if let Some(told) = reloaded {
        manager.tell(told);
    }
    Notify::keep_alive(app.proxies.handle(), app.offer.drain.subscribe());
    for signal in signals.forever() {
        match signal {
            SIGHUP => {
                manager.tell(State::Reloading);
                let told = reload(app);
                app.offer.while_serving(|| manager.tell(told));
            }
            SIGUSR2 => app.start_successor(),
            _ => {
                tracing::info!("stopping: running requests are finished, no new ones are taken");
                second_one_ends()?;
                return Ok(Ended::BySignal);
            }
        }
    }
    Ok(Ended::ByUpgrade)
}

/// From here on a second signal ends the process at once, as a shell's user expects.
fn second_one_ends() -> anyhow::Result<()> {
    for signal in [SIGTERM, SIGINT, SIGQUIT] {
        signal_hook::flag::register_conditional_default(signal, Arc::new(true.into()))
            .context("signals cannot be heard")?;
    }
    Ok(())
}

/// While what runs is finished after an upgrade, a signal has connections closed that only wait.
pub(super) fn stop_while_ending(stop: &watch::Sender<bool>) -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGQUIT]).context("signals cannot be heard")?;
    let stop = stop.clone();
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            stop.send_replace(true);
            // Without it, the next one is heard by nobody, which is no worse.
            let _ = second_one_ends();
        }
    });
    Ok(())
}

/// What there is to tell of a reload. What was wrong was said in the log, and `/readyz` says it.
fn reload(app: &App) -> State {
    match app.reloader.run(&Actor::local(BY_SIGNAL), Unwritten::Allow) {
        Ok(_) => State::Reloaded,
        Err(_) => State::Refused,
    }
}
