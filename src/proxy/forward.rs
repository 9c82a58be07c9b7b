//! What the upstream gets: the client's request without the credential and without forged identity, and with ours.

use std::borrow::Cow;
use std::fmt::Write;
use std::mem;
use std::net::IpAddr;

use http::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use memchr::memchr;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::{Error, ErrorSource, ErrorType};

use super::reply::REQUEST_ID;
use super::request;
use super::routing::Route;
use crate::admission::credential;
use crate::admission::{Passage, Permit};
use crate::config::{CredentialForwarding, CredentialPlace, PathRewrite, Protocol};
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

const REQUEST_ID_BYTES: &[u8] = b"x-request-id";

/// What identity headers start with.
const IDENTITY_PREFIX: &[u8] = b"x-portcullis-";

/// Fields that are added to most requests, at most.
const MOST_ADDED: usize = 9;

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
/// The fields are edited outside of Pingora's header, which would also keep the spelling of each name (`X-API-Key`) and
/// pay for it at each edit; names are forwarded in their usual spelling or in lower case (RFC 9110 section 5.1).
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
    rewrite_target(request, route)?;
    let verbatim = verbatim_target(request);
    let nothing = RequestHeader::from(http::Request::new(()).into_parts().0);
    let mut parts = Parts::from(mem::replace(request, nothing));
    let headers = &mut parts.headers;
    headers.reserve(MOST_ADDED);
    strip_identity(headers, route);
    set_forwarded(headers, origin);
    if route.forwarding == CredentialForwarding::Strip {
        strip_credential(headers, route);
    }
    if let Passage::Keyed(permit) = passage {
        set_identity(headers, permit);
    }
    let request_id = value(request_id);
    if headers.contains_key(REQUEST_ID) {
        // What was not sane enough for our answer and log is not sane enough for the upstream's.
        headers.insert(REQUEST_ID, request_id.clone());
    }
    headers.insert(IDENTITY_REQUEST_ID, request_id);
    if let Some(host) = &route.upstream.host {
        headers.insert(HOST, host.clone());
    } else if !headers.contains_key(HOST) {
        headers.insert(HOST, no_host(route));
    }
    for header in &route.upstream.set_headers {
        headers.insert(header.name.clone(), header.value.clone());
    }
    *request = parts.into();
    verbatim.map_or(Ok(()), |target| request.set_raw_path(&target))
}

/// What stands for the host of an HTTP/1.0 request that names none: nothing where that is forwarded as HTTP/1.1 (RFC 9112
/// section 3.2), and a name that says as little in HTTP/2, where there must be one.
fn no_host(route: &Route) -> HeaderValue {
    HeaderValue::from_static(match route.upstream.config.protocol {
        Protocol::Http1 => "",
        Protocol::Http2 => "localhost",
    })
}

/// The target where it is not what the URI says: one that is no UTF-8 is kept beside the URI, and a header made of
/// parts has only the URI.
fn verbatim_target(request: &RequestHeader) -> Option<Vec<u8>> {
    let by_uri = request.uri.path_and_query().map(|target| target.as_str().as_bytes());
    (by_uri != Some(request.raw_path())).then(|| request.raw_path().to_vec())
}

