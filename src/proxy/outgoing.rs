//! What of a connection's bytes is still on its way: the only file of the proxy with `unsafe` in it.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::ioctl::{Getter, Opcode, ioctl};
use tokio_rustls::server::TlsStream;

use super::socket::Socket;

/// What can be told of the bytes that wait to be taken at the other end of a connection.
pub trait Outgoing {
    /// How many there are; `None` where the system does not say.
    fn unsent(&self) -> Option<u32>;
}

impl Outgoing for Socket {
    fn unsent(&self) -> Option<u32> {
        let fd = match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        };
        u32::try_from(queued(fd)?).ok()
    }
}

impl Outgoing for TlsStream<Socket> {
    fn unsent(&self) -> Option<u32> {
        self.get_ref().0.unsent()
    }
}

/// `SIOCOUTQ` (tcp(7), unix(7)): bytes written and not yet taken at the other end.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
#[expect(unsafe_code, reason = "the system is asked for a number that no crate here asks it for")]
fn queued(fd: BorrowedFd<'_>) -> Option<i32> {
    const SIOCOUTQ: Opcode = 0x5411;
    // SAFETY: the operation writes one C `int` and has no other effect; on a descriptor that is no socket it fails, or,
    // on a terminal, says the same of that. The number is that of the architectures above.
    unsafe { ioctl(fd, Getter::<SIOCOUTQ, i32>::new()) }.ok()
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
fn queued(_: BorrowedFd<'_>) -> Option<i32> {
    None
}
