//! Bodies and query parameters of admin calls.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::AdminState;
use super::problem::Problem;
use crate::document::entries::pointer_segment;
use crate::document::{Faults, Fields};
use crate::key::KeyId;
use crate::manage::replay::{IdempotencyKey, MAX_KEY_CHARS};

/// What makes a call one that can be repeated.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);

async fn read_body(request: Request, state: &AdminState) -> Result<Bytes, Problem> {
    if let Ok(read) = timeout(BODY_TIMEOUT, Bytes::from_request(request, state)).await {
        return read.map_err(|error| unreadable(&error));
    }
    let (status, detail) = (StatusCode::REQUEST_TIMEOUT, "The body did not arrive in time.");
    let problem = Problem::new(status, "request_timeout", "The request took too long", detail);
    Err(problem.with_header(header::CONNECTION, HeaderValue::from_static("close")))
}

/// A JSON body; null where there is none.
pub(super) struct Document(pub(super) Value);

impl FromRequest<AdminState> for Document {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &AdminState) -> Result<Self, Problem> {
        let bytes = read_body(request, state).await?;
        if bytes.is_empty() {
            return Ok(Self(Value::Null));
        }
        parse(&bytes).map(Self)
    }
}

/// The parser's message would quote the body, which may hold a secret; the place is enough.
fn parse(bytes: &[u8]) -> Result<Value, Problem> {
    serde_json::from_slice(bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Problem::bad_request(format!("The body is not JSON, at line {line} column {column}."))
    })
}

/// A JSON body that must be there: nothing is no JSON.
pub(super) struct Body(pub(super) Value);

impl FromRequest<AdminState> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &AdminState) -> Result<Self, Problem> {
        let bytes = read_body(request, state).await?;
        if bytes.is_empty() {
            return Err(Problem::bad_request("There is no body; send JSON."));
        }
        parse(&bytes).map(Self)
    }
}

/// A text body.
pub(super) struct Text(pub(super) String);

impl FromRequest<AdminState> for Text {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &AdminState) -> Result<Self, Problem> {
        let bytes = read_body(request, state).await?;
        let text =
            String::from_utf8(bytes.into()).map_err(|_| Problem::bad_request("The body is not UTF-8."))?;
        Ok(Self(text))
    }
}

fn unreadable(error: &BytesRejection) -> Problem {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        let detail = "The body is larger than this call takes.";
        return Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            "The body is too large",
            detail,
        );
    }
    Problem::bad_request("The body broke off.")
}

/// The name or the ID in the path.
pub(super) struct Name(pub(super) String);

impl FromRequestParts<AdminState> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AdminState) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(text)| Self(text)).map_err(|_| Problem::bad_request("The path is not well-formed."))
    }
}

/// The key of the path. What is no key ID is no key: 404.
pub(super) struct KeyPath(pub(super) KeyId);

impl FromRequestParts<AdminState> for KeyPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AdminState) -> Result<Self, Problem> {
        let Name(text) = Name::from_request_parts(parts, state).await?;
        text.parse().map(Self).map_err(|_| {
            let detail = "No key has this ID; a key ID is `key_` and 26 characters.";
            Problem::new(StatusCode::NOT_FOUND, "not_found", "There is no such thing", detail)
        })
    }
}

/// The query parameters, read as a document is: each fault is named, and nothing unknown is ignored.
pub(super) struct Params(Value);

impl FromRequestParts<AdminState> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AdminState) -> Result<Self, Problem> {
        let pairs = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        let Query(pairs) = pairs.map_err(|_| Problem::bad_request("The query is not well-formed."))?;
        let (mut map, mut faults) = (Map::new(), Faults::default());
        for (name, value) in pairs {
            if map.insert(name.clone(), Value::String(value)).is_some() {
                faults.add(format!("/{}", pointer_segment(&name)), "is given twice");
            }
        }
        if faults.is_empty() { Ok(Self(Value::Object(map))) } else { Err(Problem::invalid(&faults)) }
    }
}

impl Params {
    /// Reads the parameters.
    pub(super) fn read<T>(&self, read: impl FnOnce(&mut Fields<'_>) -> T) -> Result<T, Problem> {
        let mut faults = Faults::default();
        let value = Fields::open(&self.0, "", &mut faults).map(|mut fields| {
            let value = read(&mut fields);
            fields.finish();
            value
        });
        faults.or_else_all(value).map_err(|faults| Problem::invalid(&faults))
    }
}

/// For calls that take no query parameters.
pub(super) struct NoParams;

impl FromRequestParts<AdminState> for NoParams {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AdminState) -> Result<Self, Problem> {
        Params::from_request_parts(parts, state).await?.read(|_| Self)
    }
}

/// A parameter's text.
pub(super) fn word(value: &Value) -> Result<String, String> {
    crate::document::text(value, 1, 200)
}

/// A parameter that is a whole number.
pub(super) fn number(value: &Value, least: usize, most: usize) -> Result<usize, String> {
    let parsed = crate::document::string(value)?.parse::<usize>();
    parsed
        .ok()
        .filter(|n| (least..=most).contains(n))
        .ok_or_else(|| format!("must be from {least} to {most}"))
}

/// A parameter that is an RFC 3339 time.
pub(super) fn time(value: &Value) -> Result<crate::clock::Timestamp, String> {
    crate::clock::Timestamp::parse_rfc3339(crate::document::string(value)?)
        .ok_or_else(|| "must be an RFC 3339 time, such as 2026-11-21T13:00:00Z".into())
}

/// Whether the client asks for JSON Lines rather than pages.
pub(super) fn accepts_lines(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let kind = |range: &str| range.split(';').next().unwrap_or("").trim().to_owned();
    let lines = ["application/x-ndjson", "application/ndjson", "application/jsonl"];
    accept.split(',').next().is_some_and(|first| lines.contains(&kind(first).as_str()))
}

/// `If-Match`, if it was sent.
pub(super) fn if_match(headers: &HeaderMap) -> Option<String> {
    let values: Vec<&str> =
        headers.get_all(header::IF_MATCH).iter().filter_map(|v| v.to_str().ok()).collect();
    (!values.is_empty()).then(|| values.join(","))
}

/// `Idempotency-Key`, if it was sent.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let (Some(value), more) = (values.next(), values.next()) else { return Ok(None) };
    if more.is_some() {
        return Err(Problem::bad_request("Send one Idempotency-Key header."));
    }
    let key = value.to_str().ok().and_then(IdempotencyKey::new);
    key.map(Some).ok_or_else(|| {
        Problem::bad_request(format!(
            "Idempotency-Key must be 1 to {MAX_KEY_CHARS} visible ASCII characters, such as a random UUID."
        ))
    })
}
