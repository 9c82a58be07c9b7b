//! Tells the service manager how it goes (sd_notify): datagrams to the socket that `NOTIFY_SOCKET` names. Without that
//! variable there is nobody to tell, and nothing happens.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::clock;

/// Whom to tell.
#[derive(Debug)]
pub(super) struct Notify {
    socket: Option<(UnixDatagram, SocketAddr)>,
}

/// What there is to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It serves.
    Ready,
    /// It serves again after a reload.
    Reloaded,
    /// It serves as before: the configuration file was refused.
    Refused,
    /// It is the process of this number that serves.
    Succeeded(i32),
    /// A reload begins.
    Reloading,
    /// It ends.
    Stopping,
    /// It lives.
    Alive,
}

impl Notify {
    /// From the environment.
    pub(super) fn new() -> Self {
        let named = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        let open = |name: std::ffi::OsString| {
            let address = address(name.as_bytes())?;
            let socket = UnixDatagram::unbound()?;
            // A manager that does not read must not stop us.
            socket.set_nonblocking(true)?;
            std::io::Result::Ok((socket, address))
        };
        let socket = named.and_then(|name| {
            open(name).map_err(|error| tracing::warn!(%error, "the service manager cannot be told")).ok()
        });
        Self { socket }
    }

    /// Tells it.
    pub(super) fn tell(&self, state: State) {
        let Some((socket, address)) = &self.socket else { return };
        let message = match state {
            // After an upgrade it is another process that serves.
            State::Ready => format!("MAINPID={}\nREADY=1\nSTATUS=serving", std::process::id()),
            // Not which process: by the time that it arrives that may be another.
            State::Reloaded => "READY=1\nSTATUS=serving".to_owned(),
            State::Refused => {
                "READY=1\nSTATUS=serving as before: the configuration file was refused, its faults are in the log"
                    .to_owned()
            }
            State::Succeeded(by) => format!("MAINPID={by}"),
            State::Reloading => format!("RELOADING=1\nMONOTONIC_USEC={}", clock::machine_micros()),
            State::Stopping => "STOPPING=1\nSTATUS=finishing what runs".to_owned(),
            State::Alive => "WATCHDOG=1".to_owned(),
        };
        if let Err(error) = socket.send_to_addr(message.as_bytes(), address) {
            tracing::debug!(%error, "the service manager was not told");
        }
    }

    /// Where the manager watches: says twice in each of its intervals that it lives, from the very threads that serve
    /// requests, so that it is silent where those hang. Ends when another process takes over.
    pub(super) fn keep_alive(runtime: &Handle, mut drain: watch::Receiver<bool>) {
        let Some(every) = watchdog(|name| std::env::var(name).ok(), std::process::id()) else { return };
        runtime.spawn(async move {
            let notify = Self::new();
            let mut every = interval(every / 2);
            every.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = drain.wait_for(|end| *end) => return,
                    _ = every.tick() => {}
                }
                notify.tell(State::Alive);
            }
        });
    }
}

/// A path, or a name of its own kind after `@`.
fn address(name: &[u8]) -> std::io::Result<SocketAddr> {
    match name.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name)),
    }
}

/// The manager's interval, where it is this process that it watches.
fn watchdog(env: impl Fn(&str) -> Option<String>, own: u32) -> Option<Duration> {
    let micros: u64 = env("WATCHDOG_USEC")?.parse().ok().filter(|micros| *micros > 0)?;
    let watched = env("WATCHDOG_PID").is_none_or(|pid| pid.parse() == Ok(own));
    watched.then_some(Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_for_the_process_that_it_names() {
        let env = |micros: &'static str, pid: Option<&'static str>| {
            move |name: &str| match name {
                "WATCHDOG_USEC" => Some(micros.to_owned()),
                _ => pid.map(str::to_owned),
            }
        };
        assert_eq!(watchdog(env("2000000", Some("7")), 7), Some(Duration::from_secs(2)));
        assert_eq!(watchdog(env("2000000", None), 7), Some(Duration::from_secs(2)));
        assert_eq!(watchdog(env("2000000", Some("8")), 7), None);
        assert_eq!(watchdog(env("0", None), 7), None);
        assert_eq!(watchdog(env("soon", None), 7), None);
        assert_eq!(watchdog(|_| None, 7), None);
    }
}
