//! The gateway's listeners: accepts connections, bounds their number, and ends them at a stop. On a TLS listener the
//! handshake comes first, within the time of the first head.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use pingora::protocols::SocketDigest;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_rustls::server::TlsStream;

use super::client::Client;
use super::connection::{Connections, PROBE_ANSWER};
use super::http2::{self, Arrival};
use super::places::Place;
use super::preamble::{self, Preamble};
use super::socket::{Listener, Socket};
use super::{panics, request};
use crate::config;
use crate::metrics::bounds::Bound;
use crate::tls::server::Server;

/// How long accepting rests after a failure such as too many open files, rather than spin.
const ACCEPT_REST: Duration = Duration::from_millis(50);
/// How often a stop looks whether the last request has ended.
const DRAIN_LOOK: Duration = Duration::from_millis(5);

/// A way in: where connections come from, and what they are to say.
#[derive(Debug)]
pub struct Entrance {
    /// The listening socket.
    pub listener: Listener,
    /// What each connection begins with.
    pub begins: config::Preamble,
    /// What is spoken after it.
    pub transport: Transport,
}

/// What is spoken on a listener's sockets.
#[derive(Debug, Clone)]
pub enum Transport {
    /// HTTP as it is.
    Plain,
    /// HTTP in TLS, with these certificates.
    Tls(Arc<Server>),
}

/// How a gateway is told to end.
#[derive(Debug, Clone)]
pub struct Ending {
    /// Turns true when nothing more is to be accepted: what runs goes on, and a connection that is kept gets one more
    /// answer, which says that it is the last.
    pub drain: watch::Receiver<bool>,
    /// Turns true when no other request is to be begun.
    pub stop: watch::Receiver<bool>,
}

/// An accepted connection.
struct Accepted {
    socket: Socket,
    peer: SocketAddr,
    /// Its first moment, from which its first head has its time.
    began: Instant,
    begins: config::Preamble,
    transport: Transport,
    _place: Place,
}

/// Accepts at one entrance until it is told to end. Every connection beyond the bound is closed at once.
pub async fn accept(entrance: Entrance, connections: Arc<Connections>, mut ending: Ending) {
    let Entrance { listener, begins, transport } = entrance;
    let mut tasks = JoinSet::new();
    let mut failing = Failing::No;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = ending.drain.wait_for(|end| *end) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => {
                failing = Failing::No;
                let Some(place) = connections.places.enter(connections.bounds().connections) else {
                    connections.gateway.metrics.connections_refused.inc();
                    connections.hit(Bound::Connections);
                    continue;
                };
                let (began, transport) = (Instant::now(), transport.clone());
                let accepted = Accepted { socket, peer, began, begins, transport, _place: place };
                let metrics = Arc::clone(&connections.gateway.metrics);
                let work = serve(Arc::clone(&connections), accepted, ending.clone());
                tasks.spawn(panics::counted(metrics, work));
            }
            Err(error) => rest_after(&error, &mut failing).await,
        }
        while tasks.try_join_next().is_some() {}
    }
    drop(listener);
    drain(&connections, &mut tasks, connections.bounds().grace).await;
}

