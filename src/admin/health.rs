//! Metrics and health.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::problem::Problem;
use super::{AdminState, Degraded, auth};
use crate::config::MetricsAccess;
use crate::manage::{Actor, Manage};
use crate::metrics::Reading;
use crate::snapshot;

pub(super) async fn live() -> Response {
    Json(json!({"status": "live"})).into_response()
}

pub(super) async fn ready(State(state): State<AdminState>) -> Response {
    match state.readiness.ready().await {
        Ok(lacks) if lacks.is_empty() => Json(json!({"status": "ready"})).into_response(),
        Ok(lacks) => {
            let lack = |one: &Degraded| json!({"part": one.part, "detail": one.detail});
            let lacks: Vec<_> = lacks.iter().map(lack).collect();
            Json(json!({"status": "ready", "degraded": lacks})).into_response()
        }
        Err(reason) => {
            (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": "not_ready", "reason": reason})))
                .into_response()
        }
    }
}

pub(super) async fn metrics(
    State(state): State<AdminState>,
    actor: Option<Actor>,
) -> Result<Response, Problem> {
    if state.metrics_access == MetricsAccess::Token && actor.is_none() {
        let detail = "admin.metrics_open is false: send an admin token.";
        return Err(auth::missing(detail));
    }
    let (manage, metrics) = (state.manage, state.metrics);
    let rendered = tokio::task::spawn_blocking(move || metrics.render(&read(&manage))).await;
    let text = rendered.map_err(anyhow::Error::from).flatten();
    let text =
        text.map_err(|error| Problem::internal(format!("the metrics could not be written: {error}")))?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

/// Reads what the series show. A store that cannot be merged into leaves the numbers of the last merge.
fn read(manage: &Manage) -> Reading {
    let unflushed = manage.ledger().unmerged();
    let _ = manage.ledger().merge();
    let (busiest, other) = manage.ledger().busiest();
    let named = |(id, count)| (id, manage.name_of(id), count);
    let busiest =
        busiest.into_iter().map(named).map(|(id, name, count)| (id.to_string(), name, count)).collect();
    Reading { keys: snapshot::count_by_status(manage.snapshot(), manage.now()), busiest, other, unflushed }
}
