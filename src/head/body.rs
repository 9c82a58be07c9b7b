//! Where a request's body ends, found while its bytes pass, and whether they can be read in one way only.
//!
//! What follows a body is the client's next request. Two readers that disagree about a chunk's line disagree about that,
//! so a chunked body is held to RFC 9112 section 7.1 by the byte: what the server's parser would pass over (an empty
//! size, a line that ends with a bare line feed, trailers that are none) is a fault here. It allocates nothing, and
//! looks at no byte of a chunk's data.

use super::Framing;
use super::fields::{is_control, is_token_byte};

/// Digits of a chunk's size, at most: all that 64 bits can have.
const MAX_SIZE_DIGITS: u8 = 16;
/// Bytes between a chunk's size and the end of its line, at most.
const MAX_EXTENSION_BYTES: u16 = 256;
/// Bytes of all trailers, at most.
const MAX_TRAILER_BYTES: u16 = 8 << 10;

/// What a body is refused for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFault {
    /// A chunk's size is missing, has another character than hexadecimal digits, or is too large.
    ChunkSize,
    /// What follows a chunk's size is no extension, or is too long.
    ChunkExtension,
    /// A line of the framing ends with a bare line feed, or a chunk is longer than it says.
    LineEnd,
    /// A trailer is no field.
    Trailer,
    /// The trailers are too many.
    Trailers,
}

impl BodyFault {
    /// For the client.
    pub const fn detail(self) -> &'static str {
        match self {
            Self::ChunkSize => "The body has a chunk without a valid size.",
            Self::ChunkExtension => "The body has a chunk with a malformed or too long extension.",
            Self::LineEnd => "The body has a chunk that does not end where it should.",
            Self::Trailer => "The body ends with a line that is no trailer field.",
            Self::Trailers => "The body ends with too many trailer fields.",
        }
    }
}

/// A body, as far as its bytes have passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Body(At);

/// What the next byte is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Of no body: the next request.
    End,
    /// The body, of which so many bytes are left.
    Content(u64),
    /// A chunk's size, with what its digits say so far and how many they are.
    Size(u64, u8),
    /// Blanks after a chunk's size, or its extensions, with how many bytes there were.
    Blank(u64, u16),
    Extension(u64, u16),
    /// The line feed of a chunk's first line.
    SizeEnd(u64),
    /// A chunk, of which so many bytes are left.
    Data(u64),
    /// The line end of a chunk.
    DataReturn,
    DataEnd,
    /// The first byte of a trailer or of the last line, with how many bytes of trailers there were.
    Line(u16),
    Name(u16),
    Value(u16),
    ValueEnd(u16),
    /// The line feed of the last line.
    LastEnd,
}

impl Body {
    /// A body that is framed so, before its first byte.
    pub const fn of(framing: Framing) -> Self {
        Self(match framing {
            Framing::None | Framing::ContentLength(0) => At::End,
            Framing::ContentLength(length) => At::Content(length),
            Framing::Chunked => At::Size(0, 0),
        })
    }

    /// Whether all of it has passed.
    pub fn is_over(self) -> bool {
        self.0 == At::End
    }

    /// Lets bytes pass. How many of them are of this body; those after them are not.
    ///
    /// # Errors
    /// They are of no well-formed body.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, BodyFault> {
        let mut taken = 0;
        while taken < bytes.len() {
            match &mut self.0 {
                At::End => break,
                At::Content(left) | At::Data(left) => {
                    let some = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len() - taken);
                    *left -= some as u64;
                    taken += some;
                    match self.0 {
                        At::Content(0) => self.0 = At::End,
                        At::Data(0) => self.0 = At::DataReturn,
                        _ => {}
                    }
                }
                at => {
                    *at = at.after(bytes[taken])?;
                    taken += 1;
                }
            }
        }
        Ok(taken)
    }
}