/// Text of ours that cannot be other than visible ASCII.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Takes the fields of the upstream's connection out of its answer (RFC 9110 section 7.6.1), and the length of a body out
/// of an answer that has none (section 8.6). `Connection` itself is Pingora's to write in an answer that is the last, and in
/// a 101 it is part of the answer.
///
/// # Errors
/// It has more than one length (RFC 9112 section 6.3).
pub fn clean_answer(response: &mut ResponseHeader) -> pingora::Result<()> {
    if response.status == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(());
    }
    one_length(response)?;
    if response.status == StatusCode::NO_CONTENT || response.status.is_informational() {
        response.remove_header(&CONTENT_LENGTH);
        response.remove_header(&TRANSFER_ENCODING);
    }
    if response.status != StatusCode::UPGRADE_REQUIRED {
        response.remove_header(&UPGRADE);
    }
    if response.version < Version::HTTP_11 {
        // The version tells of a connection, and the client's is ours (RFC 9110 section 2.5).
        response.set_version(Version::HTTP_11);
    }
    let named = request::options(&response.headers).filter_map(|name| HeaderName::from_bytes(name).ok());
    let named: Vec<HeaderName> =
        named.filter(|name| *name != CONTENT_LENGTH && *name != TRANSFER_ENCODING).collect();
    for name in named.iter().chain(&[KEEP_ALIVE, PROXY_CONNECTION]) {
        response.remove_header(name);
    }
    if response.status.is_informational() {
        response.remove_header(&CONNECTION);
    }
    Ok(())
}

/// Leaves one `Content-Length`, which is a number, where there is any.
fn one_length(response: &mut ResponseHeader) -> pingora::Result<()> {
    let mut lengths = response.headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = lengths.next().cloned() else { return Ok(()) };
    let others = lengths.map(|other| *other == first).reduce(|all, same| all && same);
    if !first.as_bytes().iter().all(u8::is_ascii_digit) || others == Some(false) {
        return Err(Error::create(ErrorType::InvalidHTTPHeader, ErrorSource::Upstream, None, None));
    }
    if others.is_some() { response.insert_header(CONTENT_LENGTH, first) } else { Ok(()) }
}

/// Takes away every header that a careless upstream could take for one of ours, or for the credential. A name without
/// `_` can only be one where the configuration has one with it.
fn strip_identity(headers: &mut HeaderMap, route: &Route) {
    let has = |name: &[u8]| memchr(b'_', name).is_some();
    let ours_has = ours(route).any(has);
    strip(headers, |name| is_identity(name) || ((ours_has || has(name)) && is_lookalike(name, route)));
}

/// The headers that the configuration sets, the credential's, and the request ID's.
fn ours(route: &Route) -> impl Iterator<Item = &[u8]> {
    let set = route.upstream.set_headers.iter().map(|header| &header.name);
    let credentials = route.policy.places.iter().filter_map(|place| match place {
        CredentialPlace::Header(name) => Some(name),
        CredentialPlace::Bearer | CredentialPlace::Query(_) => None,
    });
    set.chain(credentials).map(|name| name.as_str().as_bytes()).chain([REQUEST_ID_BYTES])
}

fn is_identity(name: &[u8]) -> bool {
    name.len() >= IDENTITY_PREFIX.len() && reads_as(&name[..IDENTITY_PREFIX.len()], IDENTITY_PREFIX)
}

/// Whether a name that is none of [`ours`] reads as one of them.
fn is_lookalike(name: &[u8], route: &Route) -> bool {
    ours(route).any(|ours| ours != name && reads_as(name, ours))
}

/// Whether a server that hands headers on as variables, where only letters and digits are themselves, would take one
/// name for the other. `wanted` is in lower case, as names are here.
fn reads_as(name: &[u8], wanted: &[u8]) -> bool {
    let is_plain = u8::is_ascii_alphanumeric;
    let same = |(byte, wanted): (&u8, &u8)| byte == wanted || !(is_plain(byte) || is_plain(wanted));
    name.len() == wanted.len() && name.iter().zip(wanted).all(same)
}

/// Takes away the headers with such names.
fn strip(headers: &mut HeaderMap, unwanted: impl Fn(&[u8]) -> bool) {
    let names = headers.keys().filter(|name| unwanted(name.as_str().as_bytes()));
    let names: Vec<HeaderName> = names.cloned().collect();
    for name in names {
        headers.remove(&name);
    }
}

