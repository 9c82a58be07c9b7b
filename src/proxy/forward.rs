//! What the upstream gets: the client's request without the credential and without forged identity, and with ours.

use std::borrow::Cow;
use std::fmt::Write;
use std::net::IpAddr;

use http::header::{AUTHORIZATION, HOST};
use http::{HeaderName, HeaderValue};
use pingora::http::RequestHeader;

use super::routing::Route;
use crate::admission::credential;
use crate::admission::{Passage, Permit};
use crate::config::{CredentialForwarding, CredentialPlace, PathRewrite};
use crate::routes::target::CheckedTarget;

const KEY_ID: HeaderName = HeaderName::from_static("x-portcullis-key-id");
const KEY_NAME: HeaderName = HeaderName::from_static("x-portcullis-key-name");
const OWNER: HeaderName = HeaderName::from_static("x-portcullis-owner");
const ENVIRONMENT: HeaderName = HeaderName::from_static("x-portcullis-environment");
const SCOPES: HeaderName = HeaderName::from_static("x-portcullis-scopes");
const IDENTITY_REQUEST_ID: HeaderName = HeaderName::from_static("x-portcullis-request-id");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What identity headers start with, in lower case, `_` being read as `-`.
const IDENTITY_PREFIX: &[u8] = b"x-portcullis-";

/// Where the request came from.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    /// The connection's other end.
    pub peer: IpAddr,
    /// Whether that is a proxy whose word is believed.
    pub trust: Trust,
    /// `http` or `https`.
    pub scheme: &'static str,
}

/// Whether the connection's other end is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Its `X-Forwarded-*` are kept.
    Proxy,
    /// Its `X-Forwarded-*` are replaced.
    Client,
}

/// Turns the client's request into the upstream's.
///
/// # Errors
/// The target cannot be written; nothing is forwarded then.
pub fn rewrite(
    request: &mut RequestHeader,
    route: &Route,
    passage: &Passage,
    origin: Origin,
    request_id: &str,
) -> pingora::Result<()> {
    strip_identity(request);
    set_forwarded(request, origin);
    rewrite_target(request, route)?;
    if route.forwarding == CredentialForwarding::Strip {
        strip_credential(request, route);
    }
    if let Passage::Keyed(permit) = passage {
        set_identity(request, permit)?;
    }
    request.insert_header(IDENTITY_REQUEST_ID, request_id)?;
    if let Some(host) = &route.upstream.host {
        request.insert_header(HOST, host.clone())?;
    }
    for header in &route.upstream.set_headers {
        request.insert_header(header.name.clone(), header.value.clone())?;
    }
    Ok(())
}

/// Takes away every header that a careless upstream could take for one of ours: servers that turn `_` into `-` exist.
fn strip_identity(request: &mut RequestHeader) {
    let forged = |name: &HeaderName| {
        let name = name.as_str().as_bytes();
        let same = |(byte, wanted): (&u8, &u8)| *byte == *wanted || (*byte == b'_' && *wanted == b'-');
        name.len() >= IDENTITY_PREFIX.len() && name.iter().zip(IDENTITY_PREFIX).all(same)
    };
    let names: Vec<HeaderName> = request.headers.keys().filter(|name| forged(name)).cloned().collect();
    for name in names {
        request.remove_header(&name);
    }
}

/// The connection's own facts; a trusted proxy's facts are kept and added to.
fn set_forwarded(request: &mut RequestHeader, origin: Origin) {
    let host = request.headers.get(HOST).cloned();
    let peer = origin.peer.to_canonical().to_string();
    let before = match origin.trust {
        Trust::Proxy => joined(request, &FORWARDED_FOR),
        Trust::Client => None,
    };
    let chain = before.map_or(peer.clone(), |before| format!("{before}, {peer}"));
    if origin.trust == Trust::Client {
        request.remove_header(&FORWARDED);
    }
    let keep = |request: &RequestHeader, name: &HeaderName| {
        origin.trust == Trust::Proxy && request.headers.contains_key(name)
    };
    // A value that was in a header, an address or a constant can be in a header.
    let _ = request.insert_header(FORWARDED_FOR, chain);
    if !keep(request, &FORWARDED_PROTO) {
        let _ = request.insert_header(FORWARDED_PROTO, origin.scheme);
    }
    if !keep(request, &FORWARDED_HOST) {
        match host {
            Some(host) => drop(request.insert_header(FORWARDED_HOST, host)),
            None => drop(request.remove_header(&FORWARDED_HOST)),
        }
    }
}

