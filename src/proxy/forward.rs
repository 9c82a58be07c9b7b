//! What the upstream gets: the client's request without the credential and without forged identity, and with ours.

use std::borrow::Cow;
use std::fmt::Write;
use std::net::IpAddr;

use http::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};

use super::reply::REQUEST_ID;
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
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What identity headers start with.
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
    if request.headers.contains_key(REQUEST_ID) {
        // What was not sane enough for our answer and log is not sane enough for the upstream's.
        request.insert_header(REQUEST_ID, request_id)?;
    }
    if let Some(host) = &route.upstream.host {
        request.insert_header(HOST, host.clone())?;
    } else if !request.headers.contains_key(HOST) {
        // HTTP/1.0 needs none; what is forwarded is HTTP/1.1, which does (RFC 9112 section 3.2).
        request.insert_header(HOST, "")?;
    }
    for header in &route.upstream.set_headers {
        request.insert_header(header.name.clone(), header.value.clone())?;
    }
    Ok(())
}

/// Takes the fields of the upstream's connection out of its answer (RFC 9110 section 7.6.1). `Connection` itself is
/// Pingora's to write, and in a 101 it is part of the answer.
pub fn clean_answer(response: &mut ResponseHeader) {
    if response.status == StatusCode::SWITCHING_PROTOCOLS {
        return;
    }
    let options =
        response.headers.get_all(CONNECTION).iter().flat_map(|value| value.as_bytes().split(|&b| b == b','));
    let named = options.filter_map(|option| HeaderName::from_bytes(option.trim_ascii()).ok());
    let named: Vec<HeaderName> =
        named.filter(|name| *name != CONTENT_LENGTH && *name != TRANSFER_ENCODING).collect();
    for name in named.iter().chain(&[KEEP_ALIVE, PROXY_CONNECTION]) {
        response.remove_header(name);
    }
}

/// Takes away every header that a careless upstream could take for one of ours.
fn strip_identity(request: &mut RequestHeader) {
    strip(request, |name| {
        name.len() >= IDENTITY_PREFIX.len() && reads_as(&name[..IDENTITY_PREFIX.len()], IDENTITY_PREFIX)
    });
}

/// Whether a server that hands headers on as variables, where only letters and digits are themselves, would take one
/// name for the other. `wanted` is in lower case, as names are here.
fn reads_as(name: &[u8], wanted: &[u8]) -> bool {
    let same =
        |(byte, wanted): (&u8, &u8)| byte == wanted || (*wanted == b'-' && !byte.is_ascii_alphanumeric());
    name.len() == wanted.len() && name.iter().zip(wanted).all(same)
}

/// Takes away the headers with such names.
fn strip(request: &mut RequestHeader, unwanted: impl Fn(&[u8]) -> bool) {
    let names = request.headers.keys().filter(|name| unwanted(name.as_str().as_bytes()));
    let names: Vec<HeaderName> = names.cloned().collect();
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
        let ours = [FORWARDED, FORWARDED_FOR, FORWARDED_PROTO, FORWARDED_HOST];
        strip(request, |name| ours.iter().any(|ours| reads_as(name, ours.as_str().as_bytes())));
    }
    let keep = |request: &RequestHeader, name: &HeaderName| {
        origin.trust == Trust::Proxy && request.headers.contains_key(name)
    };
    // A value that was in a header, an address or a constant can be in a header.
    let _ = request.insert_header(FORWARDED_FOR, chain);
    if !keep(request, &FORWARDED_PROTO) {
        let _ = request.insert_header(FORWARDED_PROTO, origin.scheme);
    }
    if let Some(host) = host
        && !keep(request, &FORWARDED_HOST)
    {
        let _ = request.insert_header(FORWARDED_HOST, host);
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
        for name in [
            "X-Portcullis-Key-Id",
            "x_portcullis_key_id",
            "X-PORTCULLIS_OWNER",
            "x.portcullis~new",
            "x-portcullis-",
        ] {
            request.append_header(name, "forged").unwrap();
        }
        for name in ["x-portcullisx", "x-portcullis", "my-x-portcullis-key-id"] {
            request.append_header(name, "mine").unwrap();
        }
        strip_identity(&mut request);
        assert_eq!(request.headers.len(), 3);
    }
}
