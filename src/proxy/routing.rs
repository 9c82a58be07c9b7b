//! The routes and upstreams in force. A reload puts a new [`Routing`] in place of the old one at once; requests that
//! run keep the one that they began with.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::upstream::Upstream;
use crate::admission::policy::Policy;
use crate::config::cors::Cors;
use crate::config::{Config, CredentialForwarding, ErrorFormat, PathRewrite};
use crate::metrics::{Metrics, RouteMetrics};
use crate::routes::{self, Table};
use crate::store::{Store, StoreError};

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
    /// Its counters.
    pub metrics: Arc<RouteMetrics>,
}

/// Every route and upstream.
#[derive(Debug)]
pub struct Routing {
    /// Finds a route's index.
    pub table: Table,
    /// The routes, in the configuration's order.
    pub routes: Vec<Arc<Route>>,
    /// The upstreams, by name.
    pub upstreams: BTreeMap<String, Arc<Upstream>>,
}

impl Routing {
    /// From a configuration. Gives each route its number in the ledger.
    ///
    /// # Errors
    /// The store's.
    pub fn new(config: &Config, store: &dyn Store, metrics: &Metrics) -> Result<Self, StoreError> {
        let upstreams: BTreeMap<String, Arc<Upstream>> = config
            .upstreams
            .iter()
            .map(|(name, upstream)| (name.clone(), Arc::new(Upstream::new(name, upstream))))
            .collect();
        let labels: Vec<String> = config.routes.iter().map(routes::label).collect();
        let numbers = store.route_numbers(&labels)?;
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
                metrics: metrics.route(label),
            }));
        }
        Ok(Self { table: Table::build(&config.routes), routes: made, upstreams })
    }

    /// Looks up the names of all targets.
    pub async fn resolve(&self) {
        for upstream in self.upstreams.values() {
            upstream.resolve().await;
        }
    }
}
