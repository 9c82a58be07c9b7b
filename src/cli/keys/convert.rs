//! Exports of other gateways as the lines that an import takes, so that clients keep the secrets that they have.
//!
//! Nothing here says why a secret is refused but its kind: no message repeats what a file holds.

mod apisix;
mod csv;
mod kong;
mod rules;
mod unkey;

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};

use crate::clock::Timestamp;
use crate::document::slugs::{MAX_SLUG_BYTES, is_slug};

/// The largest export, in bytes.
const MAX_BYTES: u64 = 256 << 20;
/// The largest export in YAML, in bytes.
const MAX_YAML_BYTES: usize = 64 << 20;
/// Nodes of a YAML document.
const MAX_YAML_NODES: usize = 20_000_000;

/// Whose export it is
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Source {
    /// Kong: `deck gateway dump`, `kong config db_export`, or GET /key-auths
    Kong,
    /// Apache APISIX: GET /apisix/admin/consumers (and credentials), or apisix.yaml
    Apisix,
    /// Unkey: the keys of a migration, or of apis.listKeys
    Unkey,
    /// A table with a header row
    Csv,
}

/// Where in the export a key was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// On this line.
    Line(u64),
    /// At this path, such as `consumers[3].keyauth_credentials[0]`.
    Record(String),
}

impl Place {
    /// As it is reported.
    pub(super) fn as_json(&self) -> (&'static str, Value) {
        match self {
            Self::Line(number) => ("line", json!(number)),
            Self::Record(path) => ("record", json!(path)),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(number) => write!(f, "line {number}"),
            Self::Record(path) => f.write_str(path),
        }
    }
}

/// An export as lines. It has no `Debug`: it holds secrets.
#[derive(Default)]
pub(super) struct Converted {
    /// One key a line.
    pub(super) text: String,
    /// Where each line was.
    pub(super) places: Vec<Place>,
    /// What can be no key, and why.
    pub(super) refused: Vec<(Place, String)>,
    /// What was not taken over or not taken over as it was, and how often.
    pub(super) noted: BTreeMap<String, u64>,
}

impl Converted {
    fn key(&mut self, place: Place, fields: Map<String, Value>) {
        self.text.push_str(&Value::Object(fields).to_string());
        self.text.push('\n');
        self.places.push(place);
    }

    fn refuse(&mut self, place: Place, why: impl Into<String>) {
        self.refused.push((place, why.into()));
    }

    fn note(&mut self, what: impl Into<String>) {
        *self.noted.entry(what.into()).or_default() += 1;
    }

    /// A name from elsewhere as an owner's.
    fn owner(&mut self, name: &str) -> Option<String> {
        let slug = slug(name)?;
        if slug != name {
            self.note("a name written as an owner's (a-z, 0-9, `.`, `_`, `-`)");
        }
        Some(slug)
    }
}

/// Reads an export. `taken_at`: when it was made, for what it counts from then.
///
/// # Errors
/// It is too large, or not what it is said to be.
pub(super) fn convert(
    source: Source,
    input: &mut dyn Read,
    taken_at: Timestamp,
) -> anyhow::Result<Converted> {
    let mut bytes = Vec::new();
    input.take(MAX_BYTES + 1).read_to_end(&mut bytes).context("the file cannot be read")?;
    if bytes.len() as u64 > MAX_BYTES {
        bail!("the file has over {MAX_BYTES} bytes; split it");
    }
    // The mark that some editors put before the first byte.
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
    let mut converted = Converted::default();
    match source {
        Source::Csv => csv::convert(bytes, &mut converted)?,
        Source::Kong => kong::convert(&document(bytes)?, taken_at, &mut converted)?,
        Source::Apisix => apisix::convert(&document(bytes)?, &mut converted)?,
        Source::Unkey => unkey::convert(&json_or_lines(bytes)?, &mut converted)?,
    }
    Ok(converted)
}

