//! The field lines of a head: their form, and the few fields that say where the request ends and whose it is.

use std::net::Ipv6Addr;
use std::ops::Range;

use memchr::memchr;

use super::{Framing, HeadFault, Version};

/// Field lines in a head, at most, whatever the configuration says: Pingora refuses a few more.
pub const MAX_FIELDS: usize = 250;

/// Options in all `Connection` fields together, at most. Pingora refuses a tenth, but only once it has an upstream
/// connection.
pub const MAX_CONNECTION_OPTIONS: usize = 9;

/// Digits of a `Content-Length`, at most: as many as `i64::MAX` has.
const MAX_LENGTH_DIGITS: usize = 19;

/// Digits of a port, at most.
const MAX_PORT_DIGITS: usize = 5;

/// What the fields seen so far say.
#[derive(Default)]
pub(super) struct Fields {
    count: usize,
    connection_options: usize,
    host: Option<Range<usize>>,
    content_length: Option<u64>,
    chunked: bool,
    /// How many `Upgrade` fields there are, and whether the last one names WebSocket.
    upgrades: (usize, bool),
    /// Whether the connection is to be upgraded.
    upgrades_connection: bool,
}

impl Fields {
    /// Takes a field line in: not empty, without its CRLF, starting `at` this byte of the head.
    pub(super) fn take(&mut self, line: &[u8], at: usize) -> Result<(), HeadFault> {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(HeadFault::Folded);
        }
        self.count += 1;
        if self.count > MAX_FIELDS {
            return Err(HeadFault::TooManyFields);
        }
        let colon = line.iter().position(|&byte| !is_token_byte(byte)).ok_or(HeadFault::FieldName)?;
        if colon == 0 || line[colon] != b':' {
            return Err(HeadFault::FieldName);
        }
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if !is_value(value) {
            return Err(HeadFault::FieldValue);
        }
        // Blanks around the value are not part of it (RFC 9112 section 5). SP and HTAB are the only ASCII white
        // space that `is_value` lets through.
        let value_at = at + colon + 1 + (value.len() - value.trim_ascii_start().len());
        self.note(name, value.trim_ascii(), value_at)
    }

    /// Takes a field in whose name and value come apart; the name is in lower case.
    pub(super) fn take_apart(&mut self, name: &[u8], value: &[u8]) -> Result<(), HeadFault> {
        self.count += 1;
        if self.count > MAX_FIELDS {
            return Err(HeadFault::TooManyFields);
        }
        if name.is_empty() || !name.iter().all(|&byte| is_token_byte(byte)) {
            return Err(HeadFault::FieldName);
        }
        if !is_value(value) {
            return Err(HeadFault::FieldValue);
        }
        if value.trim_ascii().len() != value.len() {
            return Err(HeadFault::Blanks);
        }
        self.note(name, value, 0)
    }

    /// Remembers what matters of a field. By length first: most fields are none of these.
    fn note(&mut self, name: &[u8], value: &[u8], value_at: usize) -> Result<(), HeadFault> {
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.note_host(value, value_at),
            6 if name.eq_ignore_ascii_case(b"expect") => note_expect(value),
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.upgrades = (self.upgrades.0 + 1, value.eq_ignore_ascii_case(b"websocket"));
                Ok(())
            }
            10 if name.eq_ignore_ascii_case(b"connection") => self.note_connection(value),
            14 if name.eq_ignore_ascii_case(b"content-length") => self.note_content_length(value),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.note_transfer_encoding(value),
            // Servers that hand fields on as CGI variables cannot tell `_` from `-`.
            14 if name.eq_ignore_ascii_case(b"content_length") => Err(HeadFault::FramingLookalike),
            17 if name.eq_ignore_ascii_case(b"transfer_encoding") => Err(HeadFault::FramingLookalike),
            _ => Ok(()),
        }
    }

    fn note_host(&mut self, value: &[u8], value_at: usize) -> Result<(), HeadFault> {
        if self.host.is_some() {
            return Err(HeadFault::HostRepeated);
        }
        if !is_host_and_port(value) {
            return Err(HeadFault::HostForm);
        }
        self.host = Some(value_at..value_at + value.len());
        Ok(())
    }

    fn note_content_length(&mut self, value: &[u8]) -> Result<(), HeadFault> {
        if self.content_length.is_some() {
            return Err(HeadFault::ContentLengthRepeated);
        }
        let length = digits(value, MAX_LENGTH_DIGITS).filter(|&length| i64::try_from(length).is_ok());
        self.content_length = Some(length.ok_or(HeadFault::ContentLength)?);
        Ok(())
    }

    fn note_transfer_encoding(&mut self, value: &[u8]) -> Result<(), HeadFault> {
        if self.chunked {
            return Err(HeadFault::TransferEncodingRepeated);
        }
        self.chunked = value.eq_ignore_ascii_case(b"chunked");
        if self.chunked { Ok(()) } else { Err(HeadFault::TransferEncoding) }
    }

    /// Each option names a field that the next hop does not get (RFC 9110 section 7.6.1). Empty list members are
    /// allowed (section 5.6.1.2).
    fn note_connection(&mut self, value: &[u8]) -> Result<(), HeadFault> {
        for option in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            if option.is_empty() {
                continue;
            }
            self.connection_options += 1;
            self.upgrades_connection |= option.eq_ignore_ascii_case(b"upgrade");
            let token = option.iter().all(|&byte| is_token_byte(byte));
            if !token || self.connection_options > MAX_CONNECTION_OPTIONS || is_protected(option) {
                return Err(HeadFault::Connection);
            }
        }
        Ok(())
    }

    /// Judges the fields together: the host's place, and the body's framing.
    pub(super) fn finish(self, version: Version) -> Result<(Option<Range<usize>>, Framing), HeadFault> {
        if version == Version::Http11 && self.host.is_none() {
            return Err(HeadFault::HostMissing);
        }
        let framing = self.framing(version)?;
        Ok((self.host, framing))
    }

    /// Whether they ask for a WebSocket and nothing else, on this connection (RFC 9110 section 7.8).
    pub(super) fn ask_for_websocket(&self) -> bool {
        self.upgrades == (1, true) && self.upgrades_connection
    }

    /// The body's framing.
    pub(super) fn framing(&self, version: Version) -> Result<Framing, HeadFault> {
        match (self.content_length, self.chunked) {
            (Some(_), true) => Err(HeadFault::TwoFramings),
            (None, true) if version == Version::Http10 => Err(HeadFault::TransferEncodingInHttp10),
            (None, true) => Ok(Framing::Chunked),
            (Some(length), false) => Ok(Framing::ContentLength(length)),
            (None, false) => Ok(Framing::None),
        }
    }
}

