//! The certificates of the TLS listeners: loaded at the start, at a reload, and when their files change.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Preamble, TlsListener};
use crate::tls::TlsFault;
use crate::tls::server::Server;

/// How often is looked whether a file has changed.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Every TLS listener's certificates.
#[derive(Debug)]
pub(super) struct Certificates {
    servers: Vec<(SocketAddr, Preamble, Arc<Server>)>,
}

impl Certificates {
    /// Loads every file.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub(super) fn load(listeners: &[TlsListener]) -> Result<Self, TlsFault> {
        let load =
            |one: &TlsListener| Ok((one.listen, one.preamble, Arc::new(Server::new(one.terms.clone())?)));
        Ok(Self { servers: listeners.iter().map(load).collect::<Result<_, _>>()? })
    }

    /// Where is listened, how, with what.
    pub(super) fn listeners(&self) -> impl Iterator<Item = (SocketAddr, Preamble, Arc<Server>)> {
        self.servers.iter().map(|(at, preamble, server)| (*at, *preamble, Arc::clone(server)))
    }

    /// Puts others in force, by address. A listener that the configuration no longer has keeps what it has: addresses
    /// change with a restart alone.
    pub(super) fn put_in_force(&self, loaded: &Self) {
        for (at, _, server) in loaded.listeners() {
            if let Some((_, _, ours)) = self.servers.iter().find(|(address, ..)| *address == at) {
                ours.take_over(&server);
            }
        }
    }

    /// Loads what has changed. What cannot be used is said, and the old stays in force.
    pub(super) fn refresh(&self) {
        for (address, _, server) in &self.servers {
            match server.refresh() {
                Ok(true) => tracing::info!(%address, "certificates loaded again"),
                Ok(false) => {}
                Err(fault) => {
                    tracing::error!(%address, "certificates not loaded again, the old ones stay: {fault}");
                }
            }
        }
    }
}