/// The connection's own facts; a trusted proxy's facts are kept and added to.
fn set_forwarded(headers: &mut HeaderMap, origin: Origin) {
    let host = headers.get(HOST).cloned();
    let peer = address_text(origin.peer.to_canonical());
    let before = match origin.trust {
        Trust::Proxy => joined(headers, &FORWARDED_FOR),
        Trust::Client => None,
    };
    let chain = match before {
        Some(before) => format!("{before}, {peer}"),
        None => peer,
    };
    if origin.trust == Trust::Client {
        let ours = [FORWARDED, FORWARDED_FOR, FORWARDED_PROTO, FORWARDED_HOST];
        strip(headers, |name| ours.iter().any(|ours| reads_as(name, ours.as_str().as_bytes())));
    }
    let keep =
        |headers: &HeaderMap, name: &HeaderName| origin.trust == Trust::Proxy && headers.contains_key(name);
    headers.insert(FORWARDED_FOR, value(&chain));
    if !keep(headers, &FORWARDED_PROTO) {
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static(origin.scheme));
    }
    if let Some(host) = host
        && !keep(headers, &FORWARDED_HOST)
    {
        headers.insert(FORWARDED_HOST, host);
    }
}

/// An address as text. `Display` pads, and is some ten times as long about the four numbers.
fn address_text(address: IpAddr) -> String {
    let IpAddr::V4(address) = address else { return address.to_string() };
    let mut text = String::with_capacity("255.255.255.255".len());
    for (index, octet) in address.octets().into_iter().enumerate() {
        if index > 0 {
            text.push('.');
        }
        text.push_str(itoa::Buffer::new().format(octet));
    }
    text
}

fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let values: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
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
        .map_err(|fault| Error::explain(ErrorType::InternalError, fault.detail()))?;
    let path = match route.rewrite {
        PathRewrite::Keep => target.path(),
        PathRewrite::Strip => target.after_route_path(&route.path),
    };
    let mut out = path.to_vec();
    let query = target
        .query()
        .map(|query| if strips_query { without_credential(query, route) } else { Cow::Borrowed(query) });
    let is_left = |query: &Cow<'_, [u8]>| !query.is_empty() || matches!(query, Cow::Borrowed(_));
    if let Some(query) = query.filter(is_left) {
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
fn strip_credential(headers: &mut HeaderMap, route: &Route) {
    for place in &route.policy.places {
        match place {
            CredentialPlace::Bearer => {
                let mut values = headers.get_all(AUTHORIZATION).iter();
                if values.any(|value| credential::bearer(value.as_bytes()).is_some()) {
                    headers.remove(&AUTHORIZATION);
                }
            }
            CredentialPlace::Header(name) => drop(headers.remove(name)),
            CredentialPlace::Query(_) => {}
        }
    }
}

fn set_identity(headers: &mut HeaderMap, permit: &Permit) {
    let entry = permit.entry();
    headers.insert(KEY_ID, value(&entry.id.to_string()));
    headers.insert(KEY_NAME, header_text(&entry.name));
    headers.insert(ENVIRONMENT, value(&entry.rights.environment));
    if let Some(owner) = &entry.owner {
        headers.insert(OWNER, value(&owner.name));
    }
    headers.insert(SCOPES, value(&entry.rights.all_scopes()));
}

/// A name as a header value: what is not visible ASCII or a blank is percent-encoded as UTF-8 (RFC 3986 section 2.1),
/// and so is `%` itself.
pub fn header_text(name: &str) -> HeaderValue {
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
        let mut headers = HeaderMap::new();
        for name in [
            "X-Portcullis-Key-Id",
            "x_portcullis_key_id",
            "X-PORTCULLIS_OWNER",
            "x.portcullis~new",
            "x-portcullis-",
        ] {
            headers.append(name.parse::<HeaderName>().unwrap(), value("forged"));
        }
        for name in ["x-portcullisx", "x-portcullis", "my-x-portcullis-key-id"] {
            headers.append(name.parse::<HeaderName>().unwrap(), value("mine"));
        }
        strip(&mut headers, is_identity);
        assert_eq!(headers.len(), 3);
    }
}
