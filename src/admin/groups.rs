//! `/api/v1/roles` and `/api/v1/owners`: the same calls over two kinds of thing.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::document::{Body, Name, NoParams, Params, if_match};
use super::pages::{self, Page};
use super::problem::Problem;
use super::{AdminState, blocking};
use crate::manage::Actor;
use crate::manage::groups::Group;
use crate::manage::view::etag_of;

type Answer = Result<Response, Problem>;

pub(super) async fn list<G: Group + Send + 'static>(
    State(state): State<AdminState>,
    actor: Actor,
    params: Params,
) -> Answer {
    let page: Page = params.read(pages::read)?;
    let all = blocking(&state.manage, move |manage| manage.groups::<G>(&actor)).await?;
    Ok(Json(page.cut(&all, Group::name, Group::to_json)).into_response())
}

pub(super) async fn create<G: Group + Send + 'static>(
    State(state): State<AdminState>,
    actor: Actor,
    _: NoParams,
    Body(body): Body,
) -> Answer {
    let group = blocking(&state.manage, move |manage| manage.create_group::<G>(&actor, &body)).await?;
    let mut response = show_group(StatusCode::CREATED, &group);
    if let Ok(location) = HeaderValue::try_from(format!("/api/v1/{}s/{}", G::KIND, group.name())) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

pub(super) async fn show<G: Group + Send + 'static>(
    State(state): State<AdminState>,
    actor: Actor,
    _: NoParams,
    Name(name): Name,
) -> Answer {
    let group = blocking(&state.manage, move |manage| manage.group::<G>(&actor, &name)).await?;
    Ok(show_group(StatusCode::OK, &group))
}

pub(super) async fn edit<G: Group + Send + 'static>(
    State(state): State<AdminState>,
    actor: Actor,
    _: NoParams,
    Name(name): Name,
    headers: HeaderMap,
    Body(patch): Body,
) -> Answer {
    let etag = if_match(&headers);
    let edit =
        move |manage: &crate::manage::Manage| manage.edit_group::<G>(&actor, &name, &patch, etag.as_deref());
    let group = blocking(&state.manage, edit).await?;
    Ok(show_group(StatusCode::OK, &group))
}

pub(super) async fn delete<G: Group + Send + 'static>(
    State(state): State<AdminState>,
    actor: Actor,
    _: NoParams,
    Name(name): Name,
    headers: HeaderMap,
) -> Answer {
    let etag = if_match(&headers);
    blocking(&state.manage, move |manage| manage.delete_group::<G>(&actor, &name, etag.as_deref())).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn show_group<G: Group>(status: StatusCode, group: &G) -> Response {
    let mut response = (status, Json(group.to_json())).into_response();
    if let Ok(etag) = HeaderValue::try_from(etag_of(group.revision())) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response
}
