//! Finds the route of a request: host, path and method, over the same bytes that are forwarded.
//!
//! Each host has a tree of path segments, so a lookup costs as much as the request's path is long, however many
//! routes there are. Nothing here allocates on the way to a route, but for a host in upper case.
//!
//! Invariant: a route's path is literal text, compared with the decoded path. The configuration lets no `%`, `;`,
//! empty segment or dot segment into it; that a path with `;` needs only two readings rests on it.

pub mod target;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use foldhash::HashMap;
use http::Method;

use crate::config::{HostPattern, Route};
use target::{CheckedTarget, Readings};

/// The longest host name that is looked up, in bytes (RFC 1035 section 2.3.4). A longer one is on no list.
const MAX_HOST_BYTES: usize = 253;

/// Every route, by host, path and method. Indexes are those of the list it was built from.
#[derive(Debug, Default)]
pub struct Table {
    exact: HashMap<Box<str>, Node>,
    suffixes: HashMap<Box<str>, Node>,
    any: Node,
}

/// Why there is no route for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoRoute {
    /// No route has this host and path.
    NotFound,
    /// There are routes for this path, but none for the method.
    MethodNotAllowed {
        /// The methods that those routes have: sorted, each once.
        allow: Vec<Method>,
    },
    /// Upstreams read this path in different ways, and these lead to different routes.
    Ambiguous,
}

impl Table {
    /// Builds the table of `routes`.
    pub fn build(routes: &[Route]) -> Self {
        let mut table = Self::default();
        for (index, route) in routes.iter().enumerate() {
            let root = match &route.host {
                HostPattern::Any => &mut table.any,
                HostPattern::Exact(host) => table.exact.entry(host.as_str().into()).or_default(),
                HostPattern::Suffix(suffix) => table.suffixes.entry(suffix.as_str().into()).or_default(),
            };
            root.insert(&route.path, Entry { methods: route.methods.clone(), index });
        }
        table
    }

    /// The route of a request: its index in the list that the table was built from. `host` is the `Host` field's
    /// value; its port, its case and one trailing dot do not count.
    ///
    /// The most specific host that has the path wins: itself, then the longest suffix, then any. There the longest
    /// path wins, and there a route that names the method wins over one that names none.
    pub fn find(
        &self,
        host: Option<&str>,
        target: &CheckedTarget<'_>,
        method: &Method,
    ) -> Result<usize, NoRoute> {
        let host = host.map(normal_host);
        let host = host.as_deref().filter(|host| host.len() <= MAX_HOST_BYTES);
        let node = match target.readings() {
            Readings::One(path) => self.node(host, path),
            Readings::Two { literal, stripped } => {
                let (first, second) = (self.node(host, literal), self.node(host, stripped));
                if first.map(std::ptr::from_ref) != second.map(std::ptr::from_ref) {
                    return Err(NoRoute::Ambiguous);
                }
                first
            }
        };
        node.ok_or(NoRoute::NotFound)?.choose(method)
    }

    /// The routes of the longest path that matches on the most specific host.
    fn node(&self, host: Option<&str>, path: &[u8]) -> Option<&Node> {
        let exact = host.and_then(|host| self.exact.get(host));
        let suffixes = host.into_iter().flat_map(|host| {
            // The leftmost dot starts the longest suffix; what matches has something in front of it.
            let dots = host.match_indices('.').map(|(at, _)| at).filter(|&at| at > 0);
            dots.filter_map(|at| self.suffixes.get(&host[at..]))
        });
        let mut roots = exact.into_iter().chain(suffixes).chain([&self.any]);
        roots.find_map(|root| root.longest_match(path))
    }
}

/// The name of a route in metrics and in the ledger: `GET|POST api.example.com/v1`. Methods are sorted, so that it
/// does not change with the order in the file.
pub fn label(route: &Route) -> String {
    let mut methods: Vec<_> = route.methods.iter().map(Method::as_str).collect();
    methods.sort_unstable();
    methods.dedup();
    let blank = if methods.is_empty() { "" } else { " " };
    let host = match &route.host {
        HostPattern::Any => String::new(),
        HostPattern::Exact(host) => host.clone(),
        HostPattern::Suffix(suffix) => format!("*{suffix}"),
    };
    format!("{}{blank}{host}{}", methods.join("|"), route.path)
}

/// A path: the routes that end here, and the paths that go on.
#[derive(Debug, Default)]
struct Node {
    children: HashMap<Box<[u8]>, Node>,
    entries: Vec<Entry>,
}

/// One route of a path.
#[derive(Debug)]
struct Entry {
    /// Empty: any.
    methods: Vec<Method>,
    index: usize,
}

impl Node {
    fn insert(&mut self, path: &str, entry: Entry) {
        let segments = path.split('/').filter(|segment| !segment.is_empty());
        let end =
            segments.fold(self, |node, segment| node.children.entry(segment.as_bytes().into()).or_default());
        end.entries.push(entry);
    }

    /// The deepest node with routes on the way down `path`. A trailing slash is an empty last segment, which no node
    /// has: it ends the walk where the path without it would.
    fn longest_match(&self, path: &[u8]) -> Option<&Self> {
        let mut node = self;
        let mut found = Some(self).filter(|node| !node.entries.is_empty());
        for segment in path.strip_prefix(b"/").unwrap_or(path).split(|&byte| byte == b'/') {
            let Some(child) = node.children.get(segment) else {
                break;
            };
            node = child;
            if !node.entries.is_empty() {
                found = Some(node);
            }
        }
        found
    }

    /// The first route here that names the method, else the first that names none.
    fn choose(&self, method: &Method) -> Result<usize, NoRoute> {
        let named = self.entries.iter().find(|entry| entry.methods.contains(method));
        let entry = named.or_else(|| self.entries.iter().find(|entry| entry.methods.is_empty()));
        entry.map(|entry| entry.index).ok_or_else(|| NoRoute::MethodNotAllowed { allow: self.methods() })
    }

    fn methods(&self) -> Vec<Method> {
        let mut methods: Vec<_> =
            self.entries.iter().flat_map(|entry| entry.methods.iter().cloned()).collect();
        methods.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        methods.dedup();
        methods
    }
}

/// A host as it is looked up: without port, without one trailing dot, in lower case.
fn normal_host(host: &str) -> Cow<'_, str> {
    // The last colon starts the port, unless it is part of an IPv6 address in brackets.
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name,
        _ => host,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}
