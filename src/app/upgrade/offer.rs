//! The running process: hands over to a new one that asks for it, and goes on as if nothing had been where that fails.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use signal_hook::iterator::Handle;
use tokio::sync::watch;

use super::protocol::{Kind, Line, Other, VERSION, unexpected};
use super::sockets::{Sockets, encode};
use super::{Followers, Started, WHY_NOT_INIT, is_init};
use crate::app::notify::{Notify, State as Told};
use crate::key::KeyId;
use crate::manage::Manage;
use crate::store::{StoreError, relay};
use crate::usage::predecessor;

/// How long the new process has to bind and to load what needs no store.
const PREPARATION: Duration = Duration::from_secs(15);
/// How long it has from the store's handing over until it serves: loading a million keys takes a slow machine a while.
const START: Duration = Duration::from_mins(1);
/// How long whoever reads the store is waited for.
const STORE_PATIENCE: Duration = Duration::from_millis(500);
/// How long a new process that failed has to end by itself.
const ENDING: Duration = Duration::from_secs(5);
/// How often is looked whether this process is to end meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long is rested after a failure, such as too many open files, rather than spin.
const REST: Duration = Duration::from_millis(50);

/// What of this process can be handed over.
pub(crate) struct Offer {
    /// The control socket.
    pub(crate) at: PathBuf,
    /// The usage file.
    pub(crate) usage: PathBuf,
    pub(crate) manage: Arc<Manage>,
    pub(crate) sockets: Mutex<Sockets>,
    pub(crate) followers: Arc<Followers>,
    /// Ends what accepts.
    pub(crate) drain: watch::Sender<bool>,
    /// Ends what waits.
    pub(crate) stop: watch::Sender<bool>,
    /// Ends the admin API.
    pub(crate) admin: watch::Sender<bool>,
    /// How it stands; held while a new process is talked to.
    pub(crate) state: Mutex<State>,
    /// Set where this process is to end: no new process is waited for.
    pub(crate) ends: AtomicBool,
    /// How this process was started, where it can be again.
    pub(crate) started: Mutex<Option<Started>>,
}

/// Why counters in memory cannot be handed over.
const WHY_NOT_COUNTED: &str = "counts are in memory alone, since the usage file could not grow; restart instead, or try \
                               again some hours after there is room for it";

/// Why no other process takes over any more.
const WHY_ENDING: &str = "it is stopping";

/// How it stands with handing over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// This process serves.
    Serves,
    /// Another one does.
    HandedOver,
    /// This process ends, and nobody takes over.
    Stops,
}

/// What a process follows another by.
struct Following<'a> {
    line: Line,
    cuts: mpsc::Sender<KeyId>,
    _over: Over<'a>,
}

/// When this goes, nobody tells of changes any more: no request may begin, even where the thread that heard of them
/// broke off.
struct Over<'a> {
    offer: &'a Offer,
    serving: &'a Handle,
}

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.serving.close();
        self.offer.stop.send_replace(true);
    }
}

