//! `/api/v1/keys`: parse, call the service, answer.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::document::{
    Body, Document, KeyPath, NoParams, Params, Text, idempotency_key, if_match, number, time, word,
};
use super::problem::Problem;
use super::{AdminState, blocking, cursor};
use crate::document::{self, Fields};
use crate::key::{KeyId, Status, Switch};
use crate::manage::list::{Filter, MAX_LIMIT, Query, Sort};
use crate::manage::replay::{Answered, Conditions};
use crate::manage::view::KeyView;
use crate::manage::{Actor, Manage, import};

type Answer = Result<Response, Problem>;

pub(super) async fn list(State(state): State<AdminState>, actor: Actor, params: Params) -> Answer {
    let query = params.read(read_query)?;
    let sort = query.sort;
    let page = blocking(&state.manage, move |manage| manage.list_keys(&actor, &query)).await?;
    let body = json!({
        "items": page.items.iter().map(KeyView::to_json).collect::<Vec<_>>(),
        "next_cursor": page.next.as_ref().map(|cursor| cursor::text_of(cursor, sort)),
        "prev_cursor": page.previous.as_ref().map(|cursor| cursor::text_of(cursor, sort)),
        "total": page.total,
    });
    Ok(Json(body).into_response())
}

fn read_query(fields: &mut Fields<'_>) -> Query {
    let filter = Filter {
        status: fields.read("status", |v| {
            Status::parse(document::string(v)?)
                .ok_or_else(|| "must be active, disabled, expired or revoked".into())
        }),
        owner: fields.read("owner", word),
        environment: fields.read("environment", word),
        role: fields.read("role", word),
        tag: fields.read("tag", word),
        q: fields.read("q", word),
        unused_since: fields.read("unused_since", time),
    };
    let sort = fields.read("sort", |v| {
        let words = || Sort::ALL.map(Sort::as_str).join(", ");
        Sort::parse(document::string(v)?).ok_or_else(|| format!("must be one of {}", words()))
    });
    let sort = sort.unwrap_or_default();
    let limit = fields.read("limit", |v| number(v, 1, MAX_LIMIT));
    let cursor = fields.read("cursor", |v| {
        cursor::read(document::string(v)?, sort).ok_or_else(|| "is no cursor of a list in this order".into())
    });
    Query { filter, sort, cursor, limit }
}

