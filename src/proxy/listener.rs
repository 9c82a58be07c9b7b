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
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::server::TlsStream;

use super::client::Client;
use super::connection::Connections;
use super::http2::{self, Arrival};
use crate::tls::server::Server;

/// How long accepting rests after a failure such as too many open files, rather than spin.
const ACCEPT_REST: Duration = Duration::from_millis(50);
/// How often a stop looks whether the last request has ended.
const DRAIN_LOOK: Duration = Duration::from_millis(5);

/// What is spoken on a listener's sockets.
#[derive(Debug, Clone)]
pub enum Transport {
    /// HTTP as it is.
    Plain,
    /// HTTP in TLS, with these certificates.
    Tls(Arc<Server>),
}

/// Accepts on one listener until `shutdown` turns true. Every connection beyond `places` is closed at once.
pub async fn accept(
    listener: TcpListener,
    transport: Transport,
    connections: Arc<Connections>,
    places: Arc<Semaphore>,
    mut shutdown: watch::Receiver<bool>,
    grace: Duration,
) {
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = shutdown.wait_for(|stop| *stop) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => match Arc::clone(&places).try_acquire_owned() {
                Ok(place) => {
                    let (connections, shutdown) = (Arc::clone(&connections), shutdown.clone());
                    tasks.spawn(serve(connections, transport.clone(), socket, peer, place, shutdown));
                }
                Err(_) => connections.gateway.metrics.connections_refused.inc(),
            },
            Err(error) => rest_after(&error).await,
        }
        while tasks.try_join_next().is_some() {}
    }
    drop(listener);
    drain(&connections, &mut tasks, grace).await;
}

async fn serve(
    connections: Arc<Connections>,
    transport: Transport,
    socket: TcpStream,
    peer: SocketAddr,
    _place: OwnedSemaphorePermit,
    mut shutdown: watch::Receiver<bool>,
) {
    // A socket that refuses the option is slower, no more.
    let _ = socket.set_nodelay(true);
    let digest = SocketDigest::from_raw_fd(socket.as_raw_fd());
    // The cell of a digest that was just made is empty.
    let _ = digest.peer_addr.set(Some(peer.into()));
    let Transport::Tls(server) = transport else {
        return connections
            .serve(Box::new(Client::new(socket, digest)), peer, Duration::ZERO, shutdown)
            .await;
    };
    let began = Instant::now();
    let secured = tokio::select! {
        biased;
        _ = shutdown.wait_for(|stop| *stop) => return,
        secured = shake_hands(&connections, &server, socket) => secured,
    };
    let Some(secured) = secured else { return };
    if secured.get_ref().1.alpn_protocol() == Some(http2::ALPN) {
        let arrival =
            Arrival { peer, read: BytesMut::new(), deadline: began + connections.bounds.head_timeout };
        let client = Box::new(Client::secured(secured, digest));
        return Box::pin(http2::serve(&connections, client, arrival, shutdown)).await;
    }
    connections.serve(Box::new(Client::secured(secured, digest)), peer, began.elapsed(), shutdown).await;
}

/// The TLS handshake, in the time that the first request's head has. `None` where it comes to nothing; the client has
/// been told why.
async fn shake_hands(
    connections: &Connections,
    server: &Server,
    socket: TcpStream,
) -> Option<TlsStream<TcpStream>> {
    match timeout(connections.bounds.head_timeout, server.acceptor().accept(socket)).await {
        Ok(Ok(secured)) => Some(secured),
        Ok(Err(error)) => {
            tracing::debug!(%error, "TLS handshake failed");
            None
        }
        Err(_) => {
            connections.gateway.metrics.connection_ended("tls_handshake_time");
            None
        }
    }
}

/// A connection that was reset before it was accepted is nobody's fault; anything else is said, and rested from.
async fn rest_after(error: &io::Error) {
    if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
        return;
    }
    tracing::warn!(%error, "a connection could not be accepted");
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
