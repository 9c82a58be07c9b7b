//! One key, for people: a line a field, written as the flags that set it.

use serde_json::Value;

use crate::cli::client::Answer;
use crate::cli::output::{self, Form, cell};

/// The fields, in the order in which they are shown.
const FIELDS: [&str; 21] = [
    "id",
    "name",
    "description",
    "status",
    "fingerprint",
    "owner",
    "environment",
    "tags",
    "metadata",
    "role",
    "scopes",
    "ip_allow",
    "limits",
    "quotas",
    "max_concurrent",
    "created_at",
    "created_by",
    "updated_at",
    "expires_at",
    "rotated_at",
    "revoked_at",
];

/// Shows the key of an answer.
///
/// # Errors
/// Standard output takes nothing.
pub(super) fn key(answer: &Answer, form: Form) -> anyhow::Result<()> {
    match form {
        Form::Json => output::json(&answer.body),
        Form::Table | Form::Csv => output::write(&text(&answer.body, answer.etag.as_deref())),
    }
}

/// The key as text.
pub(super) fn text(key: &Value, etag: Option<&str>) -> String {
    let mut rows: Vec<(String, String)> =
        FIELDS.iter().map(|name| ((*name).to_owned(), field(&key[*name]))).collect();
    if let Some(reason) = key["revoked_reason"].as_str() {
        rows.push(("revoked_reason".into(), reason.into()));
    }
    if let Some(cut) = key["cut"].as_u64() {
        rows.push(("cut".into(), format!("{cut} of its requests, which ran on")));
    }
    if key["rotation_due"] == true {
        rows.push(("rotation_due".into(), "yes".into()));
    }
    rows.extend(key["versions"].as_array().into_iter().flatten().map(version));
    let usage = &key["usage"];
    let used = format!(
        "{} let through, {} refused, last used {}",
        usage["requests"],
        usage["denied"],
        cell(&usage["last_used_at"])
    );
    rows.push(("usage".into(), used));
    rows.extend(etag.map(|etag| ("etag".into(), etag.trim_matches('"').to_owned())));
    output::pairs(rows)
}

fn field(value: &Value) -> String {
    match value {
        Value::Array(items) if items.is_empty() => "-".into(),
        Value::Array(items) => items.iter().map(item).collect::<Vec<_>>().join(", "),
        Value::Object(map) if map.is_empty() => "-".into(),
        Value::Object(map) => {
            map.iter().map(|(name, value)| format!("{name}={}", cell(value))).collect::<Vec<_>>().join(", ")
        }
        other => cell(other),
    }
}

/// A limit or quota as its flag, anything else as it is.
fn item(item: &Value) -> String {
    let (Some(name), Some(window)) = (item["name"].as_str(), item["window"].as_str()) else {
        return cell(item);
    };
    let burst = match &item["burst"] {
        Value::Null => String::new(),
        burst if *burst == item["requests"] => String::new(),
        burst => format!(":burst={burst}"),
    };
    format!("{name}={}/{window}{burst}", item["requests"])
}

fn version(version: &Value) -> (String, String) {
    let end = match &version["expires_at"] {
        Value::Null => String::new(),
        end => format!(" until {}", cell(end)),
    };
    let text = format!(
        "{} {}{end}, since {}, {} let through, last used {}",
        cell(&version["fingerprint"]),
        cell(&version["state"]),
        cell(&version["created_at"]),
        version["requests"],
        cell(&version["last_used_at"]),
    );
    (format!("secret {}", version["version"]), text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_read_as_the_flags_that_set_them() {
        let limits = json!([
            {"name": "minute", "requests": 600, "window": "1m", "burst": 600},
            {"name": "second", "requests": 10, "window": "1s", "burst": 20},
        ]);
        assert_eq!(field(&limits), "minute=600/1m, second=10/1s:burst=20");
        assert_eq!(field(&json!([{"name": "m", "requests": 5, "window": "month"}])), "m=5/month");
        assert_eq!(field(&json!({"a": "b", "c": 1})), "a=b, c=1");
        assert_eq!([json!([]), json!({}), json!(null)].map(|value| field(&value)), ["-", "-", "-"]);
    }
}