/// RFC 9110 section 10.1.1: the only expectation there is.
fn note_expect(value: &[u8]) -> Result<(), HeadFault> {
    if value.eq_ignore_ascii_case(b"100-continue") { Ok(()) } else { Err(HeadFault::Expect) }
}

/// Fields that no client may have removed on the way: they say where the request ends, whose it is and whence it
/// came. (Pingora refuses the last three too, but only once it has an upstream connection.)
fn is_protected(option: &[u8]) -> bool {
    const PROTECTED: [&[u8]; 6] = [
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
    ];
    PROTECTED.iter().any(|name| option.eq_ignore_ascii_case(name))
}

/// `uri-host [":" port]` (RFC 9110 section 7.2), without the parts of RFC 3986 that no host name has:
/// percent-encoding, sub-delimiters, IPvFuture, an empty host, an empty port.
pub(super) fn is_host_and_port(value: &[u8]) -> bool {
    let end = match value {
        [b'[', ..] => memchr(b']', value).map(|bracket| bracket + 1),
        _ => memchr(b':', value),
    };
    let (host, port) = value.split_at(end.unwrap_or(value.len()));
    let host_is_good = match host {
        [b'[', address @ .., b']'] => is_ipv6(address),
        name => !name.is_empty() && name.iter().all(|&byte| is_host_byte(byte)),
    };
    let port_is_good = match port {
        [] => true,
        [b':', port @ ..] => digits(port, MAX_PORT_DIGITS).is_some_and(|port| u16::try_from(port).is_ok()),
        _ => false,
    };
    host_is_good && port_is_good
}

fn is_ipv6(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

const fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'~')
}

/// The number that one to `most` (at most 19, so that it fits) digits write, and nothing else: no sign, no list.
fn digits(text: &[u8], most: usize) -> Option<u64> {
    let good = (1..=most).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    good.then(|| text.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

/// Whether these may be a field's value: visible characters, SP, HTAB, and bytes over 0x7F (RFC 9110 section 5.5).
/// It counts rather than stops at the first bad byte: without a way out of the loop it compiles to vector code.
fn is_value(value: &[u8]) -> bool {
    value.iter().filter(|&&byte| is_control(byte)).count() == 0
}

/// Whether a byte may not be part of a field's value.
pub(super) const fn is_control(byte: u8) -> bool {
    (byte < 0x20 && byte != b'\t') || byte == 0x7F
}

/// Whether a byte may be part of a token (RFC 9110 section 5.6.2).
pub(super) const fn is_token_byte(byte: u8) -> bool {
    TOKEN_BYTES[byte as usize]
}

static TOKEN_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 0x80 {
        table[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        byte += 1;
    }
    table
};
