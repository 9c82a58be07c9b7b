//! Judges the raw bytes of an HTTP/1.x request head before any parser that repairs or guesses sees them.
//!
//! Two readers that disagree about where a request ends, or what its path is, are how requests are smuggled past a
//! gateway. So this accepts only what can be read in one way, a strict subset of RFC 9112, and names the fault of
//! everything else. It runs on each request: one pass over the bytes, no allocation.
//!
//! Deliberately absent: keep-alive (the server's matter), the size of the head (the reader's), the
//! meaning of the path (`routes::target`).

mod absolute;
mod body;
mod fault;
mod fields;
pub mod http2;
#[cfg(test)]
mod tests;

use std::ops::Range;

use http::Method;
use memchr::{memchr, memchr_iter};

pub use absolute::to_origin_form;
pub use body::{Body, BodyFault};
pub use fault::{FaultKind, HeadFault};
pub use fields::{MAX_CONNECTION_OPTIONS, MAX_FIELDS};

/// Bytes of a request target, at most: more is no URI for the server's parser.
const MAX_TARGET_BYTES: usize = 65_534;

/// A request head that can be read in one way only. The ranges are into the bytes that [`check`] was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The version of the request line.
    pub version: Version,
    /// One of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS.
    pub method: Method,
    /// The request target: origin-form, so its first byte is `/` (RFC 9112 section 3.2.1).
    pub target: Range<usize>,
    /// The value of `Host`, a valid `host[:port]`. There in each HTTP/1.1 head.
    pub host: Option<Range<usize>>,
    /// How long the body is.
    pub framing: Framing,
    /// What the connection is to become.
    pub upgrade: Upgrade,
}

/// What a connection is to become after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upgrade {
    /// What it is.
    None,
    /// A WebSocket (RFC 6455 section 4.1).
    WebSocket,
}

/// The version of a request line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

/// How long a request's body is (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// This many bytes.
    ContentLength(u64),
    /// It tells by itself where it ends.
    Chunked,
}

/// Where the head ends: just past the first blank line of `buf`, if it is there yet.
///
/// `from` is how much of `buf` an earlier call has searched; a blank line may straddle it. A blank line made of bare
/// line feeds counts too: such a head shall be refused by [`check`], not waited for.
pub fn find_end(buf: &[u8], from: usize) -> Option<usize> {
    // The last line feed that can begin a blank line which ends at `from` or later is two bytes before it.
    let start = from.saturating_sub(2).min(buf.len());
    memchr_iter(b'\n', &buf[start..]).map(|at| start + at + 1).find_map(|next| match &buf[next..] {
        [b'\n', ..] => Some(next + 1),
        [b'\r', b'\n', ..] => Some(next + 2),
        _ => None,
    })
}

/// How many fields a head has that [`check`] let pass: its lines, but for the request line and the blank one.
pub fn field_count(head: &[u8]) -> usize {
    memchr_iter(b'\n', head).count().saturating_sub(2)
}

/// How many bytes to leave out in front of a request line: one CRLF at most (RFC 9112 section 2.2).
pub fn skip_blank(buf: &[u8]) -> usize {
    if buf.starts_with(b"\r\n") { 2 } else { 0 }
}

/// Judges a head: `head` is all of it, from the request line's first byte to the end of its blank line.
pub fn check(head: &[u8]) -> Result<Head, HeadFault> {
    let mut lines = Lines { head, at: 0 };
    let request = request_line(lines.next()?)?;
    let mut fields = fields::Fields::default();
    loop {
        let start = lines.at;
        match lines.next()? {
            [] => break,
            line => fields.take(line, start)?,
        }
    }
    if lines.at != head.len() {
        return Err(HeadFault::AfterEnd);
    }
    let RequestLine { method, target, version } = request;
    let websocket = fields.ask_for_websocket() && method == Method::GET && version == Version::Http11;
    let (host, framing) = fields.finish(version)?;
    let upgrade = if websocket && Body::of(framing).is_over() { Upgrade::WebSocket } else { Upgrade::None };
    Ok(Head { version, method, target, host, framing, upgrade })
}

/// Whether a byte may stand in a request target: visible ASCII, except what readers are known to read differently
/// (`\` as `/`, `#` as the end) and the quotes and brackets that no URI has (RFC 3986 appendix C).
pub(crate) const fn is_target_byte(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7E) && !matches!(byte, b'"' | b'#' | b'<' | b'>' | b'\\')
}

/// Whether these may be the bytes of a request target. A backtick may stand in a query, where browsers leave it as it
/// is; in a path the server's parser takes it for an error, and its answer would not be ours.
fn is_target(target: &[u8]) -> bool {
    let path = &target[..memchr(b'?', target).unwrap_or(target.len())];
    target.iter().all(|&byte| is_target_byte(byte)) && memchr(b'`', path).is_none()
}

/// The lines of a head, one after the other.
struct Lines<'a> {
    head: &'a [u8],
    at: usize,
}

impl<'a> Lines<'a> {
    /// The next line, without its CRLF. A bare line feed is no line end here (RFC 9112 section 2.2 lets a server
    /// take it for one; that leniency is what smuggling lives on). A bare CR stays in the line, where no rule for
    /// the line's bytes lets it pass.
    fn next(&mut self) -> Result<&'a [u8], HeadFault> {
        let rest = &self.head[self.at..];
        let end = memchr(b'\n', rest).ok_or(HeadFault::Unfinished)?;
        self.at += end + 1;
        rest[..end].strip_suffix(b"\r").ok_or(HeadFault::BareLineFeed)
    }
}

/// What a request line says.
struct RequestLine {
    method: Method,
    target: Range<usize>,
    version: Version,
}

/// Reads `METHOD SP target SP version` (RFC 9112 section 3), with single spaces.
fn request_line(line: &[u8]) -> Result<RequestLine, HeadFault> {
    let method_end = memchr(b' ', line).ok_or(HeadFault::RequestLine)?;
    let method = known_method(&line[..method_end]).ok_or(HeadFault::Method)?;
    let start = method_end + 1;
    let length = memchr(b' ', &line[start..]).ok_or(HeadFault::RequestLine)?;
    let target = start..start + length;
    let version = match &line[target.end + 1..] {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        _ => return Err(HeadFault::Version),
    };
    match &line[target.clone()] {
        [b'/', ..] if length > MAX_TARGET_BYTES => return Err(HeadFault::TargetTooLong),
        bytes @ [b'/', ..] if is_target(bytes) => {}
        [b'/', ..] => return Err(HeadFault::TargetByte),
        _ => return Err(HeadFault::TargetForm),
    }
    Ok(RequestLine { method, target, version })
}

/// The methods that are let in, spelled exactly so (RFC 9110 section 9.1: they are case-sensitive). TRACE would show
/// a client what the gateway adds; CONNECT asks for a tunnel.
fn known_method(name: &[u8]) -> Option<Method> {
    Some(match name {
        b"GET" => Method::GET,
        b"HEAD" => Method::HEAD,
        b"POST" => Method::POST,
        b"PUT" => Method::PUT,
        b"PATCH" => Method::PATCH,
        b"DELETE" => Method::DELETE,
        b"OPTIONS" => Method::OPTIONS,
        _ => return None,
    })
}
