//! The new process: where its sockets and its store come from.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};

use super::protocol::{Kind, Line, Other, VERSION, unexpected};
use super::sockets::{Given, Sockets, decode};
use super::{Followers, control_socket};
use crate::app::activation;
use crate::app::signals::Early;
use crate::config::{Config, Store as StoreConfig};

/// How long the running process has for each answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long it has to say that it accepts no more.
const GOING: Duration = Duration::from_secs(5);

/// What a process starts from: nothing, sockets of the service manager, or another process.
#[derive(Debug, Default)]
pub struct Origin {
    pub(crate) sockets: Sockets,
    running: Option<Running>,
    early: Option<Early>,
}

/// The process that hands over.
#[derive(Debug)]
struct Running {
    line: Line,
    process: Other,
    followers: Arc<Followers>,
}

impl Origin {
    /// Sockets that the service manager passed, if it did.
    ///
    /// # Errors
    /// What it passed is no listening socket.
    pub fn activated() -> anyhow::Result<Self> {
        let given = activation::passed().context("the sockets of LISTEN_FDS cannot be used")?;
        Ok(Self { sockets: Sockets::given(given), ..Self::default() })
    }

    /// The sockets of the process that runs with this configuration's store.
    ///
    /// # Errors
    /// There is none, or it does not hand over.
    pub fn running(config: &Config) -> anyhow::Result<Self> {
        let StoreConfig::Redb { path } = &config.store;
        let at = control_socket(path);
        match sockets_of(&at) {
            Ok((given, running)) => {
                Ok(Self { sockets: Sockets::given(given), running: Some(running), early: None })
            }
            Err(error) if is_nobody(&error) => bail!(
                "no gateway runs that could hand over (nobody listens on {}); start without --upgrade",
                at.display()
            ),
            Err(error) => Err(error)
                .with_context(|| format!("the running gateway did not hand over ({})", at.display())),
        }
    }

    /// From the moment at which the process serves, its signals are kept there.
    #[must_use]
    pub fn heard_by(self, early: &Early) -> Self {
        Self { early: Some(early.clone()), ..self }
    }

    /// Has signals kept from here on.
    pub(crate) fn hear_signals(&self) -> anyhow::Result<()> {
        self.early.as_ref().map_or(Ok(()), Early::hear)
    }

    /// Whether there is a process that hands over.
    pub(crate) fn is_upgrade(&self) -> bool {
        self.running.is_some()
    }

    /// Makes sure that every socket of the service manager's is one that the configuration names.
    pub(crate) fn check_unused(&self) -> anyhow::Result<()> {
        match self.sockets.unused().first() {
            Some(place) if !self.is_upgrade() => bail!(
                "the service manager passed a socket that listens on {place}, which no entry of the configuration \
                 names; change the one or the other"
            ),
            Some(_) | None => Ok(()),
        }
    }

    /// Waits until the store is closed there, and may be opened here.
    pub(crate) fn take_store(&mut self) -> anyhow::Result<()> {
        let Some(Running { line, .. }) = &mut self.running else { return Ok(()) };
        line.send(Kind::Give, &[])
            .and_then(|()| line.expect(Kind::Given).map(drop))
            .context("the running gateway did not hand over its store and goes on")
    }

    /// Says that this process serves from now on, and hears that the other takes nothing more; those that follow it.
    /// What may fail is to be done before, and whatever changes the store after.
    ///
    /// # Errors
    /// The running process did not hear it, and goes on.
    pub(crate) fn ready(&mut self) -> anyhow::Result<Arc<Followers>> {
        let Some(Running { mut line, process, followers }) = self.running.take() else {
            return Ok(Arc::default());
        };
        line.patience(Some(GOING))
            .and_then(|()| line.send(Kind::Ready, &[]))
            .context("the running gateway goes on, for it ended the hand-over")?;
        match line.expect(Kind::Going) {
            Ok(_) => followers.add(line, process),
            // This process serves, and no other may that does not hear of changes.
            Err(error) => {
                tracing::warn!(%error, "the old process does not end as it should, and is killed");
                process.kill();
            }
        }
        self.sockets.taken_over();
        Ok(followers)
    }
}

fn sockets_of(at: &Path) -> io::Result<(Vec<Given>, Running)> {
    let mut line = Line::new(UnixStream::connect(at)?)?;
    line.patience(Some(PATIENCE))?;
    line.send(Kind::Hello, &[VERSION])?;
    let followers = Followers::default();
    let mut given = Vec::new();
    loop {
        let message = line.receive()?;
        match message.kind {
            Kind::Socket => {
                let (place, owner) = decode(&message.body)?;
                given.push(Given { place, owner, fd: line.descriptor()? });
            }
            Kind::Follower => followers.adopt(line.descriptor()?, line.descriptor()?)?,
            Kind::AllSockets => break,
            _ => return Err(unexpected(&message)),
        }
    }
    let process = line.other()?;
    Ok((given, Running { line, process, followers: Arc::new(followers) }))
}

/// Whether nobody listens there.
fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}
