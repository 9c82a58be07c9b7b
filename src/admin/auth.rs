//! Who calls: the admin token of the request, or 401.

use std::net::SocketAddr;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};

use super::AdminState;
use super::problem::{Problem, RequestId};
use crate::admission::credential;
use crate::manage::{Actor, Permission};

/// The address of the connection's other end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

impl FromRequestParts<AdminState> for Actor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AdminState) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all(header::AUTHORIZATION).iter();
        let (first, more) = (values.next(), values.next());
        if more.is_some() {
            return Err(refused(
                "invalid_request",
                "bad_request",
                StatusCode::BAD_REQUEST,
                "Send one Authorization header.",
            ));
        }
        let token =
            first.and_then(|value| credential::bearer(value.as_bytes())).filter(|token| !token.is_empty());
        let Some(token) = token else {
            let detail = "Send an admin token as `Authorization: Bearer <token>`.";
            let problem =
                Problem::new(StatusCode::UNAUTHORIZED, "missing_token", "An admin token is needed", detail);
            let challenge = HeaderValue::from_static(r#"Bearer realm="portcullis-admin""#);
            return Err(problem.with_header(header::WWW_AUTHENTICATE, challenge));
        };
        let Some(token) = state.manage.authenticate(token) else {
            note_unknown(parts, state).await;
            return Err(refused(
                "invalid_token",
                "invalid_token",
                StatusCode::UNAUTHORIZED,
                "No admin token is this one.",
            ));
        };
        Ok(Self {
            id: token.id,
            permissions: token
                .permissions
                .iter()
                .filter_map(|text| Permission::parse(text))
                .flatten()
                .collect(),
            owner: token.owner,
            address: parts.extensions.get::<Peer>().map(|peer| peer.0.ip().to_canonical()),
            request_id: parts.extensions.get::<RequestId>().map(|id| id.0.clone()),
        })
    }
}

/// Writes down that somebody tried, on a thread that may block.
async fn note_unknown(parts: &Parts, state: &AdminState) {
    let manage = std::sync::Arc::clone(&state.manage);
    let address = parts.extensions.get::<Peer>().map(|peer| peer.0.ip().to_canonical());
    let request_id = parts.extensions.get::<RequestId>().map(|id| id.0.clone());
    // The refusal does not hang on it.
    let _ = tokio::task::spawn_blocking(move || manage.refused_unknown(address, request_id)).await;
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
