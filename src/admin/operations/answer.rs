//! What an operation answers with when it does what it was asked to, and what bodies are.

use serde_json::{Value, json};

/// The form of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::admin) enum Content {
    /// Nothing.
    None,
    /// JSON of this schema.
    Json(&'static str),
    /// A JSON document of any schema.
    AnyJson,
    /// JSON Lines, each line of this schema.
    Lines(&'static str),
    /// JSON of the first schema, or JSON Lines of the second, as `Accept` says.
    JsonOrLines(&'static str, &'static str),
    /// As [`Content::JsonOrLines`], or CSV.
    Table(&'static str, &'static str),
    /// Bytes, for a file.
    Bytes,
    /// Plain text.
    Text,
}

/// One good answer.
#[derive(Debug, Clone)]
pub(in crate::admin) struct Answer {
    pub(in crate::admin) status: u16,
    pub(in crate::admin) description: &'static str,
    pub(in crate::admin) content: Content,
    /// The header fields that only some answers have, by the name of their component.
    pub(in crate::admin) headers: &'static [&'static str],
}

impl Answer {
    pub(super) const fn json(status: u16, description: &'static str, schema: &'static str) -> Self {
        Self::new(status, description, Content::Json(schema))
    }

    pub(super) const fn new(status: u16, description: &'static str, content: Content) -> Self {
        Self { status, description, content, headers: &[] }
    }

    /// With these header fields as well.
    pub(super) const fn and(mut self, headers: &'static [&'static str]) -> Self {
        self.headers = headers;
        self
    }
}

/// A parameter of the path.
pub(super) fn in_path(name: &str, description: &str, schema: &Value) -> Value {
    json!({"name": name, "in": "path", "required": true, "description": description, "schema": schema})
}

/// A parameter of the query.
pub(super) fn in_query(name: &str, description: &str, schema: &Value) -> Value {
    json!({"name": name, "in": "query", "required": false, "description": description, "schema": schema})
}

/// A parameter that is a component.
pub(super) fn shared(name: &str) -> Value {
    json!({"$ref": format!("#/components/parameters/{name}")})
}
