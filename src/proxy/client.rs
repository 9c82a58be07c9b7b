//! The client's end of a connection, as Pingora wants its streams.
//!
//! Pingora writes an answer's head and its body one after the other, and a small answer would leave in two packets by
//! two system calls. So the first write after a flush is held, and leaves together with the second, with the flush, or
//! as soon as the connection is read from, which Pingora does whenever it waits for the upstream: a head whose body is
//! late is not late itself.
//!
//! Pingora sees no byte of a body that can be read in two ways, nor any after its end: those are the client's next
//! request (RFC 9112 section 9.3.2), and are kept for the read that wants them. While a client waits for its answer,
//! Pingora looks by a read of one byte whether it is still there, and would drop the answer where it got one.

#[cfg(test)]
mod tests;

use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::connection::LINGER_BYTES;
use super::outgoing::Outgoing;
use super::socket::Socket;
use super::{exchange, pace};
use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_rustls::server::TlsStream;

use crate::stall::Stall;

/// The most that is held: larger writes leave at once.
const MAX_HELD: usize = 4 << 10;
/// Slices that leave in one system call, what was held included.
const MAX_SLICES: usize = 8;

/// The room that Pingora gives where it only looks whether the client is still there.
const LOOK: usize = 1;
/// The most that is read ahead of a next request; the rest waits in the socket.
const MAX_AHEAD: usize = 512;

/// A client's connection: its socket, or TLS around it.
#[derive(Debug)]
pub struct Client<S = Socket> {
    socket: S,
    id: UniqueIDType,
    digest: Arc<SocketDigest>,
    ssl: Option<Arc<SslDigest>>,
    held: BytesMut,
    next: Next,
    /// The beginning of the client's next request.
    ahead: BytesMut,
    /// Bytes of a refused body that were read and thrown away.
    discarded: usize,
    stall: Stall,
}

/// What becomes of the next write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Hold,
    Send,
}

impl Client {
    /// Around an accepted socket, with the facts that are told of it.
    pub fn new(socket: impl Into<Socket>, digest: SocketDigest) -> Self {
        let socket = socket.into();
        let id = socket.as_raw_fd();
        Self::around(socket, id, digest, None)
    }
}

impl Client<TlsStream<Socket>> {
    /// Around a connection whose handshake is done.
    pub fn secured(socket: TlsStream<Socket>, digest: SocketDigest) -> Self {
        let id = socket.as_raw_fd();
        // Pingora asks for no more than that there is one. Empty, it costs no copy of the cipher's name.
        let ssl = SslDigest::new("", "TLS", None, None, Vec::new());
        Self::around(socket, id, digest, Some(Arc::new(ssl)))
    }
}

impl<S: AsyncRead + AsyncWrite + Outgoing + Unpin> Client<S> {
    fn around(socket: S, id: UniqueIDType, digest: SocketDigest, ssl: Option<Arc<SslDigest>>) -> Self {
        Self {
            socket,
            id,
            digest: Arc::new(digest),
            ssl,
            held: BytesMut::new(),
            next: Next::Hold,
            ahead: BytesMut::new(),
            discarded: 0,
            stall: Stall::default(),
        }
    }

