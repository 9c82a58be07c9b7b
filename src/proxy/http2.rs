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

use super::connection::{Connections, Running};
use super::context::Context;
use super::panics;
use crate::metrics::bounds::Bound;
use crate::outcome::Outcome;
use crate::request_id;
use frames::Frames;
pub use frames::PREFACE;
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
    peer: SocketAddr,
    digest: Arc<Digest>,
    alarm: Arc<Alarm>,
    streams: JoinSet<()>,
    /// Requests so far.
    served: u32,
    malformed: u32,
}

/// What comes next on a connection.
enum Event {
    /// A stop was asked for.
    Stop,
    /// A stream has ended.
    Ended,
    /// A request, one that was refused already, or the connection's end.
    Came(Option<H2Accept>),
    /// Nothing came for long enough.
    Silence,
    /// It is to be closed now.
    Close,
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
    let bounds = &connections.bounds;
    let alarm = Arc::new(Alarm::default());
    let deadline = arrival.began + bounds.head_timeout;
    let frames = Frames::new(bounds.http2, bounds.head_timeout, deadline);
    let watched = Watched::new(stream, arrival.read, frames, Arc::clone(&alarm));
    let shaken = handshake(Box::new(watched), Some(options(connections)));
    let Ok(shaken) = timeout_at(deadline, shaken).await else {
        return connections.hit(Bound::HeaderTimeout);
    };
    let Ok(connection) = shaken else { return };
    let served = Served {
        connections: Arc::clone(connections),
        peer: arrival.peer,
        digest: Arc::new(digest),
        alarm,
        streams: JoinSet::new(),
        served: 0,
        malformed: 0,
    };
    served.run(connection, shutdown).await;
}

fn options(connections: &Connections) -> H2Options {
    let bounds = &connections.bounds;
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
    async fn run(mut self, mut connection: Connection<Stream, Bytes>, mut shutdown: watch::Receiver<bool>) {
        let told = shutdown.clone();
        let mut idle = self.connections.bounds.idle_timeout;
        let mut quiet_since = Instant::now();
        let mut ending = false;
        loop {
            let silence = quiet_since + idle;
            let event = tokio::select! {
                biased;
                strike = self.alarm.struck() => {
                    self.connections.hit(strike.bound());
                    Event::Close
                }
                _ = shutdown.wait_for(|stop| *stop), if !ending => Event::Stop,
                Some(_) = self.streams.join_next() => Event::Ended,
                came = HttpSession::from_h2_conn(&mut connection, Arc::clone(&self.digest)) => {
                    // Clients close without a word. What the codec found wrong it has told the client.
                    Event::Came(came.ok().flatten())
                }
                () = sleep_until(silence), if self.streams.is_empty() => Event::Silence,
            };
            match event {
                Event::Ended => quiet_since = Instant::now(),
                Event::Came(Some(H2Accept::Session(session))) => {
                    self.begin(session, told.clone());
                    if self.is_spent() && !ending {
                        self.connections.hit(Bound::RequestsPerConnection);
                        connection.graceful_shutdown();
                        (ending, idle) = (true, GOODBYE);
                    }
                }
                Event::Came(Some(H2Accept::Rejected)) if self.malformed < MAX_MALFORMED => self.reject(),
                Event::Came(None) => return,
                Event::Stop => {
                    connection.graceful_shutdown();
                    (ending, idle, quiet_since) = (true, GOODBYE, Instant::now());
                }
                Event::Silence if !ending => {
                    self.connections.hit(Bound::IdleTimeout);
                    connection.graceful_shutdown();
                    (ending, idle, quiet_since) = (true, GOODBYE, Instant::now());
                }
                // The last answer is still on its way to a client that reads slowly.
                Event::Silence if idle == GOODBYE && connection.has_streams() => {
                    idle = self.connections.bounds.idle_timeout;
                }
                Event::Silence => return,
                Event::Close | Event::Came(Some(H2Accept::Rejected)) => {
                    if self.malformed >= MAX_MALFORMED {
                        self.connections.hit(Bound::Http2Malformed);
                    }
                    connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                    // Who does not take the reason does not need it.
                    let _ = timeout(GOODBYE, connection.accept()).await;
                    return;
                }
            }
        }
    }

    /// Serves a stream beside the others.
    fn begin(&mut self, session: HttpSession, told: watch::Receiver<bool>) {
        self.served += 1;
        let (connections, peer) = (Arc::clone(&self.connections), self.peer);
        let metrics = Arc::clone(&connections.gateway.metrics);
        let work = async move { serve_stream(&connections, session, peer, told).await };
        self.streams.spawn(panics::counted(metrics, work));
    }

    /// Whether it has carried as many requests as it may.
    fn is_spent(&self) -> bool {
        self.connections.bounds.requests.is_some_and(|most| self.served >= most.get())
    }

    /// Counts a request that was refused before it could be looked at.
    fn reject(&mut self) {
        self.malformed += 1;
        let mut context = Context::new(Arc::clone(&self.connections.gateway));
        context.request_id = request_id::new(context.received);
        context.address = Some(self.peer.ip().to_canonical());
        context.ends(Outcome::BadRequest, StatusCode::BAD_REQUEST);
    }
}

/// One request, to its end. What is dropped in its middle resets its stream, and counts itself.
async fn serve_stream(
    connections: &Connections,
    mut session: HttpSession,
    peer: SocketAddr,
    told: watch::Receiver<bool>,
) {
    let _running = Running::new(&connections.running);
    session.set_write_timeout(Some(connections.bounds.idle_timeout));
    if let Err(fault) = request::normalize(session.req_header_mut(), connections.bounds.max_fields) {
        return request::refuse(connections, session, peer, fault).await;
    }
    let open = connections.gateway.lines.open();
    let line = open.line();
    let session = ServerSession::new_http2(session);
    tokio::select! {
        biased;
        () = line.cut() => {}
        _ = line.serve(connections.proxy.process_new_http(session, &told)) => {}
    }
}
