//! Whether the gateway is ready: proved by a request of our own to each of its ports. What it lacks though it serves, a
//! store that takes writes for one, is said beside that.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::time::timeout;

use super::reload::Reloader;
use super::upstreams::Behind;
use crate::admin::{Degraded, Ready};
use crate::store::{Store, StoreError};

/// Upstreams named at most.
const MOST_NAMED: usize = 10;
/// How long a port has to answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// How the answer to our probe starts.
const PROBE_ANSWERED: &[u8] = b"HTTP/1.1 204";
/// How a TLS listener answers what is no TLS: with an alert (RFC 8446 section 6), which proves that it works too.
const TLS_ALERT: &[u8] = &[21];

/// A request head that nobody else can know.
pub(super) fn probe_head() -> Vec<u8> {
    let nonce: u128 = rand::random();
    format!("GET /{nonce:032x} HTTP/1.1\r\nhost: probe\r\n\r\n").into_bytes()
}

/// Looks at the gateway's ports from outside, and at its store.
#[derive(Debug)]
pub(super) struct Readiness {
    addresses: Vec<SocketAddr>,
    secured: Vec<SocketAddr>,
    sockets: Vec<PathBuf>,
    probe: Vec<u8>,
    stopping: watch::Receiver<bool>,
    store: Arc<dyn Store>,
    lacks: Lacks,
}

/// Who knows what the gateway lacks, though it serves.
#[derive(Debug)]
pub(super) struct Lacks {
    pub(super) reloader: Arc<Reloader>,
    pub(super) behind: Arc<Behind>,
}

impl Lacks {
    fn all(&self) -> Vec<Degraded> {
        let configuration =
            self.reloader.complaint().map(|detail| Degraded { part: "configuration", detail });
        let dead = self.behind.without_targets();
        let upstreams = (!dead.is_empty()).then(|| {
            let (count, named) = (dead.len(), dead[..dead.len().min(MOST_NAMED)].join(", "));
            let detail = format!("{count} without a healthy target: {named}");
            Degraded { part: "upstreams", detail }
        });
        configuration.into_iter().chain(upstreams).collect()
    }
}

impl Readiness {
    pub(super) fn new(
        addresses: &[SocketAddr],
        secured: &[SocketAddr],
        sockets: Vec<PathBuf>,
        probe: Vec<u8>,
        stopping: watch::Receiver<bool>,
        store: Arc<dyn Store>,
        lacks: Lacks,
    ) -> Self {
        let reachable = |all: &[SocketAddr]| all.iter().copied().map(reachable).collect();
        let (addresses, secured) = (reachable(addresses), reachable(secured));
        Self { addresses, secured, sockets, probe, stopping, store, lacks }
    }

    async fn store_takes_writes(&self) -> bool {
        let store = Arc::clone(&self.store);
        // While it is handed over it is in good hands.
        let well = |checked| matches!(checked, Ok(()) | Err(StoreError::HandedOver { .. }));
        tokio::task::spawn_blocking(move || store.check()).await.is_ok_and(well)
    }

    /// Whether it answers our probe with such bytes.
    async fn answers<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        connecting: impl Future<Output = io::Result<S>>,
        expected: &[&[u8]],
    ) -> bool {
        let ask = async {
            let mut stream = connecting.await?;
            stream.write_all(&self.probe).await?;
            let mut start = vec![0; PROBE_ANSWERED.len()];
            let read = stream.read(&mut start).await?;
            io::Result::Ok(expected.iter().any(|expected| start[..read].starts_with(expected)))
        };
        matches!(timeout(PROBE_TIMEOUT, ask).await, Ok(Ok(true)))
    }
}

/// A listener on every address is reached through the loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[async_trait::async_trait]
impl Ready for Readiness {
    async fn ready(&self) -> Result<Vec<Degraded>, String> {
        if *self.stopping.borrow() {
            return Err("the gateway is stopping".into());
        }
        let plain = self.addresses.iter().map(|address| (address, [PROBE_ANSWERED].as_slice()));
        // One behind a PROXY protocol answers before the handshake.
        let secured = self.secured.iter().map(|address| (address, [TLS_ALERT, PROBE_ANSWERED].as_slice()));
        for (address, expected) in plain.chain(secured) {
            if !self.answers(TcpStream::connect(*address), expected).await {
                return Err(format!("the gateway does not answer on {address}"));
            }
        }
        for path in &self.sockets {
            if !self.answers(UnixStream::connect(path), &[PROBE_ANSWERED]).await {
                return Err(format!("the gateway does not answer on unix:{}", path.display()));
            }
        }
        let mut lacks = self.lacks.all();
        if !self.store_takes_writes().await {
            // Keys are checked from memory, so it serves. Why is in the log: whoever asks here may be anybody.
            let detail = "the store takes no writes; keys are checked as they were".to_owned();
            lacks.insert(0, Degraded { part: "store", detail });
        }
        Ok(lacks)
    }
}
