//! What can be wrong with a request head, and what the client is told of it.

use std::fmt;

/// Why a request head was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadFault {
    /// There is no blank line.
    Unfinished,
    /// There are bytes after the blank line.
    AfterEnd,
    /// A line ends with LF alone.
    BareLineFeed,
    /// The request line has not three parts.
    RequestLine,
    /// The method is not one that is let in.
    Method,
    /// The version is neither HTTP/1.0 nor HTTP/1.1.
    Version,
    /// The target is not in origin-form.
    TargetForm,
    /// The target has a byte that must be percent-encoded.
    TargetByte,
    /// The target is longer than any URI.
    TargetTooLong,
    /// A field goes on over a second line.
    Folded,
    /// A field name is not a token directly followed by a colon.
    FieldName,
    /// A field value has a control byte.
    FieldValue,
    /// There are more than [`MAX_FIELDS`](super::MAX_FIELDS) fields.
    TooManyFields,
    /// An HTTP/1.1 request has no `Host`.
    HostMissing,
    /// There are two `Host` fields.
    HostRepeated,
    /// `Host` is not `host[:port]`.
    HostForm,
    /// There are two `Content-Length` fields.
    ContentLengthRepeated,
    /// `Content-Length` is not one plain number.
    ContentLength,
    /// There are two `Transfer-Encoding` fields.
    TransferEncodingRepeated,
    /// `Transfer-Encoding` is not `chunked`.
    TransferEncoding,
    /// `Transfer-Encoding` in an HTTP/1.0 request.
    TransferEncodingInHttp10,
    /// Both `Content-Length` and `Transfer-Encoding`.
    TwoFramings,
    /// `content_length` or `transfer_encoding`, which some servers take for the real one.
    FramingLookalike,
    /// `Expect` is not `100-continue`.
    Expect,
    /// `Connection` is not a short list of tokens, or names a field that must not be removed.
    Connection,
    /// HTTP/2: a field that speaks of an HTTP/1.1 connection.
    ConnectionSpecific,
    /// HTTP/2: a field value begins or ends with a blank.
    Blanks,
    /// HTTP/2: `:scheme` is neither `http` nor `https`.
    Scheme,
    /// HTTP/2: `:authority` and `Host` differ.
    TwoHosts,
}

/// Which answer a fault gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// 400
    BadRequest,
    /// 431
    TooLarge,
}

impl HeadFault {
    /// Which answer it gets.
    pub const fn kind(self) -> FaultKind {
        match self {
            Self::TooManyFields => FaultKind::TooLarge,
            Self::Unfinished
            | Self::AfterEnd
            | Self::BareLineFeed
            | Self::RequestLine
            | Self::Method
            | Self::Version
            | Self::TargetForm
            | Self::TargetByte
            | Self::TargetTooLong
            | Self::Folded
            | Self::FieldName
            | Self::FieldValue
            | Self::HostMissing
            | Self::HostRepeated
            | Self::HostForm
            | Self::ContentLengthRepeated
            | Self::ContentLength
            | Self::TransferEncodingRepeated
            | Self::TransferEncoding
            | Self::TransferEncodingInHttp10
            | Self::TwoFramings
            | Self::FramingLookalike
            | Self::Expect
            | Self::Connection
            | Self::ConnectionSpecific
            | Self::Blanks
            | Self::Scheme
            | Self::TwoHosts => FaultKind::BadRequest,
        }
    }

    /// What the client is told. It holds nothing of what the client sent.
    pub const fn detail(self) -> &'static str {
        match self {
            Self::Unfinished => "The request head does not end with a blank line.",
            Self::AfterEnd => "The request head goes on after its blank line.",
            Self::BareLineFeed => "A line of the request head does not end with CRLF.",
            Self::RequestLine => {
                "The request line is not a method, a target and a version with single spaces between."
            }
            Self::Method => "The method is none of GET, HEAD, POST, PUT, PATCH, DELETE and OPTIONS.",
            Self::Version => "The protocol version is neither HTTP/1.1 nor HTTP/1.0.",
            Self::TargetForm => "The request target does not start with a slash.",
            Self::TargetByte => "The request target has a character that must be percent-encoded.",
            Self::TargetTooLong => "The request target has more than 65534 bytes.",
            Self::Folded => "A header field goes on over a second line.",
            Self::FieldName => "A header field name is not a token directly followed by a colon.",
            Self::FieldValue => "A header field value has a control character.",
            Self::TooManyFields => "The request has more than 250 header fields.",
            Self::HostMissing => "The Host header field is missing.",
            Self::HostRepeated => "There is more than one Host header field.",
            Self::HostForm => "The Host header field is not a host name or address with an optional port.",
            Self::ContentLengthRepeated => "There is more than one Content-Length header field.",
            Self::ContentLength => "The Content-Length header field is not one plain number.",
            Self::TransferEncodingRepeated => "There is more than one Transfer-Encoding header field.",
            Self::TransferEncoding => "The Transfer-Encoding header field is not \"chunked\".",
            Self::TransferEncodingInHttp10 => "HTTP/1.0 has no Transfer-Encoding.",
            Self::TwoFramings => "Both Content-Length and Transfer-Encoding are given.",
            Self::FramingLookalike => {
                "A header field looks like Content-Length or Transfer-Encoding but is neither."
            }
            Self::Expect => "The Expect header field is not \"100-continue\".",
            Self::Connection => {
                "The Connection header field is not a short list of names, or names a field that cannot be removed."
            }
            Self::ConnectionSpecific => "HTTP/2 has no connection-specific header fields.",
            Self::Blanks => "A header field value begins or ends with a blank.",
            Self::Scheme => "The :scheme is neither \"http\" nor \"https\".",
            Self::TwoHosts => "The :authority and the Host header field differ.",
        }
    }
}

impl fmt::Display for HeadFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.detail())
    }
}

impl std::error::Error for HeadFault {}
