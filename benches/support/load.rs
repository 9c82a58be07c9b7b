//! The client: keeps some connections open and sends the next request on each as soon as the last is answered.
//!
//! One thread. Each answer is read whole and its status looked at; one that is not as expected ends the benchmark.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use crate::machine::now;
use crate::secrets::{Numbers, secret};

/// An answer larger than this is a fault.
const MAX_ANSWER: usize = 64 << 10;

/// What to send, and what to expect.
#[derive(Clone)]
pub struct Load {
    pub address: SocketAddr,
    pub path: &'static str,
    /// Each request has the secret of a random number in this range; none where there is no range.
    pub secrets: Option<std::ops::Range<usize>>,
    pub connections: usize,
    /// In all, over all connections.
    pub requests: usize,
    pub status: u16,
}

/// The client's own thread and connections.
pub struct Client(Runtime);

impl Client {
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self(Builder::new_current_thread().enable_io().build()?))
    }

    /// Sends them all and says how long that took.
    pub fn run(&self, load: &Load) -> anyhow::Result<Duration> {
        self.0.block_on(async {
            let mut connections = JoinSet::new();
            let mut streams = Vec::new();
            for _ in 0..load.connections {
                let stream = TcpStream::connect(load.address).await?;
                stream.set_nodelay(true)?;
                streams.push(stream);
            }
            let started = now();
            for (seed, stream) in (0..).zip(streams) {
                connections.spawn(one_connection(stream, load.clone(), Numbers::from_seed(seed)));
            }
            while let Some(ended) = connections.join_next().await {
                ended??;
            }
            Ok(started.elapsed())
        })
    }

    /// One request on a connection of its own: the answer's head and body as text.
    pub fn ask(&self, address: SocketAddr, request: &[u8]) -> anyhow::Result<String> {
        self.0.block_on(async {
            let mut stream = TcpStream::connect(address).await?;
            let mut buffer = Vec::new();
            stream.write_all(request).await?;
            let end = read_answer(&mut stream, &mut buffer).await?;
            Ok(String::from_utf8_lossy(&buffer[..end]).into_owned())
        })
    }
}

/// A request as a small client of an API sends it.
pub fn request(path: &str, secret: Option<&str>) -> Vec<u8> {
    let credential = secret.map(|secret| format!("authorization: Bearer {secret}\r\n")).unwrap_or_default();
    let head = "host: api.example.com\r\nuser-agent: bench/1\r\naccept: application/json\r\naccept-encoding: gzip\r\n";
    format!("GET {path} HTTP/1.1\r\n{head}{credential}\r\n").into_bytes()
}

async fn one_connection(mut stream: TcpStream, load: Load, mut numbers: Numbers) -> anyhow::Result<()> {
    let mut buffer = Vec::with_capacity(4 << 10);
    for _ in 0..load.requests / load.connections {
        let secret = load.secrets.as_ref().map(|range| secret(range.start + numbers.below(range.len())));
        stream.write_all(&request(load.path, secret.as_deref())).await?;
        let end = read_answer(&mut stream, &mut buffer).await?;
        let status = status(&buffer).context("an answer without a status")?;
        if status != load.status || end != buffer.len() {
            let answer = String::from_utf8_lossy(&buffer);
            anyhow::bail!("an answer that is not one whole {}: {answer}", load.status);
        }
        buffer.clear();
    }
    Ok(())
}

/// Reads one answer into the buffer and says where it ends.
async fn read_answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> anyhow::Result<usize> {
    let mut end = None;
    while end.is_none_or(|end| buffer.len() < end) {
        anyhow::ensure!(stream.read_buf(buffer).await? > 0, "the connection was closed");
        anyhow::ensure!(buffer.len() <= MAX_ANSWER, "an answer of over {MAX_ANSWER} bytes");
        if end.is_none()
            && let Some(head) = memchr::memmem::find(buffer, b"\r\n\r\n")
        {
            end = Some(head + 4 + content_length(&buffer[..head])?);
        }
    }
    end.context("no answer")
}

fn content_length(head: &[u8]) -> anyhow::Result<usize> {
    let head = std::str::from_utf8(head)?;
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    length.context("an answer without a length")?.1.trim().parse().context("a bad length")
}

fn status(answer: &[u8]) -> Option<u16> {
    std::str::from_utf8(answer.get(9..12)?).ok()?.parse().ok()
}
