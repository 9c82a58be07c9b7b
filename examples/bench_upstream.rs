//! The upstream of `benches/`: answers each request on a kept connection with the same 200, as fast as it can.
//!
//! `bench_upstream LISTEN`. One thread; requests have no bodies. A path that starts with `/v1/echo` is answered with
//! the request's own head, so that a benchmark can see what a gateway forwarded.

use std::io;
use std::net::SocketAddr;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The largest request head that it reads, in bytes.
const MAX_HEAD: usize = 64 << 10;
const HEAD_END: &[u8] = b"\r\n\r\n";
const ECHO: &[u8] = b"GET /v1/echo";
/// About what a small JSON API answers.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\n\
    content-type: application/json\r\n\
    content-length: 107\r\n\
    date: Sat, 21 Nov 2026 13:00:00 GMT\r\n\
    server: bench\r\n\r\n\
    {\"id\":\"m-1\",\"object\":\"model\",\"created\":1750000000,\"owned_by\":\"bench\",\"description\":\"one of several models\"}";

fn main() -> anyhow::Result<()> {
    let usage = "usage: bench_upstream LISTEN";
    let listen: SocketAddr = std::env::args().nth(1).context(usage)?.parse().context(usage)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener =
            TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
        loop {
            let (stream, _) = listener.accept().await?;
            // A connection that breaks is the other side's to report.
            tokio::spawn(async move { drop(serve(stream).await) });
        }
    })
}

async fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(4 << 10);
    loop {
        let Some(end) = memchr::memmem::find(&buffer, HEAD_END).map(|at| at + HEAD_END.len()) else {
            if buffer.len() > MAX_HEAD || stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let head = &buffer[..end];
        if head.starts_with(ECHO) {
            let mut answer =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", head.len()).into_bytes();
            answer.extend_from_slice(head);
            stream.write_all(&answer).await?;
        } else {
            stream.write_all(ANSWER).await?;
        }
        buffer.drain(..end);
    }
}
