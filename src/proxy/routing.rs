//! The routes and upstreams in force. A reload puts a new [`Routing`] in place of the old one at once; requests that
//! run keep the one that they began with.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::bounds::Bounds;
use super::upstream::Upstream;
use crate::admission::policy::Policy;
use crate::config::cors::Cors;
use crate::config::log::Sampling;
use crate::config::{
    AccessLog, Config, CredentialForwarding, ErrorFormat, PathRewrite, Upstream as UpstreamConfig,
};
use crate::metrics::{Metrics, RouteMetrics};
use crate::routes::{self, Table};
use crate::store::{Store, StoreError};
use crate::traces::Traces;

/// How long a start and a reload wait for names to be looked up.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A route at work.
#[derive(Debug)]
pub struct Route {
    /// What it asks.
    pub policy: Policy,
    /// Its path in the configuration.
    pub path: String,
    /// What becomes of the path.
    pub rewrite: PathRewrite,
    /// What becomes of the credential.
    pub forwarding: CredentialForwarding,
    /// How errors are written.
    pub error_format: ErrorFormat,
    /// Which web pages may call it.
    pub cors: Option<Cors>,
    /// Where requests go.
    pub upstream: Arc<Upstream>,
    /// Whose `X-Forwarded-*` is believed.
    pub trusted_proxies: Arc<[IpNet]>,
    /// Its counters.
    pub metrics: Arc<RouteMetrics>,
}

/// Every route and upstream, and what else a reload puts in force with them.
#[derive(Debug)]
pub struct Routing {
    /// Finds a route's index.
    pub table: Table,
    /// The routes, in the configuration's order.
    pub routes: Vec<Arc<Route>>,
    /// The upstreams, by name.
    pub upstreams: BTreeMap<String, Arc<Upstream>>,
    /// Whose `X-Forwarded-*` is believed.
    pub trusted_proxies: Arc<[IpNet]>,
    /// What clients may do.
    pub bounds: Bounds,
    /// Whether requests get log lines.
    pub access_log: AccessLog,
    /// Which of them do.
    pub sampling: Sampling,
    /// What the gateway does in traces; nothing unless it is told to.
    pub traces: Option<Arc<Traces>>,
}

impl Routing {
    /// From a configuration. Gives each route its number in the ledger. An upstream that is as it was `before` stays
    /// the same one, with its connections and what is known of its targets.
    ///
    /// # Errors
    /// The store's.
    pub fn new(
        config: &Config,
        before: Option<&Self>,
        store: &dyn Store,
        metrics: &Metrics,
    ) -> Result<Self, StoreError> {
        let upstreams = upstreams(config, before, metrics);
        let labels: Vec<String> = config.routes.iter().map(routes::label).collect();
        // Those that are known need no store, which may be failing.
        let numbers = match before.and_then(|before| before.numbers(&labels)) {
            Some(numbers) => numbers,
            None => store.route_numbers(&labels)?,
        };
        let trusted_proxies: Arc<[IpNet]> = config.gateway.trusted_proxies.as_slice().into();
        let mut made = Vec::with_capacity(config.routes.len());
        for ((route, label), number) in config.routes.iter().zip(&labels).zip(numbers) {
            // A valid configuration names no other upstreams than its own.
            let Some(upstream) = upstreams.get(&route.upstream) else { continue };
            made.push(Arc::new(Route {
                policy: Policy::new(route, label, number),
                path: route.path.clone(),
                rewrite: route.path_rewrite,
                forwarding: route.credential_forwarding,
                error_format: route.error_format,
                cors: route.cors.clone(),
                upstream: Arc::clone(upstream),
                trusted_proxies: Arc::clone(&trusted_proxies),
                metrics: metrics.route(label),
            }));
        }
        Ok(Self {
            table: Table::build(&config.routes),
            routes: made,
            upstreams,
            trusted_proxies,
            bounds: Bounds::new(&config.gateway),
            access_log: config.log.access,
            sampling: config.log.sampling,
            traces: None,
        })
    }

    /// The upstreams alone: their names can be looked up before there is a store, and [`Routing::new`] takes them over.
    pub fn without_routes(config: &Config, metrics: &Metrics) -> Self {
        Self {
            table: Table::build(&[]),
            routes: Vec::new(),
            upstreams: upstreams(config, None, metrics),
            trusted_proxies: config.gateway.trusted_proxies.as_slice().into(),
            bounds: Bounds::new(&config.gateway),
            access_log: config.log.access,
            sampling: config.log.sampling,
            traces: None,
        }
    }

    /// The numbers of these routes, where it has all of them.
    fn numbers(&self, labels: &[String]) -> Option<Vec<u16>> {
        let known: HashMap<&str, u16> =
            self.routes.iter().map(|route| (&*route.policy.label, route.policy.number)).collect();
        labels.iter().map(|label| known.get(label.as_str()).copied()).collect()
    }

    /// Looks up the names of all targets, for a while: those that take longer are looked up again later.
    pub async fn resolve(&self) {
        let mut looking = JoinSet::new();
        for upstream in self.upstreams.values().filter(|upstream| upstream.has_names()) {
            let upstream = Arc::clone(upstream);
            looking.spawn(async move { upstream.resolve().await });
        }
        let all = async { while looking.join_next().await.is_some() {} };
        if timeout(RESOLVE_TIMEOUT, all).await.is_err() {
            tracing::warn!("some names of upstreams were not resolved in time");
        }
    }
}

/// The upstreams of a configuration, each with what was known of it `before`.
fn upstreams(
    config: &Config,
    before: Option<&Routing>,
    metrics: &Metrics,
) -> BTreeMap<String, Arc<Upstream>> {
    let make = |(name, upstream): (&String, &UpstreamConfig)| {
        let earlier = before.and_then(|before| before.upstreams.get(name));
        let made = match earlier {
            Some(earlier) if earlier.config == *upstream => Arc::clone(earlier),
            _ => Arc::new(Upstream::new(name, upstream, metrics)),
        };
        if let Some(earlier) = earlier.filter(|earlier| !Arc::ptr_eq(earlier, &made)) {
            made.inherit(earlier);
        }
        (name.clone(), made)
    };
    config.upstreams.iter().map(make).collect()
}
