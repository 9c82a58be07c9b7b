//! `/api/v1/roles` and `/api/v1/owners`: the same calls over two kinds of thing.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::document::{Document, Params, if_match, number};
use super::problem::Problem;
use super::{AdminState, blocking};
use crate::document;
use crate::manage::Actor;
use crate::manage::groups::Group;
use crate::manage::list::{DEFAULT_LIMIT, MAX_LIMIT};
use crate::manage::view::etag_of;

type Answer = Result<Response, Problem>;

/// The cursor's mark: what follows is the name that the page lies after or before.
const AFTER: char = 'n';
const BEFORE: char = 'p';

pub(super) async fn list<G: Group + Send + 'static>(
    State(state): State<AdminState>,
    actor: Actor,
    params: Params,
) -> Answer {
    let (limit, cursor) = params.read(|fields| {
        let limit = fields.read("limit", |v| number(v, 1, MAX_LIMIT));
        let cursor = fields.read("cursor", |v| {
            let text = document::string(v)?;
            let is_one = text.starts_with([AFTER, BEFORE]) && text.len() > 1;
            if is_one { Ok(text.to_owned()) } else { Err("is no cursor of this list".into()) }
        });
        (limit.unwrap_or(DEFAULT_LIMIT), cursor)
    })?;
    let all = blocking(&state.manage, move |manage| manage.groups::<G>(&actor)).await?;
    Ok(Json(page(&all, limit, cursor.as_deref())).into_response())
}

/// One page by name. A cursor names a row, so it stays right while rows come and go.
fn page<G: Group>(all: &[G], limit: usize, cursor: Option<&str>) -> Value {
    let start = match cursor.map(|text| text.split_at(1)) {
        Some(("n", name)) => all.partition_point(|group| group.name() <= name),
        Some((_, name)) => all.partition_point(|group| group.name() < name).saturating_sub(limit),
        None => 0,
    };
    let end = match cursor.map(|text| text.split_at(1)) {
        Some(("p", name)) => all.partition_point(|group| group.name() < name),
        _ => start.saturating_add(limit).min(all.len()),
    };
    let items = &all[start..end];
    let beside = |group: Option<&G>, mark| group.map(|group| format!("{mark}{}", group.name()));
    json!({
        "items": items.iter().map(Group::to_json).collect::<Vec<_>>(),
        "next_cursor": beside(items.last().filter(|_| end < all.len()), AFTER),
        "prev_cursor": beside(items.first().filter(|_| start > 0), BEFORE),
        "total": all.len(),
    })
}

pub(super) async fn create<G: Group + Send + 'static>(
    State(state): State<AdminState>,
    actor: Actor,
    Document(body): Document,
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
    Path(name): Path<String>,
) -> Answer {
    let group = blocking(&state.manage, move |manage| manage.group::<G>(&actor, &name)).await?;
    Ok(show_group(StatusCode::OK, &group))
}

pub(super) async fn edit<G: Group + Send + 'static>(
    State(state): State<AdminState>,
    actor: Actor,
    Path(name): Path<String>,
    headers: HeaderMap,
    Document(patch): Document,
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
    Path(name): Path<String>,
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
