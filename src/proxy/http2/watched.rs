//! A client's connection that speaks HTTP/2, with an eye on its frames. Where a bound is reached nothing more is read,
//! and whoever serves the connection is told.

use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use parking_lot::Mutex;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Sleep, sleep_until};

use super::frames::{Frames, Strike};

/// Tells of the bound that was reached.
#[derive(Debug, Default)]
pub struct Alarm {
    strike: Mutex<Option<Strike>>,
    signal: Notify,
}

impl Alarm {
    /// Waits until a bound is reached.
    pub async fn struck(&self) -> Strike {
        loop {
            // A signal that comes between the look and the wait is kept.
            let strike = *self.strike.lock();
            if let Some(strike) = strike {
                return strike;
            }
            self.signal.notified().await;
        }
    }
}

/// The connection.
#[derive(Debug)]
pub struct Watched {
    stream: Stream,
    /// Was read before it was known to be HTTP/2.
    read: BytesMut,
    frames: Frames,
    timer: Pin<Box<Sleep>>,
    alarm: Arc<Alarm>,
}

impl Watched {
    /// Watches a connection of which `read` is read already.
    pub fn new(stream: Stream, read: BytesMut, frames: Frames, alarm: Arc<Alarm>) -> Self {
        let deadline = frames.deadline.unwrap_or_else(tokio::time::Instant::now);
        Self { stream, read, frames, timer: Box::pin(sleep_until(deadline)), alarm }
    }

    fn strike(&self, strike: Strike) {
        *self.alarm.strike.lock() = Some(strike);
        self.alarm.signal.notify_one();
    }

    fn is_struck(&self) -> bool {
        self.alarm.strike.lock().is_some()
    }

    /// What was read before, or what the socket has.
    fn poll_bytes(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let length = self.read.len().min(buf.remaining());
        buf.put_slice(&self.read[..length]);
        self.read.advance(length);
        if self.read.is_empty() {
            self.read = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Whether what has begun has taken too long. Wakes the reader when it will have.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(deadline) = self.frames.deadline else { return false };
        if self.timer.deadline() != deadline {
            self.timer.as_mut().reset(deadline);
        }
        self.timer.as_mut().poll(cx).is_ready()
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_struck() {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        if self.poll_bytes(cx, buf).is_pending() {
            if self.is_late(cx) {
                self.strike(Strike::HeadTime);
            }
            return Poll::Pending;
        }
        if let Err(strike) = self.frames.take(&buf.filled()[before..]) {
            buf.set_filled(before);
            self.strike(strike);
            return Poll::Pending;
        }
        // A client that sends a byte now and then never leaves the reader waiting.
        if self.is_late(cx) {
            self.strike(Strike::HeadTime);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Watched {
    async fn shutdown(&mut self) {
        self.stream.shutdown().await;
    }
}

impl UniqueID for Watched {
    fn id(&self) -> UniqueIDType {
        self.stream.id()
    }
}

impl Ssl for Watched {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.stream.get_ssl_digest()
    }
}

#[async_trait]
impl Peek for Watched {}

impl GetTimingDigest for Watched {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Watched {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Watched {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.stream.get_socket_digest()
    }
}
