//! HTTP/2 on the gateway's listeners: where it is spoken, and what bounds a connection.

use crate::document::{Fields, either, integer};

/// Streams at once, at most.
const MAX_STREAMS: u64 = 10_000;
/// Frames of a kind a second, at most.
const MAX_FRAMES: u64 = 1_000_000;

/// The fields of `[gateway]` that are about HTTP/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http2 {
    /// Whether it is spoken on the plain listeners.
    pub cleartext: Cleartext,
    /// Streams of one connection at once.
    pub max_streams: u32,
    /// Streams that a client may reset a second, and that its mistakes may reset on one connection.
    pub max_resets: u32,
    /// Frames a second that carry nothing of a request: PING, SETTINGS, PRIORITY, CONTINUATION, empty DATA, unknown ones.
    pub max_control_frames: u32,
}

/// Whether HTTP/2 is spoken on the plain listeners; on TLS it always may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleartext {
    /// To clients that begin with it (prior knowledge, RFC 9113 section 3.3).
    PriorKnowledge,
    /// No.
    Off,
}

/// Reads the fields.
pub fn http2(fields: &mut Fields<'_>) -> Option<Http2> {
    let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let cleartext = fields.require("h2c", |v| either(v, Cleartext::PriorKnowledge, Cleartext::Off));
    let max_streams = fields.require("http2_max_streams", |v| integer(v, 1, MAX_STREAMS));
    let max_resets = fields.require("http2_max_resets", |v| integer(v, 1, MAX_FRAMES));
    let max_control_frames = fields.require("http2_max_control_frames", |v| integer(v, 10, MAX_FRAMES));
    Some(Http2 {
        cleartext: cleartext?,
        max_streams: number(max_streams?),
        max_resets: number(max_resets?),
        max_control_frames: number(max_control_frames?),
    })
}
