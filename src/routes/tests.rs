//! Precedence and refusals.

mod properties;

use super::*;
use crate::config::{Access, CredentialForwarding, CredentialPlace, ErrorFormat, PathRewrite};

/// A route from `[METHODS ]host/path`, as [`label`] writes it.
fn route(text: &str) -> Route {
    let (methods, place) = text.split_once(' ').unwrap_or(("", text));
    let (host, path) = place.split_at(place.find('/').unwrap());
    Route {
        host: match host.strip_prefix('*') {
            _ if host.is_empty() => HostPattern::Any,
            Some(suffix) => HostPattern::Suffix(suffix.into()),
            None => HostPattern::Exact(host.into()),
        },
        path: path.into(),
        methods: methods
            .split('|')
            .filter(|name| !name.is_empty())
            .map(|name| name.parse().unwrap())
            .collect(),
        upstream: "up".into(),
        access: Access::Key,
        scopes: vec![],
        environments: vec![],
        path_rewrite: PathRewrite::Keep,
        limits: vec![],
        credential: vec![CredentialPlace::Bearer],
        credential_forwarding: CredentialForwarding::Strip,
        error_format: ErrorFormat::Problem,
        cors: None,
        max_request_body: None,
    }
}

fn find(routes: &[&str], method: &str, host: Option<&str>, target: &str) -> Result<String, NoRoute> {
    let routes: Vec<_> = routes.iter().map(|text| route(text)).collect();
    let target = CheckedTarget::parse(target.as_bytes()).unwrap();
    let found = Table::build(&routes).find(host, &target, &method.parse().unwrap());
    found.map(|index| label(&routes[index]))
}

fn not_allowed(methods: &[Method]) -> Result<String, NoRoute> {
    Err(NoRoute::MethodNotAllowed { allow: methods.to_vec() })
}

#[test]
fn a_path_matches_by_whole_segments() {
    for (target, found) in
        [("/v1", true), ("/v1/", true), ("/v1/x", true), ("/v1x", false), ("/", false), ("/v", false)]
    {
        assert_eq!(find(&["/v1"], "GET", None, target).is_ok(), found, "{target}");
    }
    assert_eq!(find(&["/v1/a"], "GET", None, "/v1"), Err(NoRoute::NotFound));
    for target in ["/", "/v1", "/v1/x/"] {
        assert_eq!(find(&["/"], "GET", None, target).as_deref(), Ok("/"), "{target}");
    }
}

#[test]
fn the_longest_path_wins() {
    let routes = ["/", "/v1/models", "/v1"];
    assert_eq!(find(&routes, "GET", None, "/v1/models/x").as_deref(), Ok("/v1/models"));
    assert_eq!(find(&routes, "GET", None, "/v1/other").as_deref(), Ok("/v1"));
    assert_eq!(find(&routes, "GET", None, "/v2").as_deref(), Ok("/"));
}

#[test]
fn an_encoded_spelling_finds_the_same_route() {
    let routes = ["/v1", "/v1/admin"];
    assert_eq!(find(&routes, "GET", None, "/%76%31/%61dmin?x").as_deref(), Ok("/v1/admin"));
    assert_eq!(find(&routes, "GET", None, "/v1/%2561dmin").as_deref(), Ok("/v1"));
    assert_eq!(find(&routes, "GET", None, "/v1/Admin").as_deref(), Ok("/v1"), "paths have a case");
}

#[test]
fn the_most_specific_host_wins() {
    let routes = ["/", "*.com/", "*.example.com/", "api.example.com/"];
    for (host, expected) in [
        (Some("api.example.com"), "api.example.com/"),
        (Some("API.Example.COM.:443"), "api.example.com/"),
        (Some("x.example.com"), "*.example.com/"),
        (Some("a.b.example.com"), "*.example.com/"),
        (Some("x.api.example.com"), "*.example.com/"),
        (Some("example.com"), "*.com/"),
        (Some("notexample.com"), "*.com/"),
        (Some("com"), "/"),
        (Some(".com"), "/"),
        (Some("example.org"), "/"),
        (Some(""), "/"),
        (Some("."), "/"),
        (None, "/"),
    ] {
        assert_eq!(find(&routes, "GET", host, "/").as_deref(), Ok(expected), "{host:?}");
    }
}