fn joined(request: &RequestHeader, name: &HeaderName) -> Option<String> {
    let values: Vec<&str> =
        request.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

/// Cuts the route's path off, and the credential's query parameters out, of the target that was judged.
fn rewrite_target(request: &mut RequestHeader, route: &Route) -> pingora::Result<()> {
    let strips_query = route.forwarding == CredentialForwarding::Strip
        && route.policy.places.iter().any(|place| matches!(place, CredentialPlace::Query(_)));
    if route.rewrite == PathRewrite::Keep && !strips_query {
        return Ok(());
    }
    let raw = request.raw_path().to_vec();
    let target = CheckedTarget::parse(&raw)
        .map_err(|fault| pingora::Error::explain(pingora::ErrorType::InternalError, fault.detail()))?;
    let path = match route.rewrite {
        PathRewrite::Keep => target.path(),
        PathRewrite::Strip => target.after_route_path(&route.path),
    };
    let mut out = path.to_vec();
    let query = target
        .query()
        .map(|query| if strips_query { without_credential(query, route) } else { Cow::Borrowed(query) });
    if let Some(query) = query.filter(|query| !query.is_empty()) {
        out.push(b'?');
        out.extend_from_slice(&query);
    }
    request.set_raw_path(&out)
}

fn without_credential<'a>(query: &'a [u8], route: &Route) -> Cow<'a, [u8]> {
    let is_credential = |pair: &&[u8]| {
        route.policy.places.iter().any(|place| match place {
            CredentialPlace::Query(name) => credential::names(pair, name),
            CredentialPlace::Bearer | CredentialPlace::Header(_) => false,
        })
    };
    if !query.split(|&b| b == b'&').any(|pair| is_credential(&pair)) {
        return Cow::Borrowed(query);
    }
    let kept: Vec<&[u8]> = query.split(|&b| b == b'&').filter(|pair| !is_credential(pair)).collect();
    Cow::Owned(kept.join(&b'&'))
}

/// Takes away what stands in the route's credential places, on public routes too: a key that a client sends along must
/// not reach an upstream. Another scheme than `Bearer` is the upstream's own business.
fn strip_credential(request: &mut RequestHeader, route: &Route) {
    for place in &route.policy.places {
        match place {
            CredentialPlace::Bearer => {
                let mut values = request.headers.get_all(AUTHORIZATION).iter();
                if values.any(|value| credential::bearer(value.as_bytes()).is_some()) {
                    request.remove_header(&AUTHORIZATION);
                }
            }
            CredentialPlace::Header(name) => drop(request.remove_header(name)),
            CredentialPlace::Query(_) => {}
        }
    }
}

fn set_identity(request: &mut RequestHeader, permit: &Permit) -> pingora::Result<()> {
    let entry = permit.entry();
    request.insert_header(KEY_ID, entry.id.to_string())?;
    request.insert_header(KEY_NAME, header_text(&entry.name))?;
    request.insert_header(ENVIRONMENT, &*entry.rights.environment)?;
    if let Some(owner) = &entry.owner {
        request.insert_header(OWNER, &*owner.name)?;
    }
    request.insert_header(SCOPES, entry.rights.all_scopes())?;
    Ok(())
}

/// A name as a header value: what is not visible ASCII or a blank is percent-encoded as UTF-8 (RFC 3986 section 2.1),
/// and so is `%` itself.
fn header_text(name: &str) -> HeaderValue {
    let plain = |b: u8| (b.is_ascii_graphic() || b == b' ') && b != b'%';
    if name.bytes().all(plain) {
        return HeaderValue::from_str(name).unwrap_or_else(|_| HeaderValue::from_static(""));
    }
    let mut out = String::with_capacity(name.len() * 3);
    for byte in name.bytes() {
        if plain(byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    HeaderValue::try_from(out).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_header_values_that_can_be_read_back() {
        assert_eq!(header_text("ci bot"), "ci bot");
        assert_eq!(header_text("50% Größe\n"), "50%25 Gr%C3%B6%C3%9Fe%0A");
    }

    #[test]
    fn forged_identity_is_taken_away_in_every_spelling() {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for name in ["X-Portcullis-Key-Id", "x_portcullis_key_id", "X-PORTCULLIS_OWNER", "x-portcullis-new"] {
            request.append_header(name, "forged").unwrap();
        }
        request.append_header("x-portcullisx", "mine").unwrap();
        strip_identity(&mut request);
        assert_eq!(request.headers.len(), 1);
    }
}
