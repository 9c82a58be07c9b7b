//! Socket activation (sd_listen_fds): listening sockets that the service manager bound and passes from descriptor 3 on.
//!
//! They are recognised by where they listen, whatever they are called. The variables are of this process alone
//! (`LISTEN_PID`), and whoever is started from here does not get them.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{SocketType, sockopt};

use super::upgrade::{Given, Owner};
use crate::config::listen::Place;

/// The variables that say what was passed.
pub(super) const VARIABLES: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];
/// The first descriptor that is passed.
const FIRST: RawFd = 3;
/// The most that are taken.
const MOST: usize = 256;

/// The sockets that were passed to this process. To be called once, before anything else opens a file.
pub(super) fn passed() -> io::Result<Vec<Given>> {
    let count = count(|name| std::env::var(name).ok(), std::process::id());
    (FIRST..).take(count).map(|number| given(take(number)?)).collect()
}

/// How many were passed to the process of this number.
fn count(env: impl Fn(&str) -> Option<String>, own: u32) -> usize {
    let is_ours = env("LISTEN_PID").is_some_and(|pid| pid.parse() == Ok(own));
    let count = env("LISTEN_FDS").filter(|_| is_ours).and_then(|count| count.parse().ok());
    count.unwrap_or(0).min(MOST)
}

#[expect(unsafe_code, reason = "a number from the environment becomes a descriptor here, once")]
fn take(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the service manager passes these descriptors to this process for it to own (sd_listen_fds(3)), and this
    // runs once, before anything else was opened, so nothing else in the process owns them. One that is not open makes
    // the next call fail, which is the end of the process.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    fcntl_setfd(&fd, FdFlags::CLOEXEC)?;
    Ok(fd)
}

fn given(fd: OwnedFd) -> io::Result<Given> {
    if sockopt::socket_type(&fd)? != SocketType::STREAM || !sockopt::socket_acceptconn(&fd)? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "one is no listening stream socket"));
    }
    let place = place_of(&fd)?;
    Ok(Given { place, owner: Owner::Manager, fd })
}

/// Where it listens.
fn place_of(fd: &impl AsFd) -> io::Result<Place> {
    let same = fd.as_fd().try_clone_to_owned()?;
    let address: Result<SocketAddr, _> = TcpListener::from(same.try_clone()?).local_addr();
    if let Ok(address) = address {
        return Ok(Place::Tcp(address));
    }
    let address = UnixListener::from(same).local_addr()?;
    let path = address.as_pathname().map(ToOwned::to_owned);
    path.map(Place::Unix).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, "one listens on a Unix socket without a path")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_for_the_process_that_the_variable_names() {
        let env = |pid: &'static str, fds: &'static str| {
            move |name: &str| Some(if name == "LISTEN_PID" { pid } else { fds }.to_owned())
        };
        assert_eq!(count(env("7", "2"), 7), 2);
        assert_eq!(count(env("8", "2"), 7), 0);
        assert_eq!(count(env("7", "x"), 7), 0);
        assert_eq!(count(env("7", "999999"), 7), MOST);
        assert_eq!(count(|_| None, 7), 0);
    }

    #[test]
    fn a_socket_is_known_by_where_it_listens() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sock");
        let (tcp, unix) = (TcpListener::bind("127.0.0.1:0").unwrap(), UnixListener::bind(&path).unwrap());
        let at = tcp.local_addr().unwrap();
        assert_eq!(given(tcp.into()).unwrap().place, Place::Tcp(at));
        assert_eq!(given(unix.into()).unwrap().place, Place::Unix(path));
        let connected = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(given(connected.into()).is_err());
    }
}
