//! HTTP/2 clients: one that is the `h2` crate's, and one that writes frames by hand.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Method, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs what a client does.
pub fn block<T>(work: impl Future<Output = T>) -> T {
    runtime().block_on(async { timeout(PATIENCE, work).await.expect("it takes too long") })
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// An answer.
#[derive(Debug, Clone)]
pub struct H2Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
}

impl H2Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub fn code(&self) -> String {
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        body["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// A client of one connection.
pub struct H2 {
    send: SendRequest<Bytes>,
}

impl H2 {
    /// Over a connection that stands.
    pub async fn over(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (send, connection) = h2::client::handshake(io).await.unwrap();
        // It ends with the gateway's side.
        tokio::spawn(async move { drop(connection.await) });
        Self { send }
    }

    /// A further user of the connection.
    pub fn another(&self) -> Self {
        Self { send: self.send.clone() }
    }

    /// With prior knowledge.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::over(tokio::net::TcpStream::connect(address).await.unwrap()).await
    }

    /// Begins a request, whose body is sent by hand.
    pub async fn begin(
        &mut self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        ends: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        let mut request = Request::builder().method(method).uri(format!("http://localhost{target}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send = self.send.clone().ready().await?;
        self.send.send_request(request.body(()).unwrap(), ends)
    }

    /// One request with a key's secret, and its whole answer.
    pub async fn send(
        &mut self,
        method: Method,
        target: &str,
        secret: &str,
        body: &'static [u8],
    ) -> Result<H2Answer, h2::Error> {
        let credential = format!("Bearer {secret}");
        let (answer, mut sending) =
            self.begin(method, target, &[("authorization", &credential)], body.is_empty()).await?;
        if !body.is_empty() {
            sending.send_data(Bytes::from_static(body), true)?;
        }
        whole(answer.await?).await
    }

    pub async fn get(&mut self, target: &str, secret: &str) -> Result<H2Answer, h2::Error> {
        self.send(Method::GET, target, secret, b"").await
    }
}

/// The rest of an answer.
pub async fn whole(answer: Response<RecvStream>) -> Result<H2Answer, h2::Error> {
    let (head, mut stream) = answer.into_parts();
    let mut body = Vec::new();
    while let Some(bytes) = stream.data().await {
        let bytes = bytes?;
        stream.flow_control().release_capacity(bytes.len())?;
        body.extend_from_slice(&bytes);
    }
    let trailers = stream.trailers().await?;
    Ok(H2Answer { status: head.status.as_u16(), headers: head.headers, body, trailers })
}

/// A frame, byte for byte.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A client that says what the test says.
#[derive(Debug)]
pub struct Frames {
    pub stream: TcpStream,
}

impl Frames {
    /// Connects and says the preface and SETTINGS.
    pub fn connect(address: SocketAddr) -> Self {
        let stream = super::raw::connect(address);
        let mut frames = Self { stream };
        frames.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        frames.write(&frame(4, 0, 0, &[]));
        frames
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// A block of header fields, each written as it is.
    pub fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        for text in fields.iter().flat_map(|(name, value)| [name, value]).enumerate() {
            let (index, text) = text;
            if index % 2 == 0 {
                block.push(0);
            }
            block.push(u8::try_from(text.len()).ok().filter(|length| *length < 127).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
        block
    }

    /// A request of one frame without a body.
    pub fn request(&mut self, stream: u32, fields: &[(&str, &str)]) {
        self.write(&frame(1, 0x5, stream, &Self::fields(fields)));
    }

    /// The next frame: its kind, flags, stream and payload; `None` at the connection's end.
    pub fn next(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).ok()?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        self.stream.read_exact(&mut payload).ok()?;
        Some((head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
    }

    /// What becomes of a stream: its body, or the code that it was reset with.
    pub fn outcome(&mut self, stream: u32) -> Result<Vec<u8>, Option<u32>> {
        let mut body = Vec::new();
        loop {
            let Some((kind, flags, of, payload)) = self.next() else { return Err(None) };
            if kind == 7 {
                return Err(Some(code(&payload[4..])));
            }
            if of != stream {
                continue;
            }
            match kind {
                3 => return Err(Some(code(&payload))),
                0 => body.extend_from_slice(&payload),
                _ => {}
            }
            if matches!(kind, 0 | 1) && flags & 1 == 1 {
                return Ok(body);
            }
        }
    }

    /// The code of the GOAWAY that comes next; `None` where the connection ends without.
    pub fn goaway(&mut self) -> Option<u32> {
        loop {
            let (kind, _, _, payload) = self.next()?;
            if kind == 7 {
                return Some(code(&payload[4..]));
            }
        }
    }
}

fn code(payload: &[u8]) -> u32 {
    u32::from_be_bytes(payload[..4].try_into().unwrap())
}
