//! `cors` of a route: which web pages' scripts may call it and read its answers (the CORS protocol of the Fetch standard).

use std::time::Duration;

use http::{HeaderName, Method};
use serde_json::Value;

use super::hosts;
use super::matching::METHODS;
use super::sections::{refuse_empty, within};
use crate::document::{Fields, either, string};
use crate::quantity::DAY;

/// Origins, methods and headers that one route names, each at most.
const MAX_NAMES: usize = 64;
const MAX_AGE: (Duration, Duration) = (Duration::ZERO, DAY);
const DEFAULT_MAX_AGE: Duration = Duration::from_mins(10);

/// What browsers are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    /// Which pages.
    pub origins: Origins,
    /// Which methods a preflight is granted.
    pub methods: Vec<Method>,
    /// Which request headers a preflight is granted; `None`: those that it names.
    pub headers: Option<Vec<HeaderName>>,
    /// Which headers of the upstream's answers a page may read, beside the gateway's own.
    pub expose: Vec<HeaderName>,
    /// How long a browser may remember a preflight's answer.
    pub max_age: Duration,
    /// Whether a browser may send cookies along.
    pub credentials: Credentials,
}

/// Which pages' scripts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// Every page's.
    Any,
    /// Those of these origins. At least one.
    Listed(Vec<OriginPattern>),
}

/// An origin, or all below a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginPattern {
    /// This one, as browsers write it: `https://app.example.com`.
    Exact(String),
    /// What starts and ends so, with names between: `https://*.example.com`.
    Below {
        /// `https://`
        scheme: String,
        /// `.example.com`, with the port if there is one.
        suffix: String,
    },
}

/// Whether a browser may send cookies along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credentials {
    /// Yes.
    Included,
    /// No. A key that a script puts into a header is none of the browser's credentials.
    Omitted,
}

impl OriginPattern {
    /// Whether an `Origin` field's value is meant.
    pub fn matches(&self, origin: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == origin,
            Self::Below { scheme, suffix } => origin
                .strip_prefix(scheme.as_str())
                .and_then(|rest| rest.strip_suffix(suffix.as_str()))
                .is_some_and(|names| {
                    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
                    !names.is_empty() && names.bytes().all(good)
                }),
        }
    }
}

/// Reads `cors`: a table, or `true` for every page; `None` where there is none. `methods` are the route's.
pub(super) fn cors(fields: &mut Fields<'_>, methods: &[Method]) -> Option<Cors> {
    match fields.raw("cors")? {
        Value::Bool(true) => Some(Cors {
            origins: Origins::Any,
            methods: granted(methods),
            headers: None,
            expose: Vec::new(),
            max_age: DEFAULT_MAX_AGE,
            credentials: Credentials::Omitted,
        }),
        Value::Bool(false) => None,
        Value::Object(_) => fields.object("cors").and_then(|table| read(table, methods)),
        _ => {
            fields.fault("cors", "must be a table, or true for every origin");
            None
        }
    }
}

fn read(mut fields: Fields<'_>, of_route: &[Method]) -> Option<Cors> {
    let origins = fields.raw("origins").is_some().then(|| fields.values("origins", MAX_NAMES, origin));
    if origins.is_none() {
        fields.fault("origins", "is required: a list such as [\"https://app.example.com\"], or [\"*\"]");
    }
    refuse_empty(&mut fields, "origins", "must have at least one origin; leave `cors` out for none");
    refuse_empty(
        &mut fields,
        "methods",
        "must have at least one method; leave the field out for the route's",
    );
    let methods = fields.values("methods", METHODS.len(), |v| method(v, of_route));
    let headers = fields.values("headers", MAX_NAMES, header);
    let expose = fields.values("expose_headers", MAX_NAMES, header).unwrap_or_default();
    let max_age = fields.read("max_age", |v| within(v, MAX_AGE)).unwrap_or(DEFAULT_MAX_AGE);
    let credentials = fields
        .read("credentials", |v| either(v, Credentials::Included, Credentials::Omitted))
        .unwrap_or(Credentials::Omitted);
    let origins = origins.flatten();
    let any = origins.as_ref().is_some_and(|origins| origins.contains(&None));
    if any && origins.as_ref().is_some_and(|origins| origins.len() > 1) {
        fields.fault("origins", "has \"*\", which is every origin, and others");
    }
    if any && credentials == Credentials::Included {
        // Any page could then do what its visitor may, and read what comes of it.
        fields.fault("credentials", "must not be true where `origins` is \"*\": name the origins");
    }
    fields.finish();
    let origins = match origins? {
        _ if any => Origins::Any,
        listed => Origins::Listed(listed.into_iter().flatten().collect()),
    };
    let methods = methods.unwrap_or_else(|| granted(of_route));
    Some(Cors { origins, methods, headers, expose, max_age, credentials })
}

/// What a route that names no methods for pages grants: its own. OPTIONS is what preflights are made of.
fn granted(of_route: &[Method]) -> Vec<Method> {
    let all = if of_route.is_empty() { METHODS.to_vec() } else { of_route.to_vec() };
    all.into_iter().filter(|method| *method != Method::OPTIONS).collect()
}

fn method(value: &Value, of_route: &[Method]) -> Result<Method, String> {
    let name = string(value)?;
    let known = METHODS.into_iter().find(|method| method.as_str() == name);
    match known {
        Some(method) if of_route.is_empty() || of_route.contains(&method) => Ok(method),
        Some(_) => Err("is none of the route's methods".into()),
        None => Err("must be a method, such as \"POST\"".into()),
    }
}

