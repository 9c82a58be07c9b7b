//! Reads a request target the way the servers behind will read it, or refuses it.
//!
//! A route must not be reachable by a spelling that another rule judged differently. So matching goes by the decoded
//! path, as the upstream decodes it, and each spelling on which servers disagree (dot segments, encoded slashes,
//! backslashes, doubled slashes, …) is refused rather than repaired: what is forwarded is what was checked.

use std::borrow::Cow;
use std::fmt;

use memchr::{memchr, memchr_iter};

use crate::head::is_target_byte;

#[cfg(test)]
pub(super) mod tests;

/// A request target in which servers cannot see different paths, but for `;params` (see [`Readings`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedTarget<'a> {
    path: &'a [u8],
    query: Option<&'a [u8]>,
    literal: Cow<'a, [u8]>,
    stripped: Option<Vec<u8>>,
}

/// The decoded paths that an upstream may see. Each starts with `/`, and has neither dot segments nor empty ones
/// (but for a trailing slash).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readings<'t> {
    /// Every server sees this one.
    One(&'t [u8]),
    /// The path has a `;`.
    Two {
        /// As most servers see it: `;` is a character like others.
        literal: &'t [u8],
        /// As Tomcat, Jetty and their like see it: each segment ends at its `;`.
        stripped: &'t [u8],
    },
}

/// Why a target was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetFault {
    /// It does not start with `/`.
    Form,
    /// It has a byte that must be percent-encoded.
    Byte,
    /// A `\`, raw or encoded.
    Backslash,
    /// A `%` without two hexadecimal digits.
    Encoding,
    /// An encoded `/`.
    EncodedSlash,
    /// An encoded control byte.
    EncodedControl,
    /// An encoded ASCII character in more bytes than it needs (RFC 3629 section 3 forbids it).
    Overlong,
    /// `//`, also where `;params` stand between.
    EmptySegment,
    /// A `.` or `..` segment, in any spelling.
    DotSegment,
}

impl<'a> CheckedTarget<'a> {
    /// Judges a target such as `/v1/models?x=1`: the bytes as they will be forwarded.
    pub fn parse(raw: &'a [u8]) -> Result<Self, TargetFault> {
        if raw.first() != Some(&b'/') {
            return Err(TargetFault::Form);
        }
        if let Some(&byte) = raw.iter().find(|&&byte| !is_target_byte(byte)) {
            return Err(if byte == b'\\' { TargetFault::Backslash } else { TargetFault::Byte });
        }
        let (path, query) = match memchr(b'?', raw) {
            Some(at) => (&raw[..at], Some(&raw[at + 1..])),
            None => (raw, None),
        };
        let literal = decode(path)?;
        check_segments(&literal)?;
        let stripped = memchr(b';', &literal).map(|_| without_params(&literal));
        Ok(Self { path, query, literal, stripped })
    }

    /// The path as it came.
    pub fn path(&self) -> &'a [u8] {
        self.path
    }

    /// What follows the first `?`, as it came. Nothing in it was decoded or judged beyond its raw bytes.
    pub fn query(&self) -> Option<&'a [u8]> {
        self.query
    }

    /// The path with each `%XX` decoded once, which is what its segments are matched by.
    pub fn segments_path(&self) -> &[u8] {
        &self.literal
    }

    /// Each way in which an upstream may see the path.
    pub fn readings(&self) -> Readings<'_> {
        let literal = &*self.literal;
        match &self.stripped {
            None => Readings::One(literal),
            Some(stripped) => Readings::Two { literal, stripped },
        }
    }

    /// The path as it came without the segments of `route_path`, which must be the path of the route that matched:
    /// what is forwarded where a route strips its path. It starts with `/`.
    ///
    /// It counts segments, because a segment that matched may be spelled otherwise here: no `%XX` is a slash, so the
    /// raw path has the same segments as the decoded one.
    pub fn after_route_path(&self, route_path: &str) -> &'a [u8] {
        let depth = route_path.split('/').filter(|segment| !segment.is_empty()).count();
        memchr_iter(b'/', self.path).nth(depth).map_or(b"/", |at| &self.path[at..])
    }
}

