//! What quickstart puts behind the gateway: the demo, or the API of `--upstream`.

use std::net::SocketAddr;

use http::Uri;
use http::uri::Authority;

/// The upstream as the configuration needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Front {
    /// `host:port`, where requests go.
    pub(super) target: String,
    /// What it is to the user.
    pub(super) kind: Kind,
}

/// What an upstream is to the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// The demo, which ends with the process.
    Demo,
    /// Theirs.
    Own {
        /// The URL as it was given.
        url: String,
        /// Its name, with the port where that is not the scheme's own: what it gets as `Host`.
        host: String,
        /// How it is spoken to.
        wire: Wire,
    },
}

/// How an upstream is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    /// `http`
    Plain,
    /// `https`
    Tls,
}

impl Front {
    /// The demo.
    pub(super) fn demo(address: SocketAddr) -> Self {
        Self { target: address.to_string(), kind: Kind::Demo }
    }

    /// Reads `http(s)://host[:port]`.
    ///
    /// # Errors
    /// What is wrong, and what to do instead.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri =
            text.parse().map_err(|_| "is no URL; give http://HOST[:PORT] or https://HOST[:PORT]")?;
        let (wire, usual) = match uri.scheme_str() {
            Some("http") => (Wire::Plain, 80),
            Some("https") => (Wire::Tls, 443),
            _ => return Err("must start with http:// or https://".into()),
        };
        let authority = uri.authority().filter(|one| !one.host().is_empty()).ok_or("has no host")?;
        if authority.as_str().contains('@') {
            return Err(
                "must have no user and password; set_headers in the configuration sends a credential".into(),
            );
        }
        if uri.query().is_some() || !matches!(uri.path(), "" | "/") {
            return Err("must have no path: the gateway forwards each request's own path".into());
        }
        let port = port(authority)?.unwrap_or(usual);
        let name = authority.host().to_ascii_lowercase();
        let target = format!("{name}:{port}");
        let host = if port == usual { name } else { target.clone() };
        Ok(Self { target, kind: Kind::Own { url: text.trim_end_matches('/').to_owned(), host, wire } })
    }
}

/// The port, if one was given.
fn port(authority: &Authority) -> Result<Option<u16>, String> {
    let after_host = authority.as_str().get(authority.host().len()..).unwrap_or_default();
    match after_host.strip_prefix(':') {
        None => Ok(None),
        Some(_) => match authority.port_u16() {
            Some(port) if port > 0 => Ok(Some(port)),
            _ => Err("must have a port from 1 to 65535".into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (String, String, Wire) {
        match Front::parse(text).unwrap() {
            Front { target, kind: Kind::Own { host, wire, .. } } => (target, host, wire),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_upstream_is_scheme_host_and_port() {
        let cases = [
            ("http://127.0.0.1:3000", "127.0.0.1:3000", "127.0.0.1:3000", Wire::Plain),
            ("http://localhost", "localhost:80", "localhost", Wire::Plain),
            ("https://API.example.com/", "api.example.com:443", "api.example.com", Wire::Tls),
            ("https://api.example.com:8443", "api.example.com:8443", "api.example.com:8443", Wire::Tls),
            ("http://[::1]:9000", "[::1]:9000", "[::1]:9000", Wire::Plain),
        ];
        for (text, target, host, wire) in cases {
            assert_eq!(parts(text), (target.into(), host.into(), wire), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_fronted_says_why() {
        let cases = [
            ("localhost:3000", "http:// or https://"),
            ("ftp://host", "http:// or https://"),
            ("http://host/v1", "no path"),
            ("http://host/?a=b", "no path"),
            ("http://me:secret@host", "no user"),
            ("http://host:0", "a port from 1"),
            ("http://host:70000", "port"),
            ("", "no URL"),
        ];
        for (text, why) in cases {
            let detail = Front::parse(text).unwrap_err();
            assert!(detail.contains(why) || detail.contains("is no URL"), "{text}: {detail}");
        }
    }
}
