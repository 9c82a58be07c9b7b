//! Who calls: the admin token of the request, or 401; or 429 once too many wrong ones came.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};

use super::AdminState;
use super::problem::{Problem, RequestId};
use super::throttle::Failure;
use crate::admission::credential;
use crate::manage::{Actor, Permission};

/// The address of the connection's other end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

/// What a call without a token is told.
pub(super) fn missing(detail: &str) -> Problem {
    let problem = Problem::new(StatusCode::UNAUTHORIZED, "missing_token", "An admin token is needed", detail);
    problem
        .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static(r#"Bearer realm="portcullis-admin""#))
}

/// Whose token the request has.
pub(super) async fn authenticate(parts: &Parts, state: &AdminState) -> Result<Actor, Problem> {
    let mut values = parts.headers.get_all(header::AUTHORIZATION).iter();
    let (first, more) = (values.next(), values.next());
    if more.is_some() {
        let detail = "Send one Authorization header.";
        return Err(refused("invalid_request", "bad_request", StatusCode::BAD_REQUEST, detail));
    }
    let token =
        first.and_then(|value| credential::bearer(value.as_bytes())).filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| missing("Send an admin token as `Authorization: Bearer <token>`."))?;
    let Some(token) = state.manage.authenticate(token) else { return Err(wrong(parts, state).await) };
    let permissions = token.permissions.iter().filter_map(|text| Permission::parse(text)).flatten().collect();
    Ok(Actor {
        id: token.id,
        permissions,
        owner: token.owner,
        address: address(parts),
        request_id: parts.extensions.get::<RequestId>().map(|id| id.0.clone()),
    })
}

impl FromRequestParts<AdminState> for Actor {
    type Rejection = Problem;

    /// The gate has found the actor of every call under the API.
    async fn from_request_parts(parts: &mut Parts, state: &AdminState) -> Result<Self, Problem> {
        match parts.extensions.get::<Self>() {
            Some(actor) => Ok(actor.clone()),
            None => authenticate(parts, state).await,
        }
    }
}

fn address(parts: &Parts) -> Option<IpAddr> {
    parts.extensions.get::<Peer>().map(|peer| peer.0.ip().to_canonical())
}

/// What becomes of a wrong token: 401, written down on a thread that may block; or 429 where too many came before it,
/// which is only counted.
async fn wrong(parts: &Parts, state: &AdminState) -> Problem {
    let address = address(parts);
    let counted = address.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    if let Failure::TooMany(wait) = state.throttle.failed(counted, state.manage.monotonic()) {
        state.manage.refused_throttled();
        return too_many(wait);
    }
    let manage = std::sync::Arc::clone(&state.manage);
    let request_id = parts.extensions.get::<RequestId>().map(|id| id.0.clone());
    // The refusal does not hang on it.
    let _ = tokio::task::spawn_blocking(move || manage.refused_unknown(address, request_id)).await;
    refused("invalid_token", "invalid_token", StatusCode::UNAUTHORIZED, "No admin token is this one.")
}

fn too_many(wait: Duration) -> Problem {
    let detail = "Too many wrong tokens came from this address; a right one works at any time.";
    let status = StatusCode::TOO_MANY_REQUESTS;
    let problem = Problem::new(status, "too_many_failures", "Too many wrong tokens", detail);
    // Rounded up: who waits so long is not told to wait again.
    problem.with_header(header::RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1))
}

impl OptionalFromRequestParts<AdminState> for Actor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AdminState) -> Result<Option<Self>, Problem> {
        if parts.headers.contains_key(header::AUTHORIZATION) {
            <Self as FromRequestParts<AdminState>>::from_request_parts(parts, state).await.map(Some)
        } else {
            Ok(None)
        }
    }
}

fn refused(error: &str, code: &'static str, status: StatusCode, detail: &str) -> Problem {
    let problem = Problem::new(status, code, "The admin token is not valid", detail);
    let challenge = format!(r#"Bearer realm="portcullis-admin", error="{error}""#);
    match HeaderValue::try_from(challenge) {
        Ok(challenge) => problem.with_header(header::WWW_AUTHENTICATE, challenge),
        Err(_) => problem,
    }
}
