//! Which headers the configuration may name, and the headers that an upstream gets set.

use std::collections::HashSet;

use http::{HeaderName, HeaderValue};
use serde_json::Value;

use super::SetHeader;
use crate::document::{Fields, string};

/// Headers set for one upstream at most.
const MAX_SET_HEADERS: usize = 64;
/// The longest name of a header, in bytes.
const MAX_NAME_BYTES: usize = 128;
/// The longest value of a header, in bytes.
const MAX_VALUE_BYTES: usize = 8 * 1024;

/// What belongs to one connection (RFC 9110 section 7.6.1) or says where a message ends: never an operator's to set,
/// nor a credential's place.
const FRAMING: [&str; 12] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
];

/// What the gateway itself reads or writes on each request, besides `X-Forwarded-*` and its own `X-Portcullis-*`.
const GATEWAYS_OWN: [&str; 3] = ["authorization", "cookie", "x-request-id"];

/// What the gateway's own headers start with.
const OWN_PREFIX: &str = "x-portcullis-";

/// Reads a table of headers that are set.
pub fn set_headers(fields: &mut Fields<'_>, table: &'static str) -> Vec<SetHeader> {
    let mut seen = HashSet::new();
    let headers = fields.entries(table, MAX_SET_HEADERS, |name, value, pointer, faults| {
        let header = set_header(name, value).and_then(|header| {
            if seen.insert(header.name.clone()) { Ok(header) } else { Err("is set twice".into()) }
        });
        header.map_err(|detail| faults.add(pointer, detail)).ok()
    });
    headers.unwrap_or_default()
}

fn set_header(name: &str, value: &Value) -> Result<SetHeader, String> {
    let name = header_name(name)?;
    if FRAMING.contains(&name.as_str()) {
        return Err("this header cannot be set: it belongs to the connection".into());
    }
    if name.as_str().starts_with(OWN_PREFIX) {
        return Err("this header cannot be set: the gateway sets it".into());
    }
    Ok(SetHeader { name, value: header_value(string(value)?)? })
}

/// The name of a header that may hold a credential.
///
/// # Errors
/// A detail for a [`crate::document::Fault`].
pub fn credential_header(name: &str) -> Result<HeaderName, String> {
    let name = header_name(name)?;
    let text = name.as_str();
    if text == "authorization" {
        return Err("must not be the header authorization; \"bearer\" is that place".into());
    }
    let taken = FRAMING.contains(&text)
        || GATEWAYS_OWN.contains(&text)
        || text.starts_with(OWN_PREFIX)
        || text.starts_with("x-forwarded-");
    if taken { Err("must name a header that has no other use".into()) } else { Ok(name) }
}

fn header_name(name: &str) -> Result<HeaderName, String> {
    HeaderName::from_bytes(name.as_bytes())
        .ok()
        .filter(|name| name.as_str().len() <= MAX_NAME_BYTES)
        .ok_or_else(|| format!("must be the name of a header, of at most {MAX_NAME_BYTES} characters"))
}

/// The value, marked sensitive. What is wrong with it is said without it.
fn header_value(text: &str) -> Result<HeaderValue, String> {
    if text.len() > MAX_VALUE_BYTES {
        return Err(format!("must have at most {MAX_VALUE_BYTES} bytes"));
    }
    if text.starts_with([' ', '\t']) || text.ends_with([' ', '\t']) {
        return Err("must not start or end with a blank".into());
    }
    let mut value =
        HeaderValue::from_str(text).map_err(|_| "must not contain line ends or other control characters")?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Faults;
    use serde_json::json;

    fn read(headers: &Value) -> (Vec<SetHeader>, Vec<String>) {
        let document = json!({"set_headers": headers});
        let mut faults = Faults::default();
        let headers = set_headers(&mut Fields::open(&document, "", &mut faults).unwrap(), "set_headers");
        (headers, faults.iter().map(|f| f.pointer.clone()).collect())
    }

    #[test]
    fn set_headers_are_sensitive_and_show_nothing() {
        let (headers, faults) = read(&json!({"Authorization": "Bearer hunter2", "x-empty": ""}));
        assert!(faults.is_empty());
        assert_eq!(headers[0].name, "authorization");
        assert_eq!(headers[0].value, "Bearer hunter2");
        assert!(headers.iter().all(|header| header.value.is_sensitive()));
        assert!(!format!("{headers:?}").contains("hunter2"));
    }

    #[test]
    fn headers_that_must_not_be_set_are_faults() {
        let own = ["X-Portcullis-Owner", "not a name", "", "ä"];
        for name in FRAMING.into_iter().chain(own).chain(["Host", "Transfer-Encoding"]) {
            let (headers, faults) = read(&json!({ name: "value" }));
            assert_eq!((headers.len(), faults), (0, vec![format!("/set_headers/{name}")]));
        }
        let (_, faults) = read(&json!({"x-a": "1", "X-A": "2"}));
        assert_eq!(faults, ["/set_headers/X-A"]);
    }

    #[test]
    fn bad_values_are_faults_that_do_not_repeat_them() {
        for bad in
            [json!("hunter2\n"), json!("hunter2\r\nx: y"), json!(" hunter2"), json!("hunter2 "), json!(2)]
        {
            let detail = set_header("x-a", &bad).unwrap_err();
            assert!(!detail.contains("hunter"), "{detail}");
        }
        assert!(set_header("x-a", &json!("a".repeat(MAX_VALUE_BYTES))).is_ok());
        assert!(set_header("x-a", &json!("a".repeat(MAX_VALUE_BYTES + 1))).is_err());
    }

    #[test]
    fn credentials_have_a_header_of_their_own() {
        assert_eq!(credential_header("X-API-Key").unwrap(), "x-api-key");
        let taken =
            ["authorization", "Cookie", "x-request-id", "X-Forwarded-For", "x-portcullis-owner", "a b", ""];
        for bad in FRAMING.into_iter().chain(taken) {
            assert!(credential_header(bad).is_err(), "{bad}");
        }
    }
}
