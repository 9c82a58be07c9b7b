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
use crate::wire::{self, Requests, Secrets};

/// What to send, and what to expect.
#[derive(Clone)]
pub struct Load {
    /// Who is sent it: each connection goes to the next of these.
    pub addresses: Vec<SocketAddr>,
    pub path: &'static str,
    /// Each request has a random one of these; none where there are none.
    pub secrets: Option<Secrets>,
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
            for address in load.addresses.iter().cycle().take(load.connections) {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                streams.push(stream);
            }
            let started = now();
            for (seed, stream) in (0..).zip(streams) {
                let requests = Requests::new(load.path, load.secrets.clone(), seed);
                connections.spawn(one_connection(stream, load.clone(), requests));
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
            Ok(String::from_utf8_lossy(buffer.get(..end).unwrap_or_default()).into_owned())
        })
    }
}

async fn one_connection(mut stream: TcpStream, load: Load, mut requests: Requests) -> anyhow::Result<()> {
    let mut buffer = Vec::with_capacity(4 << 10);
    for _ in 0..load.requests / load.connections {
        stream.write_all(requests.next()).await?;
        let end = read_answer(&mut stream, &mut buffer).await?;
        wire::expect(&buffer, end, load.status)?;
        buffer.clear();
    }
    Ok(())
}

/// Reads one answer into the buffer and says where it ends.
async fn read_answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> anyhow::Result<usize> {
    let mut end = None;
    while end.is_none_or(|end| buffer.len() < end) {
        let read = stream.read_buf(buffer).await.context("reading an answer")?;
        anyhow::ensure!(read > 0, "the connection was closed");
        if end.is_none() {
            end = wire::end(buffer)?;
        }
    }
    end.context("no answer")
}
