//! The sockets that the gateway and the admin API listen on.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::certificates::Certificates;
use super::upgrade::Sockets;
use crate::config::listen::{Listen, Place};
use crate::proxy::listener::{Entrance, Transport};
use crate::proxy::socket::Listener;

/// The gateway's plain entrances, and where they are.
pub(super) struct Entrances {
    pub(super) all: Vec<Entrance>,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) sockets: Vec<PathBuf>,
}

/// Binds every place of the gateway's.
pub(super) fn bind_all(
    runtime: &Runtime,
    listen: &Listen,
    sockets: &mut Sockets,
) -> anyhow::Result<Entrances> {
    let _inside = runtime.enter();
    let mut entrances = Entrances { all: Vec::new(), addresses: Vec::new(), sockets: Vec::new() };
    for (place, begins) in listen.places() {
        let listener = match place {
            Place::Tcp(at) => {
                let listener = bind(runtime, *at, sockets)?;
                entrances.addresses.push(listener.local_addr()?);
                Listener::Tcp(listener)
            }
            Place::Unix(path) => {
                entrances.sockets.push(path.clone());
                let listener = sockets.unix(path, listen.unix_mode);
                listener.with_context(|| format!("cannot listen on {place}"))?
            }
        };
        entrances.all.push(Entrance { listener, begins, transport: Transport::Plain });
    }
    Ok(entrances)
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

/// Binds every TLS listener, and says where they are.
pub(super) fn bind_secured(
    runtime: &Runtime,
    certificates: &Certificates,
    sockets: &mut Sockets,
) -> anyhow::Result<(Vec<Entrance>, Vec<SocketAddr>)> {
    let mut all = Vec::new();
    let mut addresses = Vec::new();
    for (at, begins, server) in certificates.listeners() {
        let listener = bind(runtime, at, sockets)?;
        addresses.push(listener.local_addr()?);
        all.push(Entrance { listener: Listener::Tcp(listener), begins, transport: Transport::Tls(server) });
    }
    Ok((all, addresses))
}
