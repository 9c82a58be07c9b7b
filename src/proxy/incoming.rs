//! Reads a request's head from a connection, and judges its bytes: what comes out of here is one clear request, as far as
//! it has come.

use std::future::poll_fn;
use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Poll, ready};

use bytes::{Buf, BytesMut};
use pingora::protocols::Stream;
use pingora::time::timeout;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::bounds::Bounds;
use super::connection::Connections;
use super::http2::PREFACE;
use crate::admission::denial::Denial;
use crate::config::http2::Cleartext;
use crate::head::{self, Body, FaultKind, Framing, HeadFault, Upgrade};
use crate::metrics::bounds::Bound;

/// Read at once while a head arrives.
const READ_BYTES: usize = 2 << 10;
/// The part of HTTP/2's preface that ends as a head does. What is not the rest of it after this is the codec's to find.
const PREFACE_HEAD: &[u8] = PREFACE.split_at(18).0;

/// What reading a head came to.
pub(super) enum Incoming {
    /// All of it.
    Head(Received),
    /// The beginning of HTTP/2.
    Preface(BytesMut),
    /// Our own probe.
    Probe,
    /// Nothing: the client left, or has been silent for long enough.
    Nothing,
    /// It is refused.
    Refused(Denial),
}

/// A head that was read.
pub(super) struct Received {
    /// Its bytes, and those of the body that came with them.
    pub(super) bytes: BytesMut,
    /// How the body is framed.
    pub(super) framing: Framing,
    /// What is yet to come of the body; `None` where an upgrade is asked for, after which anything may come.
    pub(super) body: Option<Body>,
}

/// Which of a connection's requests is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Its first, on a connection that began then.
    First(Instant),
    Later,
}

impl Connections {
    /// Waits for a request and reads its head. A connection's first head has its time from the connection's first
    /// moment, each later one from its own first byte. The `bounds` are then those that were in force at that moment.
    pub(super) async fn read_head(
        &self,
        stream: &mut Stream,
        turn: Turn,
        ahead: &mut BytesMut,
        bounds: &mut Bounds,
        mut idle: Pin<&mut Sleep>,
    ) -> Incoming {
        let mut buffer = mem::take(ahead);
        if turn == Turn::Later {
            if buffer.is_empty() {
                idle.as_mut().reset(Instant::now() + bounds.idle_timeout);
                if !self.wakes(stream, &mut buffer, idle).await {
                    return Incoming::Nothing;
                }
            }
            *bounds = self.bounds();
        }
        let left = match turn {
            Turn::First(began) => bounds.head_timeout.saturating_sub(began.elapsed()),
            Turn::Later => bounds.head_timeout,
        };
        let speaks_http2 = turn != Turn::Later && bounds.http2.cleartext == Cleartext::PriorKnowledge;
        match timeout(left, read_to_end(stream, &mut buffer, bounds.max_head)).await {
            Ok(Ok(_)) if speaks_http2 && buffer.starts_with(PREFACE_HEAD) => Incoming::Preface(buffer),
            Ok(Ok(end)) => self.check(buffer, end, ahead, bounds.max_fields),
            Ok(Err(incoming)) => incoming,
            Err(_) if buffer.is_empty() => {
                self.hit(Bound::HeaderTimeout);
                Incoming::Nothing
            }
            Err(_) => Incoming::Refused(Denial::RequestTimeout),
        }
    }

    /// Waits for the next request's first bytes, until the connection has been idle for long enough.
    async fn wakes(&self, stream: &mut Stream, buffer: &mut BytesMut, idle: Pin<&mut Sleep>) -> bool {
        tokio::select! {
            biased;
            read = read_some(stream, buffer) => matches!(read, Ok(1..)),
            () = idle => {
                self.hit(Bound::IdleTimeout);
                false
            }
        }
    }

    /// Judges a head that ends at `end`, and what there is of its body. What follows them is the next request, and is put
    /// `ahead`.
    fn check(
        &self,
        mut buffer: BytesMut,
        mut end: usize,
        ahead: &mut BytesMut,
        max_fields: usize,
    ) -> Incoming {
        if buffer[..end] == self.probe[..] {
            return Incoming::Probe;
        }
        if let Some(other) = head::to_origin_form(&buffer) {
            end = end + other.len() - buffer.len();
            buffer = other;
        }
        match head::check(&buffer[..end]) {
            Ok(_) if head::field_count(&buffer[..end]) > max_fields => {
                Incoming::Refused(Denial::TooManyHeaders(max_fields))
            }
            Ok(head) => {
                let framing = head.framing;
                if head.upgrade == Upgrade::WebSocket {
                    // What follows may be of the new protocol.
                    return Incoming::Head(Received { bytes: buffer, framing, body: None });
                }
                let mut body = Body::of(framing);
                match body.take(&buffer[end..]) {
                    // Where nothing follows, nothing is split: both halves would keep the whole buffer.
                    Ok(taken) if end + taken < buffer.len() => *ahead = buffer.split_off(end + taken),
                    Ok(_) => {}
                    Err(fault) => return Incoming::Refused(Denial::BadRequest(fault.detail().into())),
                }
                Incoming::Head(Received { bytes: buffer, framing, body: Some(body) })
            }
            Err(fault) => Incoming::Refused(denial_of(fault, max_fields)),
        }
    }
}

/// What a head that is not one clear request is refused with.
pub(super) fn denial_of(fault: HeadFault, max_fields: usize) -> Denial {
    match fault.kind() {
        FaultKind::BadRequest => Denial::BadRequest(fault.detail().into()),
        FaultKind::TooLarge => Denial::TooManyHeaders(max_fields),
    }
}

/// Reads until the head's end is in the buffer, and says where; or until it is clear that it never will be.
async fn read_to_end(stream: &mut Stream, buffer: &mut BytesMut, most: usize) -> Result<usize, Incoming> {
    let mut looked = 0;
    loop {
        // A server should pass over empty lines before a request (RFC 9112 section 2.2).
        while head::skip_blank(buffer) > 0 {
            buffer.advance(head::skip_blank(buffer));
            looked = 0;
        }
        let end = head::find_end(buffer, looked);
        if end.unwrap_or(buffer.len()) > most {
            return Err(Incoming::Refused(Denial::HeaderTooLarge(most)));
        }
        if let Some(end) = end {
            return Ok(end);
        }
        looked = buffer.len();
        if !matches!(read_some(stream, buffer).await, Ok(1..)) {
            return Err(Incoming::Nothing);
        }
    }
}

/// Reads what is there. The bytes come by the stack, so that who waits for them holds no memory for them.
async fn read_some(stream: &mut Stream, buffer: &mut BytesMut) -> io::Result<usize> {
    poll_fn(|cx| {
        let mut space = [0; READ_BYTES];
        let mut read = ReadBuf::new(&mut space);
        ready!(Pin::new(&mut *stream).poll_read(cx, &mut read))?;
        buffer.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    })
    .await
}
