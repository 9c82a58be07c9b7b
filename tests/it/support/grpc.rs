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
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio_rustls::TlsAcceptor;

/// The upstream. It runs until the process ends.
pub struct GrpcUpstream {
    pub address: SocketAddr,
    heads: Arc<Mutex<Vec<Request<()>>>>,
}

impl GrpcUpstream {
    /// Without TLS, for clients with prior knowledge.
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// Over TLS, with this certificate and key (PEM), where clients ask for it by ALPN.
    pub fn start_secured((certificate, key): &(String, String)) -> Self {
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self::start_with(Some(TlsAcceptor::from(Arc::new(config))))
    }

    fn start_with(tls: Option<TlsAcceptor>) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        thread::spawn(move || {
            runtime.block_on(async move {
                while let Ok((socket, _)) = listener.accept().await {
                    let (tls, seen) = (tls.clone(), Arc::clone(&seen));
                    tokio::spawn(async move {
                        match tls {
                            None => connection(socket, seen).await,
                            // A client that does not trust it goes away.
                            Some(tls) => {
                                if let Ok(stream) = tls.accept(socket).await {
                                    connection(stream, seen).await;
                                }
                            }
                        }
                    });
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

async fn connection(socket: impl AsyncRead + AsyncWrite + Unpin, seen: Arc<Mutex<Vec<Request<()>>>>) {
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
