//! Why a request was refused: a value, not an error. Status, code, text and header are one exhaustive `match` each.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::clock::Timestamp;
use crate::key::scope::Scope;
use crate::key::secret::Hint;
use crate::limit::Exceeded;
use crate::outcome::Outcome;

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denial {
    /// Not one clear HTTP request; the text says in what.
    BadRequest(Cow<'static, str>),
    /// The head is larger than this many bytes.
    HeaderTooLarge(usize),
    /// The head has more than this many fields.
    TooManyHeaders(usize),
    /// The head did not arrive in time.
    RequestTimeout,
    /// The body stopped coming.
    BodyTimeout,
    /// The body brings fewer than this many bytes a second.
    BodyTooSlow(u64),
    /// No route for the host and path.
    NoRoute,
    /// A route, but only for these methods.
    MethodNotAllowed(Vec<http::Method>),
    /// No credential in any of the places named here.
    MissingKey(String),
    /// More than one credential.
    AmbiguousCredential,
    /// A secret that no key has.
    InvalidKey(Hint),
    /// Switched off.
    KeyDisabled,
    /// Past its expiry.
    KeyExpired,
    /// Ended.
    KeyRevoked,
    /// The secret was rotated away.
    SecretRetired(Timestamp),
    /// Not from this address.
    IpNotAllowed(IpAddr),
    /// Not with a key of this environment.
    EnvironmentNotAllowed(String),
    /// All of these scopes are needed; the key lacks the second.
    InsufficientScope(Vec<Scope>, Scope),
    /// A rate is spent.
    RateLimited(Exceeded),
    /// A calendar quota is spent.
    QuotaExceeded {
        /// The quota's name.
        name: String,
        /// Its requests a window.
        requests: u64,
        /// `day`, `week` or `month`.
        window: &'static str,
        /// Seconds until the next window.
        retry_after: u64,
    },
    /// As many requests run as may.
    TooManyConcurrent(u32),
    /// The body is larger than this many bytes.
    BodyTooLarge(u64),
    /// No connection to the upstream.
    UpstreamUnreachable,
    /// The upstream broke off, or spoke no HTTP.
    UpstreamFailed,
    /// The upstream was too slow.
    UpstreamTimeout,
    /// No target is healthy; one is looked at again after this many seconds.
    NoHealthyUpstream(u64),
    /// A fault of ours.
    InternalError,
}

/// Seconds after which another try may find a place among the concurrent requests.
const CONCURRENT_RETRY_SECS: u64 = 1;

impl Denial {
    /// The outcome: its name is the problem's `code`.
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::BadRequest(_) => Outcome::BadRequest,
            Self::HeaderTooLarge(_) | Self::TooManyHeaders(_) => Outcome::HeaderTooLarge,
            Self::RequestTimeout | Self::BodyTimeout | Self::BodyTooSlow(_) => Outcome::RequestTimeout,
            Self::NoRoute => Outcome::NoRoute,
            Self::MethodNotAllowed(_) => Outcome::MethodNotAllowed,
            Self::MissingKey(_) => Outcome::MissingKey,
            Self::AmbiguousCredential => Outcome::AmbiguousCredential,
            Self::InvalidKey(_) => Outcome::InvalidKey,
            Self::KeyDisabled => Outcome::KeyDisabled,
            Self::KeyExpired => Outcome::KeyExpired,
            Self::KeyRevoked => Outcome::KeyRevoked,
            Self::SecretRetired(_) => Outcome::SecretRetired,
            Self::IpNotAllowed(_) => Outcome::IpNotAllowed,
            Self::EnvironmentNotAllowed(_) => Outcome::EnvironmentNotAllowed,
            Self::InsufficientScope(..) => Outcome::InsufficientScope,
            Self::RateLimited(_) => Outcome::RateLimited,
            Self::QuotaExceeded { .. } => Outcome::QuotaExceeded,
            Self::TooManyConcurrent(_) => Outcome::TooManyConcurrent,
            Self::BodyTooLarge(_) => Outcome::BodyTooLarge,
            Self::UpstreamUnreachable => Outcome::UpstreamUnreachable,
            Self::UpstreamFailed => Outcome::UpstreamFailed,
            Self::UpstreamTimeout => Outcome::UpstreamTimeout,
            Self::NoHealthyUpstream(_) => Outcome::NoHealthyUpstream,
            Self::InternalError => Outcome::InternalError,
        }
    }

    /// The HTTP status (contract, section 5).
    pub const fn status(&self) -> http::StatusCode {
        use http::StatusCode as S;
        match self {
            Self::BadRequest(_) | Self::AmbiguousCredential => S::BAD_REQUEST,
            Self::HeaderTooLarge(_) | Self::TooManyHeaders(_) => S::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::RequestTimeout | Self::BodyTimeout | Self::BodyTooSlow(_) => S::REQUEST_TIMEOUT,
            Self::NoRoute => S::NOT_FOUND,
            Self::MethodNotAllowed(_) => S::METHOD_NOT_ALLOWED,
            Self::MissingKey(_)
            | Self::InvalidKey(_)
            | Self::KeyDisabled
            | Self::KeyExpired
            | Self::KeyRevoked
            | Self::SecretRetired(_) => S::UNAUTHORIZED,
            Self::IpNotAllowed(_) | Self::EnvironmentNotAllowed(_) | Self::InsufficientScope(..) => {
                S::FORBIDDEN
            }
            Self::RateLimited(_) | Self::QuotaExceeded { .. } | Self::TooManyConcurrent(_) => {
                S::TOO_MANY_REQUESTS
            }
            Self::BodyTooLarge(_) => S::PAYLOAD_TOO_LARGE,
            Self::UpstreamUnreachable | Self::UpstreamFailed => S::BAD_GATEWAY,
            Self::UpstreamTimeout => S::GATEWAY_TIMEOUT,
            Self::NoHealthyUpstream(_) => S::SERVICE_UNAVAILABLE,
            Self::InternalError => S::INTERNAL_SERVER_ERROR,
        }
    }

    /// The problem's `title`: the same for each occurrence.
    pub const fn title(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "The request is malformed",
            Self::HeaderTooLarge(_) | Self::TooManyHeaders(_) => "The request head is too large",
            Self::RequestTimeout | Self::BodyTimeout | Self::BodyTooSlow(_) => "The request came too slowly",
            Self::NoRoute => "No route for this host and path",
            Self::MethodNotAllowed(_) => "The method is not allowed here",
            Self::MissingKey(_) => "An API key is needed",
            Self::AmbiguousCredential => "More than one credential",
            Self::InvalidKey(_) => "The API key is not valid",
            Self::KeyDisabled => "The API key is disabled",
            Self::KeyExpired => "The API key has expired",
            Self::KeyRevoked => "The API key was revoked",
            Self::SecretRetired(_) => "The secret was rotated away",
            Self::IpNotAllowed(_) => "The address is not allowed",
            Self::EnvironmentNotAllowed(_) => "The environment is not allowed here",
            Self::InsufficientScope(..) => "The API key lacks a scope",
            Self::RateLimited(_) => "Too many requests",
            Self::QuotaExceeded { .. } => "The quota is used up",
            Self::TooManyConcurrent(_) => "Too many requests at once",
            Self::BodyTooLarge(_) => "The body is too large",
            Self::UpstreamUnreachable => "The upstream cannot be reached",
            Self::UpstreamFailed => "The upstream failed",
            Self::UpstreamTimeout => "The upstream was too slow",
            Self::NoHealthyUpstream(_) => "No upstream is healthy",
            Self::InternalError => "The gateway failed",
        }
    }

    /// The problem's `detail`: what happened here, and what to do.
    pub fn detail(&self) -> Cow<'static, str> {
        match self {
            Self::BadRequest(detail) => detail.clone(),
            Self::HeaderTooLarge(most) => {
                format!("The request line and header fields may have {most} bytes.").into()
            }
            Self::TooManyHeaders(most) => format!("The request may have {most} header fields.").into(),
            Self::RequestTimeout => "The request line and header fields did not arrive in time.".into(),
            Self::BodyTimeout => "The rest of the body did not arrive in time.".into(),
            Self::BodyTooSlow(rate) => format!("The body must bring {rate} bytes a second.").into(),
            Self::NoRoute => "Nothing is served at this host and path.".into(),
            Self::MethodNotAllowed(allow) => format!("Allowed here: {}.", join(allow)).into(),
            Self::MissingKey(places) => format!("Send the API key as {places}.").into(),
            Self::AmbiguousCredential => "Send exactly one credential, in one place.".into(),
            Self::InvalidKey(hint) => hint_detail(*hint).into(),
            Self::KeyDisabled => "This key was switched off. Whoever issued it can enable it again.".into(),
            Self::KeyExpired => "This key is past its expiry. Ask whoever issued it for a new one.".into(),
            Self::KeyRevoked => "This key was revoked for good. Ask whoever issued it for a new one.".into(),
            Self::SecretRetired(at) => {
                format!("A newer secret replaced this one at {at}. Use the newer one.").into()
            }
            Self::IpNotAllowed(address) => format!("This key may not be used from {address}.").into(),
            Self::EnvironmentNotAllowed(name) => {
                format!("Keys of the environment {name:?} are not accepted here.").into()
            }
            Self::InsufficientScope(_, lacking) => format!("This key lacks the scope {lacking}.").into(),
            Self::RateLimited(limit) => format!(
                "The limit {:?} allows {} requests in {} s. Try again in {} s.",
                limit.name, limit.quota, limit.window, limit.retry_after
            )
            .into(),
            Self::QuotaExceeded { name, requests, window, .. } => {
                format!("The quota {name:?} of {requests} requests a {window} is used up.").into()
            }
            Self::TooManyConcurrent(most) => {
                format!("This key may have {most} requests running at once.").into()
            }
            Self::BodyTooLarge(most) => format!("The body may have {most} bytes.").into(),
            Self::UpstreamUnreachable => "The gateway got no connection to the API behind it.".into(),
            Self::UpstreamFailed => "The API behind the gateway broke off or gave no valid answer.".into(),
            Self::UpstreamTimeout => "The API behind the gateway did not answer in time.".into(),
            Self::NoHealthyUpstream(_) => "No server of the API behind the gateway is healthy.".into(),
            Self::InternalError => "The gateway could not handle the request.".into(),
        }
    }

    /// `hint`, for an unknown secret.
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::InvalidKey(hint) => Some(hint.as_str()),
            _ => None,
        }
    }

    /// `WWW-Authenticate` (RFC 6750 section 3).
    pub fn challenge(&self) -> Option<String> {
        let error = match self {
            Self::MissingKey(_) => return Some(r#"Bearer realm="portcullis""#.into()),
            Self::AmbiguousCredential => r#"error="invalid_request""#.to_owned(),
            Self::InvalidKey(_)
            | Self::KeyDisabled
            | Self::KeyExpired
            | Self::KeyRevoked
            | Self::SecretRetired(_) => r#"error="invalid_token""#.to_owned(),
            Self::EnvironmentNotAllowed(_) => r#"error="insufficient_scope""#.to_owned(),
            Self::InsufficientScope(needed, _) => {
                format!(r#"error="insufficient_scope", scope="{}""#, join_with(needed, " "))
            }
            _ => return None,
        };
        Some(format!(r#"Bearer realm="portcullis", {error}"#))
    }

    /// `Retry-After`, in seconds.
    pub const fn retry_after(&self) -> Option<u64> {
        match self {
            Self::RateLimited(limit) => Some(limit.retry_after),
            Self::QuotaExceeded { retry_after, .. } => Some(*retry_after),
            Self::TooManyConcurrent(_) => Some(CONCURRENT_RETRY_SECS),
            Self::NoHealthyUpstream(seconds) => Some(*seconds),
            _ => None,
        }
    }

    /// `Allow`.
    pub fn allow(&self) -> Option<String> {
        match self {
            Self::MethodNotAllowed(allow) => Some(join(allow)),
            _ => None,
        }
    }

    /// Whether bytes of the request may be left over, so that the connection cannot be used again.
    pub const fn connection(&self) -> Connection {
        match self {
            Self::BadRequest(_)
            | Self::HeaderTooLarge(_)
            | Self::TooManyHeaders(_)
            | Self::RequestTimeout
            | Self::BodyTimeout
            | Self::BodyTooSlow(_)
            | Self::BodyTooLarge(_) => Connection::Close,
            _ => Connection::Keep,
        }
    }
}

/// What becomes of the client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// It may carry another request.
    Keep,
    /// It ends.
    Close,
}

const fn hint_detail(hint: Hint) -> &'static str {
    match hint {
        Hint::ChecksumMismatch => "The key's checksum is wrong: it was mistyped or cut short.",
        Hint::KeyIdUsedAsSecret => {
            "This is a key ID, which is public. Send the secret that was shown when the key was made."
        }
        Hint::UnknownFormat => "This does not look like an API key.",
        Hint::NotFound => "No key has this secret.",
    }
}

fn join(methods: &[http::Method]) -> String {
    join_with(methods, ", ")
}

fn join_with<T: ToString>(items: &[T], separator: &str) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(separator)
}
