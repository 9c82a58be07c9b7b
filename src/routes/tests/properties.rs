//! The table agrees with a slow and plain reference, whatever the routes and the request.

use proptest::prelude::*;

use super::super::*;
use super::route;

/// How specific a pattern is for a host, if it matches.
fn host_rank(pattern: &HostPattern, host: Option<&str>) -> Option<(u8, usize)> {
    let host = host.map(|host| host.split(':').next().unwrap().to_lowercase());
    let host = host.as_deref().map(|host| host.strip_suffix('.').unwrap_or(host));
    match (pattern, host) {
        (HostPattern::Any, _) => Some((0, 0)),
        (HostPattern::Suffix(suffix), Some(host))
            if host.len() > suffix.len() && host.ends_with(&**suffix) =>
        {
            Some((1, suffix.len()))
        }
        (HostPattern::Exact(name), Some(host)) if name == host => Some((2, 0)),
        _ => None,
    }
}

/// Whether `path` starts with the route's path, by whole segments.
fn has_prefix(path: &[u8], prefix: &str) -> bool {
    prefix == "/"
        || path.strip_prefix(prefix.as_bytes()).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// The reference: looks at all routes, takes the best host and path.
fn slow_best<'r>(routes: &'r [Route], host: Option<&str>, path: &[u8]) -> Option<(&'r HostPattern, &'r str)> {
    let fitting = routes.iter().filter(|route| has_prefix(path, &route.path));
    let ranked = fitting.filter_map(|route| Some((host_rank(&route.host, host)?, route)));
    ranked.max_by_key(|(rank, route)| (*rank, route.path.len())).map(|(_, route)| (&route.host, &*route.path))
}

fn slow_find(
    routes: &[Route],
    host: Option<&str>,
    target: &CheckedTarget<'_>,
    method: &Method,
) -> Result<usize, NoRoute> {
    let best = match target.readings() {
        Readings::One(path) => slow_best(routes, host, path),
        Readings::Two { literal, stripped } => {
            let best = slow_best(routes, host, literal);
            if best != slow_best(routes, host, stripped) {
                return Err(NoRoute::Ambiguous);
            }
            best
        }
    };
    let (host, path) = best.ok_or(NoRoute::NotFound)?;
    let here = || routes.iter().enumerate().filter(|(_, route)| route.host == *host && route.path == path);
    let named = here().find(|(_, route)| route.methods.contains(method));
    if let Some((index, _)) = named.or_else(|| here().find(|(_, route)| route.methods.is_empty())) {
        return Ok(index);
    }
    let mut allow: Vec<_> = here().flat_map(|(_, route)| route.methods.clone()).collect();
    allow.sort_by_key(|method| method.as_str().to_owned());
    allow.dedup();
    Err(NoRoute::MethodNotAllowed { allow })
}

fn any_routes() -> impl Strategy<Value = Vec<Route>> {
    let host = prop::sample::select(vec!["", "a.test", "b.a.test", "*.test", "*.a.test"]);
    let path = prop::sample::select(vec!["/", "/a", "/a/b", "/a/b/a", "/v1", "/v1/admin", "/v1/a", "/admin"]);
    let methods = prop::sample::select(vec!["", "", "", "GET ", "POST ", "PUT|GET ", "DELETE|POST "]);
    let text =
        (methods, host, path).prop_map(|(methods, host, path)| route(&format!("{methods}{host}{path}")));
    prop::collection::vec(text, 0..12)
}

fn any_target() -> impl Strategy<Value = String> {
    let segment = vec!["a", "b", "v1", "admin", "%61", "%61dmin", "v%31", "a;x", "b%3b", "c", "admin;"];
    let tame = prop::collection::vec(prop::sample::select(segment), 0..5)
        .prop_map(|parts| format!("/{}", parts.join("/")));
    prop_oneof![4 => tame, 1 => target::tests::nasty_targets()]
}

fn any_host() -> impl Strategy<Value = Option<&'static str>> {
    prop::sample::select(vec![
        None,
        Some("a.test"),
        Some("A.test:80"),
        Some("b.a.test."),
        Some("c.b.a.test"),
        Some("c.test"),
        Some("test"),
        Some("xa.test"),
        Some(".test"),
        Some("other"),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn the_table_agrees_with_a_linear_search(
        routes in any_routes(),
        host in any_host(),
        target in any_target(),
        method in prop::sample::select(vec![Method::GET, Method::POST, Method::PATCH]),
    ) {
        let Ok(target) = CheckedTarget::parse(target.as_bytes()) else { return Ok(()) };
        let found = Table::build(&routes).find(host, &target, &method);
        prop_assert_eq!(&found, &slow_find(&routes, host, &target, &method));
        if let Ok(index) = found {
            prop_assert!(has_prefix(target.segments_path(), &routes[index].path));
            let rest = target.after_route_path(&routes[index].path);
            prop_assert!(rest.starts_with(b"/") && (target.path().ends_with(rest) || rest == b"/"));
        }
    }

    /// Servers that strip raw `;params` before they decode see a third path. It leads nowhere else either.
    #[test]
    fn params_stripped_before_decoding_lead_to_the_same_route(routes in any_routes(), target in any_target()) {
        let Ok(checked) = CheckedTarget::parse(target.as_bytes()) else { return Ok(()) };
        let segments = checked.path().split(|&byte| byte == b'/');
        let cut: Vec<_> = segments.map(|segment| segment.split(|&byte| byte == b';').next().unwrap()).collect();
        let raw = cut.join(&b'/');
        let third = CheckedTarget::parse(&raw).unwrap();
        let table = Table::build(&routes);
        if let Ok(index) = table.find(None, &checked, &Method::GET) {
            let third_route = table.node(None, third.segments_path()).map(|node| node.choose(&Method::GET));
            prop_assert_eq!(third_route, Some(Ok(index)));
        }
    }
}
