//! The bounds of `[gateway]` that hold for what clients send once they are connected, and how often they connect.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use serde_json::Value;

use super::sections::{count, within};
use crate::document::{Fields, integer};
use crate::quantity::{self, HOUR, MIB};

const HEADERS: (u64, u64) = (8, 250);
const MAX_REQUESTS: u64 = 1_000_000_000;
const MAX_CONNECTIONS: u64 = 1_000_000;
const BODY_TIMEOUT: (Duration, Duration) = (Duration::from_millis(100), HOUR);
const BODY_GRACE: (Duration, Duration) = (Duration::ZERO, HOUR);
const MAX_BODY_RATE: u64 = MIB;

/// The bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientBounds {
    /// The most header fields of a request.
    pub headers: usize,
    /// How long a client may be silent in the middle of a body.
    pub body_timeout: Duration,
    /// Bytes a second that a body must bring, counted over the time that the gateway waits for it; `None`: no bound.
    pub body_rate: Option<NonZeroU64>,
    /// How long the gateway waits for a body before its rate counts.
    pub body_grace: Duration,
    /// Requests that one connection may carry; `None`: no bound.
    pub requests: Option<NonZeroU32>,
    /// Connections of one address at once; `None`: no bound.
    pub connections_per_address: Option<NonZeroU32>,
}

/// Reads them.
pub(super) fn client_bounds(fields: &mut Fields<'_>) -> Option<ClientBounds> {
    let headers = fields.require("max_request_headers", |v| integer(v, HEADERS.0, HEADERS.1));
    let body_timeout = fields.require("body_timeout", |v| within(v, BODY_TIMEOUT));
    let body_rate = fields.require("min_body_rate", |v| quantity::size(v, 0, MAX_BODY_RATE));
    let body_grace = fields.require("body_grace", |v| within(v, BODY_GRACE));
    let requests = fields.require("max_requests_per_connection", |v| up_to(v, MAX_REQUESTS));
    let per_address = fields.require("max_connections_per_address", |v| up_to(v, MAX_CONNECTIONS));
    Some(ClientBounds {
        headers: count(headers?),
        body_timeout: body_timeout?,
        body_rate: NonZeroU64::new(body_rate?),
        body_grace: body_grace?,
        requests: requests?,
        connections_per_address: per_address?,
    })
}

/// A number of which 0 is no bound.
fn up_to(value: &Value, most: u64) -> Result<Option<NonZeroU32>, String> {
    let number = integer(value, 0, most)?;
    Ok(u32::try_from(number).ok().and_then(NonZeroU32::new))
}