fn header(value: &Value) -> Result<HeaderName, String> {
    let rule =
        || "must be the name of a header; leave the field out for those that a preflight names".to_owned();
    HeaderName::from_bytes(string(value)?.as_bytes())
        .ok()
        .filter(|name| name.as_str() != "*")
        .ok_or_else(rule)
}

/// An origin as browsers write it; `None` for `*`.
fn origin(value: &Value) -> Result<Option<OriginPattern>, String> {
    let text = string(value)?;
    if text == "*" {
        return Ok(None);
    }
    let rule =
        "must be an origin, such as \"https://app.example.com\" or \"https://*.example.com\", or \"*\"";
    let (scheme, authority) = text.split_once("://").ok_or(rule)?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b));
    let below = authority.strip_prefix("*.");
    let host = Value::from(below.unwrap_or(authority));
    // Browsers write hosts in lower case.
    let good = is_scheme && hosts::authority(&host).is_ok_and(|host| host == below.unwrap_or(authority));
    if !good {
        return Err(rule.into());
    }
    if [("https", ":443"), ("http", ":80")].iter().any(|(s, port)| scheme == *s && authority.ends_with(port))
    {
        return Err("must be written without the scheme's own port, as browsers write it".into());
    }
    Ok(Some(match below {
        Some(names) => OriginPattern::Below { scheme: format!("{scheme}://"), suffix: format!(".{names}") },
        None => OriginPattern::Exact(text.to_owned()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Faults;
    use serde_json::json;

    fn read_cors(value: &Value, methods: &[Method]) -> (Option<Cors>, Vec<String>) {
        let document = json!({"cors": value});
        let mut faults = Faults::default();
        let mut fields = Fields::open(&document, "", &mut faults).unwrap();
        let cors = cors(&mut fields, methods);
        fields.finish();
        (cors, faults.iter().map(|f| format!("{}: {}", f.pointer, f.detail)).collect())
    }

    #[test]
    fn the_short_form_is_every_origin_without_cookies() {
        let (cors, faults) = read_cors(&json!(true), &[Method::GET, Method::OPTIONS]);
        assert_eq!(faults, [""; 0]);
        let cors = cors.unwrap();
        assert_eq!((cors.origins, cors.credentials), (Origins::Any, Credentials::Omitted));
        assert_eq!(cors.methods, [Method::GET]);
        assert_eq!(read_cors(&json!(false), &[]), (None, Vec::new()));
    }

    #[test]
    fn origins_match_whole() {
        let (cors, faults) =
            read_cors(&json!({"origins": ["https://a.com", "https://*.b.com:8443", "app+x://id"]}), &[]);
        assert_eq!(faults, [""; 0]);
        let Origins::Listed(origins) = cors.unwrap().origins else { panic!("a list") };
        let allowed = |origin: &str| origins.iter().any(|one| one.matches(origin));
        for good in ["https://a.com", "https://x.b.com:8443", "https://x.y.b.com:8443", "app+x://id"] {
            assert!(allowed(good), "{good}");
        }
        for bad in [
            "",
            "null",
            "*",
            "http://a.com",
            "https://a.com:444",
            "https://a.com.evil.com",
            "https://A.com",
            "https://b.com:8443",
            "https://.b.com:8443",
            "https://evil.com/.b.com:8443",
            "https://xb.com:8443",
        ] {
            assert!(!allowed(bad), "{bad}");
        }
    }

    #[test]
    fn each_rule_is_checked() {
        let origins = json!(["https://a.com"]);
        let cases = [
            (json!("https://a.com"), "/cors: must be a table"),
            (json!({}), "/cors/origins: is required"),
            (json!({"origins": []}), "/cors/origins: must have at least one"),
            (json!({"origins": ["a.com"]}), "/cors/origins/0: must be an origin"),
            (json!({"origins": ["https://a.com/"]}), "/cors/origins/0: must be an origin"),
            (json!({"origins": ["https://A.com"]}), "/cors/origins/0: must be an origin"),
            (json!({"origins": ["null"]}), "/cors/origins/0: must be an origin"),
            (json!({"origins": ["https://a.com:443"]}), "/cors/origins/0: must be written without"),
            (json!({"origins": ["*", "https://a.com"]}), "/cors/origins: has \"*\""),
            (json!({"origins": ["*"], "credentials": true}), "/cors/credentials: must not be true"),
            (json!({"origins": origins, "methods": ["get"]}), "/cors/methods/0: must be a method"),
            (json!({"origins": origins, "methods": ["PUT"]}), "/cors/methods/0: is none of the route's"),
            (json!({"origins": origins, "methods": []}), "/cors/methods: must have at least one"),
            (json!({"origins": origins, "headers": ["*"]}), "/cors/headers/0: must be the name"),
            (json!({"origins": origins, "max_age": "25h"}), "/cors/max_age: must be from 0s to 1d"),
            (json!({"origins": origins, "colour": 1}), "/cors/colour: unknown field"),
        ];
        for (value, expected) in cases {
            let (_, faults) = read_cors(&value, &[Method::GET, Method::POST]);
            assert_eq!(faults.len(), 1, "{value}: {faults:?}");
            assert!(faults[0].starts_with(expected), "{value}: {faults:?}");
        }
    }
}
