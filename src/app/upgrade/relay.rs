//! Processes that handed over to this one and have not ended: each hears of every change before its caller has the
//! answer. One that does not answer in time is killed: what it counted is in its usage file.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use super::protocol::{Kind, Line, Other};
use crate::store::{Write, relay};

/// How long one has to take over a change.
const PATIENCE: Duration = Duration::from_secs(1);

/// One of them.
#[derive(Debug)]
struct Follower {
    line: Line,
    process: Other,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Followers(Mutex<Vec<Follower>>);

impl Followers {
    /// Another one.
    pub(super) fn add(&self, line: Line, process: Other) {
        match line.patience(Some(PATIENCE)) {
            Ok(()) => self.0.lock().push(Follower { line, process }),
            // Nobody may serve who does not hear of changes.
            Err(error) => {
                tracing::warn!(%error, "a process that ends cannot be told of changes, and is killed");
                process.kill();
            }
        }
    }

    /// One that another process followed before.
    pub(super) fn adopt(&self, line: OwnedFd, process: OwnedFd) -> io::Result<()> {
        let line = Line::new(UnixStream::from(line))?;
        line.patience(Some(PATIENCE))?;
        self.0.lock().push(Follower { line, process: Other(process) });
        Ok(())
    }

    /// Tells all of them at once what was committed, and returns when it holds in each.
    pub(crate) fn tell(&self, writes: &[Write]) {
        let mut all = self.0.lock();
        if all.is_empty() {
            return;
        }
        let messages = relay::encode(writes);
        let others = all.len() - 1;
        let (waiting, following) = (Mutex::new(std::mem::take(&mut *all)), Mutex::new(Vec::new()));
        let tell = || {
            while let Some(follower) = next(&waiting) {
                let told = follower.told(&messages);
                following.lock().extend(told);
            }
        };
        thread::scope(|scope| {
            for _ in 0..others {
                // Without room for another thread, those that there are tell more of them.
                let _ = thread::Builder::new().name("tell".into()).spawn_scoped(scope, tell);
            }
            tell();
        });
        *all = following.into_inner();
    }

    /// Hands them on to the process at the end of `line`.
    pub(super) fn hand_on(&self, line: &mut Line) -> io::Result<()> {
        let all = self.0.lock();
        all.iter().try_for_each(|one| {
            line.send_with(Kind::Follower, &[], &[one.line.as_fd(), one.process.0.as_fd()])
        })
    }

    /// They follow another process.
    pub(super) fn leave(&self) {
        self.0.lock().clear();
    }
}

fn next(waiting: &Mutex<Vec<Follower>>) -> Option<Follower> {
    waiting.lock().pop()
}

impl Follower {
    /// Itself, once it has taken over all of it; one that does not is killed.
    fn told(mut self, messages: &[Vec<u8>]) -> Option<Self> {
        let Err(error) = self.tell(messages) else { return Some(self) };
        // One that only closed its line may still answer; one that has ended is as dead as it was.
        if error.kind() != io::ErrorKind::UnexpectedEof {
            tracing::warn!(%error, "a process that ends does not take over a change, and is killed");
        }
        self.process.kill();
        None
    }

    fn tell(&mut self, messages: &[Vec<u8>]) -> io::Result<()> {
        for message in messages {
            let told = self.line.send(Kind::Change, message);
            told.and_then(|()| self.line.expect(Kind::Heard)).map_err(|error| match error.kind() {
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                    io::ErrorKind::UnexpectedEof.into()
                }
                _ => error,
            })?;
        }
        Ok(())
    }
}