impl TargetFault {
    /// What the client is told. It holds nothing of what the client sent.
    pub const fn detail(self) -> &'static str {
        match self {
            Self::Form => "The request target does not start with a slash.",
            Self::Byte => "The request target has a character that must be percent-encoded.",
            Self::Backslash => "The path has a backslash.",
            Self::Encoding => "The path has a percent sign without two hexadecimal digits after it.",
            Self::EncodedSlash => "The path has an encoded slash.",
            Self::EncodedControl => "The path has an encoded control character.",
            Self::Overlong => "The path has a character encoded in more bytes than it needs.",
            Self::EmptySegment => "The path has an empty segment.",
            Self::DotSegment => "The path has a dot segment.",
        }
    }
}

impl fmt::Display for TargetFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.detail())
    }
}

impl std::error::Error for TargetFault {}

/// Decodes each `%XX` once (RFC 3986 section 2.1). Borrowed where there is none.
fn decode(path: &[u8]) -> Result<Cow<'_, [u8]>, TargetFault> {
    let Some(first) = memchr(b'%', path) else {
        return Ok(Cow::Borrowed(path));
    };
    let mut decoded = Vec::with_capacity(path.len());
    decoded.extend_from_slice(&path[..first]);
    let mut rest = &path[first..];
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let [high, low, after @ ..] = after else {
                return Err(TargetFault::Encoding);
            };
            rest = after;
            decoded.push(decoded_byte(*high, *low)?);
        } else {
            decoded.push(byte);
        }
    }
    if has_overlong_ascii(&decoded) {
        return Err(TargetFault::Overlong);
    }
    Ok(Cow::Owned(decoded))
}

/// The byte that two hexadecimal digits encode, unless it must not be encoded.
fn decoded_byte(high: u8, low: u8) -> Result<u8, TargetFault> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    match digit(high).zip(digit(low)).map(|(high, low)| high << 4 | low) {
        None => Err(TargetFault::Encoding),
        Some(b'/') => Err(TargetFault::EncodedSlash),
        Some(b'\\') => Err(TargetFault::Backslash),
        Some(0..=0x1F | 0x7F) => Err(TargetFault::EncodedControl),
        Some(byte) => Ok(byte),
    }
}

/// Whether there is an ASCII character in the two, three or four bytes that a careless UTF-8 decoder takes for one:
/// `%c0%ae` for a dot, `%c0%af` for a slash. Other bytes that are no UTF-8 (Latin-1, say) stand for nothing else.
fn has_overlong_ascii(path: &[u8]) -> bool {
    path.windows(2)
        .any(|pair| matches!(pair, [0xC0 | 0xC1, 0x80..=0xBF] | [0xE0, 0x80 | 0x81] | [0xF0, 0x80]))
}

/// Refuses empty and dot segments. A segment is judged without its `;params`, so that both readings are free of them:
/// `..;x` is `..` for some servers, and `/;x/` is `//`.
fn check_segments(path: &[u8]) -> Result<(), TargetFault> {
    let mut segments = path[1..].split(|&byte| byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let name = memchr(b';', segment).map_or(segment, |at| &segment[..at]);
        match name {
            b"" if segments.peek().is_some() => return Err(TargetFault::EmptySegment),
            b"." | b".." => return Err(TargetFault::DotSegment),
            _ => {}
        }
    }
    Ok(())
}

/// The path with each segment cut at its first `;`.
fn without_params(path: &[u8]) -> Vec<u8> {
    let mut stripped = Vec::with_capacity(path.len());
    let mut in_params = false;
    for &byte in path {
        match byte {
            b';' => in_params = true,
            b'/' => in_params = false,
            _ => {}
        }
        if !in_params {
            stripped.push(byte);
        }
    }
    stripped
}
