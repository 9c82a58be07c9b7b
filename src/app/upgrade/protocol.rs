//! What the old and the new process say to each other: short messages, of which some bring file descriptors.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::io::retry_on_intr;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use rustix::process::{Pid, PidfdFlags, Signal, geteuid, pidfd_open, pidfd_send_signal};

/// Which protocol this is. Another one is refused.
pub(super) const VERSION: u8 = 1;
/// The most bytes of a message: a change of many keys at once is told in several.
const MAX_BYTES: usize = 4 << 20;
/// The most descriptors that come with a message.
const MAX_FDS: usize = 2;
/// A message's kind and length.
const HEAD_BYTES: usize = 5;

/// What a message is. New to old: `Hello`, `Give`, `Ready`, `Change`; old to new: the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The new process is there; the version that it speaks.
    Hello = 1,
    /// The old one does not hand over; why.
    Refused = 2,
    /// A listening socket, and where it listens.
    Socket = 3,
    /// A process that handed over to the old one, and has not ended: its line, and its process.
    Follower = 4,
    /// These were all sockets and followers.
    AllSockets = 5,
    /// The new one has its sockets, and asks for the store.
    Give = 6,
    /// The store is closed.
    Given = 7,
    /// The new one serves.
    Ready = 8,
    /// The old one takes nothing more.
    Going = 9,
    /// Changes that were committed.
    Change = 10,
    /// They hold.
    Heard = 11,
}

impl Kind {
    const ALL: [Self; 11] = [
        Self::Hello,
        Self::Refused,
        Self::Socket,
        Self::Follower,
        Self::AllSockets,
        Self::Give,
        Self::Given,
        Self::Ready,
        Self::Going,
        Self::Change,
        Self::Heard,
    ];
}

/// A message that came.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) kind: Kind,
    pub(super) body: Vec<u8>,
}

/// The line between two processes of one user.
#[derive(Debug)]
pub(super) struct Line {
    socket: UnixStream,
    /// Descriptors that came and were not taken yet.
    fds: VecDeque<OwnedFd>,
}

/// The process at the other end of a line, whatever becomes of its number.
#[derive(Debug)]
pub(super) struct Other(pub(super) OwnedFd);

impl Line {
    /// Over this socket, if the other end is of the same user or of root.
    ///
    /// # Errors
    /// It is not.
    pub(super) fn new(socket: UnixStream) -> io::Result<Self> {
        let other = rustix::net::sockopt::socket_peercred(&socket)?.uid;
        if other == geteuid() || other.is_root() {
            return Ok(Self { socket, fds: VecDeque::new() });
        }
        Err(io::Error::new(io::ErrorKind::PermissionDenied, "the other process is of another user"))
    }

    /// The process at the other end, which must be alive.
    pub(super) fn other(&self) -> io::Result<Other> {
        let Some(pid) = Pid::from_raw(self.other_pid()?) else { return Err(io::ErrorKind::NotFound.into()) };
        Ok(Other(pidfd_open(pid, PidfdFlags::empty())?))
    }

    /// Its number.
    pub(super) fn other_pid(&self) -> io::Result<i32> {
        Ok(rustix::net::sockopt::socket_peercred(&self.socket)?.pid.as_raw_pid())
    }

    /// How long [`Line::receive`] waits; `None`: for ever.
    pub(super) fn patience(&self, patience: Option<Duration>) -> io::Result<()> {
        self.socket.set_read_timeout(patience)?;
        self.socket.set_write_timeout(patience)
    }

    /// Sends a message.
    pub(super) fn send(&mut self, kind: Kind, body: &[u8]) -> io::Result<()> {
        self.send_with(kind, body, &[])
    }

