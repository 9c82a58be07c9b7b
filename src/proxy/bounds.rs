//! The bounds on what clients do. They are part of what a reload puts in force: each connection and each request looks at
//! those that are in force when it begins.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use pingora::proxy::Session;
use pingora::{Error, ErrorSource, ErrorType, Result};

use super::pace;
use crate::admission::denial::Denial;
use crate::config::Gateway;
use crate::config::http2::Http2;
use crate::metrics::Metrics;
use crate::metrics::bounds::Bound;

/// Our own error inside Pingora: the body comes too slowly.
pub(super) const BODY_TOO_SLOW: ErrorType = ErrorType::new("BodyTooSlow");

/// What connections are bounded by.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Connections at once.
    pub connections: usize,
    /// Those of one address; `None`: no bound.
    pub of_one_address: Option<NonZeroU32>,
    /// The largest head, in bytes.
    pub max_head: usize,
    /// From a connection's or a request's first moment to its last head byte.
    pub head_timeout: Duration,
    /// How long a kept connection may wait for its next request.
    pub idle_timeout: Duration,
    /// HTTP/2, and its bounds.
    pub http2: Http2,
    /// The most fields of a head.
    pub max_fields: usize,
    /// The most requests of a connection; `None`: no bound.
    pub requests: Option<NonZeroU32>,
    /// How long a stop waits for running requests.
    pub grace: Duration,
    /// What bodies are bounded by.
    pub body: BodyBounds,
}

impl Bounds {
    /// From a configuration.
    pub fn new(gateway: &Gateway) -> Self {
        let clients = &gateway.bounds;
        Self {
            connections: gateway.max_connections,
            of_one_address: clients.connections_per_address,
            max_head: gateway.max_request_header,
            head_timeout: gateway.header_timeout,
            idle_timeout: gateway.idle_timeout,
            http2: gateway.http2,
            max_fields: clients.headers,
            requests: clients.requests,
            grace: gateway.shutdown_grace,
            body: BodyBounds {
                silence: clients.body_timeout,
                rate: clients.body_rate,
                grace: clients.body_grace,
            },
        }
    }
}

/// How fast a body must come.
#[derive(Debug, Clone, Copy)]
pub struct BodyBounds {
    /// How long its client may be silent.
    pub silence: Duration,
    /// Bytes a second, over the time that it is waited for; `None`: no bound.
    pub rate: Option<NonZeroU64>,
    /// How long it is waited for before the rate counts.
    pub grace: Duration,
}

impl BodyBounds {
    /// Whether a body of which so much is there came fast enough so far.
    pub(super) fn check(&self, bytes: u64) -> Result<()> {
        let Some(rate) = self.rate else { return Ok(()) };
        if is_too_slow(bytes, pace::waited(), rate.get(), self.grace) {
            return Err(Error::create(BODY_TOO_SLOW, ErrorSource::Downstream, None, None));
        }
        Ok(())
    }

    /// Bytes a second; 0 where there is no bound.
    pub(super) fn least_rate(&self) -> u64 {
        self.rate.map_or(0, NonZeroU64::get)
    }
}

fn is_too_slow(bytes: u64, waited: Duration, rate: u64, grace: Duration) -> bool {
    waited > grace && u128::from(bytes) * 1_000 < u128::from(rate) * waited.as_millis()
}

/// Counts the bound that a denial is of, if it is of one.
pub(super) fn count(metrics: &Metrics, denial: &Denial) {
    if let Some(bound) = of(denial) {
        metrics.bounds.hit(bound);
    }
}

const fn of(denial: &Denial) -> Option<Bound> {
    match denial {
        Denial::HeaderTooLarge(_) => Some(Bound::HeaderSize),
        Denial::TooManyHeaders(_) => Some(Bound::HeaderCount),
        Denial::RequestTimeout => Some(Bound::HeaderTimeout),
        Denial::BodyTooLarge(_) => Some(Bound::BodySize),
        Denial::BodyTimeout => Some(Bound::BodyTimeout),
        Denial::BodyTooSlow(_) => Some(Bound::BodyRate),
        _ => None,
    }
}

/// The bound that struck where the error is that a tunnel was silent for as long as it may be, or that a client of HTTP/2
/// took nothing for as long. Of a client of HTTP/1.1 its connection knows.
pub(super) fn of_silence(session: &Session, error: &Error) -> Option<Bound> {
    match error.etype() {
        ErrorType::ReadTimedout if session.was_upgraded() => Some(Bound::WebsocketIdle),
        ErrorType::WriteTimedout if session.is_http2() && *error.esource() != ErrorSource::Upstream => {
            Some(Bound::IdleTimeout)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_slow_by_the_time_it_was_waited_for() {
        let slow = |bytes, secs| is_too_slow(bytes, Duration::from_secs(secs), 512, Duration::from_secs(10));
        assert!(!slow(0, 10), "within the grace");
        assert!(slow(0, 11));
        assert!(slow(512 * 11 - 1, 11));
        assert!(!slow(512 * 11, 11));
        assert!(!slow(u64::MAX, u64::from(u32::MAX)));
    }
}
