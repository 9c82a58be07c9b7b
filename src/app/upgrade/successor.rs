//! A new process of the same program with the same arguments, for whoever can only signal the running one: it stays in
//! the service manager's unit.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use crate::app::{App, activation};

/// What it is told to be.
const FLAG: &str = "--upgrade";

/// How this process was started.
#[derive(Debug)]
pub struct Started {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Started {
    /// As this process was. To be called early: by the time that it is needed, the program's file may be another.
    ///
    /// # Errors
    /// The system's.
    pub fn now() -> io::Result<Self> {
        Ok(Self { program: std::env::current_exe()?, arguments: std::env::args_os().skip(1).collect() })
    }

    fn again(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null());
        if self.arguments.iter().all(|argument| argument != FLAG) {
            command.arg(FLAG);
        }
        // These are of the process that they name.
        for variable in activation::VARIABLES.into_iter().chain(["WATCHDOG_PID"]) {
            command.env_remove(variable);
        }
        command
    }
}

impl App {
    /// Says how this process was started, so that a signal can start it again.
    pub fn started_as(&self, started: Started) {
        *self.offer.started.lock() = Some(started);
    }

    /// Starts a process that takes over; what comes of it is in the log.
    pub(in crate::app) fn start_successor(&self) {
        let started = self.offer.started.lock();
        let Some(started) = &*started else {
            tracing::warn!("this process cannot be upgraded by a signal; restart it instead");
            return;
        };
        let program = started.program.display();
        match started.again().spawn() {
            Ok(mut child) => {
                tracing::info!(pid = child.id(), %program, "a new process was started to take over");
                // Waited for, so that one that fails is no zombie. One that succeeds outlives this process.
                thread::spawn(move || match child.wait() {
                    Ok(status) if status.success() => {}
                    Ok(status) => {
                        tracing::error!(%status, "the new process failed; why is in what it wrote");
                    }
                    Err(error) => tracing::error!(%error, "the new process cannot be waited for"),
                });
            }
            Err(error) => tracing::error!(%program, %error, "the new process cannot be started"),
        }
    }
}
