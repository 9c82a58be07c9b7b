//! How a request ended: one name for the problem answer, the metric label, the access log and the ledger.

/// How a request ended. The numbers are written in the ledger: they are never reused or changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Outcome {
    /// Let through, and answered by the upstream.
    Allowed = 0,
    /// Not one clear HTTP request.
    BadRequest = 1,
    /// No route for the host and path.
    NoRoute = 2,
    /// A route, but not for the method.
    MethodNotAllowed = 3,
    /// No credential.
    MissingKey = 4,
    /// More than one credential.
    AmbiguousCredential = 5,
    /// A secret that no key has.
    InvalidKey = 6,
    /// The key is switched off.
    KeyDisabled = 7,
    /// The key is past its expiry.
    KeyExpired = 8,
    /// The key was ended.
    KeyRevoked = 9,
    /// The secret was rotated away.
    SecretRetired = 10,
    /// The client's address is not on the key's list.
    IpNotAllowed = 11,
    /// The route is for keys of other environments.
    EnvironmentNotAllowed = 12,
    /// The key lacks a scope that the route needs.
    InsufficientScope = 13,
    /// Too many requests for a rate.
    RateLimited = 14,
    /// Too many requests for a calendar window.
    QuotaExceeded = 15,
    /// Too many requests at once.
    TooManyConcurrent = 16,
    /// The body is larger than the route takes.
    BodyTooLarge = 17,
    /// No connection to the upstream.
    UpstreamUnreachable = 18,
    /// The upstream broke off or answered with what is not HTTP.
    UpstreamFailed = 19,
    /// The upstream was too slow.
    UpstreamTimeout = 20,
    /// No target of the upstream is healthy.
    NoHealthyUpstream = 21,
    /// The request head is larger than the gateway takes.
    HeaderTooLarge = 22,
    /// The request did not arrive in time.
    RequestTimeout = 23,
    /// A fault of the gateway's own.
    InternalError = 24,
}

/// Which of a key's two counters an outcome belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tally {
    /// Let through, whatever the upstream then did: `requests`.
    LetThrough,
    /// Refused after the key was known: `denied`.
    Denied,
}

impl Outcome {
    /// Every outcome, by number.
    pub const ALL: [Self; 25] = [
        Self::Allowed,
        Self::BadRequest,
        Self::NoRoute,
        Self::MethodNotAllowed,
        Self::MissingKey,
        Self::AmbiguousCredential,
        Self::InvalidKey,
        Self::KeyDisabled,
        Self::KeyExpired,
        Self::KeyRevoked,
        Self::SecretRetired,
        Self::IpNotAllowed,
        Self::EnvironmentNotAllowed,
        Self::InsufficientScope,
        Self::RateLimited,
        Self::QuotaExceeded,
        Self::TooManyConcurrent,
        Self::BodyTooLarge,
        Self::UpstreamUnreachable,
        Self::UpstreamFailed,
        Self::UpstreamTimeout,
        Self::NoHealthyUpstream,
        Self::HeaderTooLarge,
        Self::RequestTimeout,
        Self::InternalError,
    ];

    /// The number in the ledger.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// From the number in the ledger.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// From the word on the wire.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == text)
    }

    /// The word on the wire: `allowed`, or the `code` of the problem.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::BadRequest => "bad_request",
            Self::NoRoute => "no_route",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::MissingKey => "missing_key",
            Self::AmbiguousCredential => "ambiguous_credential",
            Self::InvalidKey => "invalid_key",
            Self::KeyDisabled => "key_disabled",
            Self::KeyExpired => "key_expired",
            Self::KeyRevoked => "key_revoked",
            Self::SecretRetired => "secret_retired",
            Self::IpNotAllowed => "ip_not_allowed",
            Self::EnvironmentNotAllowed => "environment_not_allowed",
            Self::InsufficientScope => "insufficient_scope",
            Self::RateLimited => "rate_limited",
            Self::QuotaExceeded => "quota_exceeded",
            Self::TooManyConcurrent => "too_many_concurrent",
            Self::BodyTooLarge => "body_too_large",
            Self::UpstreamUnreachable => "upstream_unreachable",
            Self::UpstreamFailed => "upstream_failed",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::NoHealthyUpstream => "no_healthy_upstream",
            Self::HeaderTooLarge => "header_too_large",
            Self::RequestTimeout => "request_timeout",
            Self::InternalError => "internal_error",
        }
    }

    /// Which counter of the key it adds to.
    pub const fn tally(self) -> Tally {
        match self {
            Self::Allowed
            | Self::UpstreamUnreachable
            | Self::UpstreamFailed
            | Self::UpstreamTimeout
            | Self::NoHealthyUpstream
            | Self::InternalError => Tally::LetThrough,
            Self::BadRequest
            | Self::NoRoute
            | Self::MethodNotAllowed
            | Self::MissingKey
            | Self::AmbiguousCredential
            | Self::InvalidKey
            | Self::KeyDisabled
            | Self::KeyExpired
            | Self::KeyRevoked
            | Self::SecretRetired
            | Self::IpNotAllowed
            | Self::EnvironmentNotAllowed
            | Self::InsufficientScope
            | Self::RateLimited
            | Self::QuotaExceeded
            | Self::TooManyConcurrent
            | Self::BodyTooLarge
            | Self::HeaderTooLarge
            | Self::RequestTimeout => Tally::Denied,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_words_read_back() {
        for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(outcome.number()), index);
            assert_eq!(Outcome::from_number(outcome.number()), Some(outcome));
            assert_eq!(Outcome::parse(outcome.as_str()), Some(outcome));
        }
        assert_eq!(Outcome::from_number(200), None);
    }
}
