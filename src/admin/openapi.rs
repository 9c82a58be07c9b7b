//! `GET /api/v1/openapi.json`: the OpenAPI 3.1 document, made from the table of operations that the router is made of.

mod examples;
mod groups;
mod keys;
mod problems;
mod reports;
pub(super) mod schema;

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::document::NoParams;
use super::operations::{self, Answer, Body, Content, Operation, Presence, Reach, Token};
use crate::manage::Actor;
use crate::manage::list::{DEFAULT_LIMIT, MAX_LIMIT};
use crate::manage::replay::MAX_KEY_CHARS;

/// Made once: it does not change while the process runs.
static DOCUMENT: LazyLock<String> = LazyLock::new(|| document(&operations::table()).to_string());

/// What all calls have in common, for readers.
const ABOUT: &str = "Every call but `/livez`, `/readyz` and, with `admin.metrics_open`, `/metrics` needs an admin \
    token. Errors are RFC 9457 problems; their `code` is for programs, and `errors` names each bad field by its JSON \
    pointer. Unknown fields and unknown query parameters are refused. Times are RFC 3339 in UTC. A method that a path \
    does not have is answered with 405 and `Allow`; `HEAD` works wherever `GET` does. A wrong token is answered with \
    401, and with 429 once an address has sent too many; a right one always works.";

pub(super) async fn show(_: Actor, _: NoParams) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.as_str()).into_response()
}

fn document(table: &[Operation]) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for operation in table {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method.as_str().to_ascii_lowercase()] = described(operation);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Portcullis admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "servers": [{"url": "/", "description": "The admin listener that serves this document."}],
        "security": [{"adminToken": []}],
        "tags": tags(),
        "paths": paths,
        "components": {
            "securitySchemes": {"adminToken": {
                "type": "http",
                "scheme": "bearer",
                "description": "An admin token. What it may do is in its permissions.",
            }},
            "parameters": parameters(),
            "headers": headers(),
            "responses": problems::responses(),
            "schemas": schemas(),
        },
    })
}

fn tags() -> Value {
    json!([
        {"name": "keys", "description": "The life of a key."},
        {"name": "roles", "description": "Named sets of scopes and default limits."},
        {"name": "owners", "description": "Whose keys are whose: a cap, and limits that they share."},
        {"name": "admin-tokens", "description": "What opens this API."},
        {"name": "usage", "description": "What was used."},
        {"name": "audit", "description": "Who did what."},
        {"name": "store", "description": "What outlives the process."},
        {"name": "gateway", "description": "Its configuration, and what is behind it."},
        {"name": "listener", "description": "The listener itself."},
    ])
}

fn schemas() -> Map<String, Value> {
    [keys::schemas(), groups::schemas(), reports::schemas(), problems::schemas()]
        .into_iter()
        .flatten()
        .map(|(name, schema)| (name.to_owned(), schema))
        .collect()
}

fn parameters() -> Value {
    let cursor = schema::text(1, 2_000);
    json!({
        "keyId": {
            "name": "id", "in": "path", "required": true, "description": "The key's ID.",
            "schema": schema::key_id(),
        },
        "limit": {
            "name": "limit", "in": "query", "required": false, "description": "How many at most.",
            "schema": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
        },
        "cursor": {
            "name": "cursor", "in": "query", "required": false,
            "description": "The `next_cursor` or `prev_cursor` of a page; the other parameters as they were.",
            "schema": cursor,
        },
        "idempotencyKey": {
            "name": "Idempotency-Key", "in": "header", "required": false,
            "description": "A random text, such as a UUID. The same call with the same text is answered as the first one \
                was, for 24 hours, and makes nothing new; with another body it is 422, and 409 while the first one runs.",
            "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY_CHARS, "pattern": "^[!-~]+$"},
            "example": "8e03978e-40d5-43dd-bc93-6894a57f9324",
        },
        "ifMatch": {
            "name": "If-Match", "in": "header", "required": false,
            "description": "An `ETag`: the call does nothing and answers 412 where it is no longer the present one.",
            "schema": {"type": "string"},
            "examples": {
                "any": {"value": "*", "summary": "It must be there, whatever it is."},
                "etag": {"value": "\"r42\"", "summary": "It must be as it was then."},
            },
        },
    })
}

fn headers() -> Value {
    let text = |description: &str, example: &str| json!({"description": description, "required": true, "schema": {"type": "string"}, "example": example});
    json!({
        "X-Request-Id": text("The request's ID: the client's own where it sent a sane one.", "01ke9m2c3d4e5f6g7h8j9k0m1n"),
        "ETag": text("What `If-Match` takes.", "\"r42\""),
        "Idempotency-Replayed": {
            "description": "There where the answer is that of an earlier call.", "required": false,
            "schema": {"type": "string", "const": "true"}, "example": "true",
        },
        "Location": text("Where it is.", "/api/v1/keys/key_01k9m2c3d4e5f6g7h8j9k0m1n2"),
        "WWW-Authenticate": text("The challenge.", "Bearer realm=\"portcullis-admin\""),
        "Retry-After": {
            "description": "Seconds.", "required": true,
            "schema": {"type": "integer", "minimum": 1}, "example": 5,
        },
    })
}

