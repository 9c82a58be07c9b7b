//! A new process of the same program with the same arguments, for whoever can only signal the running one: it stays in
//! the service manager's unit.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use super::{WHY_NOT_INIT, is_init};
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
        let running = std::env::current_exe()?;
        let mut arguments = std::env::args_os();
        let named = arguments.next().and_then(|name| found(&name, std::env::var_os("PATH")?.as_os_str()));
        // A link that names another program by then is what is to be started, and not what it named at first.
        let is_it = |named: &PathBuf| named.canonicalize().is_ok_and(|file| file == running);
        Ok(Self { program: named.filter(is_it).unwrap_or(running), arguments: arguments.collect() })
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

/// Where a program of this name is, as a shell finds it; `None` for a relative path, which may mean another by now.
fn found(name: &OsStr, path: &OsStr) -> Option<PathBuf> {
    let name = Path::new(name);
    if name.is_absolute() {
        return Some(name.to_owned());
    }
    let is_bare = name.components().count() == 1 && !name.as_os_str().is_empty();
    let mut folders = std::env::split_paths(path).filter(|folder| is_bare && folder.is_absolute());
    folders.find_map(|folder| Some(folder.join(name)).filter(|file| file.is_file()))
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
        if is_init() {
            tracing::warn!("this process does not start another: {WHY_NOT_INIT}");
            return;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_as_a_shell_finds_it() {
        let folder = tempfile::tempdir().unwrap();
        let (file, missing) = (folder.path().join("gate"), folder.path().join("missing"));
        std::fs::write(&file, "").unwrap();
        let path = std::env::join_paths([missing.as_path(), folder.path()]).unwrap();
        let find = |name: &str| found(OsStr::new(name), &path);
        assert_eq!(find("gate"), Some(file.clone()));
        assert_eq!(find(file.to_str().unwrap()), Some(file));
        assert_eq!((find("other"), find("./gate"), find("x/gate"), find("")), (None, None, None, None));
    }
}
