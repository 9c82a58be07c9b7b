//! One client connection: reads each request's head, checks its bytes, and hands it to Pingora.
//!
//! Pingora is given a request only once its whole head is here and is one clear HTTP request. So a head has one
//! deadline however slowly it trickles, its size has one bound, what is malformed is answered as any other denial, and
//! a connection that waits holds no request state.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use pingora::apps::{HttpPersistentSettings, HttpServerApp};
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::proxy::HttpProxy;
use pingora::time::timeout;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep};

use super::addresses::Addresses;
use super::bounds::Bounds;
use super::context::Context;
use super::exchange::{attended, rests, serves};
use super::http2::{self, Arrival};
use super::incoming::{Incoming, Received, Turn};
use super::listener::Ending;
use super::pace::measured;
use super::places::Places;
use super::reply::Reply;
use super::stranger::{Acquaintance, Reception};
use super::{Gateway, KeyedProxy, bounds, reply};
use crate::admission::denial::Denial;
use crate::config::ErrorFormat;
use crate::metrics::bounds::Bound;
use crate::request_id;

/// Read at once of what a refused client still sends.
const READ_BYTES: usize = 2 << 10;
/// How long a refused client is read from, so that it gets to see the answer.
pub(super) const LINGER: Duration = Duration::from_millis(500);
/// How much of it is read.
pub(super) const LINGER_BYTES: usize = 256 << 10;
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
