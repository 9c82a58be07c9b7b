//! The sockets that the gateway and the admin API listen on.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::certificates::Certificates;
use super::upgrade::Sockets;
use crate::config::Preamble;
use crate::config::listen::Listen;
use crate::proxy::listener::Transport;
use crate::proxy::socket::Listener;

/// The gateway's listeners, and where they are.
pub(super) struct Listeners {
    pub(super) all: Vec<(Listener, Transport)>,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) sockets: Vec<PathBuf>,
}

/// Binds every place of the gateway's.
pub(super) fn bind_all(
    runtime: &Runtime,
    listen: &Listen,
    sockets: &mut Sockets,
) -> anyhow::Result<Listeners> {
    let _inside = runtime.enter();
    let mut all = Vec::new();
    for at in &listen.tcp {
        all.push(Listener::Tcp(bind(runtime, *at, sockets)?));
    }
    for at in &listen.proxied {
        all.push(Listener::Proxied(bind(runtime, *at, sockets)?));
    }
    for path in &listen.unix {
        let listener = sockets.unix(path, listen.unix_mode);
        all.push(listener.with_context(|| format!("cannot listen on unix:{}", path.display()))?);
    }
    let addresses = all.iter().filter_map(|one| one.address().transpose()).collect::<io::Result<Vec<_>>>()?;
    let all = all.into_iter().map(|one| (one, Transport::Plain)).collect();
    Ok(Listeners { all, addresses, sockets: listen.unix.clone() })
}

/// Binds one address, where no socket for it was given.
pub(super) fn bind(
    runtime: &Runtime,
    address: SocketAddr,
    sockets: &mut Sockets,
) -> anyhow::Result<TcpListener> {
    let _inside = runtime.enter();
    sockets.tcp(address).and_then(TcpListener::from_std).with_context(|| {
        format!("cannot listen on {address}; free the port or choose another in the configuration")
    })
}

/// The TLS listeners with their certificates.
pub(super) type Secured = Vec<(Listener, Transport)>;

/// Binds every TLS listener, and says where they are.
pub(super) fn bind_secured(
    runtime: &Runtime,
    certificates: &Certificates,
    sockets: &mut Sockets,
) -> anyhow::Result<(Secured, Vec<SocketAddr>)> {
    let mut all = Vec::new();
    let mut addresses = Vec::new();
    for (at, preamble, server) in certificates.listeners() {
        let listener = bind(runtime, at, sockets)?;
        addresses.push(listener.local_addr()?);
        let listener = match preamble {
            Preamble::None => Listener::Tcp(listener),
            Preamble::Proxy => Listener::Proxied(listener),
        };
        all.push((listener, Transport::Tls(server)));
    }
    Ok((all, addresses))
}
