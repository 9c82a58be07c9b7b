//! What is read from a request before it is judged: the client's address, its route, its body's length.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, Method, Version};
use ipnet::IpNet;
use pingora::http::RequestHeader;
use pingora::protocols::http::ServerSession;
use pingora::proxy::Session;

use super::routing::{Route, Routing};
use crate::admission;
use crate::admission::denial::Denial;
use crate::routes::NoRoute;
use crate::routes::target::CheckedTarget;

/// Hops of `X-Forwarded-For` that are looked at, from the right.
const MAX_HOPS: usize = 32;

/// The connection's other end. A Unix socket has no address: its other end is on this machine.
pub fn peer(session: &Session) -> IpAddr {
    let address = session.client_addr().and_then(|address| address.as_inet());
    address.map_or(Ipv4Addr::LOCALHOST.into(), std::net::SocketAddr::ip)
}

/// `http`, or `https` where the connection is secured.
pub fn scheme(session: &Session) -> &'static str {
    if session.digest().is_some_and(|digest| digest.ssl_digest.is_some()) { "https" } else { "http" }
}

/// The client's address: the connection's, or, behind trusted proxies, the right-most hop that is none of them.
pub fn client_address(connection: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let connection = connection.to_canonical();
    if !is_trusted(connection, trusted) {
        return connection;
    }
    let values: Vec<&str> =
        headers.get_all("x-forwarded-for").iter().filter_map(|v| v.to_str().ok()).collect();
    let hops = values.iter().rev().flat_map(|value| value.rsplit(',')).take(MAX_HOPS);
    let mut client = connection;
    for hop in hops {
        // What is no address cannot be followed further: the last hop that was one is the client.
        let Some(address) = hop_address(hop.trim()) else { break };
        client = address.to_canonical();
        if !is_trusted(client, trusted) {
            break;
        }
    }
    client
}

/// Whether the address is one of the trusted proxies'.
pub fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|net| net.contains(&address))
}

/// The address of a hop, which may have a port: `203.0.113.7`, `203.0.113.7:80`, `[2001:db8::1]:80`, `2001:db8::1`.
fn hop_address(hop: &str) -> Option<IpAddr> {
    let bare = || hop.parse::<IpAddr>().ok();
    let with_port = || hop.parse::<std::net::SocketAddr>().ok().map(|address| address.ip());
    let bracketed = || hop.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok();
    bare().or_else(with_port).or_else(bracketed)
}

/// The route of a request.
///
/// # Errors
/// There is none, not for its method, or not for sure.
pub fn route(
    routing: &Routing,
    headers: &HeaderMap,
    target: &CheckedTarget<'_>,
    method: &Method,
) -> Result<Arc<Route>, Denial> {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let index = routing.table.find(host, target, method).map_err(|missing| match missing {
        NoRoute::NotFound => Denial::NoRoute,
        NoRoute::MethodNotAllowed { allow } => Denial::MethodNotAllowed(allow),
        NoRoute::Ambiguous => Denial::BadRequest(
            "The path's `;` parameters would lead to another route on servers that ignore them.".into(),
        ),
    })?;
    routing.routes.get(index).map(Arc::clone).ok_or(Denial::NoRoute)
}

/// Where a request belongs.
#[derive(Debug)]
pub struct RouteFound {
    /// Its route.
    pub route: Arc<Route>,
    /// Its client's address.
    pub address: IpAddr,
}

impl RouteFound {
    /// What is judged.
    pub fn asked<'a>(&'a self, headers: &'a HeaderMap, target: &CheckedTarget<'a>) -> admission::Request<'a> {
        admission::Request {
            policy: &self.route.policy,
            headers,
            query: target.query(),
            address: self.address,
            declared_body: declared_body(headers),
        }
    }
}

impl Routing {
    /// Where a request with this `method` belongs that comes from this `peer`.
    ///
    /// # Errors
    /// There is no route, not for its method, or not for sure.
    pub fn find(
        &self,
        headers: &HeaderMap,
        target: &CheckedTarget<'_>,
        method: &Method,
        peer: IpAddr,
    ) -> Result<RouteFound, Denial> {
        let route = route(self, headers, target, method)?;
        Ok(RouteFound { route, address: client_address(peer, headers, &self.trusted_proxies) })
    }
}

/// The length that the head says of the body.
pub fn declared_body(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether the request asks for a WebSocket, the only upgrade that is forwarded: by a GET without a body (RFC 6455
/// section 4.1), and for this connection (RFC 9110 section 7.8).
pub fn is_websocket(head: &RequestHeader) -> bool {
    head.version == Version::HTTP_11
        && head.method == Method::GET
        && names_websocket(&head.headers)
        && options(&head.headers).any(|option| option.eq_ignore_ascii_case(b"upgrade"))
        && !head.headers.contains_key(TRANSFER_ENCODING)
        && declared_body(&head.headers).is_none_or(|length| length == 0)
}

/// Whether `Upgrade` is there and names nothing but WebSocket.
pub fn names_websocket(headers: &HeaderMap) -> bool {
    let mut named = headers.get_all(UPGRADE).iter();
    named.next().is_some_and(|name| name.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && named.next().is_none()
}

/// What stands in `Connection`.
pub fn options(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let fields = headers.get_all(CONNECTION).iter();
    fields.flat_map(|field| field.as_bytes().split(|&b| b == b',')).map(<[u8]>::trim_ascii)
}

/// Takes away what a request asks of its connection and cannot have: an upgrade that [`is_websocket`] does not know, and
/// in HTTP/1.0 any answer before the answer (RFC 9110 sections 10.1.1 and 15.2).
pub fn decline(session: &mut Session) {
    let head = session.req_header_mut();
    if head.headers.contains_key(UPGRADE) && !is_websocket(head) {
        head.remove_header(&UPGRADE);
    }
    if head.version < Version::HTTP_11 {
        head.remove_header(&EXPECT);
        if let ServerSession::H1(client) = &mut *session.downstream_session {
            client.set_ignore_info_resp(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(values: &[&'static str], name: &'static str) -> HeaderMap {
        let mut map = HeaderMap::new();
        for value in values {
            map.append(name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        let client = |connection: &str, forwarded: &[&'static str]| {
            let map = headers(forwarded, "x-forwarded-for");
            client_address(connection.parse().unwrap(), &map, &trusted).to_string()
        };
        assert_eq!(client("198.51.100.1", &["203.0.113.7"]), "198.51.100.1");
        assert_eq!(client("10.0.0.1", &["203.0.113.7"]), "203.0.113.7");
        assert_eq!(client("10.0.0.1", &["6.6.6.6, 203.0.113.7, 10.0.0.2"]), "203.0.113.7");
        assert_eq!(client("10.0.0.1", &["6.6.6.6", "203.0.113.7:443"]), "203.0.113.7");
        assert_eq!(client("10.0.0.1", &["203.0.113.7, nonsense"]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["[2001:db8::1]:80"]), "2001:db8::1");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("::ffff:10.0.0.1", &["203.0.113.7"]), "203.0.113.7");
    }
}