impl At {
    /// What comes after this byte of the framing.
    fn after(self, byte: u8) -> Result<Self, BodyFault> {
        match (self, byte) {
            (Self::Size(size, digits), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                if digits == MAX_SIZE_DIGITS {
                    return Err(BodyFault::ChunkSize);
                }
                Ok(Self::Size(size << 4 | digit, digits + 1))
            }
            (Self::Size(_, 0), _) => Err(BodyFault::ChunkSize),
            (Self::Size(size, _), b' ' | b'\t') => Ok(Self::Blank(size, 1)),
            (Self::Size(size, _), b';') => Ok(Self::Extension(size, 1)),
            (Self::Size(size, _) | Self::Blank(size, _) | Self::Extension(size, _), b'\r') => {
                Ok(Self::SizeEnd(size))
            }
            (Self::Size(..), _) => Err(BodyFault::ChunkSize),
            (Self::Blank(_, MAX_EXTENSION_BYTES) | Self::Extension(_, MAX_EXTENSION_BYTES), _) => {
                Err(BodyFault::ChunkExtension)
            }
            (Self::Blank(size, bytes), b' ' | b'\t') => Ok(Self::Blank(size, bytes + 1)),
            (Self::Blank(size, bytes), b';') | (Self::Extension(size, bytes), b'\t' | b' '..=b'~') => {
                Ok(Self::Extension(size, bytes + 1))
            }
            (Self::Blank(..) | Self::Extension(..), _) => Err(BodyFault::ChunkExtension),
            (Self::SizeEnd(0), b'\n') => Ok(Self::Line(0)),
            (Self::SizeEnd(size), b'\n') => Ok(Self::Data(size)),
            (Self::DataReturn, b'\r') => Ok(Self::DataEnd),
            (Self::DataEnd, b'\n') => Ok(Self::Size(0, 0)),
            (Self::Line(_), b'\r') => Ok(Self::LastEnd),
            (Self::LastEnd, b'\n') => Ok(Self::End),
            (Self::ValueEnd(bytes), b'\n') => Ok(Self::Line(bytes)),
            (Self::Line(_) | Self::Name(_) | Self::Value(_), _) => self.after_trailer_byte(byte),
            _ => Err(BodyFault::LineEnd),
        }
    }

