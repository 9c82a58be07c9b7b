//! Where the gateway listens: TCP addresses, Unix sockets, and addresses behind a PROXY protocol.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::sections::{address, refuse_empty};
use crate::document::{Fields, string};

const MAX_LISTENERS: usize = 64;
/// The longest path of a Unix socket, in bytes: the system's bound.
const MAX_SOCKET_PATH: usize = 107;
/// What a Unix socket's path is written after.
pub const UNIX: &str = "unix:";

/// Where the gateway listens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listen {
    /// TCP addresses.
    pub tcp: Vec<SocketAddr>,
    /// Unix sockets.
    pub unix: Vec<PathBuf>,
    /// The permissions of Unix sockets.
    pub unix_mode: u32,
    /// TCP addresses on which each connection begins with a PROXY protocol header.
    pub proxied: Vec<SocketAddr>,
}

impl Listen {
    /// Every TCP address.
    pub fn addresses(&self) -> impl Iterator<Item = &SocketAddr> {
        self.tcp.iter().chain(&self.proxied)
    }
}

/// A place of the list `listen`.
enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// Reads `listen`, `unix_mode` and `proxy_protocol`: 1 to [`MAX_LISTENERS`] places in `listen`, none twice; port 0,
/// which the system chooses, may be repeated.
pub(super) fn listen(fields: &mut Fields<'_>) -> Option<Listen> {
    let mut seen = HashSet::new();
    let mut once = |text: &str, may_repeat: Option<()>| {
        if may_repeat.is_some() || seen.insert(text.to_owned()) {
            Ok(())
        } else {
            Err("is listed twice".to_owned())
        }
    };
    let mut tcp = |value: &Value| {
        let address = address(value)?;
        once(&address.to_string(), (address.port() == 0).then_some(()))?;
        Ok(address)
    };
    let mut paths = HashSet::new();
    let places = fields.values("listen", MAX_LISTENERS, |value| match value.as_str().and_then(path_of) {
        None => tcp(value).map(Place::Tcp),
        Some(path) => {
            let path = path?;
            if paths.insert(path.clone()) { Ok(Place::Unix(path)) } else { Err("is listed twice".into()) }
        }
    });
    let proxied = fields.values("proxy_protocol", MAX_LISTENERS, tcp);
    refuse_empty(fields, "listen", "must have at least one address");
    let unix_mode = fields.require("unix_mode", unix_mode);
    let nobody = fields.raw("trusted_proxies").and_then(Value::as_array).is_some_and(Vec::is_empty);
    if nobody && proxied.as_ref().is_some_and(|proxied| !proxied.is_empty()) {
        fields.fault("proxy_protocol", "needs trusted_proxies: nobody else is believed, and nobody is there");
    }
    let mut listen = Listen { unix_mode: unix_mode?, proxied: proxied?, ..Listen::default() };
    for place in places? {
        match place {
            Place::Tcp(address) => listen.tcp.push(address),
            Place::Unix(path) => listen.unix.push(path),
        }
    }
    Some(listen)
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
