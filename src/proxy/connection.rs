//! One client connection: reads each request's head, checks its bytes, and hands it to Pingora.
//!
//! Pingora is given a request only once its whole head is here and is one clear HTTP request. So a head has one
//! deadline however slowly it trickles, its size has one bound, what is malformed is answered as any other denial, and
//! a connection that waits holds no request state.

use std::future::poll_fn;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use pingora::apps::{HttpPersistentSettings, HttpServerApp};
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::proxy::HttpProxy;
use pingora::time::timeout;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::addresses::Addresses;
use super::bounds::Bounds;
use super::context::Context;
use super::exchange::{attended, rests, serves};
use super::http2::{self, Arrival, PREFACE};
use super::listener::Ending;
use super::pace::measured;
use super::places::Places;
use super::reply::Reply;
use super::stranger::{Acquaintance, Reception};
use super::{Gateway, KeyedProxy, bounds, reply};
use crate::admission::denial::Denial;
use crate::config::ErrorFormat;
use crate::config::http2::Cleartext;
use crate::head::{self, Body, FaultKind, Framing, HeadFault};
use crate::metrics::bounds::Bound;
use crate::request_id;

/// Read at once while a head arrives.
const READ_BYTES: usize = 2 << 10;
/// How long a refused client is read from, so that it gets to see the answer.
pub(super) const LINGER: Duration = Duration::from_millis(500);
/// How much of it is read.
pub(super) const LINGER_BYTES: usize = 256 << 10;
/// The part of HTTP/2's preface that ends as a head does. What is not the rest of it after this is the codec's to find.
const PREFACE_HEAD: &[u8] = PREFACE.split_at(18).0;
/// The answer to the probe by which `/readyz` proves that this port answers.
pub(super) const PROBE_ANSWER: &[u8] = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";

/// What every connection shares.
pub struct Connections {
    /// The gateway.
    pub gateway: Arc<Gateway>,
    /// Pingora.
    pub proxy: Arc<HttpProxy<KeyedProxy>>,
    /// How many there are.
    pub places: Arc<Places>,
    /// Who has how many.
    pub addresses: Arc<Addresses>,
    /// A head that only this process knows, by which it proves to itself that the port answers.
    pub probe: Vec<u8>,
    /// Requests that run.
    pub running: AtomicUsize,
}

/// What reading a head came to.
enum Incoming {
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
struct Received {
    /// Its bytes, and those of the body that came with them.
    bytes: BytesMut,
    /// How the body is framed.
    framing: Framing,
    /// What is yet to come of the body; `None` where an upgrade is asked for, after which anything may come.
    body: Option<Body>,
}

/// Which of a connection's requests is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Its first, on a connection that began then.
    First(Instant),
    Later,
}

/// Counts as a running request until it is dropped.
pub(super) struct Running<'a>(&'a AtomicUsize);

