//! `[[routes]]`: which requests pass, and where to.

use std::collections::HashSet;
use std::num::NonZeroU64;

use serde_json::Value;

use super::matching::{Claims, methods, path};
use super::sections::{body_limit, refuse_empty};
use super::{
    Access, CredentialForwarding, ErrorFormat, HostPattern, PathRewrite, Route, cors, credential, hosts,
};
use crate::document::rates::rate_specs;
use crate::document::slugs::environment;
use crate::document::{Faults, Fields, either, string};
use crate::key::scope::Scope;

/// Routes at most.
pub const MAX_ROUTES: usize = 10_000;
/// Scopes that one route needs at most.
const MAX_SCOPES: usize = 64;
/// Environments that one route names at most.
const MAX_ENVIRONMENTS: usize = 32;

/// What routes take from the rest of the document.
pub struct Inherited<'d> {
    /// The names of the upstreams there are.
    pub upstreams: HashSet<&'d str>,
    /// For the routes that set none of their own.
    pub max_request_body: Option<NonZeroU64>,
}

/// Reads all routes, and checks that no two are for the same requests and that each upstream is used.
pub fn routes(root: &mut Fields<'_>, inherited: &Inherited<'_>) -> Vec<Route> {
    let written = root.raw("routes");
    if written.is_none_or(|value| value.as_array().is_some_and(Vec::is_empty)) {
        root.fault("routes", "at least one route is needed");
        return Vec::new();
    }
    let mut claims = Claims::default();
    let mut next = 0..;
    let routes = root.list("routes", MAX_ROUTES, |value, pointer, faults| {
        let index = next.next()?;
        let route = route(value, pointer, inherited, faults)?;
        claims.claim(index, &route, pointer, faults);
        Some(route)
    });
    if let Some(used) = written.and_then(used_upstreams) {
        fault_unused(root, inherited, &used);
    }
    routes.unwrap_or_default()
}

/// The upstreams that the routes name; `None` where one names none, which is a fault of its own.
fn used_upstreams(routes: &Value) -> Option<HashSet<&str>> {
    routes.as_array()?.iter().map(|route| route.get("upstream")?.as_str()).collect()
}

fn fault_unused(root: &mut Fields<'_>, inherited: &Inherited<'_>, used: &HashSet<&str>) {
    let mut unused: Vec<_> = inherited.upstreams.difference(used).copied().collect();
    unused.sort_unstable();
    for name in unused {
        root.fault_entry("upstreams", name, "no route uses it");
    }
}

fn route(value: &Value, pointer: &str, inherited: &Inherited<'_>, faults: &mut Faults) -> Option<Route> {
    let mut fields = Fields::open(value, pointer, faults)?;
    let host = fields.read("host", hosts::pattern);
    let path = fields.require("path", path);
    let methods = methods(&mut fields);
    let upstream = fields.require("upstream", |v| existing_upstream(v, inherited));
    let access = fields.read("access", access).unwrap_or(Access::Key);
    let scopes = fields.values("scopes", MAX_SCOPES, scope).unwrap_or_default();
    let environments = environments(&mut fields);
    let path_rewrite = fields.read("strip_path", |v| either(v, PathRewrite::Strip, PathRewrite::Keep));
    let limits = rate_specs(&mut fields, "limits").unwrap_or_default();
    let credential = credential::places(&mut fields);
    let forwarding = fields.read("forward_credential", |v| {
        either(v, CredentialForwarding::Forward, CredentialForwarding::Strip)
    });
    let error_format = fields.read("error_format", error_format);
    let max_request_body = fields.read("max_request_body", body_limit);
    let cors = cors::cors(&mut fields, &methods);
    if access == Access::Public {
        refuse_rights(&mut fields);
    }
    fields.finish();
    Some(Route {
        host: host.unwrap_or(HostPattern::Any),
        path: path?,
        methods,
        upstream: upstream?,
        access,
        scopes,
        environments,
        path_rewrite: path_rewrite.unwrap_or(PathRewrite::Keep),
        limits,
        credential,
        credential_forwarding: forwarding.unwrap_or(CredentialForwarding::Strip),
        error_format: error_format.unwrap_or(ErrorFormat::Problem),
        cors,
        max_request_body: max_request_body.unwrap_or(inherited.max_request_body),
    })
}