async fn serve(connections: Arc<Connections>, accepted: Accepted, mut ending: Ending) {
    let Accepted { mut socket, mut peer, began, begins, transport, _place } = accepted;
    if begins == config::Preamble::Proxy {
        let named = tokio::select! {
            biased;
            _ = ending.stop.wait_for(|stop| *stop) => return,
            named = named_client(&connections, &mut socket, peer, began) => named,
        };
        let Some(named) = named else { return };
        peer = named;
    }
    let routing = connections.gateway.routing.load();
    let (most, exempt) = (routing.bounds.of_one_address, &routing.trusted_proxies);
    let entered = connections.addresses.enter(peer.ip(), most, exempt);
    drop(routing);
    let Some(_one_of_its_address) = entered else {
        return connections.hit(Bound::ConnectionsPerAddress);
    };
    let digest = SocketDigest::from_raw_fd(socket.as_raw_fd());
    // The cell of a digest that was just made is empty.
    let _ = digest.peer_addr.set(Some(peer.into()));
    let Transport::Tls(server) = transport else {
        return connections.serve(Box::new(Client::new(socket, digest)), peer, began, ending).await;
    };
    let secured = tokio::select! {
        biased;
        _ = ending.stop.wait_for(|stop| *stop) => return,
        // Only while it lasts does it take the memory that it needs.
        secured = Box::pin(shake_hands(&connections, &server, socket, began)) => secured,
    };
    let Some(secured) = secured else { return };
    let speaks_http2 = secured.get_ref().1.alpn_protocol() == Some(http2::ALPN);
    let client = Box::new(Client::secured(secured, digest));
    if speaks_http2 {
        let arrival = Arrival { peer, read: BytesMut::new(), began };
        return Box::pin(http2::serve(&connections, client, arrival, ending.drain)).await;
    }
    connections.serve(client, peer, began, ending).await;
}

/// The TLS handshake, in the time that the first request's head has. `None` where it comes to nothing; the client has
/// been told why.
async fn shake_hands(
    connections: &Connections,
    server: &Server,
    socket: Socket,
    began: Instant,
) -> Option<TlsStream<Socket>> {
    let end = began + connections.bounds().head_timeout;
    match timeout_at(end, server.acceptor().accept(socket)).await {
        Ok(Ok(secured)) => Some(secured),
        Ok(Err(error)) => {
            tracing::debug!(%error, "TLS handshake failed");
            None
        }
        Err(_) => {
            connections.hit(Bound::HeaderTimeout);
            None
        }
    }
}

/// The client that a trusted proxy names; `None` where the connection is to be closed.
async fn named_client(
    connections: &Connections,
    socket: &mut Socket,
    peer: SocketAddr,
    began: Instant,
) -> Option<SocketAddr> {
    let ip = peer.ip().to_canonical();
    let trusted = request::is_trusted(ip, &connections.gateway.routing.load().trusted_proxies);
    let end = began + connections.bounds().head_timeout;
    let preamble = if trusted || ip.is_loopback() {
        timeout_at(end, preamble::read(socket, &connections.probe)).await.unwrap_or(Preamble::Bad)
    } else {
        Preamble::Bad
    };
    match preamble {
        Preamble::Client(client) if trusted => return Some(client),
        Preamble::Own if trusted => return Some(peer),
        Preamble::Probe => {
            // A probe that went away learns nothing, and nothing is owed to it.
            let _ = socket.write_all(PROBE_ANSWER).await;
        }
        Preamble::Client(_) | Preamble::Own | Preamble::Bad => connections.hit(Bound::ProxyProtocol),
    }
    None
}

/// Whether the last attempt to accept failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failing {
    Yes,
    No,
}

/// A connection that was reset before it was accepted is nobody's fault; anything else is said, once until it is over,
/// and rested from.
async fn rest_after(error: &io::Error, failing: &mut Failing) {
    if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
        return;
    }
    if *failing == Failing::No {
        *failing = Failing::Yes;
        tracing::warn!(%error, "connections cannot be accepted");
    }
    sleep(ACCEPT_REST).await;
}

/// Waits until the last request has ended or the grace has; what runs then is cut off, and counted.
async fn drain(connections: &Connections, tasks: &mut JoinSet<()>, grace: Duration) {
    let end = Instant::now() + grace;
    while !tasks.is_empty() && Instant::now() < end {
        tokio::select! {
            _ = tasks.join_next() => {}
            () = sleep(DRAIN_LOOK) => {}
        }
    }
    let cut = connections.running.load(Ordering::Acquire);
    if cut > 0 {
        tracing::warn!(requests = cut, "the grace is over: running requests are cut off");
    }
    tasks.shutdown().await;
}
