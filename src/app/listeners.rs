//! The sockets that the gateway and the admin API listen on.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Runtime;

use super::certificates::Certificates;
use crate::config::Preamble;
use crate::config::listen::Listen;
use crate::proxy::listener::Transport;
use crate::proxy::socket::Listener;

/// How many clients may connect before they are accepted: as many as the system lets wait (`net.core.somaxconn`), up to
/// this. Who finds the queue full tries again a second later.
const BACKLOG: u32 = 4096;

/// The gateway's listeners, and where they are.
pub(super) struct Listeners {
    pub(super) all: Vec<(Listener, Transport)>,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) sockets: Vec<PathBuf>,
}

/// Binds every place of the gateway's.
pub(super) fn bind_all(runtime: &Runtime, listen: &Listen) -> anyhow::Result<Listeners> {
    let tcp = listen.tcp.iter().map(|at| bind(runtime, *at).map(Listener::Tcp));
    let proxied = listen.proxied.iter().map(|at| bind(runtime, *at).map(Listener::Proxied));
    let _inside = runtime.enter();
    let unix = listen.unix.iter().map(|path| {
        Listener::bind_unix(path, listen.unix_mode)
            .with_context(|| format!("cannot listen on unix:{}", path.display()))
    });
    let all = tcp.chain(proxied).chain(unix).collect::<anyhow::Result<Vec<_>>>()?;
    let addresses = all.iter().filter_map(|one| one.address().transpose()).collect::<io::Result<Vec<_>>>()?;
    let all = all.into_iter().map(|one| (one, Transport::Plain)).collect();
    Ok(Listeners { all, addresses, sockets: listen.unix.clone() })
}

/// Binds one address.
pub(super) fn bind(runtime: &Runtime, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let _inside = runtime.enter();
    let listen = || -> io::Result<TcpListener> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A port whose last connections have not faded yet can be taken again.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().with_context(|| {
        format!("cannot listen on {address}; free the port or choose another in the configuration")
    })
}

/// The TLS listeners with their certificates.
pub(super) type Secured = Vec<(Listener, Transport)>;

/// Binds every TLS listener, and says where they are.
pub(super) fn bind_secured(
    runtime: &Runtime,
    certificates: &Certificates,
) -> anyhow::Result<(Secured, Vec<SocketAddr>)> {
    let mut all = Vec::new();
    let mut addresses = Vec::new();
    for (at, preamble, server) in certificates.listeners() {
        let listener = bind(runtime, at)?;
        addresses.push(listener.local_addr()?);
        let listener = match preamble {
            Preamble::None => Listener::Tcp(listener),
            Preamble::Proxy => Listener::Proxied(listener),
        };
        all.push((listener, Transport::Tls(server)));
    }
    Ok((all, addresses))
}