    /// Sends a message that brings descriptors.
    pub(super) fn send_with(&mut self, kind: Kind, body: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let length = u32::try_from(body.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut frame = Vec::with_capacity(HEAD_BYTES + body.len());
        frame.push(kind as u8);
        frame.extend_from_slice(&length.to_le_bytes());
        frame.extend_from_slice(body);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let sent = retry_on_intr(|| {
            sendmsg(&self.socket, &[IoSlice::new(&frame)], &mut control, SendFlags::NOSIGNAL)
        })?;
        self.socket.write_all(frame.get(sent..).unwrap_or_default())
    }

    /// Waits until there is something to receive; whether there is.
    pub(super) fn speaks_within(&self, patience: Duration) -> bool {
        is_readable_within(&self.socket, patience)
    }

    /// Waits for a message.
    pub(super) fn receive(&mut self) -> io::Result<Message> {
        let mut head = [0; HEAD_BYTES];
        self.fill(&mut head)?;
        let [kind, length @ ..] = head;
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        let kind = Kind::ALL.into_iter().find(|known| *known as u8 == kind);
        let Some(kind) = kind.filter(|_| length <= MAX_BYTES) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the other process says what is no message",
            ));
        };
        let mut body = vec![0; length];
        self.fill(&mut body)?;
        Ok(Message { kind, body })
    }

    /// Waits for a message of this kind.
    pub(super) fn expect(&mut self, kind: Kind) -> io::Result<Vec<u8>> {
        let message = self.receive()?;
        if message.kind == kind { Ok(message.body) } else { Err(unexpected(&message)) }
    }

    /// The next descriptor that came.
    pub(super) fn descriptor(&mut self) -> io::Result<OwnedFd> {
        let missing = || io::Error::new(io::ErrorKind::InvalidData, "the other process sent no descriptor");
        self.fds.pop_front().ok_or_else(missing)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let mut at = 0;
        while let Some(rest) = buffer.get_mut(at..).filter(|rest| !rest.is_empty()) {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut rest = [IoSliceMut::new(rest)];
            let read =
                retry_on_intr(|| recvmsg(&self.socket, &mut rest, &mut control, RecvFlags::CMSG_CLOEXEC))?;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(fds) = message {
                    self.fds.extend(fds);
                }
            }
            if read.bytes == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            at += read.bytes;
        }
        Ok(())
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Waits until a read finds something, or that there will be nothing any more.
fn is_readable_within(fd: &impl AsFd, patience: Duration) -> bool {
    let mut look = [rustix::event::PollFd::new(fd, rustix::event::PollFlags::IN)];
    let timeout = rustix::event::Timespec::try_from(patience).ok();
    rustix::event::poll(&mut look, timeout.as_ref()).is_ok_and(|readable| readable > 0)
}

/// A message that nothing is to be done with here.
pub(super) fn unexpected(message: &Message) -> io::Error {
    let said = String::from_utf8_lossy(&message.body);
    match message.kind {
        Kind::Refused => io::Error::other(format!("the running process refuses: {said}")),
        kind => io::Error::new(io::ErrorKind::InvalidData, format!("the other process said {kind:?}")),
    }
}

impl Other {
    /// Waits until it has ended; whether it has.
    pub(super) fn ends_within(&self, patience: Duration) -> bool {
        is_readable_within(&self.0, patience)
    }

    /// `kill -9`, and waits for its end.
    pub(super) fn kill(&self) {
        // One that has ended already is as dead.
        let _ = pidfd_send_signal(&self.0, Signal::KILL);
        self.ends_within(Duration::from_secs(10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_descriptors_come_as_they_were_sent_and_nonsense_is_refused() {
        let (one, other) = UnixStream::pair().unwrap();
        let (mut one, mut other) = (Line::new(one).unwrap(), Line::new(other).unwrap());
        let file = std::fs::File::open("/dev/null").unwrap();
        let long = vec![7; 1 << 17];
        std::thread::scope(|scope| {
            scope.spawn(|| {
                one.send(Kind::Hello, &[VERSION]).unwrap();
                one.send_with(Kind::Socket, b"x", &[file.as_fd()]).unwrap();
                one.send_with(Kind::Follower, &long, &[file.as_fd(), file.as_fd()]).unwrap();
                one.socket.write_all(&[99, 0, 0, 0, 0]).unwrap();
            });
            assert_eq!(other.expect(Kind::Hello).unwrap(), [VERSION]);
            assert_eq!(other.expect(Kind::Socket).unwrap(), b"x");
            assert!(other.descriptor().is_ok() && other.descriptor().is_err());
            assert_eq!(other.expect(Kind::Follower).unwrap(), long);
            assert!(other.descriptor().is_ok() && other.descriptor().is_ok());
            assert_eq!(other.receive().unwrap_err().kind(), io::ErrorKind::InvalidData);
        });
        one.send(Kind::Refused, b"a backup runs").unwrap();
        assert!(other.expect(Kind::Given).unwrap_err().to_string().ends_with("refuses: a backup runs"));
        drop(one);
        assert_eq!(other.receive().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
