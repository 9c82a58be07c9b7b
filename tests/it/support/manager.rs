//! A service manager that hears what it is told (sd_notify).

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;

use super::{Fixture, START};

/// A sign of life.
const ALIVE: &str = "WATCHDOG=1";

/// The socket of a service manager, which a process is told of by [`Manager::starts`].
pub struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    /// One whose socket is in the fixture's folder.
    pub fn beside(fixture: &Fixture) -> Self {
        let path = fixture.folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(START)).unwrap();
        Self { socket, path }
    }

    /// The command, told where to tell.
    pub fn starts<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("NOTIFY_SOCKET", &self.path)
    }

    /// The next message that is no sign of life.
    pub fn told(&self) -> String {
        loop {
            let message = self.receive();
            if message != ALIVE {
                return message;
            }
        }
    }

    /// Waits for a sign of life, before which nothing else is told.
    pub fn sees_life(&self) {
        assert_eq!(self.receive(), ALIVE);
    }

    fn receive(&self) -> String {
        let mut bytes = [0; 512];
        let length = self.socket.recv(&mut bytes).expect("a message");
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }
}
