//! A client's connection on which a test writes and reads piece by piece.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use super::raw::{self, Answer};

/// One connection.
#[derive(Debug)]
pub struct Wire(TcpStream);

impl Wire {
    pub fn open(address: SocketAddr) -> Self {
        Self(raw::connect(address))
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends as much as the other side takes.
    pub fn send_some(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.0.write_all(bytes.as_ref());
    }

    /// Sends one byte after the other.
    pub fn trickle(&mut self, bytes: impl AsRef<[u8]>) {
        for byte in bytes.as_ref() {
            self.send([*byte]);
        }
    }

    /// Sends a request and reads its answer.
    pub fn ask(&mut self, request: impl AsRef<[u8]>) -> Answer {
        raw::send_on(&mut self.0, request)
    }

    /// Reads an answer that has a body unless its status has none.
    pub fn answer(&mut self) -> Answer {
        raw::read_answer(&mut self.0, false)
    }

    /// Reads a head alone, to its blank line.
    pub fn head(&mut self) -> String {
        let head = super::head_of(&mut self.0);
        assert!(head.ends_with("\r\n\r\n"), "closed after {head:?}");
        head
    }

    pub fn exactly(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Reads one chunk of a chunked body; empty at its end.
    pub fn chunk(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.extend(self.exactly(1));
        }
        let size = usize::from_str_radix(str::from_utf8(&line).unwrap().trim(), 16).unwrap();
        let chunk = self.exactly(size + 2);
        String::from_utf8(chunk[..size].to_vec()).unwrap()
    }

    /// Reads until the other side closes or resets the connection.
    pub fn rest(&mut self) -> Vec<u8> {
        let (mut all, mut bytes) = (Vec::new(), [0; 4096]);
        loop {
            match self.0.read(&mut bytes) {
                Ok(0) => return all,
                Ok(read) => all.extend_from_slice(&bytes[..read]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return all,
                Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&all)),
            }
        }
    }

    /// Reads what has come, at least one byte, or nothing where the connection is over.
    pub fn rest_for_now(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        let read = self.0.read(&mut bytes).unwrap_or(0);
        bytes.truncate(read);
        bytes
    }

    /// The other side has closed the connection, and sent nothing more before.
    /// Closes it so that the other end finds it reset.
    pub fn reset(self) {
        rustix::net::sockopt::set_socket_linger(&self.0, Some(Duration::ZERO)).unwrap();
    }

    pub fn assert_closed(&mut self) {
        assert_eq!(String::from_utf8_lossy(&self.rest()), "", "something came before the end");
    }

    /// As [`Wire::assert_closed`], and without a reset, which can take an answer away from a client that has not read it
    /// yet.
    pub fn assert_closed_cleanly(&mut self) {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).expect("the connection was reset");
        assert_eq!(String::from_utf8_lossy(&rest), "", "something came before the end");
    }

    /// Says that nothing more will be sent.
    pub fn finish(&mut self) {
        self.0.shutdown(Shutdown::Write).unwrap();
    }
}

/// A `GET` with a key's secret.
pub fn get(path: &str, secret: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: it\r\nauthorization: Bearer {secret}\r\n\r\n")
}

/// A `POST` with a key's secret and a body of a stated length.
pub fn post(path: &str, secret: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: it\r\nauthorization: Bearer {secret}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}
