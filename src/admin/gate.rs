//! What every call passes first: the `Host` must be one of this listener's, and the API wants a token, before it says
//! whether there is such a path or method.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::header::HOST;
use axum::http::{StatusCode, uri::Authority};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;
use super::{AdminState, auth};
use crate::config::{Admin, HostPattern};

/// Whatever the `Host`: probes call these by address.
const FOR_PROBES: [&str; 2] = ["/livez", "/readyz"];
/// What lies under it needs a token.
const API: &str = "/api/v1";

/// Which names this listener answers to. A web page whose name was made to lead here (DNS rebinding) sends its own
/// name as `Host`, and is refused.
#[derive(Debug, Clone)]
pub struct Hosts {
    /// Beside the names of this machine; `None`: any.
    names: Option<Vec<HostPattern>>,
    own: IpAddr,
}

impl Hosts {
    /// The names of a configuration: those it lists; where it lists none, any if the listener is not on loopback.
    pub fn of(admin: &Admin) -> Self {
        let own = admin.listen.ip().to_canonical();
        let any = admin.hosts.is_empty() && !own.is_loopback();
        Self { names: (!any).then(|| admin.hosts.clone()), own }
    }

    /// Whether it answers to each name that the request has.
    fn allow(&self, request: &Request) -> bool {
        let Some(names) = &self.names else { return true };
        let fields = request.headers().get_all(HOST).iter().map(|value| value.to_str().ok());
        let target = request.uri().authority().map(|authority| Some(authority.as_str()));
        // A page in a browser cannot leave the name out; a client that does is none.
        fields.chain(target).all(|host| host.is_some_and(|host| self.is_one(names, host)))
    }

    fn is_one(&self, names: &[HostPattern], host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else { return false };
        let name = authority.host().to_ascii_lowercase();
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse::<IpAddr>().map(|address| address.to_canonical())
            && (address.is_loopback() || address == self.own)
        {
            return true;
        }
        name == "localhost"
            || name.ends_with(".localhost")
            // A name without a dot is none that a stranger could register.
            || (names.is_empty() && !bare.contains(['.', ':']))
            || names.iter().any(|pattern| match pattern {
                HostPattern::Any => true,
                HostPattern::Exact(exact) => *exact == name,
                HostPattern::Suffix(end) => name.ends_with(end.as_str()),
            })
    }
}

/// Lets a call through to its handler, with its actor.
pub(super) async fn admit(State(state): State<AdminState>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if !FOR_PROBES.contains(&path) && !state.hosts.allow(&request) {
        return misdirected().into_response();
    }
    if !is_api(path) {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    match auth::authenticate(&parts, &state).await {
        Ok(actor) => drop(parts.extensions.insert(actor)),
        Err(problem) => return problem.into_response(),
    }
    next.run(Request::from_parts(parts, body)).await
}

fn is_api(path: &str) -> bool {
    path.strip_prefix(API).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn misdirected() -> Problem {
    Problem::new(
        StatusCode::MISDIRECTED_REQUEST,
        "host_not_allowed",
        "The Host is not one of this listener's",
        "Call it by its address or as localhost, or add the name to admin.hosts.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MetricsAccess;

    fn hosts(listen: &str, names: Vec<HostPattern>) -> Hosts {
        let listen = listen.parse().unwrap();
        Hosts::of(&Admin { listen, hosts: names, metrics: MetricsAccess::Open, tls: None })
    }

    fn allows(hosts: &Hosts, host: &str) -> bool {
        hosts.allow(&Request::builder().uri("/x").header(HOST, host).body(axum::body::Body::empty()).unwrap())
    }

    #[test]
    fn on_loopback_it_answers_to_this_machine_and_to_the_names_it_was_given() {
        let own = hosts("127.0.0.1:9180", Vec::new());
        for good in ["127.0.0.1", "127.0.0.1:9180", "localhost", "LOCALHOST:1", "[::1]:9180", "127.0.0.2"] {
            assert!(allows(&own, good), "{good}");
        }
        for bad in [
            "evil.example",
            "localhost.evil.example",
            "10.0.0.1",
            "",
            "evil.example:9180",
            "127.0.0.1.evil.example",
        ] {
            assert!(!allows(&own, bad), "{bad}");
        }
        let names =
            vec![HostPattern::Exact("admin.example".into()), HostPattern::Suffix(".corp.example".into())];
        let named = hosts("127.0.0.1:9180", names.clone());
        for good in ["admin.example:443", "a.corp.example", "localhost"] {
            assert!(allows(&named, good), "{good}");
        }
        for bad in ["corp.example", "evil.example", "xadmin.example"] {
            assert!(!allows(&named, bad), "{bad}");
        }
        let elsewhere = hosts("10.0.0.7:9180", names);
        assert!(allows(&elsewhere, "10.0.0.7:9180") && !allows(&elsewhere, "10.0.0.8"));
        assert!(allows(&hosts("0.0.0.0:9180", Vec::new()), "anything.example"));
    }

    #[test]
    fn every_name_of_a_request_counts() {
        let own = hosts("127.0.0.1:9180", Vec::new());
        let request = |uri: &str, hosts: &[&str]| {
            let builder = hosts.iter().fold(Request::builder().uri(uri), |one, host| one.header(HOST, *host));
            builder.body(axum::body::Body::empty()).unwrap()
        };
        assert!(own.allow(&request("http://localhost/x", &["127.0.0.1"])));
        assert!(!own.allow(&request("http://evil.example/x", &["127.0.0.1"])));
        assert!(!own.allow(&request("/x", &["127.0.0.1", "evil.example"])));
        assert!(own.allow(&request("/x", &[])), "no browser leaves it out");
    }

    #[test]
    fn what_lies_under_the_api_is_known_by_whole_segments() {
        for api in ["/api/v1", "/api/v1/", "/api/v1/keys", "/api/v1//x"] {
            assert!(is_api(api), "{api}");
        }
        for other in ["/", "/api", "/api/v10", "/livez", "/metrics"] {
            assert!(!is_api(other), "{other}");
        }
    }
}