    /// As [`Self::after`], within a trailer: a name, a colon, and a value in one line (RFC 9112 section 5).
    fn after_trailer_byte(self, byte: u8) -> Result<Self, BodyFault> {
        let (Self::Line(bytes) | Self::Name(bytes) | Self::Value(bytes)) = self else { return Ok(self) };
        if bytes == MAX_TRAILER_BYTES {
            return Err(BodyFault::Trailers);
        }
        let bytes = bytes + 1;
        match (self, byte) {
            (Self::Line(_) | Self::Name(_), _) if is_token_byte(byte) => Ok(Self::Name(bytes)),
            (Self::Name(_), b':') => Ok(Self::Value(bytes)),
            (Self::Value(_), b'\r') => Ok(Self::ValueEnd(bytes)),
            (Self::Value(_), _) if !is_control(byte) => Ok(Self::Value(bytes)),
            _ => Err(BodyFault::Trailer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of these bytes, however they are cut: how many are of the body, and whether it is over.
    fn read(framing: Framing, bytes: &[u8]) -> Result<(usize, bool), BodyFault> {
        let whole = |cut: usize| {
            let mut body = Body::of(framing);
            let first = body.take(&bytes[..cut])?;
            let second = if first == cut { body.take(&bytes[cut..])? } else { 0 };
            Ok((first + second, body.is_over()))
        };
        let outcome = whole(0);
        for cut in 1..=bytes.len() {
            assert_eq!(whole(cut), outcome, "{:?} cut at {cut}", bytes.escape_ascii().to_string());
        }
        outcome
    }

    #[test]
    fn a_body_ends_where_its_framing_says_and_what_follows_is_not_of_it() {
        assert_eq!(read(Framing::None, b"GET /"), Ok((0, true)));
        assert_eq!(read(Framing::ContentLength(0), b"GET /"), Ok((0, true)));
        assert_eq!(read(Framing::ContentLength(3), b"ab"), Ok((2, false)));
        assert_eq!(read(Framing::ContentLength(3), b"abcGET /"), Ok((3, true)));
        for body in [
            "0\r\n\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
            "00003\r\nabc\r\n000\r\n\r\n",
            "a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n",
            "3;a=\"b; c\"\r\nabc\r\n0;last\r\n\r\n",
            "3 \t;a\r\nabc\r\n0 \r\n\r\n",
            "5\r\n\r\n\0\r\n\r\n0\r\n\r\n",
            "0\r\nx-checksum: 1\r\nEmpty:\r\nx:\tq\u{e9}\r\n\r\n",
        ] {
            let with_next = format!("{body}GET / HTTP/1.1\r\n");
            assert_eq!(read(Framing::Chunked, with_next.as_bytes()), Ok((body.len(), true)), "{body}");
        }
        assert_eq!(read(Framing::Chunked, b"3\r\nabc\r\n0\r\n"), Ok((11, false)));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        use BodyFault as F;
        let long = |many: usize| format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(many));
        let trailers = |many: usize| format!("0\r\nx: {}\r\n\r\n", "y".repeat(many));
        assert!(read(Framing::Chunked, long(255).as_bytes()).is_ok());
        assert!(read(Framing::Chunked, trailers(8_000).as_bytes()).is_ok());
        for (body, fault) in [
            ("\r\n\r\n", F::ChunkSize),
            (";x\r\n\r\n", F::ChunkSize),
            (" \r\n\r\n", F::ChunkSize),
            (" 3\r\nabc\r\n", F::ChunkSize),
            ("+3\r\nabc\r\n", F::ChunkSize),
            ("0x3\r\nabc\r\n", F::ChunkSize),
            ("3\nabc\r\n", F::ChunkSize),
            ("10000000000000000\r\n", F::ChunkSize),
            ("00000000000000003\r\nabc\r\n", F::ChunkSize),
            ("3 3\r\nabc\r\n", F::ChunkExtension),
            ("3;\nabc\r\n", F::ChunkExtension),
            ("3;\0\r\nabc\r\n", F::ChunkExtension),
            ("3;\u{7f}\r\nabc\r\n", F::ChunkExtension),
            ("3;\u{e9}\r\nabc\r\n", F::ChunkExtension),
            (&long(256), F::ChunkExtension),
            ("3;x\r\rabc\r\n", F::LineEnd),
            ("3\rabc\r\n", F::LineEnd),
            ("3\r\nabcd\r\n", F::LineEnd),
            ("3\r\nabc\n0\r\n\r\n", F::LineEnd),
            ("3\r\nabc0\r\n\r\n", F::LineEnd),
            ("0\r\n\rx", F::LineEnd),
            ("0\r\n\n", F::Trailer),
            ("0\r\nGET / HTTP/1.1\r\n\r\n", F::Trailer),
            ("0\r\nno colon\r\n\r\n", F::Trailer),
            ("0\r\n: x\r\n\r\n", F::Trailer),
            ("0\r\na: b\r\n c\r\n\r\n", F::Trailer),
            ("0\r\na : b\r\n\r\n", F::Trailer),
            ("0\r\na: b\nc: d\r\n\r\n", F::Trailer),
            ("0\r\na: \0\r\n\r\n", F::Trailer),
            ("0\r\na\r\n\r\n", F::Trailer),
            ("0\r\na: b\rc\r\n\r\n", F::LineEnd),
            (&trailers(8_200), F::Trailers),
        ] {
            assert_eq!(read(Framing::Chunked, body.as_bytes()), Err(fault), "{body:?}");
        }
    }
}
