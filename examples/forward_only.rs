//! A proxy that only forwards: Pingora with nothing of ours in it, for `benches/proxy` to compare the gateway with.
//!
//! `forward_only LISTEN UPSTREAM`, both `address:port`. It has what the gateway has: the same Pingora features, the
//! same allocator, one worker thread, kept connections to the upstream. It sets no timeouts, reads no key, counts
//! nothing and changes no header.

use std::net::SocketAddr;

use anyhow::Context as _;
use async_trait::async_trait;
use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
use pingora::server::Server;
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct ForwardOnly {
    upstream: SocketAddr,
}

#[async_trait]
impl ProxyHttp for ForwardOnly {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream, false, String::new())))
    }
}

fn main() -> anyhow::Result<()> {
    let usage = "usage: forward_only LISTEN UPSTREAM";
    let mut arguments = std::env::args().skip(1);
    let listen: SocketAddr = arguments.next().context(usage)?.parse().context(usage)?;
    let upstream: SocketAddr = arguments.next().context(usage)?.parse().context(usage)?;
    let settings = ServerConf { threads: 1, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, settings);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, ForwardOnly { upstream });
    service.add_tcp(&listen.to_string());
    server.add_service(service);
    server.run_forever();
}
