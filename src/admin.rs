//! The admin listener: the API under `/api/v1`, metrics and health. Handlers parse, call `manage`, serialise; nothing
//! else. It has a runtime of its own, so that a busy gateway does not keep an operator out.

mod audit;
mod auth;
mod backup;
mod check;
pub mod control;
mod cursor;
mod document;
mod gate;
mod groups;
mod health;
mod keys;
mod openapi;
mod operations;
mod pages;
mod patience;
mod problem;
mod server;
mod throttle;
pub mod tls;
mod tokens;
mod usage;

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;

use crate::admission::explain::Step;
use crate::config::MetricsAccess;
use crate::key::Key;
use crate::manage::{Manage, ManageError};
use crate::metrics::Metrics;
use control::{Reload, Upstreams};
pub use gate::Hosts;
pub use problem::Problem;
pub use server::serve;
pub use throttle::Throttle;

/// The largest body of a call, in bytes.
const MAX_BODY_BYTES: usize = 1 << 20;
/// The largest body of an import, in bytes.
const MAX_IMPORT_BYTES: usize = 16 << 20;

/// Says whether the gateway is ready.
#[async_trait]
pub trait Ready: Send + Sync + std::fmt::Debug {
    /// Ready, with what it lacks none the less, or why not.
    ///
    /// # Errors
    /// Why not.
    async fn ready(&self) -> Result<Vec<Degraded>, String>;
}

/// What a gateway that serves lacks. Anybody may read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Degraded {
    /// `store`, `configuration` or `upstreams`.
    pub part: &'static str,
    /// What is wrong, and what holds meanwhile.
    pub detail: String,
}

/// What a dry run asks: would this request pass with the key?
#[derive(Debug, Clone)]
pub struct Asked {
    /// Its method.
    pub method: http::Method,
    /// Its `Host`.
    pub host: Option<String>,
    /// Its target.
    pub path: String,
    /// From where.
    pub address: std::net::IpAddr,
}

/// Runs a request through the rules without sending it.
pub trait DryRun: Send + Sync + std::fmt::Debug {
    /// What each rule says, in its order.
    fn dry_run(&self, key: &Key, asked: &Asked) -> Vec<Step>;
}

/// What handlers need.
#[derive(Debug, Clone)]
pub struct AdminState {
    /// The service.
    pub manage: Arc<Manage>,
    /// The series.
    pub metrics: Arc<Metrics>,
    /// Who may read them.
    pub metrics_access: MetricsAccess,
    /// Whether the gateway is ready.
    pub readiness: Arc<dyn Ready>,
    /// What the rules say of a request.
    pub dry_run: Arc<dyn DryRun>,
    /// What puts the configuration file in force once more.
    pub reload: Arc<dyn Reload>,
    /// What is behind the gateway.
    pub upstreams: Arc<dyn Upstreams>,
    /// Which names the listener answers to.
    pub hosts: Hosts,
    /// Who sent wrong tokens lately.
    pub throttle: Arc<Throttle>,
}

/// Every route of the listener: those of the table in [`operations`].
pub fn router(state: AdminState) -> Router {
    operations::routes()
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(state.clone(), gate::admit))
        .layer(middleware::from_fn_with_state(state.clone(), problem::finish))
        .with_state(state)
}

/// Runs a call of the service on a thread that may block.
async fn blocking<T: Send + 'static>(
    manage: &Arc<Manage>,
    call: impl FnOnce(&Manage) -> Result<T, ManageError> + Send + 'static,
) -> Result<T, Problem> {
    let manage = Arc::clone(manage);
    match tokio::task::spawn_blocking(move || call(&manage)).await {
        Ok(done) => done.map_err(Problem::from),
        Err(_) => Err(Problem::internal("the call broke off")),
    }
}