/// One operation as the document has it.
fn described(operation: &Operation) -> Value {
    let mut out = json!({
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": description(operation),
        "parameters": operation.parameters,
        "security": security(operation.token),
    });
    if let Token::With(permission) = operation.token {
        out["x-permission"] = permission.as_str().into();
        out["x-all-owners"] = (operation.reach == Reach::AllOwners).into();
    }
    if let Some(body) = &operation.body {
        out["requestBody"] = request_body(body);
    }
    let mut answers: Map<String, Value> = operation.answers.iter().map(answer).collect();
    for status in errors(operation) {
        answers.entry(status.to_string()).or_insert_with(|| problems::reference(status));
    }
    answers.sort_keys();
    out["responses"] = Value::Object(answers);
    out
}

fn description(operation: &Operation) -> String {
    let needs = match operation.token {
        Token::None => "Needs no token.".to_owned(),
        Token::UnlessOpen => "Needs a token where `admin.metrics_open` is false.".to_owned(),
        Token::Any => "Needs a token.".to_owned(),
        Token::With(permission) => format!("Needs the permission `{}`.", permission.as_str()),
    };
    let reach = match operation.reach {
        Reach::OwnerToo => "",
        Reach::AllOwners => " Refused for a token that is bound to one owner.",
    };
    format!("{} {needs}{reach}", operation.description).trim().to_owned()
}

fn security(token: Token) -> Value {
    match token {
        Token::None => json!([]),
        Token::UnlessOpen => json!([{}, {"adminToken": []}]),
        Token::Any | Token::With(_) => json!([{"adminToken": []}]),
    }
}

/// The errors of an operation: its own, and those that every such call may answer with.
fn errors(operation: &Operation) -> Vec<u16> {
    let mut errors = operation.errors.clone();
    match operation.token {
        Token::None => {}
        Token::UnlessOpen => errors.extend([400, 401, 421, 429, 500]),
        Token::Any => errors.extend([400, 401, 421, 422, 429]),
        Token::With(_) => errors.extend([400, 401, 403, 421, 422, 429, 500, 503]),
    }
    if operation.body.is_some() {
        errors.extend([408, 413]);
    }
    errors.sort_unstable();
    errors
}

fn request_body(body: &Body) -> Value {
    json!({
        "required": body.presence == Presence::Required,
        "description": format!("At most {} bytes.", body.most),
        "content": content(&body.content),
    })
}

fn answer(answer: &Answer) -> (String, Value) {
    let reference = |name: &str| (name.to_owned(), json!({"$ref": format!("#/components/headers/{name}")}));
    let headers: Map<String, Value> =
        ["X-Request-Id"].iter().chain(answer.headers).map(|name| reference(name)).collect();
    let mut out = json!({"description": answer.description, "headers": headers});
    if answer.content != Content::None {
        out["content"] = content(&answer.content);
    }
    (answer.status.to_string(), out)
}

fn content(content: &Content) -> Value {
    let json = |name: &str| {
        let mut media = json!({"schema": schema::reference(name)});
        if let Some(example) = examples::of(name) {
            media["example"] = example;
        }
        media
    };
    let lines = |name: &str| {
        let line = examples::of(name).unwrap_or_default();
        let about = format!("Each line is JSON: `#/components/schemas/{name}`.");
        json!({"schema": {"type": "string", "description": about}, "example": format!("{line}\n")})
    };
    match content {
        Content::None => json!({}),
        Content::Json(name) => json!({"application/json": json(name)}),
        Content::AnyJson => json!({"application/json": {"schema": {"type": "object"}}}),
        Content::Lines(name) => json!({"application/x-ndjson": lines(name)}),
        Content::JsonOrLines(page, row) => {
            json!({"application/json": json(page), "application/x-ndjson": lines(row)})
        }
        Content::Table(page, row) => json!({
            "application/json": json(page),
            "application/x-ndjson": lines(row),
            "text/csv": {
                "schema": {"type": "string", "description": "A line of names, then a line for each row."},
                "example": "start,owner,requests,denied\n2026-11-21T00:00:00Z,acme,42,1\n",
            },
        }),
        Content::Bytes => json!({"application/octet-stream": {"schema": {"type": "string"}}}),
        Content::Text => json!({"text/plain": {"schema": {"type": "string"}}}),
    }
}
