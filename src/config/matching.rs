//! What decides whether a route is a request's: path and methods. And that no two routes are for the same requests.

use std::collections::HashMap;

use http::Method;
use serde_json::Value;

use super::sections::refuse_empty;
use super::{HostPattern, Route};
use crate::document::{Faults, Fields, string};

/// The longest path of a route, in bytes.
const MAX_PATH_BYTES: usize = 1024;

/// The methods that a route may name. TRACE and CONNECT are no business of an API behind a gateway.
pub const METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

/// Reads a route's path: a literal prefix by whole segments, in the one form that a checked request's path has, so
/// that no second spelling of it reaches another route. One trailing slash is cut off.
///
/// # Errors
/// A detail for a [`crate::document::Fault`].
pub fn path(value: &Value) -> Result<String, String> {
    let text = string(value)?;
    if text.len() > MAX_PATH_BYTES {
        return Err(format!("must have at most {MAX_PATH_BYTES} bytes"));
    }
    let Some(segments) = text.strip_prefix('/') else {
        return Err("must start with `/`".into());
    };
    if segments.is_empty() {
        return Ok("/".into());
    }
    if text.contains(['*', '{', '}']) {
        return Err("must be literal, without `*`, `{` and `}`: \"/v1\" is for all paths below it".into());
    }
    if !text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'%' | b';' | b'\\')) {
        return Err("must be literal, in visible ASCII without `?`, `#`, `%`, `;` and `\\`".into());
    }
    let segments = segments.strip_suffix('/').unwrap_or(segments);
    if segments.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err("must not have empty, `.` or `..` segments".into());
    }
    Ok(format!("/{segments}"))
}

/// Reads the list `methods`; empty, which is any, where it is absent.
pub fn methods(fields: &mut Fields<'_>) -> Vec<Method> {
    let mut seen = Vec::new();
    let methods = fields.values("methods", METHODS.len() + 1, |value| {
        let name = string(value)?;
        let method = METHODS.into_iter().find(|method| method.as_str() == name).ok_or_else(method_rule)?;
        if seen.contains(&method) {
            return Err("is listed twice".into());
        }
        seen.push(method.clone());
        Ok(method)
    });
    refuse_empty(fields, "methods", "must have at least one method; leave the field out for any");
    methods.unwrap_or_default()
}

fn method_rule() -> String {
    format!("must be one of {}", METHODS.each_ref().map(Method::as_str).join(", "))
}

/// The requests that routes are taken for, each by the first route that is.
#[derive(Default)]
pub struct Claims(HashMap<(HostPattern, String, Option<Method>), usize>);

impl Claims {
    /// Claims a route's requests for it; a fault where an earlier route has any of them. A route for any method next
    /// to one that names methods is for the rest of them, and so claims nothing twice.
    pub fn claim(&mut self, index: usize, route: &Route, pointer: &str, faults: &mut Faults) {
        let any = route.methods.is_empty().then_some(None);
        let methods = any.into_iter().chain(route.methods.iter().cloned().map(Some));
        let mut earlier = None;
        for method in methods {
            let claimed = *self.0.entry((route.host.clone(), route.path.clone(), method)).or_insert(index);
            if claimed != index {
                earlier = Some(claimed);
            }
        }
        if let Some(earlier) = earlier {
            faults.add(pointer, format!("has the same host, path and methods as routes[{earlier}]"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_have_one_form() {
        let cases = [
            ("/", "/"),
            ("/v1", "/v1"),
            ("/v1/", "/v1"),
            ("/v1/models:list", "/v1/models:list"),
            ("/a-b/_c.d/~e/@f/...", "/a-b/_c.d/~e/@f/..."),
        ];
        for (text, expected) in cases {
            assert_eq!(path(&json!(text)).as_deref(), Ok(expected));
        }
        let bad = [
            "",
            "v1",
            "//",
            "/v1//",
            "/v1//a",
            "//v1",
            "/./a",
            "/a/..",
            "/a/./",
            "/a?b",
            "/a#b",
            "/a%2fb",
            "/a;b",
            "/a\\b",
            "/a b",
            "/a\n",
            "/ä",
            "/v1/*",
            "/users/{id}",
            "*",
        ];
        for bad in bad {
            assert!(path(&json!(bad)).is_err(), "{bad:?}");
        }
        assert!(path(&json!(format!("/{}", "a".repeat(MAX_PATH_BYTES)))).is_err());
    }

    fn read_methods(list: &Value) -> (Vec<Method>, Vec<String>) {
        let document = json!({"methods": list});
        let mut faults = Faults::default();
        let methods = methods(&mut Fields::open(&document, "", &mut faults).unwrap());
        (methods, faults.iter().map(|f| f.pointer.clone()).collect())
    }

    #[test]
    fn methods_are_known_and_named_once() {
        let all = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
        assert_eq!(read_methods(&json!(all)).0, METHODS);
        assert_eq!(read_methods(&Value::Null), (vec![], vec![]));
        assert_eq!(read_methods(&json!([])).1, ["/methods"]);
        for bad in ["get", "TRACE", "CONNECT", "", "FOO"] {
            assert_eq!(read_methods(&json!(["GET", bad])).1, ["/methods/1"], "{bad}");
        }
        assert_eq!(read_methods(&json!(["GET", "GET"])).1, ["/methods/1"]);
    }
}
