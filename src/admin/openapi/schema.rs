//! Small schemas that larger ones are made of. Their bounds are the parsers' own constants, so that both say the same.

use serde_json::{Map, Value, json};

use crate::document::rates::{MAX_RATE_NAME_BYTES, MAX_RATE_REQUESTS, MAX_RATES};
use crate::document::slugs::{MAX_ENVIRONMENT_BYTES, MAX_SLUG_BYTES};
use crate::key::scope::MAX_SCOPE_BYTES;

/// What text may not hold: control characters, but for tab and line feed.
const NO_CONTROLS: &str = r"^[^\u0000-\u0008\u000B-\u001F\u007F-\u009F]*$";
/// As [`NO_CONTROLS`], and not blank.
const NOT_BLANK: &str = concat!(
    r"^[^\u0000-\u0008\u000B-\u001F\u007F-\u009F]*",
    r"[^\u0000-\u0020\u007F-\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000]",
    r"[^\u0000-\u0008\u000B-\u001F\u007F-\u009F]*$",
);
/// A ULID in lower case: 26 digits of Crockford's base 32.
const ULID: &str = "[0-7][0-9a-hjkmnp-tv-z]{25}";

/// A schema by its name.
pub(in crate::admin) fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// Text between two lengths in characters.
pub(in crate::admin) fn text(least: usize, most: usize) -> Value {
    json!({"type": "string", "minLength": least, "maxLength": most, "pattern": NO_CONTROLS})
}

/// As [`text`], and not blank.
pub(super) fn not_blank(most: usize) -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": most, "pattern": NOT_BLANK})
}

/// One of these words.
pub(in crate::admin) fn one_of<const N: usize>(words: [&str; N]) -> Value {
    json!({"type": "string", "enum": words.to_vec()})
}

/// An RFC 3339 time.
pub(in crate::admin) fn time() -> Value {
    json!({"type": "string", "format": "date-time"})
}

/// A key's ID.
pub(in crate::admin) fn key_id() -> Value {
    json!({"type": "string", "pattern": format!("^key_{ULID}$"), "examples": ["key_01k9m2c3d4e5f6g7h8j9k0m1n2"]})
}

/// An admin token's ID.
pub(in crate::admin) fn token_id() -> Value {
    let pattern = format!("^admt_({ULID}|environment)$");
    json!({"type": "string", "pattern": pattern, "examples": ["admt_01k9m2c3d4e5f6g7h8j9k0m1n2"]})
}

/// The name of an owner or a role.
pub(in crate::admin) fn slug() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": MAX_SLUG_BYTES, "pattern": "^[a-z0-9][a-z0-9._-]*$"})
}

/// The name of an environment.
pub(super) fn environment() -> Value {
    json!({
        "type": "string", "minLength": 1, "maxLength": MAX_ENVIRONMENT_BYTES,
        "pattern": "^[a-z][a-z0-9]*(_[a-z0-9]+)*$",
    })
}

/// A scope, as a key or a role has it.
pub(super) fn scope() -> Value {
    json!({
        "type": "string", "minLength": 1, "maxLength": MAX_SCOPE_BYTES,
        "pattern": r"^(\*|[a-z0-9_.-]+)(:(\*|[a-z0-9_.-]+))*$",
    })
}

/// The name of a limit or a quota.
pub(super) fn limit_name() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": MAX_RATE_NAME_BYTES, "pattern": "^[a-z0-9][a-z0-9_-]*$"})
}

/// A duration, as it is written here.
pub(super) fn duration(bounds: &str) -> Value {
    json!({
        "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d|w)$",
        "description": format!("A whole number and one of ms, s, m, h, d, w: {bounds}."),
    })
}

/// A whole number between two bounds, both allowed.
pub(super) fn integer(least: u64, most: u64) -> Value {
    json!({"type": "integer", "minimum": least, "maximum": most})
}

/// A count, which has no bound.
pub(super) fn count() -> Value {
    json!({"type": "integer", "minimum": 0})
}

/// True or false.
pub(super) fn boolean() -> Value {
    json!({"type": "boolean"})
}

/// A list of at most so many.
pub(super) fn list(items: &Value, most: usize) -> Value {
    json!({"type": "array", "items": items, "maxItems": most})
}

/// The limits of a key, a role or an owner, as they are sent.
pub(super) fn new_limits() -> Value {
    list(&reference("NewLimit"), MAX_RATES)
}

/// The limits of a key, a role or an owner, as they are shown.
pub(super) fn limits() -> Value {
    list(&reference("Limit"), MAX_RATES)
}

/// How many requests a limit allows.
pub(super) fn rate_count() -> Value {
    integer(1, MAX_RATE_REQUESTS)
}

/// The schema, or null.
pub(super) fn nullable(mut schema: Value) -> Value {
    let Some(kind) = schema.get("type").cloned() else {
        return json!({"anyOf": [schema, {"type": "null"}]});
    };
    schema["type"] = json!([kind, "null"]);
    if let Some(words) = schema.get_mut("enum").and_then(Value::as_array_mut) {
        words.push(Value::Null);
    }
    schema
}

/// The schema with a description.
pub(super) fn about(mut schema: Value, description: &str) -> Value {
    schema["description"] = description.into();
    schema
}

/// An object with these fields and no other.
pub(super) fn object<const N: usize>(required: &[&str], fields: [(&str, Value); N]) -> Value {
    let properties: Map<String, Value> =
        fields.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
    json!({
        "type": "object", "required": required, "properties": properties, "additionalProperties": false,
    })
}

/// An object that has each of these fields and no other: what answers are.
pub(super) fn whole<const N: usize>(fields: [(&'static str, Value); N]) -> Value {
    let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    object(&names, fields)
}

/// A page of a list.
pub(super) fn page(row: &str) -> Value {
    let cursor = || nullable(json!({"type": "string"}));
    whole([
        ("items", list(&reference(row), crate::manage::list::MAX_LIMIT)),
        ("next_cursor", cursor()),
        ("prev_cursor", cursor()),
        ("total", about(count(), "How many there are on all pages.")),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_allowed_beside_types_words_and_references() {
        assert_eq!(nullable(one_of(["a"])), json!({"type": ["string", "null"], "enum": ["a", null]}));
        assert_eq!(nullable(reference("Key"))["anyOf"][1], json!({"type": "null"}));
    }
}