impl<'a> Running<'a> {
    pub(super) fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Connections {
    /// The bounds in force.
    pub(super) fn bounds(&self) -> Bounds {
        self.gateway.routing.load().bounds
    }

    /// Serves one connection to its end, which may come earlier when it is told so.
    pub async fn serve(self: &Arc<Self>, stream: Stream, peer: SocketAddr, began: Instant, ending: Ending) {
        // In a place of its own: a future that is handed on by value takes its room twice.
        let work = Box::pin(self.serve_all(stream, peer, began, ending));
        if let Some(bound) = attended(self.bounds().idle_timeout, work).await {
            self.hit(bound);
        }
    }

    /// One request after the other.
    async fn serve_all(
        self: &Arc<Self>,
        mut stream: Stream,
        peer: SocketAddr,
        began: Instant,
        ending: Ending,
    ) {
        let open = self.gateway.lines.open();
        // Made once, so that a request only looks at them.
        let mut cut = pin!(open.line().cut());
        let Ending { drain: told, stop: mut stopping } = ending;
        let mut stop = pin!(stopping.wait_for(|stop| *stop));
        let mut settings = None;
        let mut turn = Turn::First(began);
        let mut served = 0;
        let mut acquaintance = Acquaintance::Stranger;
        // The next request, where it came together with the whole of one.
        let mut ahead = BytesMut::new();
        let mut bounds = self.bounds();
        // One timer for all its waits: setting it on is cheaper than another.
        let mut idle = pin!(sleep(bounds.idle_timeout));
        loop {
            let incoming = tokio::select! {
                biased;
                _ = &mut stop => return,
                incoming = self.read_head(&mut stream, turn, &mut ahead, &mut bounds, idle.as_mut()) => incoming,
            };
            turn = Turn::Later;
            let Received { bytes: head, framing, body } = match incoming {
                Incoming::Head(received) => received,
                Incoming::Probe => return tell_probe(stream).await,
                Incoming::Preface(read) => {
                    let arrival = Arrival { peer, read, began };
                    return Box::pin(http2::serve(self, stream, arrival, told.clone())).await;
                }
                Incoming::Nothing => return,
                Incoming::Refused(denial) => return self.refuse(stream, peer, &denial).await,
            };
            let _running = Running::new(&self.running);
            serves(body, bounds.idle_timeout);
            served += 1;
            let last = bounds.requests.is_some_and(|most| served >= most.get());
            if acquaintance == Acquaintance::Stranger && !last && !*told.borrow() {
                match self.receive(&mut stream, &head, framing, peer).await {
                    Reception::Welcome => acquaintance = Acquaintance::Known,
                    Reception::Unclear => {}
                    Reception::TurnedAway => {
                        rests();
                        continue;
                    }
                    Reception::Gone => return,
                }
            }
            let mut session = session(stream, head, settings.take(), &bounds);
            if last {
                self.hit(Bound::RequestsPerConnection);
                session.set_keepalive_reuses_remaining(Some(0));
            }
            let processed = tokio::select! {
                biased;
                // What is dropped here counts itself, and closes both connections in the middle of its answer.
                () = &mut cut => return,
                processed = open.line().serve(measured(self.proxy.process_new_http(session, &told))) => processed,
            };
            let Some(reused) = processed else { return };
            (stream, settings) = reused.consume();
            rests();
        }
    }

    /// Waits for a request and reads its head. A connection's first head has its time from the connection's first
    /// moment, each later one from its own first byte. The `bounds` are then those that were in force at that moment.
    async fn read_head(
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
                if framing == Framing::None && asks_for_upgrade(&buffer[..end]) {
                    // What follows may be of the new protocol.
                    return Incoming::Head(Received { bytes: buffer, framing, body: None });
                }
                let mut body = Body::of(framing);
                match body.take(&buffer[end..]) {
                    Ok(taken) => *ahead = buffer.split_off(end + taken),
                    Err(fault) => return Incoming::Refused(Denial::BadRequest(fault.detail().into())),
                }
                Incoming::Head(Received { bytes: buffer, framing, body: Some(body) })
            }
            Err(fault) => Incoming::Refused(denial_of(fault, max_fields)),
        }
    }

    /// Counts a bound that struck.
    pub(super) fn hit(&self, bound: Bound) {
        self.gateway.metrics.bounds.hit(bound);
    }

    /// The answer to what is not one clear request, in the form that `readable` brings it into. It is counted now,
    /// before the client can see it.
    pub(super) fn refusal(
        &self,
        peer: SocketAddr,
        denial: &Denial,
        readable: impl FnOnce(Reply) -> Reply,
    ) -> Reply {
        bounds::count(&self.gateway.metrics, denial);
        let mut context = Context::new(Arc::clone(&self.gateway));
        context.request_id = request_id::new(context.received);
        context.address = Some(peer.ip().to_canonical());
        let reply = readable(reply::denied(denial, ErrorFormat::Problem, &context.request_id, &[]));
        context.ends(denial.outcome(), reply.status);
        reply
    }

    /// Answers bytes that are no request, counts them and closes the connection.
    async fn refuse(&self, mut stream: Stream, peer: SocketAddr, denial: &Denial) {
        let reply = self.refusal(peer, denial, |reply| reply);
        if stream.write_all(&reply.to_http1()).await.is_ok() && stream.shutdown().await.is_ok() {
            linger(&mut stream).await;
        }
    }
}

/// Answers our own probe. One that went away learns nothing, and nothing is owed to it.
async fn tell_probe(mut stream: Stream) {
    let _ = stream.write_all(PROBE_ANSWER).await;
    let _ = stream.flush().await;
}

/// A connection for Pingora, with the head that was read from it.
fn session(
    stream: Stream,
    head: BytesMut,
    settings: Option<HttpPersistentSettings>,
    bounds: &Bounds,
) -> ServerSession {
    let mut session = ServerSession::new_http1(stream);
    session.set_keepalive(Some(bounds.idle_timeout.as_secs().max(1)));
    if let Some(settings) = settings {
        HttpPersistentSettings::apply_to_session(settings, &mut session);
    }
    session.set_pipelined_prefix(head);
    session
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

/// Whether a head that is one has an `Upgrade`.
fn asks_for_upgrade(head: &[u8]) -> bool {
    const NAME: &[u8] = b"\nupgrade:";
    head.windows(NAME.len()).any(|bytes| bytes.eq_ignore_ascii_case(NAME))
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

/// Reads what the client still sends, for a while: closing a socket with unread bytes resets it, and the client would
/// not see the answer.
async fn linger(stream: &mut Stream) {
    let drain = async {
        let mut bytes = vec![0; READ_BYTES];
        let mut left = LINGER_BYTES;
        while let Ok(read @ 1..) = stream.read(&mut bytes).await {
            left = left.saturating_sub(read);
            if left == 0 {
                break;
            }
        }
    };
    // Whoever sends on after this does not wait for an answer.
    let _ = timeout(LINGER, drain).await;
}
