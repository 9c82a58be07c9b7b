//! `[traces]`: whether the gateway takes part in traces, and where its spans go.

use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use serde_json::Value;

use super::SetHeader;
use super::file::Surroundings;
use super::headers::set_headers;
use super::log::Ratio;
use super::sections::{count, existing_file, within};
use crate::document::{Fields, either, integer, string, text};
use crate::quantity::MINUTE;

const TIMEOUT: (Duration, Duration) = (Duration::from_millis(100), MINUTE);
const QUEUE: (u64, u64) = (1, 1_000_000);
const MAX_NAME_CHARS: usize = 128;
/// The path of a URL that has none, as OpenTelemetry's own settings have it.
const PATH: &str = "/v1/traces";
const MAX_URL_BYTES: usize = 2048;

/// What the gateway does when it takes part in traces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traces {
    /// The share of the traces that begin here whose spans are kept.
    pub sample: Ratio,
    /// Where spans go; `None`: nowhere, and traces are only passed on.
    pub export: Option<Export>,
}

/// Where spans go, by OTLP over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// The URL that takes them.
    pub endpoint: String,
    /// PEM: who may have issued the collector's certificate; `None`: the authorities that browsers know.
    pub ca: Option<PathBuf>,
    /// Set on each call: its credential, for one.
    pub headers: Vec<SetHeader>,
    /// What this gateway is called there.
    pub service_name: String,
    /// For one call.
    pub timeout: Duration,
    /// Requests whose spans wait for a call at most.
    pub queue: usize,
}

/// Whether the gateway takes part.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Taken,
    Left,
}

/// Reads `[traces]`. The inner `None`: the gateway takes no part in traces.
pub fn traces(mut fields: Fields<'_>, around: &Surroundings<'_>) -> Option<Option<Traces>> {
    let part = fields.require("enabled", |v| either(v, Part::Taken, Part::Left));
    let sample = fields.require("sample", Ratio::read);
    let endpoint = fields.read("endpoint", endpoint);
    let goes_nowhere = !fields.has("endpoint");
    if goes_nowhere && fields.has("headers") {
        fields.fault("headers", "needs `endpoint`, which they are sent to");
    }
    let ca = fields.read("ca", |v| existing_file(v, around));
    let headers = set_headers(&mut fields, "headers");
    let service_name = fields.require("service_name", |v| text(v, 1, MAX_NAME_CHARS));
    let timeout = fields.require("timeout", |v| within(v, TIMEOUT));
    let queue = fields.require("queue", |v| integer(v, QUEUE.0, QUEUE.1));
    fields.finish();
    let (service_name, timeout, queue) = (service_name?, timeout?, count(queue?));
    let export = endpoint.map(|endpoint| Export { endpoint, ca, headers, service_name, timeout, queue });
    let traces = Traces { sample: sample?, export };
    Some((part? == Part::Taken).then_some(traces))
}

/// A URL. What is wrong with it is said without it.
fn endpoint(value: &Value) -> Result<String, String> {
    const FORM: &str = "must be a URL, such as \"http://127.0.0.1:4318/v1/traces\"";
    if !cfg!(feature = "otlp") {
        return Err("this program was built without OTLP (the feature `otlp`)".into());
    }
    let text = string(value)?;
    let uri: Uri = text.parse().map_err(|_| FORM)?;
    let scheme = uri.scheme_str().is_some_and(|scheme| matches!(scheme, "http" | "https"));
    if !scheme || uri.host().is_none_or(str::is_empty) || text.len() > MAX_URL_BYTES {
        return Err(FORM.into());
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("must have no user; a credential goes into `headers`".into());
    }
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(FORM.into());
    };
    Ok(match (uri.path(), uri.query()) {
        ("" | "/", None) => format!("{scheme}://{authority}{PATH}"),
        ("" | "/", Some(query)) => format!("{scheme}://{authority}{PATH}?{query}"),
        _ => text.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Faults;
    use serde_json::json;

    #[expect(clippy::option_option, reason = "read, and found to be off")]
    fn read(given: &Value) -> (Option<Option<Traces>>, Vec<String>) {
        let mut table = json!({
            "enabled": true, "sample": 1, "service_name": "portcullis", "timeout": "10s", "queue": 7
        });
        let fields = table.as_object_mut().unwrap();
        fields.extend(given.as_object().unwrap().clone());
        let mut faults = Faults::default();
        let around = Surroundings { folder: std::path::Path::new("/nowhere"), env: &|_| None };
        let traces = traces(Fields::open(&table, "", &mut faults).unwrap(), &around);
        (traces, faults.iter().map(|f| format!("{}: {}", f.pointer, f.detail)).collect())
    }

    #[test]
    fn traces_are_off_or_passed_on_or_sent() {
        assert_eq!(read(&json!({"enabled": false})).0, Some(None));
        assert_eq!(read(&json!({"sample": 1})).0, Some(Some(Traces { sample: Ratio::ALL, export: None })));
    }

    #[cfg(feature = "otlp")]
    #[test]
    fn an_endpoint_and_its_credential_are_read_and_not_shown() {
        let given = json!({
            "endpoint": "https://otlp.example.com/v1/traces", "headers": {"Authorization": "Bearer hunter2"}
        });
        let (traces, faults) = read(&given);
        assert_eq!(faults, [""; 0]);
        assert!(!format!("{traces:?}").contains("hunter2"));
        let export = traces.unwrap().unwrap().export.unwrap();
        assert_eq!((export.queue, export.headers[0].name.as_str()), (7, "authorization"));
        assert_eq!(export.headers[0].value, "Bearer hunter2");
    }

    #[cfg(feature = "otlp")]
    #[test]
    fn an_endpoint_without_a_path_gets_the_usual_one() {
        let cases = [
            ("http://a:4318", "http://a:4318/v1/traces"),
            ("https://a/", "https://a/v1/traces"),
            ("http://a?x=1", "http://a/v1/traces?x=1"),
            ("http://a/v2", "http://a/v2"),
        ];
        for (given, expected) in cases {
            let traces = read(&json!({"endpoint": given})).0.unwrap().unwrap();
            assert_eq!(traces.export.unwrap().endpoint, expected);
        }
    }

    #[cfg(feature = "otlp")]
    #[test]
    fn each_rule_is_checked() {
        let cases = [
            (json!({"endpoint": "127.0.0.1:4318"}), "/endpoint: must be a URL"),
            (json!({"endpoint": "grpc://host:4317"}), "/endpoint: must be a URL"),
            (json!({"endpoint": "https://user:hunter2@host"}), "/endpoint: must have no user"),
            (json!({"headers": {"a": "b"}}), "/headers: needs `endpoint`"),
            (json!({"endpoint": "http://a", "headers": {"host": "b"}}), "/headers/host: this header cannot"),
            (json!({"endpoint": "https://a", "ca": "ca.pem"}), "/ca: there is no file"),
            (json!({"sample": 2}), "/sample: must be from 0 to 1"),
            (json!({"service_name": ""}), "/service_name: must"),
            (json!({"timeout": "1ms"}), "/timeout: must be from 100ms to 1m"),
            (json!({"queue": 0}), "/queue: must be from 1"),
            (json!({"protocol": "grpc"}), "/protocol: unknown field"),
        ];
        for (given, expected) in cases {
            let (_, faults) = read(&given);
            assert_eq!(faults.len(), 1, "{given}: {faults:?}");
            assert!(faults[0].starts_with(expected), "{given}: {faults:?}");
            assert!(!faults[0].contains("hunter2"));
        }
    }
}
