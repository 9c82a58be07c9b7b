//! Where the gateway listens: TCP addresses and Unix sockets, and which of them are behind a PROXY protocol.

use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde_json::Value;

use super::Preamble;
use super::sections::{address, refuse_empty};
use crate::document::{Fields, string};

const MAX_LISTENERS: usize = 64;
/// The longest path of a Unix socket, in bytes: the system's bound.
const MAX_SOCKET_PATH: usize = 107;
/// What a Unix socket's path is written after.
pub const UNIX: &str = "unix:";
/// Who comes by a Unix socket is taken for.
pub const UNIX_PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A place to listen at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// A TCP address. Port 0 is chosen by the system.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

/// Where the gateway listens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listen {
    /// Where a connection begins with its first request.
    pub direct: Vec<Place>,
    /// Where each connection begins with a PROXY protocol header.
    pub proxied: Vec<Place>,
    /// The permissions of Unix sockets.
    pub unix_mode: u32,
}

impl Listen {
    /// Every place, with what a connection begins with there.
    pub fn places(&self) -> impl Iterator<Item = (&Place, Preamble)> {
        let direct = self.direct.iter().map(|place| (place, Preamble::None));
        direct.chain(self.proxied.iter().map(|place| (place, Preamble::Proxy)))
    }

    /// Whether this TCP address is one of them.
    pub fn has(&self, address: SocketAddr) -> bool {
        self.places().any(|(place, _)| *place == Place::Tcp(address))
    }
}

/// Reads `listen`, `unix_mode` and `proxy_protocol`: up to [`MAX_LISTENERS`] places in each, none twice, and
/// none in both only beside TLS listeners; port 0, which the system chooses, may be repeated.
pub(super) fn listen(fields: &mut Fields<'_>, trusted: Option<&[IpNet]>) -> Option<Listen> {
    let mut seen = HashSet::new();
    let mut place = |value: &Value| {
        let place = match value.as_str().and_then(path_of) {
            None => Place::Tcp(address(value)?),
            Some(path) => Place::Unix(path?),
        };
        let chosen = matches!(&place, Place::Tcp(address) if address.port() == 0);
        if chosen || seen.insert(place.clone()) { Ok(place) } else { Err("is listed twice".to_owned()) }
    };
    let direct = fields.values("listen", MAX_LISTENERS, &mut place);
    let proxied = fields.values("proxy_protocol", MAX_LISTENERS, &mut place);
    if !fields.has("tls") && proxied.as_ref().is_none_or(Vec::is_empty) {
        let rule = "must have at least one address, or proxy_protocol or [[gateway.tls]] beside it";
        refuse_empty(fields, "listen", rule);
    }
    let unix_mode = fields.require("unix_mode", unix_mode);
    if let Some(fault) =
        proxied.as_deref().zip(trusted).and_then(|(places, trusted)| unbelieved(places, trusted))
    {
        fields.fault("proxy_protocol", fault);
    }
    Some(Listen { direct: direct?, proxied: proxied?, unix_mode: unix_mode? })
}

/// Why nobody can be believed at one of these places.
fn unbelieved(proxied: &[Place], trusted: &[IpNet]) -> Option<&'static str> {
    let local = |place: &Place| matches!(place, Place::Unix(_));
    if !proxied.is_empty() && trusted.is_empty() {
        return Some("needs trusted_proxies: nobody else is believed, and nobody is there");
    }
    let all_known = !proxied.iter().any(local) || trusted.iter().any(|net| net.contains(&UNIX_PEER));
    (!all_known).then_some("needs 127.0.0.1 in trusted_proxies: it is who comes by a Unix socket")
}

/// The path of `unix:/run/x.sock`; `None` where the text is none of these.
pub(super) fn path_of(text: &str) -> Option<Result<PathBuf, String>> {
    let path = Path::new(text.strip_prefix(UNIX)?);
    let good = path.is_absolute() && path.file_name().is_some() && path.as_os_str().len() <= MAX_SOCKET_PATH;
    let rule = || {
        format!("must be an absolute path of at most {MAX_SOCKET_PATH} bytes, such as \"unix:/run/x.sock\"")
    };
    Some(if good && !text.contains(char::is_control) { Ok(path.to_owned()) } else { Err(rule()) })
}

fn unix_mode(value: &Value) -> Result<u32, String> {
    match string(value)? {
        "0600" => Ok(0o600),
        "0660" => Ok(0o660),
        "0666" => Ok(0o666),
        _ => Err("must be \"0600\", \"0660\" or \"0666\"".into()),
    }
}
