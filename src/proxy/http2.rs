//! One client connection that speaks HTTP/2: each stream is a request of its own, checked as an HTTP/1.1 head is and
//! handed to Pingora.
//!
//! The codec is the `h2` crate's; [`watched`] looks at the frames before it does. What neither can read as a request it
//! resets, as RFC 9113 section 8.1.1 asks; what is a request, but not a clear one, is answered.

mod frames;
mod request;
mod watched;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::Reason;
use h2::server::Connection;
use http::StatusCode;
use pingora::apps::HttpServerApp;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{H2Accept, H2Options, HttpSession, handshake};
use pingora::protocols::{Digest, Stream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::bounds::Bounds;
use super::connection::{Connections, Running};
use super::context::Context;
use super::incoming::denial_of;
use super::pace::{self, Upload};
use super::panics;
use crate::metrics::bounds::Bound;
use crate::outcome::Outcome;
use crate::request_id;
pub use frames::PREFACE;
use frames::{Frames, Strike};
use watched::{Alarm, Watched};

/// What TLS clients ask for it by (RFC 9113 section 3.2).
pub const ALPN: &[u8] = b"h2";

/// How long a connection whose last stream has ended has for the end of its own.
const GOODBYE: Duration = Duration::from_millis(500);
/// Requests that cannot be read as such on one connection, at most.
const MAX_MALFORMED: u32 = 32;
/// Streams that were reset before they were looked at, at most.
const MAX_RESET_UNSEEN: usize = 20;
/// What a stream's client may send before any of it is forwarded, in bytes.
const STREAM_WINDOW: u32 = 64 << 10;
/// What all streams' clients may, in bytes.
const CONNECTION_WINDOW: u32 = 256 << 10;
/// What a stream keeps for a client that does not read, in bytes.
const SEND_BUFFER: usize = 64 << 10;

/// How a connection came.
pub struct Arrival {
    /// Its other end.
    pub peer: SocketAddr,
    /// What was read of it already.
    pub read: BytesMut,
    /// Its first moment, from which its preface and first frame have their time.
    pub began: Instant,
}

/// A connection that is served.
struct Served {
    connections: Arc<Connections>,
    connection: Connection<Stream, Bytes>,
    peer: SocketAddr,
    digest: Arc<Digest>,
    alarm: Arc<Alarm>,
    streams: JoinSet<()>,
    /// Requests so far.
    requests: u32,
    /// Those of them that were none.
    malformed: u32,
    phase: Phase,
    /// Since when no stream runs, where none does.
    quiet_since: Instant,
    /// How long that may be.
    patience: Duration,
}

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It takes requests.
    Open,
    /// Its client was told to send no more.
    Ending,
}

/// What comes next on a connection.
enum Event {
    /// A stop was asked for.
    Stop,
    /// A stream has ended.
    Ended,
    /// A request.
    Request(Box<HttpSession>),
    /// What is no request. The codec has refused it.
    Malformed,
    /// The connection's end, and the bound that the codec ended it for.
    Closed(Option<Bound>),
    /// Nothing came for long enough.
    Silence,
    /// The client has reached a bound.
    Struck(Strike),
}

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Goes,
    Ends,
    /// At once, with a word about the client's manners.
    Cut,
}

/// Serves a connection to its end. When `shutdown` turns true, its streams are finished and no other is begun.
pub async fn serve(
    connections: &Arc<Connections>,
    stream: Stream,
    arrival: Arrival,
    shutdown: watch::Receiver<bool>,
) {
    let digest = Digest {
        ssl_digest: stream.get_ssl_digest(),
        timing_digest: stream.get_timing_digest(),
        proxy_digest: stream.get_proxy_digest(),
        socket_digest: stream.get_socket_digest(),
    };
    let bounds = connections.bounds();
    let alarm = Arc::new(Alarm::default());
    let deadline = arrival.began + bounds.head_timeout;
    let frames = Frames::new(bounds.http2, bounds.head_timeout, deadline);
    let watched = Watched::new(stream, arrival.read, frames, Arc::clone(&alarm));
    let shaken = handshake(Box::new(watched), Some(options(&bounds)));
    let Ok(shaken) = timeout_at(deadline, shaken).await else {
        return connections.hit(Bound::HeaderTimeout);
    };
    let Ok(connection) = shaken else { return };
    let served = Served {
        connections: Arc::clone(connections),
        connection,
        peer: arrival.peer,
        digest: Arc::new(digest),
        alarm,
        streams: JoinSet::new(),
        requests: 0,
        malformed: 0,
        phase: Phase::Open,
        quiet_since: Instant::now(),
        patience: bounds.idle_timeout,
    };
    served.run(shutdown).await;
}

fn options(bounds: &Bounds) -> H2Options {
    let resets = usize::try_from(bounds.http2.max_resets).unwrap_or(usize::MAX);
    let mut options = H2Options::new();
    options
        .max_concurrent_streams(bounds.http2.max_streams)
        .max_header_list_size(u32::try_from(bounds.max_head).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(MAX_RESET_UNSEEN)
        .max_local_error_reset_streams(Some(resets))
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER);
    options
}

impl Served {
    async fn run(mut self, mut shutdown: watch::Receiver<bool>) {
        let told = shutdown.clone();
        loop {
            let event = self.next(&mut shutdown).await;
            match self.handle(event, &told) {
                Fate::Goes => {}
                Fate::Ends => return,
                Fate::Cut => {
                    self.connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                    // Who does not take the reason does not need it.
                    let _ = timeout(GOODBYE, self.connection.accept()).await;
                    return;
                }
            }
        }
    }

