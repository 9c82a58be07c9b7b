//! Whether the gateway is ready: proved by a request of our own to each of its ports, and by a store that takes writes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::admin::Ready;
use crate::store::Store;

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
    probe: Vec<u8>,
    stopping: watch::Receiver<bool>,
    store: Arc<dyn Store>,
}

impl Readiness {
    pub(super) fn new(
        addresses: &[SocketAddr],
        secured: &[SocketAddr],
        probe: Vec<u8>,
        stopping: watch::Receiver<bool>,
        store: Arc<dyn Store>,
    ) -> Self {
        let reachable = |all: &[SocketAddr]| all.iter().copied().map(reachable).collect();
        let (addresses, secured) = (reachable(addresses), reachable(secured));
        Self { addresses, secured, probe, stopping, store }
    }

    async fn store_takes_writes(&self) -> bool {
        let store = Arc::clone(&self.store);
        matches!(tokio::task::spawn_blocking(move || store.check()).await, Ok(Ok(())))
    }

    /// Whether the address answers our probe with such bytes.
    async fn answers(&self, address: SocketAddr, expected: &[u8]) -> bool {
        let ask = async {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(&self.probe).await?;
            let mut start = vec![0; expected.len()];
            stream.read_exact(&mut start).await?;
            std::io::Result::Ok(start == expected)
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
    async fn ready(&self) -> Result<(), String> {
        if *self.stopping.borrow() {
            return Err("the gateway is stopping".into());
        }
        if !self.store_takes_writes().await {
            // Why is in the log: whoever asks here may be anybody.
            return Err("the store takes no writes; keys are checked as they were".into());
        }
        let plain = self.addresses.iter().map(|address| (address, PROBE_ANSWERED));
        let secured = self.secured.iter().map(|address| (address, TLS_ALERT));
        for (address, expected) in plain.chain(secured) {
            if !self.answers(*address, expected).await {
                return Err(format!("the gateway does not answer on {address}"));
            }
        }
        Ok(())
    }
}
