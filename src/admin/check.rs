//! `POST /api/v1/keys/{id}/check`: would this request pass with this key, and which rule says no?

use std::net::{IpAddr, Ipv4Addr};

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::document::{Body, KeyPath, NoParams};
use super::problem::Problem;
use super::{AdminState, Asked, blocking};
use crate::admission::denial::Denial;
use crate::admission::explain::Step;
use crate::document::{self, Faults, Fields};
use crate::manage::Actor;

/// The longest path and host, in characters.
pub(super) const MAX_CHARS: usize = 8_192;

pub(super) async fn check(
    State(state): State<AdminState>,
    actor: Actor,
    _: NoParams,
    KeyPath(id): KeyPath,
    Body(body): Body,
) -> Result<Response, Problem> {
    let mut faults = Faults::default();
    let asked = Fields::open(&body, "", &mut faults).and_then(|mut fields| {
        let asked = read(&mut fields);
        fields.finish();
        asked
    });
    let asked = faults.or_else_all(asked).map_err(|faults| Problem::invalid(&faults))?;
    let view = blocking(&state.manage, move |manage| manage.key(&actor, id)).await?;
    let steps = state.dry_run.dry_run(&view.key, &asked);
    let first = steps.iter().find_map(|step| step.denial.as_ref());
    let body = json!({
        "allowed": first.is_none(),
        "code": first.map(|denial| denial.outcome().as_str()),
        "steps": steps.iter().map(step_json).collect::<Vec<_>>(),
    });
    Ok(Json(body).into_response())
}

fn read(fields: &mut Fields<'_>) -> Option<Asked> {
    let method = fields.read("method", |v| {
        let text = document::string(v)?;
        let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"].contains(&text);
        let method = known.then(|| text.parse::<http::Method>().ok()).flatten();
        method.ok_or_else(|| "must be GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS".into())
    });
    let host = fields.read("host", |v| document::text(v, 1, MAX_CHARS));
    let path = fields.require("path", |v| document::text(v, 1, MAX_CHARS));
    let address = fields.read("address", |v| {
        document::string(v)?
            .parse::<IpAddr>()
            .map_err(|_| "must be an address, such as 203.0.113.7".to_owned())
    });
    Some(Asked {
        method: method.unwrap_or(http::Method::GET),
        host,
        path: path?,
        address: address.unwrap_or(Ipv4Addr::LOCALHOST.into()),
    })
}

fn step_json(step: &Step) -> Value {
    let detail = step.denial.as_ref().map(Denial::detail);
    json!({"rule": step.rule, "passed": step.denial.is_none(), "detail": detail})
}