#[test]
fn a_host_is_compared_without_port_case_and_trailing_dot() {
    for host in ["a.test", "A.test", "a.test.", "a.test:80", "A.TEST.:8080"] {
        assert!(find(&["a.test/"], "GET", Some(host), "/").is_ok(), "{host}");
    }
    for host in ["a.test..", "b.a.test", "a.tes", "a.test.b"] {
        assert_eq!(find(&["a.test/"], "GET", Some(host), "/"), Err(NoRoute::NotFound), "{host}");
    }
    for host in ["[::1]", "[::1]:80"] {
        assert!(find(&["[::1]/"], "GET", Some(host), "/").is_ok(), "{host}");
    }
}

#[test]
fn a_host_longer_than_any_name_matches_only_routes_without_host() {
    let host = format!("{}.test", "a.".repeat(200));
    assert_eq!(find(&["*.test/", "/"], "GET", Some(&host), "/").as_deref(), Ok("/"));
}

#[test]
fn a_path_that_the_host_has_not_falls_through_to_less_specific_hosts() {
    let routes = ["/common", "*.test/wild", "a.test/own", "/own/deeper"];
    let found = |target| find(&routes, "GET", Some("a.test"), target);
    assert_eq!(found("/own").as_deref(), Ok("a.test/own"));
    assert_eq!(found("/own/deeper").as_deref(), Ok("a.test/own"), "the host counts more than the path");
    assert_eq!(found("/wild").as_deref(), Ok("*.test/wild"));
    assert_eq!(found("/common").as_deref(), Ok("/common"));
    assert_eq!(found("/none"), Err(NoRoute::NotFound));
}

#[test]
fn a_route_that_names_the_method_wins_over_one_that_names_none() {
    let routes = ["/v1", "GET|HEAD /v1", "POST /v1"];
    assert_eq!(find(&routes, "GET", None, "/v1").as_deref(), Ok("GET|HEAD /v1"));
    assert_eq!(find(&routes, "POST", None, "/v1").as_deref(), Ok("POST /v1"));
    assert_eq!(find(&routes, "DELETE", None, "/v1").as_deref(), Ok("/v1"));
}

#[test]
fn a_missing_method_is_no_reason_to_take_another_path_or_host() {
    let routes = ["/", "POST|GET a.test/v1", "PUT|GET a.test/v1", "a.test/"];
    let found = find(&routes, "DELETE", Some("a.test"), "/v1/x");
    assert_eq!(found, not_allowed(&[Method::GET, Method::POST, Method::PUT]));
}

#[test]
fn a_path_with_params_is_refused_where_its_readings_differ() {
    let routes = ["/v1", "/v1/admin"];
    assert_eq!(find(&routes, "GET", None, "/v1/admin;x"), Err(NoRoute::Ambiguous));
    assert_eq!(find(&routes, "GET", None, "/v1/admin%3bx/y"), Err(NoRoute::Ambiguous));
    assert_eq!(find(&routes, "GET", None, "/v1;x"), Err(NoRoute::Ambiguous));
    assert_eq!(find(&routes, "GET", None, "/v1/other;x").as_deref(), Ok("/v1"));
    assert_eq!(find(&routes, "GET", None, "/v1/admin/x;y").as_deref(), Ok("/v1/admin"));
    assert_eq!(find(&routes, "GET", None, "/none;x"), Err(NoRoute::NotFound));
    // Both readings end at methods that do not fit, of different paths: still ambiguous.
    assert_eq!(find(&["POST /a", "POST /a/b"], "GET", None, "/a/b;x"), Err(NoRoute::Ambiguous));
    // The less specific host has what the stripped reading finds nowhere else.
    assert_eq!(find(&["/a", "a.test/"], "GET", Some("a.test"), "/a;x").as_deref(), Ok("a.test/"));
}

#[test]
fn labels_are_stable() {
    for text in ["/v1", "api.example.com/v1", "GET|POST /v1", "*.example.com/", "GET a.test/"] {
        assert_eq!(label(&route(text)), text);
    }
    assert_eq!(label(&route("POST|GET|POST /v1")), "GET|POST /v1");
}

#[test]
fn each_of_ten_thousand_routes_is_found() {
    let routes: Vec<_> =
        (0..10_000).map(|n| route(&format!("h{}.test/api/v{}/r{n}", n % 100, n % 10))).collect();
    let table = Table::build(&routes);
    for (index, route) in routes.iter().enumerate() {
        let target = format!("{}/x", route.path);
        let host = format!("h{}.test:80", index % 100);
        let target = CheckedTarget::parse(target.as_bytes()).unwrap();
        assert_eq!(table.find(Some(&host), &target, &Method::GET), Ok(index));
    }
}
