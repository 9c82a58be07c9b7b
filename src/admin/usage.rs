//! `/api/v1/usage`: the ledger added up, as JSON pages, CSV or NDJSON.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::document::{Params, number, time, word};
use super::problem::Problem;
use super::{AdminState, blocking};
use crate::clock::Timestamp;
use crate::document::{self, Fields};
use crate::key::KeyId;
use crate::manage::Actor;
use crate::manage::list::{DEFAULT_LIMIT, MAX_LIMIT};
use crate::manage::usage::{GroupBy, Step, UsageQuery, UsageRow};
use crate::outcome::Outcome;

/// How far back a report goes where `from` is left out, in seconds: 30 days.
const DEFAULT_SPAN_SECS: u64 = 30 * 24 * 3_600;
/// What a spreadsheet would take for a formula.
const FORMULA_STARTS: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// How the rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Csv,
    Ndjson,
}

/// What is asked for, and which page of it.
struct Asked {
    query: UsageQuery,
    limit: usize,
    offset: usize,
}

pub(super) async fn report(
    State(state): State<AdminState>,
    actor: Actor,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Problem> {
    let now = state.manage.now();
    let Asked { query, limit, offset } = params.read(|fields| read_query(fields, now))?;
    let group = query.group_by;
    let rows = blocking(&state.manage, move |manage| manage.usage(&actor, &query)).await?;
    match accepted(&headers) {
        Form::Json => Ok(Json(page(&rows, group, limit, offset)).into_response()),
        Form::Csv => {
            Ok(([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], csv(&rows, group)?).into_response())
        }
        Form::Ndjson => {
            let lines: Vec<String> = rows.iter().map(|row| row_json(row, group).to_string()).collect();
            let lines = if lines.is_empty() { String::new() } else { lines.join("\n") + "\n" };
            Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], lines).into_response())
        }
    }
}

fn read_query(fields: &mut Fields<'_>, now: Timestamp) -> Asked {
    let to = fields.read("to", time).unwrap_or_else(|| now.plus(std::time::Duration::from_secs(1)));
    let earliest = Timestamp::from_secs(to.as_secs().saturating_sub(DEFAULT_SPAN_SECS));
    let from = fields.read("from", time).unwrap_or(earliest);
    if from > to {
        fields.fault("from", "must not be after `to`");
    }
    let step = fields.read("step", |v| {
        Step::parse(document::string(v)?).ok_or_else(|| "must be hour, day or month".into())
    });
    let group_by = fields.read("group_by", |v| {
        GroupBy::parse(document::string(v)?).ok_or_else(|| "must be key, owner, route or outcome".into())
    });
    let key =
        fields.read("key", |v| document::string(v)?.parse::<KeyId>().map_err(|error| error.to_string()));
    let outcome = fields.read("outcome", |v| {
        Outcome::parse(document::string(v)?).ok_or_else(|| "must be allowed, or a code of a refusal".into())
    });
    let owner = fields.read("owner", word);
    let route = fields.read("route", |v| document::text(v, 1, 2_000));
    let limit = fields.read("limit", |v| number(v, 1, MAX_LIMIT)).unwrap_or(DEFAULT_LIMIT);
    let offset = fields.read("cursor", |v| {
        let digits = document::string(v)?.strip_prefix('o').and_then(|digits| digits.parse().ok());
        digits.ok_or_else(|| "is no cursor of a report".to_owned())
    });
    let query = UsageQuery { from, to, step: step.unwrap_or_default(), group_by, key, owner, route, outcome };
    Asked { query, limit, offset: offset.unwrap_or(0) }
}

/// The first form that the client names; JSON where it names none of ours.
fn accepted(headers: &HeaderMap) -> Form {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let form = |range: &str| match range.split(';').next().unwrap_or("").trim() {
        "text/csv" => Some(Form::Csv),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Some(Form::Ndjson),
        "application/json" | "*/*" => Some(Form::Json),
        _ => None,
    };
    accept.split(',').find_map(form).unwrap_or(Form::Json)
}

/// One page of the report. Rows are ordered by time and group, and rows of the past do not change, so a page is cut by
/// position.
fn page(rows: &[UsageRow], group: Option<GroupBy>, limit: usize, offset: usize) -> Value {
    let offset = offset.min(rows.len());
    let end = offset.saturating_add(limit).min(rows.len());
    let items: Vec<Value> = rows[offset..end].iter().map(|row| row_json(row, group)).collect();
    json!({
        "items": items,
        "next_cursor": (end < rows.len()).then(|| format!("o{end}")),
        "prev_cursor": (offset > 0).then(|| format!("o{}", offset.saturating_sub(limit))),
        "total": rows.len(),
    })
}

fn row_json(row: &UsageRow, group: Option<GroupBy>) -> Value {
    let mut out = json!({"start": row.start.to_string()});
    if let Some(group) = group {
        let none = group == GroupBy::Owner && row.group.is_empty();
        out[group.as_str()] = if none { Value::Null } else { row.group.as_str().into() };
    }
    out["requests"] = row.requests.into();
    out["denied"] = row.denied.into();
    out
}

fn csv(rows: &[UsageRow], group: Option<GroupBy>) -> Result<Vec<u8>, Problem> {
    let failed =
        |error: &dyn std::error::Error| Problem::internal(format!("the CSV could not be written: {error}"));
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut header = vec!["start"];
    header.extend(group.map(GroupBy::as_str));
    header.extend(["requests", "denied"]);
    writer.write_record(&header).map_err(|e| failed(&e))?;
    for row in rows {
        let mut record = vec![row.start.to_string()];
        record.extend(group.map(|_| cell(&row.group)));
        record.extend([row.requests.to_string(), row.denied.to_string()]);
        writer.write_record(&record).map_err(|e| failed(&e))?;
    }
    writer.into_inner().map_err(|e| failed(&e))
}

/// A cell that a spreadsheet would run as a formula is made text by a leading quote (OWASP, CSV injection).
fn cell(text: &str) -> String {
    if text.starts_with(FORMULA_STARTS) { format!("'{text}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spreadsheet_runs_no_cell() {
        let row = UsageRow { start: Timestamp::from_secs(0), group: "=1+1".into(), requests: 1, denied: 2 };
        let text = String::from_utf8(csv(&[row], Some(GroupBy::Owner)).unwrap()).unwrap();
        assert_eq!(text, "start,owner,requests,denied\n1970-01-01T00:00:00Z,'=1+1,1,2\n");
    }
}
