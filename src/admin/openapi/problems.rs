//! The errors: one schema, and a response for each status with an example of each code.

use serde_json::{Map, Value, json};

use super::schema::{about, integer, list, object, whole};
use crate::document::MAX_FAULTS;

/// One code: its status, its title, and a detail as it may be.
struct Error {
    status: u16,
    code: &'static str,
    title: &'static str,
    detail: &'static str,
}

const fn error(status: u16, code: &'static str, title: &'static str, detail: &'static str) -> Error {
    Error { status, code, title, detail }
}

/// Every code of the admin API.
const ERRORS: &[Error] = &[
    error(400, "bad_request", "The request is malformed", "The body is not JSON, at line 1 column 2."),
    error(
        401,
        "missing_token",
        "An admin token is needed",
        "Send an admin token as `Authorization: Bearer <token>`.",
    ),
    error(401, "invalid_token", "The admin token is not valid", "No admin token is this one."),
    error(
        403,
        "permission_denied",
        "The admin token may not do this",
        "this needs the permission api.key.create",
    ),
    error(
        404,
        "not_found",
        "There is no such thing",
        "No key has this ID; a key ID is `key_` and 26 characters.",
    ),
    error(408, "request_timeout", "The request took too long", "The body did not arrive in time."),
    error(
        409,
        "conflict",
        "The present state does not allow it",
        "the key is revoked, which is for good; create a new one",
    ),
    error(
        409,
        "key_limit_reached",
        "The owner has as many active keys as it may",
        "the owner \"acme\" may have 3 active keys; revoke, disable or delete one first",
    ),
    error(
        409,
        "idempotency_in_progress",
        "The call with this Idempotency-Key is still running",
        "the first call with this Idempotency-Key is still running; send it again in a moment",
    ),
    error(
        412,
        "precondition_failed",
        "It changed since it was read",
        "it changed since it was read: its ETag is \"r43\"",
    ),
    error(413, "body_too_large", "The body is too large", "The body is larger than this call takes."),
    error(
        421,
        "host_not_allowed",
        "The Host is not one of this listener's",
        "Call it by its address, or add the name to admin.hosts.",
    ),
    error(422, "validation_failed", "What was sent does not hold", "1 field(s) are not valid: see errors."),
    error(
        422,
        "idempotency_key_reused",
        "The Idempotency-Key belongs to another call",
        "this Idempotency-Key was sent before with another body; send a new one with each new call",
    ),
    error(
        429,
        "too_many_replays",
        "No more answers can be kept for repeated calls",
        "200000 answers are kept for repeated calls, which is all that can be; send no Idempotency-Key, or wait",
    ),
    error(
        429,
        "too_many_failures",
        "Too many wrong tokens",
        "Too many wrong tokens came from this address; a right one works at any time.",
    ),
    error(500, "internal_error", "The gateway failed", "the call broke off"),
    error(503, "store_unavailable", "The store failed; nothing was changed", "the store's disk is full"),
    error(
        503,
        "upgrade_in_progress",
        "A new process takes over; nothing was changed",
        "the store is being handed to a new process; send it again in a moment",
    ),
];

/// The statuses, the name of each one's response, and the header fields that it always has.
const RESPONSES: &[(u16, &str, &str, &[&str])] = &[
    (400, "BadRequest", "The request is malformed.", &[]),
    (401, "Unauthorized", "There is no token, or no right one.", &["WWW-Authenticate"]),
    (403, "Forbidden", "The token may not do this.", &[]),
    (404, "NotFound", "There is no such thing, or none that the token sees.", &[]),
    (408, "RequestTimeout", "The body did not arrive in time.", &[]),
    (409, "Conflict", "The present state does not allow it.", &[]),
    (412, "PreconditionFailed", "It changed since it was read.", &["ETag"]),
    (413, "BodyTooLarge", "The body is larger than this call takes.", &[]),
    (421, "Misdirected", "The `Host` is not one of this listener's.", &[]),
    (422, "Invalid", "What was sent does not hold; `errors` names each field.", &[]),
    (
        429,
        "TooManyFailures",
        "Too many wrong tokens came from this address, or too many answers are kept.",
        &["Retry-After"],
    ),
    (500, "InternalError", "A fault of the gateway's own.", &[]),
    (503, "StoreUnavailable", "The store failed and nothing was changed.", &["Retry-After"]),
];

/// The response of a status, by its name.
pub(super) fn reference(status: u16) -> Value {
    let name =
        RESPONSES.iter().find(|(known, ..)| *known == status).map_or("InternalError", |(_, name, ..)| *name);
    json!({"$ref": format!("#/components/responses/{name}")})
}

pub(super) fn responses() -> Map<String, Value> {
    let response = |(status, name, description, headers): &(u16, &str, &str, &[&str])| {
        let reference =
            |name: &&str| ((*name).to_owned(), json!({"$ref": format!("#/components/headers/{name}")}));
        let headers: Map<String, Value> = ["X-Request-Id"].iter().chain(*headers).map(reference).collect();
        let examples: Map<String, Value> = ERRORS
            .iter()
            .filter(|error| error.status == *status)
            .map(|error| (error.code.to_owned(), json!({"value": example(error)})))
            .collect();
        let media = json!({"schema": {"$ref": "#/components/schemas/Problem"}, "examples": examples});
        let body = json!({
            "description": description,
            "headers": headers,
            "content": {"application/problem+json": media},
        });
        ((*name).to_owned(), body)
    };
    RESPONSES.iter().map(response).collect()
}

fn example(error: &Error) -> Value {
    let mut out = json!({
        "type": format!("urn:portcullis:problem:{}", error.code),
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "request_id": "01ke9m2c3d4e5f6g7h8j9k0m1n",
    });
    if error.code == "validation_failed" {
        out["errors"] = json!([{"pointer": "/limits/0/window", "detail": "must be from 1s to 31d"}]);
    }
    out
}

pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    let text = |description: &str| about(json!({"type": "string"}), description);
    let codes: Vec<&str> = ERRORS.iter().map(|error| error.code).collect();
    let fault = whole([
        ("pointer", text("A JSON pointer (RFC 6901); empty for the whole document.")),
        ("detail", text("What is wrong, and what would be right.")),
    ]);
    let problem = object(
        &["type", "title", "status", "detail", "code", "request_id"],
        [
            ("type", text("`urn:portcullis:problem:` and the code.")),
            ("title", text("The same for each problem of this code.")),
            ("status", integer(400, 599)),
            ("detail", text("What is wrong with this very request.")),
            ("code", about(json!({"type": "string", "enum": codes}), "For programs.")),
            ("request_id", text("Also in `X-Request-Id` and in the audit log.")),
            ("errors", list(&super::schema::reference("Fault"), MAX_FAULTS)),
        ],
    );
    vec![("Problem", problem), ("Fault", fault)]
}