    /// Passes on what sending came to; an error once the client has taken nothing for as long as it may.
    fn bounded<T>(&mut self, cx: &mut Context<'_>, sent: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if sent.is_ready() {
            self.stall.ends();
            return sent;
        }
        let Some(patience) = exchange::patience() else { return sent };
        let error = ready!(self.stall.goes_on(cx, patience, || self.socket.unsent()));
        exchange::strikes();
        Poll::Ready(Err(error))
    }

    /// Sends what is held, and `bufs` after it. Ready with what was taken of `bufs`, once nothing is held any more.
    fn send(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        while !self.held.is_empty() {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            slices[0] = IoSlice::new(&self.held);
            slices[1..].iter_mut().zip(bufs).for_each(|(slice, buf)| *slice = *buf);
            let used = bufs.len().saturating_add(1).min(MAX_SLICES);
            let sent = ready!(Pin::new(&mut self.socket).poll_write_vectored(cx, &slices[..used]))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_held = sent.min(self.held.len());
            self.held.advance(of_held);
            if sent > of_held {
                return Poll::Ready(Ok(sent - of_held));
            }
        }
        match bufs {
            [] => Poll::Ready(Ok(0)),
            [one] => Pin::new(&mut self.socket).poll_write(cx, one),
            many => Pin::new(&mut self.socket).poll_write_vectored(cx, many),
        }
    }

    /// Sends what is held. TLS may have taken more than the socket did, so that is not all.
    fn send_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.send(cx, &[]))?;
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn hold_or_send(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let length = bufs.iter().fold(0_usize, |sum, buf| sum.saturating_add(buf.len()));
        if length == 0 {
            return Poll::Ready(Ok(0));
        }
        if self.next == Next::Send || length > MAX_HELD {
            self.next = Next::Send;
            return self.send(cx, bufs);
        }
        self.next = Next::Send;
        for buf in bufs {
            self.held.extend_from_slice(buf);
        }
        Poll::Ready(Ok(length))
    }

    /// Ready once the client has left. It wakes nobody once the client has sent much of its next request: who looks waits
    /// for the upstream as well.
    fn look(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.ahead.len() < MAX_AHEAD {
            let mut bytes = [0; MAX_AHEAD];
            let mut read = ReadBuf::new(&mut bytes[self.ahead.len()..]);
            ready!(Pin::new(&mut self.socket).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.ahead.extend_from_slice(read.filled());
        }
        Poll::Pending
    }

    /// Reads on from a client whose body was refused, so that it gets to see why: up to [`LINGER_BYTES`], of which nobody
    /// gets any.
    fn discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ahead = BytesMut::new();
        while self.discarded < LINGER_BYTES {
            let mut bytes = [0; MAX_AHEAD];
            let mut read = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut self.socket).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.discarded += read.filled().len();
        }
        Poll::Ready(Err(io::ErrorKind::InvalidData.into()))
    }
}

impl<S: AsyncRead + AsyncWrite + Outgoing + Unpin> AsyncRead for Client<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.held.is_empty() {
            let sent = self.send_held(cx);
            if let Poll::Ready(Err(error)) = self.bounded(cx, sent) {
                return Poll::Ready(Err(error));
            }
        }
        if exchange::fault().is_some() {
            return self.discard(cx);
        }
        if buf.capacity() == LOOK && exchange::is_whole() {
            return self.look(cx);
        }
        if !self.ahead.is_empty() {
            let most = buf.remaining().min(self.ahead.len());
            let taken = exchange::takes(&self.ahead[..most]).ok_or(io::ErrorKind::InvalidData)?;
            buf.put_slice(&self.ahead.split_to(taken));
            if self.ahead.is_empty() {
                // What is split off keeps all of the room that there was.
                self.ahead = BytesMut::new();
            }
            return Poll::Ready(Ok(()));
        }
        let start = buf.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(cx, buf);
        if read.is_pending() {
            pace::waits();
            return Poll::Pending;
        }
        pace::sends();
        ready!(read)?;
        let fresh = &buf.filled()[start..];
        let taken = exchange::takes(fresh).ok_or(io::ErrorKind::InvalidData)?;
        if taken < fresh.len() {
            self.ahead.extend_from_slice(&fresh[taken..]);
            buf.set_filled(start + taken);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Outgoing + Unpin> AsyncWrite for Client<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let sent = self.hold_or_send(cx, &[IoSlice::new(buf)]);
        self.bounded(cx, sent)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let sent = self.hold_or_send(cx, bufs);
        self.bounded(cx, sent)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = self.send_held(cx);
        ready!(self.bounded(cx, sent))?;
        self.next = Next::Hold;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = self.send(cx, &[]);
        ready!(self.bounded(cx, sent))?;
        let ended = Pin::new(&mut self.socket).poll_shutdown(cx);
        self.bounded(cx, ended)
    }
}

#[async_trait]
impl<S: AsyncRead + AsyncWrite + Outgoing + Unpin + Send> Shutdown for Client<S> {
    async fn shutdown(&mut self) {
        // A client that is gone needs no goodbye.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl<S> UniqueID for Client<S> {
    fn id(&self) -> UniqueIDType {
        self.id
    }
}

impl<S> Ssl for Client<S> {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.ssl.clone()
    }
}

#[async_trait]
impl<S: Send> Peek for Client<S> {}

impl<S> GetTimingDigest for Client<S> {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl<S> GetProxyDigest for Client<S> {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl<S> GetSocketDigest for Client<S> {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(Arc::clone(&self.digest))
    }
}
