//! The bounds on what a client sends, where a request is under way.

use std::num::NonZeroU64;
use std::time::Duration;

use pingora::proxy::Session;
use pingora::{Error, ErrorSource, ErrorType, Result};

use super::pace;
use crate::admission::denial::Denial;
use crate::metrics::Metrics;
use crate::metrics::bounds::Bound;

/// Our own error inside Pingora: the body comes too slowly.
pub(super) const BODY_TOO_SLOW: ErrorType = ErrorType::new("BodyTooSlow");

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

/// Whether the error is that a tunnel was silent for as long as it may be.
pub(super) fn is_idle_tunnel(session: &Session, error: &Error) -> bool {
    session.was_upgraded() && *error.etype() == ErrorType::ReadTimedout
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
