//! The listening sockets of a process: those that it was given, those that it bound, and those that it can give.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::net::{self, AddressFamily, SocketFlags, SocketType};

use crate::config::listen::Place;
use crate::proxy::socket::{Leave, Listener, SocketFile};

/// How many clients may connect before they are accepted: as many as the system lets wait (`net.core.somaxconn`), up to
/// this. Who finds the queue full tries again a second later.
const BACKLOG: i32 = 4096;

/// Whose the file of a Unix socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// It goes with the last process.
    Ours,
    /// It is the service manager's.
    Manager,
}

/// A socket that this process was given.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) place: Place,
    pub(crate) owner: Owner,
    pub(crate) fd: OwnedFd,
}

/// A socket that this process can give.
#[derive(Debug)]
pub(super) struct Offered {
    pub(super) place: Place,
    pub(super) owner: Owner,
    pub(super) fd: OwnedFd,
    pub(super) file: Option<Leave>,
}

/// A Unix socket that another process has given, and may go on with.
#[derive(Debug)]
struct Adopted {
    path: PathBuf,
    mode: u32,
    file: Leave,
}

/// The sockets of one process.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    given: Vec<Given>,
    adopted: Vec<Adopted>,
    offered: Vec<Offered>,
}

impl Sockets {
    /// With these at hand.
    pub(crate) fn given(given: Vec<Given>) -> Self {
        Self { given, ..Self::default() }
    }

    /// The TCP socket of this address: a given one, or one that is bound now. Not blocking.
    pub(crate) fn tcp(&mut self, address: SocketAddr) -> io::Result<TcpListener> {
        let place = Place::Tcp(address);
        let listener = match self.take(&place) {
            Some(given) => TcpListener::from(given.fd),
            None => listen(address)?,
        };
        listener.set_nonblocking(true)?;
        let fd = listener.as_fd().try_clone_to_owned()?;
        self.offered.push(Offered { place, owner: Owner::Ours, fd, file: None });
        Ok(listener)
    }

    /// The Unix socket of this path. To be called within a runtime.
    pub(crate) fn unix(&mut self, path: &Path, mode: u32) -> io::Result<Listener> {
        let place = Place::Unix(path.to_owned());
        let (listener, owner) = match self.take(&place) {
            Some(given) => {
                let file = SocketFile::of(path)?;
                // It stays where it is if this process fails.
                file.leave().it();
                if given.owner == Owner::Ours {
                    self.adopted.push(Adopted { path: path.to_owned(), mode, file: file.leave() });
                }
                (Listener::adopt_unix(UnixListener::from(given.fd), file)?, given.owner)
            }
            None => (Listener::bind_unix(path, mode)?, Owner::Ours),
        };
        let fd = listener.as_fd().try_clone_to_owned()?;
        let file = if let Listener::Unix(_, file) = &listener { Some(file.leave()) } else { None };
        self.offered.push(Offered { place, owner, fd, file });
        Ok(listener)
    }

    /// The places of the sockets that were given and are not used.
    pub(crate) fn unused(&self) -> Vec<Place> {
        self.given.iter().map(|given| given.place.clone()).collect()
    }

    /// The process that gave them takes nothing more: they are this one's, as its configuration says.
    pub(super) fn taken_over(&mut self) {
        self.close_unused();
        for Adopted { path, mode, file } in self.adopted.drain(..) {
            file.take_over();
            if let Err(error) = fs::set_permissions(&path, fs::Permissions::from_mode(mode)) {
                tracing::warn!(path = %path.display(), %error, "a socket keeps its permissions");
            }
        }
    }

    /// Closes those: they are no longer in the configuration.
    fn close_unused(&mut self) {
        for given in self.given.drain(..) {
            tracing::info!(address = %given.place, "no longer listened on");
            if let (Place::Unix(path), Owner::Ours) = (&given.place, given.owner) {
                // What cannot be removed is replaced when somebody listens there again.
                let _ = fs::remove_file(path);
            }
        }
    }

    pub(super) fn offered(&self) -> &[Offered] {
        &self.offered
    }

    /// They are another process's from now on.
    pub(super) fn left(&mut self) {
        for offered in self.offered.drain(..) {
            if let Some(file) = offered.file {
                file.it();
            }
        }
    }

    /// Closes what is kept for another process: where nobody accepts, nobody is to wait.
    pub(crate) fn close(&mut self) {
        self.offered.clear();
    }

    fn take(&mut self, place: &Place) -> Option<Given> {
        let at = self.given.iter().position(|given| given.place == *place)?;
        Some(self.given.remove(at))
    }
}

/// Binds an address. A port whose last connections have not faded yet can be taken again.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    net::sockopt::set_socket_reuseaddr(&socket, true)?;
    net::bind(&socket, &address)?;
    net::listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

const TCP: u8 = b't';
const UNIX: u8 = b'u';
const MANAGED: u8 = b'm';

/// A place as the body of a message.
pub(super) fn encode(place: &Place, owner: Owner) -> Vec<u8> {
    match (place, owner) {
        (Place::Tcp(address), _) => [&[TCP], address.to_string().as_bytes()].concat(),
        (Place::Unix(path), Owner::Ours) => [&[UNIX], path.as_os_str().as_bytes()].concat(),
        (Place::Unix(path), Owner::Manager) => [&[MANAGED], path.as_os_str().as_bytes()].concat(),
    }
}

/// The place of a message.
pub(super) fn decode(body: &[u8]) -> io::Result<(Place, Owner)> {
    let unix = |path: &[u8]| Place::Unix(std::ffi::OsString::from_vec(path.to_owned()).into());
    let tcp = |text: &[u8]| std::str::from_utf8(text).ok()?.parse().ok().map(Place::Tcp);
    match body.split_first() {
        Some((&TCP, text)) => tcp(text).map(|place| (place, Owner::Ours)),
        Some((&UNIX, path)) => Some((unix(path), Owner::Ours)),
        Some((&MANAGED, path)) => Some((unix(path), Owner::Manager)),
        _ => None,
    }
    .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a socket came without its place"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_back() {
        let (tcp, unix) = (Place::Tcp("[::1]:80".parse().unwrap()), Place::Unix("/run/a b.sock".into()));
        for (place, owner) in [(tcp, Owner::Ours), (unix.clone(), Owner::Ours), (unix, Owner::Manager)] {
            assert_eq!(decode(&encode(&place, owner)).unwrap(), (place, owner));
        }
        assert!(decode(b"").is_err() && decode(b"t127.0.0.1").is_err() && decode(b"x").is_err());
    }
}