fn existing_upstream(value: &Value, inherited: &Inherited<'_>) -> Result<String, String> {
    let name = string(value)?;
    if inherited.upstreams.contains(name) {
        Ok(name.to_owned())
    } else {
        Err("no upstream has this name".into())
    }
}

fn access(value: &Value) -> Result<Access, String> {
    match string(value)? {
        "key" => Ok(Access::Key),
        "public" => Ok(Access::Public),
        _ => Err("must be \"key\" or \"public\"".into()),
    }
}

fn error_format(value: &Value) -> Result<ErrorFormat, String> {
    match string(value)? {
        "problem" => Ok(ErrorFormat::Problem),
        "openai" => Ok(ErrorFormat::OpenAi),
        _ => Err("must be \"problem\" or \"openai\"".into()),
    }
}

fn scope(value: &Value) -> Result<Scope, String> {
    Scope::parse(string(value)?).ok_or_else(|| "must be a scope, such as \"models:read\"".into())
}

/// The list `environments`. An empty one is refused: it reads as none, and would be any.
fn environments(fields: &mut Fields<'_>) -> Vec<String> {
    let environments = fields.values("environments", MAX_ENVIRONMENTS, environment);
    refuse_empty(fields, "environments", "must have at least one environment; leave the field out for any");
    environments.unwrap_or_default()
}

