//! Whatever the header fields and the query, there is at most one credential, counted by rules of this file's own; and
//! what is forwarded has none, no trace of its text, and no identity but ours.
//!
//! The bytes are one that chooses the route, the target, and a line for each field.

use std::net::Ipv4Addr;

use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::http::RequestHeader;
use portcullis::admission::Passage;
use portcullis::admission::credential::{find, present};
use portcullis::admission::denial::Denial;
use portcullis::config::{CredentialForwarding, CredentialPlace};
use portcullis::proxy::forward::{Origin, Trust, rewrite};
use portcullis::proxy::routing::Route;
use portcullis::routes::target::CheckedTarget;

use super::world::WORLD;

/// The least text whose every occurrence can be called a trace.
const LEAST: usize = 24;
/// Headers that the gateway writes itself, from what is no credential.
const OURS: [&str; 5] =
    ["x-request-id", "x-portcullis-request-id", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"];

/// Holds the search for the credential, and its removal, to their promise.
pub fn hold(bytes: &[u8]) {
    let Some((choice, rest)) = bytes.split_first() else { return };
    let mut lines = rest.split(|&byte| byte == b'\n');
    let target = lines.next().unwrap_or_default();
    let Ok(checked) = CheckedTarget::parse(target) else { return };
    let routes = &WORLD.routing.routes;
    let route = &routes[usize::from(*choice) % routes.len()];
    let headers = fields(lines);
    let places = &route.policy.places;
    let texts = texts(places, &headers, checked.query());
    let twice = headers.get_all("authorization").iter().count() > 1;
    match find(&route.policy, &headers, checked.query()) {
        Ok(text) => {
            assert!(!twice);
            assert_eq!(texts, [text.to_vec()], "the one credential");
            let _ = present(&text);
        }
        Err(Denial::MissingKey(words)) => assert!(!twice && texts.is_empty() && !words.is_empty()),
        Err(Denial::AmbiguousCredential) => assert!(twice || texts.len() > 1, "{texts:?}"),
        Err(other) => panic!("{other:?}"),
    }
    forwarded(route, target, &headers, &texts);
}

fn fields<'a>(lines: impl Iterator<Item = &'a [u8]>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines.take(64) {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        // As every reader of heads gives values out: without the blanks around them.
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}

/// Every text that stands in a place of a credential.
fn texts(places: &[CredentialPlace], headers: &HeaderMap, query: Option<&[u8]>) -> Vec<Vec<u8>> {
    let mut found: Vec<Vec<u8>> = Vec::new();
    for place in places {
        match place {
            CredentialPlace::Bearer => {
                for value in headers.get_all("authorization") {
                    let text = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
                    if text == "bearer" || text.starts_with("bearer ") {
                        found.push(value.as_bytes()[6..].trim_ascii().to_vec());
                    }
                }
            }
            CredentialPlace::Header(name) => {
                found.extend(headers.get_all(name).iter().map(|v| v.as_bytes().trim_ascii().to_vec()));
            }
            CredentialPlace::Query(name) => {
                for pair in query.unwrap_or_default().split(|&byte| byte == b'&') {
                    let mut parts = pair.splitn(2, |&byte| byte == b'=');
                    if decoded(parts.next().unwrap()) == name.as_bytes() {
                        found.push(decoded(parts.next().unwrap_or_default()));
                    }
                }
            }
        }
    }
    found.retain(|text| !text.is_empty());
    found
}

/// `%XX` decoded, another way than the product does it.
fn decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    loop {
        rest = match rest {
            [] => return out,
            [b'%', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let digits = [*high, *low];
                out.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
                after
            }
            [byte, after @ ..] => {
                out.push(*byte);
                after
            }
        };
    }
}

fn forwarded(route: &Route, target: &[u8], headers: &HeaderMap, texts: &[Vec<u8>]) {
    let Ok(mut request) = RequestHeader::build("GET", target, None) else { return };
    for (name, value) in headers {
        request.append_header(name.clone(), value.clone()).unwrap();
    }
    let before = dump(&request);
    let peer = Ipv4Addr::LOCALHOST.into();
    let origin = Origin { peer, trust: Trust::Client, scheme: "http" };
    rewrite(&mut request, route, &Passage::Public, origin, "the-request-id").unwrap();
    let sent = CheckedTarget::parse(request.raw_path()).unwrap_or_else(|fault| {
        panic!("{fault}: {}", request.raw_path().escape_ascii());
    });
    for (name, value) in &request.headers {
        let plain = name.as_str().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        if plain.starts_with("x-portcullis-") {
            assert_eq!(
                (name.as_str(), value.as_bytes()),
                ("x-portcullis-request-id", &b"the-request-id"[..])
            );
        }
    }
    if route.forwarding == CredentialForwarding::Forward {
        return;
    }
    let left = self::texts(&route.policy.places, &request.headers, sent.query());
    assert!(left.is_empty(), "forwarded with {left:?}");
    for ours in OURS {
        request.remove_header(ours);
    }
    let after = dump(&request);
    // What has an `&` in it may come about where a parameter is taken out between two others.
    for text in texts.iter().filter(|text| text.len() >= LEAST && !text.contains(&b'&')) {
        // A client that writes its secret elsewhere as well has told it to the upstream itself.
        let in_places = texts.iter().filter(|other| contains(other, text) > 0).count();
        if contains(&before, text) <= in_places {
            assert_eq!(contains(&after, text), 0, "{}", text.escape_ascii());
        }
    }
}

/// All that a request says, decoded.
fn dump(request: &RequestHeader) -> Vec<u8> {
    let mut out = decoded(request.raw_path());
    for (name, value) in &request.headers {
        out.extend([b"\n", name.as_str().as_bytes(), b":", value.as_bytes()].concat());
    }
    out
}

/// How often one text stands in another.
fn contains(whole: &[u8], part: &[u8]) -> usize {
    whole.windows(part.len()).filter(|window| *window == part).count()
}