impl Offer {
    /// Listens for a new process from here on, in a thread of its own. `serving` is closed when one has taken over.
    ///
    /// # Errors
    /// Nobody can reach this process for an upgrade.
    pub(crate) fn listen(self: &Arc<Self>, serving: Handle) -> io::Result<()> {
        // Beside its name and moved there: whoever asks finds the old socket or the new one, and never none.
        let young = self.at.with_extension("new");
        match fs::remove_file(&young) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&young)?;
        fs::set_permissions(&young, fs::Permissions::from_mode(0o600))?;
        fs::rename(&young, &self.at)?;
        let offer = Arc::clone(self);
        thread::Builder::new().name("upgrade".into()).spawn(move || offer.run(listener, &serving))?;
        Ok(())
    }

    /// Nobody is to ask any more, and nobody to wait where nobody accepts.
    fn withdraw(&self) {
        self.sockets.lock().close();
        // What cannot be removed is replaced at the next start.
        let _ = fs::remove_file(&self.at);
    }

    /// Runs `run` if this process serves. In the middle of handing over it does, and that is not waited for.
    pub(crate) fn while_serving(&self, run: impl FnOnce()) {
        let state = self.state.try_lock();
        if state.as_deref().is_none_or(|state| *state == State::Serves) {
            run();
        }
    }

    /// Ends handing over, where that is not done, and every attempt from here on. Whether this process still serves:
    /// then it ends without a successor.
    pub(crate) fn end(&self) -> bool {
        self.ends.store(true, Ordering::Release);
        let mut state = self.state.lock();
        let serves = *state == State::Serves;
        if serves {
            *state = State::Stops;
            self.withdraw();
        }
        serves
    }

    fn run(&self, listener: UnixListener, serving: &Handle) {
        loop {
            let came = listener.accept().and_then(|(socket, _)| Line::new(socket));
            match came.and_then(|line| self.hand_over(line, serving)) {
                Ok(following) => {
                    // Whoever asks from here on is not left waiting.
                    drop(listener);
                    return self.follow(following);
                }
                Err(error) => {
                    tracing::error!(%error, "the upgrade failed; this process goes on");
                    thread::sleep(REST);
                }
            }
        }
    }

    /// Hands over to the process at the other end.
    fn hand_over<'a>(&'a self, mut line: Line, serving: &'a Handle) -> io::Result<Following<'a>> {
        let mut state = self.state.lock();
        self.greet(&mut line, *state)?;
        let (process, cuts) = (line.other()?, self.manage.cutter()?);
        let pid = line.other_pid()?;
        tracing::info!(pid, "a new process takes over");
        for offered in self.sockets.lock().offered() {
            let body = encode(&offered.place, offered.owner);
            line.send_with(Kind::Socket, &body, &[offered.fd.as_fd()])?;
        }
        self.followers.hand_on(&mut line)?;
        line.send(Kind::AllSockets, &[])?;
        self.hear(&mut line, Kind::Give, PREPARATION)
            .map_err(|error| self.refuse_if_ending(&mut line, error))?;
        let aside = match self.close_store() {
            Ok(aside) => aside,
            Err(error) => return Err(refuse(&mut line, &error.to_string())),
        };
        match self.wait_until_ready(&mut line) {
            Ok(()) => {
                let over = Over { offer: self, serving };
                *state = State::HandedOver;
                self.leave(pid);
                serving.close();
                Ok(Following { line, cuts, _over: over })
            }
            Err(error) => {
                self.take_back(line, &process, &aside);
                Err(error)
            }
        }
    }

    /// Hears who asks, and refuses whoever cannot take over.
    fn greet(&self, line: &mut Line, state: State) -> io::Result<()> {
        line.patience(Some(PREPARATION))?;
        let version =
            self.hear(line, Kind::Hello, PREPARATION).map_err(|error| self.refuse_if_ending(line, error))?;
        if version != [VERSION] {
            return Err(refuse(line, "it speaks another version of the protocol; restart instead"));
        }
        if state != State::Serves {
            return Err(refuse(line, WHY_ENDING));
        }
        if is_init() {
            return Err(refuse(line, WHY_NOT_INIT));
        }
        if self.manage.ledger().in_memory_alone() > 0 {
            return Err(refuse(line, WHY_NOT_COUNTED));
        }
        Ok(())
    }

    /// Waits for what the new process says, unless this one is to end.
    fn hear(&self, line: &mut Line, kind: Kind, patience: Duration) -> io::Result<Vec<u8>> {
        // Counted in looks: a process that stood still refuses nobody who had no chance to speak.
        for _ in 0..looks(patience) {
            if self.is_to_end() {
                return Err(io::Error::other(WHY_ENDING));
            }
            if line.speaks_within(LOOK_EVERY) {
                return line.expect(kind);
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    fn is_to_end(&self) -> bool {
        self.ends.load(Ordering::Acquire)
    }

    fn refuse_if_ending(&self, line: &mut Line, error: io::Error) -> io::Error {
        if self.is_to_end() { refuse(line, WHY_ENDING) } else { error }
    }

    /// Says that the store is closed, waits until the new process is ready, and has it serve. It waits with its first
    /// request until it has heard that, so one that cannot be told does not serve.
    fn wait_until_ready(&self, line: &mut Line) -> io::Result<()> {
        line.send(Kind::Given, &[])?;
        let ready = self.hear(line, Kind::Ready, START).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => io::Error::other("the new process ended before it served"),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                io::Error::other("the new process did not serve in time")
            }
            _ => error,
        });
        ready.and_then(|_| line.send(Kind::Going, &[]))
    }

    /// From here on what runs is finished, and nothing more is taken.
    fn leave(&self, successor: i32) {
        // The manager hears it from this process too, which may have ended before the new one says it.
        Notify::new().tell(Told::Succeeded(successor));
        self.sockets.lock().left();
        self.followers.leave();
        self.drain.send_replace(true);
        self.manage.succeed();
        self.admin.send_replace(true);
        tracing::info!("a new process serves: what runs here is finished");
    }

    /// Where the usage file is, once the store is closed.
    fn close_store(&self) -> Result<PathBuf, StoreError> {
        let mut aside = PathBuf::new();
        self.manage.hand_over(STORE_PATIENCE, || {
            let moved = predecessor::step_aside(&self.usage);
            aside = moved
                .map_err(|error| StoreError::Io { path: self.usage.clone(), cause: error.to_string() })?;
            Ok(())
        })?;
        Ok(aside)
    }

    /// The new process failed: nobody may have the store when it is opened here again.
    fn take_back(&self, line: Line, process: &Other, aside: &Path) {
        // One that is ready and hears nothing would kill this process, which has requests to finish.
        if self.is_to_end() {
            process.kill();
        }
        drop(line);
        let mut looks = 0..looks(ENDING);
        let waited = looks.any(|_| self.is_to_end() || process.ends_within(LOOK_EVERY));
        if !waited || self.is_to_end() {
            process.kill();
        }
        match predecessor::step_back(&self.usage, aside) {
            Ok(()) => self.manage.ledger().find_predecessors(self.manage.now()),
            // Not looked for: this process's own file is among them now.
            Err(error) => {
                tracing::error!(%error, "the usage file keeps another name; the next start finds it");
            }
        }
        if let Err(error) = self.manage.take_back() {
            tracing::error!(%error, "the store does not open again; this process goes on without it");
        }
    }

    /// Takes over the changes that the new process tells of, until this process ends. Without one that tells of them
    /// no request may begin any more.
    fn follow(&self, following: Following<'_>) {
        let Following { mut line, cuts, _over } = following;
        let told = line.patience(None).and_then(|()| {
            loop {
                let message = line.receive()?;
                if message.kind != Kind::Change {
                    return Err::<(), _>(unexpected(&message));
                }
                let writes = relay::decode(&message.body).map_err(io::Error::other)?;
                self.manage.follow(writes, &cuts);
                line.send(Kind::Heard, &[])?;
            }
        });
        let error = told.err().map(|error| error.to_string());
        tracing::warn!(error, "nobody tells of changes any more: no further request is taken");
    }
}

/// How many looks that is.
const fn looks(patience: Duration) -> u128 {
    patience.as_millis() / LOOK_EVERY.as_millis()
}

/// Tells the new process why it has to do without.
fn refuse(line: &mut Line, why: &str) -> io::Error {
    // Whoever left does not need to know.
    let _ = line.send(Kind::Refused, why.as_bytes());
    io::Error::other(format!("refused: {why}"))
}
