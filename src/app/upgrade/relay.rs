//! Processes that handed over to this one and have not ended: each hears of every change before its caller has the
//! answer. One that does not answer in time is killed: what it counted is in its usage file.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
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

    /// Tells all of them what was committed, and returns when it holds in each.
    pub(crate) fn tell(&self, writes: &[Write]) {
        let mut all = self.0.lock();
        if all.is_empty() {
            return;
        }
        let messages = relay::encode(writes);
        all.retain_mut(|follower| match follower.tell(&messages) {
            Ok(()) => true,
            Err(error) => {
                // One that only closed its line may still answer; one that has ended is as dead as it was.
                if error.kind() != io::ErrorKind::UnexpectedEof {
                    tracing::warn!(%error, "a process that ends does not take over a change, and is killed");
                }
                follower.process.kill();
                false
            }
        });
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

impl Follower {
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