pub(super) async fn create(
    State(state): State<AdminState>,
    actor: Actor,
    _: NoParams,
    headers: HeaderMap,
    Body(body): Body,
) -> Answer {
    let once = idempotency_key(&headers)?;
    let answered =
        blocking(&state.manage, move |manage| manage.create_key_once(&actor, &body, once.as_ref())).await?;
    let location = format!("/api/v1/keys/{}", answered.key());
    let mut response = show_secret(StatusCode::CREATED, &answered);
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

pub(super) async fn show(
    State(state): State<AdminState>,
    actor: Actor,
    _: NoParams,
    KeyPath(id): KeyPath,
) -> Answer {
    let view = blocking(&state.manage, move |manage| manage.key(&actor, id)).await?;
    Ok(show_key(&view))
}

pub(super) async fn edit(
    State(state): State<AdminState>,
    actor: Actor,
    _: NoParams,
    KeyPath(id): KeyPath,
    headers: HeaderMap,
    Body(patch): Body,
) -> Answer {
    let etag = if_match(&headers);
    let view =
        blocking(&state.manage, move |manage| manage.edit_key(&actor, id, &patch, etag.as_deref())).await?;
    Ok(show_key(&view))
}

pub(super) async fn delete(
    State(state): State<AdminState>,
    actor: Actor,
    _: NoParams,
    KeyPath(id): KeyPath,
    headers: HeaderMap,
) -> Answer {
    let etag = if_match(&headers);
    blocking(&state.manage, move |manage| manage.delete_key(&actor, id, etag.as_deref())).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn enable(
    state: State<AdminState>,
    actor: Actor,
    _: NoParams,
    KeyPath(id): KeyPath,
    headers: HeaderMap,
    Document(body): Document,
) -> Answer {
    switch(state, actor, id, &headers, &body, Switch::On).await
}

pub(super) async fn disable(
    state: State<AdminState>,
    actor: Actor,
    _: NoParams,
    KeyPath(id): KeyPath,
    headers: HeaderMap,
    Document(body): Document,
) -> Answer {
    switch(state, actor, id, &headers, &body, Switch::Off).await
}

async fn switch(
    State(state): State<AdminState>,
    actor: Actor,
    id: KeyId,
    headers: &HeaderMap,
    body: &Value,
    switch: Switch,
) -> Answer {
    refuse_fields(body)?;
    let etag = if_match(headers);
    let view =
        blocking(&state.manage, move |manage| manage.switch_key(&actor, id, switch, etag.as_deref())).await?;
    Ok(show_key(&view))
}

pub(super) async fn rotate(
    State(state): State<AdminState>,
    actor: Actor,
    _: NoParams,
    KeyPath(id): KeyPath,
    headers: HeaderMap,
    Document(body): Document,
) -> Answer {
    let etag = if_match(&headers);
    let once = idempotency_key(&headers)?;
    let call = move |manage: &Manage| {
        manage.rotate_key(&actor, id, &body, &Conditions { if_match: etag.as_deref(), once: once.as_ref() })
    };
    Ok(show_secret(StatusCode::OK, &blocking(&state.manage, call).await?))
}

pub(super) async fn rotation(
    State(state): State<AdminState>,
    actor: Actor,
    _: NoParams,
    KeyPath(id): KeyPath,
) -> Answer {
    let rotation = blocking(&state.manage, move |manage| manage.rotation(&actor, id)).await?;
    Ok(Json(rotation.to_json()).into_response())
}

pub(super) async fn revoke(
    State(state): State<AdminState>,
    actor: Actor,
    _: NoParams,
    KeyPath(id): KeyPath,
    headers: HeaderMap,
    Document(body): Document,
) -> Answer {
    let etag = if_match(&headers);
    let revoked =
        blocking(&state.manage, move |manage| manage.revoke_key(&actor, id, &body, etag.as_deref())).await?;
    let mut body = revoked.view.to_json();
    body["cut"] = revoked.cut.into();
    Ok(with_etag(Json(body).into_response(), &revoked.view.etag()))
}

/// `GET /keys/{id}/secret`: only where secrets are recoverable.
pub(super) async fn reveal(
    State(state): State<AdminState>,
    actor: Actor,
    _: NoParams,
    KeyPath(id): KeyPath,
) -> Answer {
    let revealed = blocking(&state.manage, move |manage| manage.reveal_key(&actor, id)).await?;
    let body = json!({
        "secret": revealed.secret.expose(),
        "version": revealed.version,
        "fingerprint": revealed.fingerprint,
    });
    Ok(Json(body).into_response())
}

/// `POST /keys/import`: JSON Lines, each imported whole or not at all.
pub(super) async fn import(
    State(state): State<AdminState>,
    actor: Actor,
    _: NoParams,
    Text(body): Text,
) -> Answer {
    if body.lines().count() > import::MAX_LINES {
        return Err(Problem::bad_request(format!("One call takes {} lines.", import::MAX_LINES)));
    }
    let report = blocking(&state.manage, move |manage| manage.import_keys(&actor, body.lines(), 1)).await?;
    let refused = |(line, detail): &(u64, String)| json!({"line": line, "detail": detail});
    let refused: Vec<Value> = report.refused.iter().map(refused).collect();
    Ok(Json(json!({"imported": report.imported, "refused": refused})).into_response())
}

/// For calls that take no fields.
fn refuse_fields(body: &Value) -> Result<(), Problem> {
    if body.is_null() {
        return Ok(());
    }
    let mut faults = document::Faults::default();
    if let Some(fields) = Fields::open(body, "", &mut faults) {
        fields.finish();
    }
    if faults.is_empty() { Ok(()) } else { Err(Problem::invalid(&faults)) }
}

fn show_key(view: &KeyView) -> Response {
    with_etag(Json(view.to_json()).into_response(), &view.etag())
}

/// The answer that makes a secret and shows it, and its repetition. `Cache-Control: no-store` is on every answer of this listener.
fn show_secret(status: StatusCode, answered: &Answered) -> Response {
    let mut response = (status, answered.body().to_string()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if matches!(answered, Answered::Replayed(_)) {
        headers.insert(HeaderName::from_static("idempotency-replayed"), HeaderValue::from_static("true"));
    }
    with_etag(response, &answered.etag())
}

fn with_etag(mut response: Response, etag: &str) -> Response {
    if let Ok(etag) = HeaderValue::try_from(etag) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response
}
