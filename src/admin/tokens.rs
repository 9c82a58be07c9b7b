//! `/api/v1/admin-tokens`: listed, made, revoked. A token's plaintext is in the answer that makes it, and nowhere else.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::document::{Body, Name, NoParams, Params};
use super::pages::{self, Page};
use super::problem::Problem;
use super::{AdminState, blocking};
use crate::manage::Actor;
use crate::manage::tokens::token_json;

type Answer = Result<Response, Problem>;

pub(super) async fn list(State(state): State<AdminState>, actor: Actor, params: Params) -> Answer {
    let page: Page = params.read(pages::read)?;
    let tokens = blocking(&state.manage, move |manage| manage.tokens(&actor)).await?;
    Ok(Json(page.cut(&tokens, |token| token.id.as_str(), token_json)).into_response())
}

pub(super) async fn show(
    State(state): State<AdminState>,
    actor: Actor,
    _: NoParams,
    Name(id): Name,
) -> Answer {
    let tokens = blocking(&state.manage, move |manage| manage.tokens(&actor)).await?;
    let found = tokens.iter().find(|token| token.id == id).map(token_json);
    found
        .map(|token| Json(token).into_response())
        .ok_or_else(|| Problem::not_found("No admin token has this ID."))
}

pub(super) async fn create(
    State(state): State<AdminState>,
    actor: Actor,
    _: NoParams,
    Body(body): Body,
) -> Answer {
    let issued = blocking(&state.manage, move |manage| manage.create_token(&actor, &body)).await?;
    let body = json!({"admin_token": token_json(&issued.token), "secret": issued.secret.expose()});
    let mut response = (StatusCode::CREATED, Json(body)).into_response();
    if let Ok(location) = HeaderValue::try_from(format!("/api/v1/admin-tokens/{}", issued.token.id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

pub(super) async fn revoke(
    State(state): State<AdminState>,
    actor: Actor,
    _: NoParams,
    Name(id): Name,
) -> Answer {
    blocking(&state.manage, move |manage| manage.revoke_token(&actor, &id)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
