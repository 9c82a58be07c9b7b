//! The admin listener's connections: bounded in number and in time, and ended at a stop.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tower::util::ServiceExt;

use super::auth::Peer;
use super::patience::Patient;
use super::{AdminState, router};
use crate::manage::Manage;

/// Connections at once.
const MAX_CONNECTIONS: usize = 512;
/// How long a request's head, and a TLS handshake, may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long calls that run at a stop have to end.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// How long a connection may still ask, to be told that another process has taken over.
const LAST_CALLS: Duration = Duration::from_secs(1);
/// How long accepting rests after a failure such as too many open files.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// How connections are told to end.
struct Ending {
    shutdown: watch::Receiver<bool>,
    manage: Arc<Manage>,
}

/// Serves until `shutdown` turns true.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    state: AdminState,
    mut shutdown: watch::Receiver<bool>,
) {
    let manage = Arc::clone(&state.manage);
    let app = router(state);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopped(&mut shutdown) => break,
            accepted = listener.accept() => accepted,
        };
        while tasks.try_join_next().is_some() {}
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "an admin connection could not be accepted");
                sleep(ACCEPT_REST).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let (app, tls) = (app.clone(), tls.clone());
        let ending = Ending { shutdown: shutdown.clone(), manage: Arc::clone(&manage) };
        tasks.spawn(async move {
            let _place = place;
            connection(socket, Peer(peer), tls, app, ending).await;
        });
    }
    drop(listener);
    let _ = timeout(STOP_GRACE, async { while tasks.join_next().await.is_some() {} }).await;
}

async fn connection(socket: TcpStream, peer: Peer, tls: Option<TlsAcceptor>, app: Router, ending: Ending) {
    let _ = socket.set_nodelay(true);
    match tls {
        None => requests(socket, peer, app, ending).await,
        Some(tls) => match timeout(HEAD_TIMEOUT, tls.accept(socket)).await {
            Ok(Ok(stream)) => requests(stream, peer, app, ending).await,
            Ok(Err(error)) => tracing::debug!(%error, "admin TLS handshake failed"),
            Err(_) => tracing::debug!("admin TLS handshake took too long"),
        },
    }
}

async fn requests<S>(stream: S, peer: Peer, app: Router, mut ending: Ending)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let app = app.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request.map(Body::new)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(Patient::new(stream)), TowerToHyperService::new(app));
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => {}
        () = stopped(&mut ending.shutdown) => {
            if ending.manage.is_succeeded() && timeout(LAST_CALLS, connection.as_mut()).await.is_ok() {
                return;
            }
            connection.as_mut().graceful_shutdown();
            // A client that broke off in the end is its own affair.
            let _ = connection.await;
        }
    }
}

/// Waits until a stop is asked for, or whoever could ask is gone.
async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|stop| *stop).await;
}