/// A document in JSON or YAML.
fn document(bytes: &[u8]) -> anyhow::Result<Value> {
    let start = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if matches!(start, Some(b'{' | b'[')) {
        return json_document(bytes);
    }
    if bytes.len() > MAX_YAML_BYTES {
        bail!("the file has over {MAX_YAML_BYTES} bytes, which is too much YAML; export it as JSON");
    }
    let text = std::str::from_utf8(bytes).context("the file is not UTF-8")?;
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: MAX_YAML_NODES,
            max_events: 2 * MAX_YAML_NODES,
            max_total_scalar_bytes: MAX_YAML_BYTES,
            max_depth: 64,
            max_documents: 1,
        },
        with_snippet: false,
    };
    // The parser's own words may quote the file, and with it a secret.
    serde_saphyr::from_str_with_options(text, options).map_err(|error| match error.location() {
        Some(at) => anyhow::anyhow!("the file is not YAML that can be read, at line {}", at.line()),
        None => anyhow::anyhow!("the file is not YAML that can be read"),
    })
}

fn json_document(bytes: &[u8]) -> anyhow::Result<Value> {
    serde_json::from_slice(bytes).map_err(|error| {
        anyhow::anyhow!("the file is not JSON, at line {} column {}", error.line(), error.column())
    })
}

/// One JSON document, or one a line.
fn json_or_lines(bytes: &[u8]) -> anyhow::Result<Value> {
    if let Ok(document) = serde_json::from_slice(bytes) {
        return Ok(document);
    }
    let lines = serde_json::Deserializer::from_slice(bytes).into_iter::<Value>();
    let documents: Result<Vec<Value>, _> = lines.collect();
    match documents {
        Ok(documents) if documents.len() > 1 => Ok(Value::Array(documents)),
        _ => json_document(bytes),
    }
}

/// A name in the form of a slug; none where nothing of it can be kept.
fn slug(name: &str) -> Option<String> {
    if is_slug(name) {
        return Some(name.to_owned());
    }
    let kept = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    let lower = name.to_lowercase();
    let slug: String = lower.chars().map(|c| if kept(c) { c } else { '-' }).collect();
    let slug = slug.trim_start_matches(['.', '_', '-']);
    let slug: String = slug.chars().take(MAX_SLUG_BYTES).collect();
    is_slug(&slug).then_some(slug)
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name)?.as_str().filter(|text| !text.is_empty())
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn object<'a>(value: &'a Value, name: &str) -> Option<&'a Map<String, Value>> {
    value.get(name)?.as_object().filter(|map| !map.is_empty())
}

/// Whether a field is there and says something.
fn has(value: &Value, name: &str) -> bool {
    match value.get(name) {
        None | Some(Value::Null) => false,
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(map)) => !map.is_empty(),
        Some(_) => true,
    }
}

fn put(fields: &mut Map<String, Value>, name: &str, value: impl Into<Value>) {
    fields.insert(name.to_owned(), value.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_slugs_that_are_slugs() {
        for (name, slug_of) in
            [("acme", "acme"), ("Acme Corp.", "acme-corp."), ("_x", "x"), ("user|42", "user-42")]
        {
            assert_eq!(slug(name).as_deref(), Some(slug_of));
        }
        assert_eq!(slug("日本"), None);
        assert_eq!(slug(&"a".repeat(200)).map(|slug| slug.len()), Some(MAX_SLUG_BYTES));
    }

    #[test]
    fn what_cannot_be_read_is_not_quoted() {
        let secret = "sk-very-secret-0123456789";
        let cases = [
            format!("{{\"consumers\": [{secret}"),
            format!("consumers: [{secret}"),
            format!("consumers:\n  - key: \"{secret}\n"),
            format!("a: &a [{secret}]\nb: *unknown"),
        ];
        for case in cases {
            let error = convert(Source::Kong, &mut case.as_bytes(), Timestamp::default()).err().unwrap();
            assert!(!format!("{error:#}").contains("very-secret"), "{error:#}");
        }
    }

    #[test]
    fn a_yaml_file_that_multiplies_itself_is_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let before = format!("*a{}, ", level - 1).repeat(10);
            text = [text, format!("a{level}: &a{level} [{before}]\n")].concat();
        }
        assert!(convert(Source::Kong, &mut text.as_bytes(), Timestamp::default()).is_err());
    }
}
