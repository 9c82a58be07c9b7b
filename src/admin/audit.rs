//! `/api/v1/audit`: the log, newest first, as JSON pages or NDJSON; and whether its chain is whole.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::document::{NoParams, Params, accepts_lines, number, time, word};
use super::problem::Problem;
use super::{AdminState, blocking};
use crate::document::{self, Fields};
use crate::manage::Actor;
use crate::manage::audit::{AuditQuery, entry_json, verified_json};
use crate::manage::list::{DEFAULT_LIMIT, MAX_LIMIT, Turn};

/// Entries of one NDJSON answer at most; a longer log is exported in several, by time.
const MAX_LINES: usize = 100_000;

type Beside = Option<(Turn, u64)>;

pub(super) async fn list(
    State(state): State<AdminState>,
    actor: Actor,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Problem> {
    let (query, limit, beside) = params.read(read_query)?;
    let lines = accepts_lines(&headers);
    let limit = if lines { MAX_LINES } else { limit };
    let log = move |manage: &crate::manage::Manage| manage.audit_log(&actor, &query, beside, limit);
    let page = blocking(&state.manage, log).await?;
    if lines {
        let lines: String = page.items.iter().map(|entry| entry_json(entry).to_string() + "\n").collect();
        return Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], lines).into_response());
    }
    let next = page.items.back().filter(|_| page.older).map(|entry| format!("n{}", entry.seq));
    let previous = page.items.front().filter(|_| page.newer).map(|entry| format!("p{}", entry.seq));
    let items: Vec<Value> = page.items.iter().map(entry_json).collect();
    let body = json!({"items": items, "next_cursor": next, "prev_cursor": previous, "total": page.total});
    Ok(Json(body).into_response())
}

fn read_query(fields: &mut Fields<'_>) -> (AuditQuery, usize, Beside) {
    let query = AuditQuery {
        actor: fields.read("actor", word),
        action: fields.read("action", word),
        target: fields.read("target", word),
        outcome: fields.read("outcome", word),
        from: fields.read("from", time),
        to: fields.read("to", time),
    };
    let limit = fields.read("limit", |v| number(v, 1, MAX_LIMIT)).unwrap_or(DEFAULT_LIMIT);
    let beside = fields.read("cursor", |v| {
        read_cursor(document::string(v)?).ok_or_else(|| "is no cursor of the audit log".into())
    });
    (query, limit, beside)
}

fn read_cursor(text: &str) -> Option<(Turn, u64)> {
    let turn = match text.chars().next()? {
        'n' => Turn::Next,
        'p' => Turn::Previous,
        _ => return None,
    };
    text[1..].parse().ok().map(|seq| (turn, seq))
}

pub(super) async fn verify(
    State(state): State<AdminState>,
    actor: Actor,
    _: NoParams,
) -> Result<Response, Problem> {
    let verified = blocking(&state.manage, move |manage| manage.verify_audit(&actor)).await?;
    Ok(Json(verified_json(&verified)).into_response())
}
