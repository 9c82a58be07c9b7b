//! Where a connection to a target goes.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use pingora::upstreams::peer::HttpPeer;

use crate::config::listen::UNIX;

/// An address, or a socket in the file system.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// An address.
    Inet(SocketAddr),
    /// A Unix socket, by its path.
    Unix(Arc<str>),
}

impl Place {
    /// Of what needs no look-up.
    pub fn literal(address: &str) -> Option<Self> {
        match address.strip_prefix(UNIX) {
            Some(path) => Some(Self::Unix(path.into())),
            None => address.parse().ok().map(Self::Inet),
        }
    }

    /// How Pingora connects to it; `tls` is the name that its certificate must have.
    ///
    /// # Errors
    /// The path is none that a socket can have.
    pub fn peer(&self, tls: Option<&str>) -> pingora::Result<HttpPeer> {
        let name = tls.unwrap_or_default().to_owned();
        match self {
            Self::Inet(address) => Ok(HttpPeer::new(address, tls.is_some(), name)),
            Self::Unix(path) => HttpPeer::new_uds(path, tls.is_some(), name),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{path}"),
        }
    }
}