/// What asks something of a key is refused on a route that asks for none: it would be ignored.
fn refuse_rights(fields: &mut Fields<'_>) {
    for name in ["scopes", "environments", "limits"] {
        if fields.raw(name).and_then(Value::as_array).is_some_and(|list| !list.is_empty()) {
            fields.fault(name, "has no meaning on a route with access = \"public\", which asks for no key");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;
    use serde_json::json;

    fn read_all(document: &Value) -> (Vec<Route>, Vec<String>) {
        let mut faults = Faults::default();
        let mut root = Fields::open(document, "", &mut faults).unwrap();
        let inherited =
            Inherited { upstreams: HashSet::from(["api", "other"]), max_request_body: NonZeroU64::new(7) };
        let routes = routes(&mut root, &inherited);
        let shown = faults.iter().map(|f| format!("{}: {}", f.pointer, f.detail));
        (routes, shown.filter(|fault| !fault.contains("no route uses it")).collect())
    }

    fn read(routes: &Value) -> (Vec<Route>, Vec<String>) {
        read_all(&json!({"routes": routes}))
    }

    #[test]
    fn a_route_needs_a_path_and_an_upstream() {
        let (routes, faults) = read(&json!([{"path": "/v1/", "upstream": "api"}]));
        assert_eq!(faults, [""; 0]);
        let expected = Route {
            host: HostPattern::Any,
            path: "/v1".into(),
            methods: vec![],
            upstream: "api".into(),
            access: Access::Key,
            scopes: vec![],
            environments: vec![],
            path_rewrite: PathRewrite::Keep,
            limits: vec![],
            credential: vec![crate::config::CredentialPlace::Bearer],
            credential_forwarding: CredentialForwarding::Strip,
            error_format: ErrorFormat::Problem,
            cors: None,
            max_request_body: NonZeroU64::new(7),
        };
        assert_eq!(routes, [expected]);
    }

    #[test]
    fn every_field_is_read() {
        let (routes, faults) = read(&json!([{
            "host": "*.Example.com", "path": "/", "methods": ["GET", "POST"], "upstream": "api", "access": "key",
            "scopes": ["models:read", "a:*"], "environments": ["live", "test"], "strip_path": true,
            "limits": [{"name": "minute", "requests": 600, "window": "1m"}], "credential": ["header:x-api-key"],
            "forward_credential": true, "error_format": "openai", "max_request_body": "1MiB",
        }]));
        assert_eq!(faults, [""; 0]);
        let route = &routes[0];
        assert_eq!(route.host, HostPattern::Suffix(".example.com".into()));
        assert_eq!(route.methods, [Method::GET, Method::POST]);
        assert_eq!(route.scopes.len(), 2);
        assert_eq!(route.environments, ["live", "test"]);
        assert_eq!(route.path_rewrite, PathRewrite::Strip);
        assert_eq!(route.limits.len(), 1);
        assert_eq!(route.credential_forwarding, CredentialForwarding::Forward);
        assert_eq!(route.error_format, ErrorFormat::OpenAi);
        assert_eq!(route.max_request_body, NonZeroU64::new(1 << 20));
        let (routes, _) = read(&json!([{"path": "/", "upstream": "api", "max_request_body": "0"}]));
        assert_eq!(routes[0].max_request_body, None, "0 is no limit, also where the gateway has one");
    }

    #[test]
    fn each_rule_of_a_route_is_checked() {
        let cases = [
            ("host", json!("a:80"), "/host: must be a host"),
            ("path", Value::Null, "/path: is required"),
            ("path", json!("v1"), "/path: must start with `/`"),
            ("methods", json!(["get"]), "/methods/0: must be one of GET"),
            ("upstream", Value::Null, "/upstream: is required"),
            ("upstream", json!("nowhere"), "/upstream: no upstream has this name"),
            ("access", json!("open"), "/access: must be"),
            ("scopes", json!(["Models"]), "/scopes/0: must be a scope"),
            ("environments", json!(["Live"]), "/environments/0: must be 1 to 32"),
            ("environments", json!([]), "/environments: must have at least one"),
            ("strip_path", json!(1), "/strip_path: must be true or false"),
            ("limits", json!([{"name": "a", "requests": 1, "window": "1y"}]), "/limits/0/window: must be"),
            ("credential", json!(["basic"]), "/credential/0: must be"),
            ("forward_credential", json!("no"), "/forward_credential: must be true or false"),
            ("error_format", json!("xml"), "/error_format: must be"),
            ("max_request_body", json!(0), "/max_request_body: must be a string"),
            ("cors", json!({}), "/cors/origins: is required"),
            ("paths", json!([]), "/paths: unknown field"),
        ];
        for (field, value, expected) in cases {
            let mut route = json!({"path": "/v1", "upstream": "api"});
            route[field] = value;
            let (_, faults) = read(&json!([route]));
            assert_eq!(faults.len(), 1, "{route}: {faults:?}");
            assert!(faults[0].starts_with(&format!("/routes/0{expected}")), "{route}: {faults:?}");
        }
    }

    #[test]
    fn a_public_route_asks_nothing_of_a_key() {
        let mut public = json!({"path": "/", "upstream": "api", "access": "public", "scopes": []});
        assert_eq!(read(&json!([public])).1, [""; 0]);
        let limit = json!([{"name": "a", "requests": 1, "window": "1s"}]);
        for (field, value) in
            [("scopes", json!(["a:b"])), ("environments", json!(["live"])), ("limits", limit)]
        {
            public[field] = value;
        }
        let (_, faults) = read(&json!([public]));
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert!(faults.iter().all(|fault| fault.contains("public")), "{faults:?}");
    }

    #[test]
    fn no_two_routes_are_for_the_same_requests() {
        let route = |host: &str, path: &str, methods: &[&str]| {
            let mut route = json!({"host": host, "path": path, "upstream": "api"});
            if !methods.is_empty() {
                route["methods"] = json!(methods);
            }
            route
        };
        let first = route("a.com", "/v1", &["GET", "POST"]);
        let any = route("a.com", "/v1", &[]);
        let cases = [
            (json!([first, route("a.com", "/v1", &["PUT"])]), None),
            (json!([first, any]), None),
            (json!([any, first]), None),
            (json!([first, route("b.com", "/v1", &["GET"]), route("a.com", "/v2", &["GET"])]), None),
            (json!([first, route("*.a.com", "/v1", &["GET"])]), None),
            (json!([any, first, any]), Some("/routes/2: has the same host, path and methods as routes[0]")),
            (
                json!([any, first, route("A.com", "/v1/", &["DELETE", "POST"])]),
                Some("/routes/2: has the same host, path and methods as routes[1]"),
            ),
        ];
        for (routes, expected) in cases {
            let expected: Vec<_> = expected.into_iter().collect();
            assert_eq!(read(&routes).1, expected, "{routes}");
        }
    }

    #[test]
    fn there_is_at_least_one_route_and_a_bound() {
        for document in [json!({}), json!({"routes": []})] {
            assert_eq!(read_all(&document).1, ["/routes: at least one route is needed"]);
        }
        let route = |i: usize| json!({"path": format!("/r{i}"), "upstream": "api"});
        let most: Vec<_> = (0..MAX_ROUTES).map(route).collect();
        assert_eq!(read(&json!(most)).0.len(), MAX_ROUTES);
        let more: Vec<_> = (0..=MAX_ROUTES).map(route).collect();
        assert_eq!(read(&json!(more)).1, ["/routes: must have at most 10000 items, not 10001"]);
    }
}
