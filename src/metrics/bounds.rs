//! What clients may not do, and how often one tried: each bound of the gateway's listeners has a series.

use prometheus::{IntCounter, IntCounterVec, Opts};

/// A bound that may strike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// `gateway.max_connections`
    Connections,
    /// `gateway.max_connections_per_address`
    ConnectionsPerAddress,
    /// `gateway.max_requests_per_connection`
    RequestsPerConnection,
    /// A connection of `gateway.proxy_protocol` without a header that is believed.
    ProxyProtocol,
    /// `gateway.header_timeout`
    HeaderTimeout,
    /// `gateway.max_request_header`
    HeaderSize,
    /// `gateway.max_request_headers`
    HeaderCount,
    /// `gateway.idle_timeout`
    IdleTimeout,
    /// `max_request_body`
    BodySize,
    /// `gateway.body_timeout`
    BodyTimeout,
    /// `gateway.min_body_rate`
    BodyRate,
    /// `websocket_idle`
    WebsocketIdle,
}

impl Bound {
    const ALL: [Self; 12] = [
        Self::Connections,
        Self::ConnectionsPerAddress,
        Self::RequestsPerConnection,
        Self::ProxyProtocol,
        Self::HeaderTimeout,
        Self::HeaderSize,
        Self::HeaderCount,
        Self::IdleTimeout,
        Self::BodySize,
        Self::BodyTimeout,
        Self::BodyRate,
        Self::WebsocketIdle,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::ConnectionsPerAddress => "connections_per_address",
            Self::RequestsPerConnection => "requests_per_connection",
            Self::ProxyProtocol => "proxy_protocol",
            Self::HeaderTimeout => "header_timeout",
            Self::HeaderSize => "header_size",
            Self::HeaderCount => "header_count",
            Self::IdleTimeout => "idle_timeout",
            Self::BodySize => "body_size",
            Self::BodyTimeout => "body_timeout",
            Self::BodyRate => "body_rate",
            Self::WebsocketIdle => "websocket_idle",
        }
    }
}

/// `portcullis_bounds_hit_total`
#[derive(Debug, Clone)]
pub struct BoundsHit(Vec<IntCounter>);

impl BoundsHit {
    /// The counters, and the series that they are: each is there from the beginning, so that a first hit shows.
    pub(super) fn new() -> prometheus::Result<(Self, IntCounterVec)> {
        let opts =
            Opts::new("portcullis_bounds_hit_total", "How often each bound on what clients may do struck.");
        let series = IntCounterVec::new(opts, &["bound"])?;
        let counters = Bound::ALL.iter().map(|bound| series.with_label_values(&[bound.as_str()])).collect();
        Ok((Self(counters), series))
    }

    /// Counts.
    pub fn hit(&self, bound: Bound) {
        if let Some(counter) = self.0.get(bound as usize) {
            counter.inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bound_has_a_series_of_its_own() {
        let (bounds, series) = BoundsHit::new().unwrap();
        for (index, bound) in Bound::ALL.into_iter().enumerate() {
            assert_eq!(bound as usize, index);
            bounds.hit(bound);
            assert_eq!(series.with_label_values(&[bound.as_str()]).get(), 1, "{bound:?}");
        }
    }
}