    async fn next(&mut self, shutdown: &mut watch::Receiver<bool>) -> Event {
        let Self { connection, digest, alarm, streams, .. } = self;
        let silence = self.quiet_since + self.patience;
        tokio::select! {
            biased;
            strike = alarm.struck() => Event::Struck(strike),
            _ = shutdown.wait_for(|stop| *stop), if self.phase == Phase::Open => Event::Stop,
            Some(_) = streams.join_next() => Event::Ended,
            came = HttpSession::from_h2_conn(connection, Arc::clone(digest)) => match came {
                Ok(Some(H2Accept::Session(session))) => Event::Request(Box::new(session)),
                Ok(Some(H2Accept::Rejected)) => Event::Malformed,
                // Clients close without a word.
                Ok(None) => Event::Closed(None),
                // What the codec found wrong it has told the client.
                Err(error) => Event::Closed(struck_in_codec(&error)),
            },
            () = sleep_until(silence), if streams.is_empty() => Event::Silence,
        }
    }

    fn handle(&mut self, event: Event, told: &watch::Receiver<bool>) -> Fate {
        match event {
            Event::Ended => self.quiet_since = Instant::now(),
            Event::Request(session) => return self.begin(*session, told.clone()),
            Event::Malformed => return self.reject(),
            Event::Stop => self.end(),
            Event::Silence if self.phase == Phase::Open => {
                self.connections.hit(Bound::IdleTimeout);
                self.end();
            }
            // The last answer is still on its way to a client that reads slowly.
            Event::Silence if self.patience == GOODBYE && self.connection.has_streams() => {
                self.patience = self.connections.bounds().idle_timeout;
            }
            Event::Closed(bound) => {
                if let Some(bound) = bound {
                    self.connections.hit(bound);
                }
                return Fate::Ends;
            }
            Event::Silence => return Fate::Ends,
            Event::Struck(strike) => {
                self.connections.hit(strike.bound());
                return Fate::Cut;
            }
        }
        Fate::Goes
    }

    /// Tells the client to send no more requests. What runs goes on.
    fn end(&mut self) {
        self.connection.graceful_shutdown();
        (self.phase, self.patience, self.quiet_since) = (Phase::Ending, GOODBYE, Instant::now());
    }

    /// Serves a stream beside the others. A client that was told to send no more may have sent as many as may run at once
    /// before it heard of it.
    fn begin(&mut self, session: HttpSession, told: watch::Receiver<bool>) -> Fate {
        let (connections, peer) = (Arc::clone(&self.connections), self.peer);
        let metrics = Arc::clone(&connections.gateway.metrics);
        let work = async move { serve_stream(&connections, session, peer, told).await };
        self.streams.spawn(panics::counted(metrics, work));
        self.requests += 1;
        let bounds = self.connections.bounds();
        let Some(most) = bounds.requests.filter(|most| self.requests >= most.get()) else {
            return Fate::Goes;
        };
        if self.phase == Phase::Open {
            self.connections.hit(Bound::RequestsPerConnection);
            self.end();
        }
        if self.requests > most.get().saturating_add(bounds.http2.max_streams) {
            Fate::Cut
        } else {
            Fate::Goes
        }
    }

    /// Counts a request that was refused before it could be looked at.
    fn reject(&mut self) -> Fate {
        let mut context = Context::new(Arc::clone(&self.connections.gateway));
        context.request_id = request_id::new(context.received);
        context.address = Some(self.peer.ip().to_canonical());
        context.ends(Outcome::BadRequest, StatusCode::BAD_REQUEST);
        self.malformed += 1;
        if self.malformed < MAX_MALFORMED {
            return Fate::Goes;
        }
        self.connections.hit(Bound::Http2Malformed);
        Fate::Cut
    }
}

/// The bound for which the codec has sent a client away. It does not say what was too much; what it alone counts is
/// resets that the client's mistakes made necessary, what else there is [`watched`] counts before it.
fn struck_in_codec(error: &pingora::Error) -> Option<Bound> {
    let error = error.cause.as_ref()?.downcast_ref::<h2::Error>()?;
    let calm = error.is_library() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM);
    calm.then_some(Bound::Http2Resets)
}

/// One request, to its end. What is dropped in its middle resets its stream, and counts itself.
async fn serve_stream(
    connections: &Connections,
    mut session: HttpSession,
    peer: SocketAddr,
    told: watch::Receiver<bool>,
) {
    let _running = Running::new(&connections.running);
    let bounds = connections.bounds();
    session.set_write_timeout(Some(bounds.idle_timeout));
    if let Err(fault) = request::normalize(session.req_header_mut(), bounds.max_fields) {
        let denial = denial_of(fault, bounds.max_fields);
        return request::refuse(connections, session, peer, &denial).await;
    }
    let open = connections.gateway.lines.open();
    let line = open.line();
    let upload = if session.is_body_done() { Upload::Free } else { Upload::Later };
    let session = ServerSession::new_http2(session);
    let work = line.serve(connections.proxy.process_new_http(session, &told));
    tokio::select! {
        biased;
        () = line.cut() => {}
        done = pace::stream(upload, bounds.body.silence, work) => {
            if done.is_none() {
                connections.hit(Bound::BodyTimeout);
            }
        }
    }
}
