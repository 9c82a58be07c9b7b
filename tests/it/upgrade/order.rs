//! What the new process does when, seen by the old one, which here is the test.

use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::Signal;

use super::{END, upgrading};
use crate::support::{Fixture, START, Server, config_file};

const HELLO: u8 = 1;
const SOCKET: u8 = 3;
const ALL_SOCKETS: u8 = 5;
const GIVE: u8 = 6;
const GIVEN: u8 = 7;
const READY: u8 = 8;
const GOING: u8 = 9;

/// How long nobody may be answered.
const SILENCE: Duration = Duration::from_millis(500);

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_le_bytes();
    [&[kind], length.as_slice(), body].concat()
}

fn hears(line: &mut UnixStream, kind: u8) {
    let mut head = [0; 5];
    line.read_exact(&mut head).unwrap();
    let [said, length @ ..] = head;
    let mut body = vec![0; u32::from_le_bytes(length) as usize];
    line.read_exact(&mut body).unwrap();
    assert_eq!(said, kind, "{}", String::from_utf8_lossy(&body));
}

fn gives(line: &UnixStream, listener: &TcpListener) {
    let body = frame(SOCKET, b"t127.0.0.1:0");
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [listener.as_fd()];
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    let sent = sendmsg(line, &[IoSlice::new(&body)], &mut control, SendFlags::empty()).unwrap();
    assert_eq!(sent, body.len());
}

fn asks(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    stream.set_read_timeout(Some(SILENCE)).unwrap();
    stream
}

/// Whoever is answered before may have changed what the old process then does not know of.
#[test]
fn nobody_is_answered_before_the_old_process_takes_nothing_more() {
    let fixture = Fixture::new();
    let config = config_file(&fixture);
    let mut first = Server::start(&config);
    first.process.signal(Signal::TERM);
    assert_eq!(first.process.wait(END).code(), Some(0));
    let [gateway, admin] = [(), ()].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let control = UnixListener::bind(fixture.store_path().with_extension("upgrade.sock")).unwrap();
    // Kept until the new process is dead: it would kill the one that lets go of it.
    let mut kept = None;
    let mut new = upgrading(&config);
    let line = kept.insert(control.accept().unwrap().0);
    hears(line, HELLO);
    gives(line, &gateway);
    gives(line, &admin);
    line.write_all(&frame(ALL_SOCKETS, b"")).unwrap();
    hears(line, GIVE);
    line.write_all(&frame(GIVEN, b"")).unwrap();
    hears(line, READY);
    let mut asked = [&admin, &gateway].map(|listener| asks(listener.local_addr().unwrap()));
    for stream in &mut asked {
        assert!(stream.read(&mut [0; 1]).is_err(), "answered too early");
    }
    line.write_all(&frame(GOING, b"")).unwrap();
    for stream in &mut asked {
        stream.set_read_timeout(Some(START)).unwrap();
        let mut start = [0; 8];
        stream.read_exact(&mut start).unwrap();
        assert_eq!(&start, b"HTTP/1.1");
    }
    new.kill();
}
