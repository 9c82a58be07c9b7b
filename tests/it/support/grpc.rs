//! An upstream that speaks HTTP/2 with prior knowledge and answers gRPC calls as their path asks.
//!
//! `…/Echo` sends each piece back as it comes, and a status 0 in trailers; `…/Fails` answers with a head alone
//! ("Trailers-Only") and status 5; `…/Hangs` never answers; anything else is answered as plain HTTP with `hello`.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::TcpListener;
use tokio::runtime::Builder;

/// The upstream. It runs until the process ends.
pub struct GrpcUpstream {
    pub address: SocketAddr,
    heads: Arc<Mutex<Vec<Request<()>>>>,
}

impl GrpcUpstream {
    pub fn start() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        thread::spawn(move || {
            runtime.block_on(async move {
                while let Ok((socket, _)) = listener.accept().await {
                    tokio::spawn(connection(socket, Arc::clone(&seen)));
                }
            });
        });
        Self { address, heads }
    }

    /// The heads of all requests so far.
    pub fn heads(&self) -> Vec<Request<()>> {
        self.heads.lock().unwrap().clone()
    }
}

async fn connection(socket: tokio::net::TcpStream, seen: Arc<Mutex<Vec<Request<()>>>>) {
    let Ok(mut connection) = h2::server::handshake(socket).await else { return };
    while let Some(Ok((request, answer))) = connection.accept().await {
        let (head, body) = request.into_parts();
        let head = Request::from_parts(head, ());
        seen.lock().unwrap().push(head.clone());
        tokio::spawn(async move {
            // A gateway that resets the stream is what some tests want.
            let _ = serve(&head, body, answer).await;
        });
    }
}

async fn serve(
    head: &Request<()>,
    mut body: RecvStream,
    mut answer: SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let path = head.uri().path();
    let begun = Response::builder().header("content-type", "application/grpc");
    if path.ends_with("/Hangs") {
        std::future::pending::<()>().await;
    }
    if path.ends_with("/Fails") {
        let begun = begun.header("grpc-status", "5").header("grpc-message", "no such thing");
        answer.send_response(begun.body(()).unwrap(), true)?;
        return Ok(());
    }
    if !path.ends_with("/Echo") {
        let mut sending = answer.send_response(Response::new(()), false)?;
        return sending.send_data(Bytes::from_static(b"hello"), true);
    }
    let mut sending = answer.send_response(begun.body(()).unwrap(), false)?;
    while let Some(bytes) = body.data().await {
        let bytes = bytes?;
        body.flow_control().release_capacity(bytes.len())?;
        sending.send_data(bytes, false)?;
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    trailers.insert("x-checksum", HeaderValue::from_static("abc"));
    sending.send_trailers(trailers)
}
