//! Another configuration takes force while requests run: all that can be changed at once, or nothing of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;
use tokio::runtime::Handle;

use super::certificates::Certificates;
use super::{App, Core, restart};
use crate::admin::control::{Reload, Reloaded};
use crate::clock::{Clock, Monotonic, Timestamp};
use crate::config::file::{self, ConfigError, ConfigFault};
use crate::config::{Config, Log};
use crate::document::Faults;
use crate::manage::{Actor, Manage, ManageError};
use crate::metrics::Metrics;
use crate::proxy::Gateway;
use crate::proxy::routing::Routing;
use crate::proxy::upstream::watch::Watch;
use crate::store::Store;
use crate::traces::Traces;

/// The most that a stop waits for spans that are sent: what they go to may be dead.
const MOST_FOR_SPANS: Duration = Duration::from_secs(2);

/// Puts the level and the access-log switch of another configuration in force.
pub type LogControl = Box<dyn Fn(&Log) + Send + Sync>;

/// What the reloads of one gateway share.
pub(super) struct Reloader {
    gateway: Arc<Gateway>,
    manage: Arc<Manage>,
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    watch: Arc<Watch>,
    certificates: Arc<Certificates>,
    /// Where names are looked up.
    runtime: Handle,
    /// What the gateway was started with.
    started: Config,
    /// Held while one reload runs: one after the other.
    file: Mutex<Option<PathBuf>>,
    log: Mutex<Option<LogControl>>,
    refused: Mutex<Option<Refused>>,
}

impl std::fmt::Debug for Reloader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reloader({:?})", self.file.lock())
    }
}

/// A reload that was refused, and no good one came since.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refused {
    at: Timestamp,
    faults: usize,
}

/// What is ready to take force.
struct Prepared {
    config: Config,
    routing: Routing,
    certificates: Certificates,
    done: Reloaded,
}

/// What becomes of a reload that cannot be written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unwritten {
    /// It is refused.
    Refuse,
    /// It takes force all the same: who may signal the process may do more than that.
    Allow,
}

impl Reloader {
    /// For a gateway that was just built.
    pub(super) fn new(
        core: &Core,
        gateway: &Arc<Gateway>,
        watch: &Arc<Watch>,
        certificates: &Arc<Certificates>,
        runtime: Handle,
        started: &Config,
    ) -> Self {
        Self {
            gateway: Arc::clone(gateway),
            manage: Arc::clone(&core.manage),
            store: Arc::clone(&core.store),
            metrics: Arc::clone(&core.metrics),
            clock: Arc::clone(&core.clock),
            watch: Arc::clone(watch),
            certificates: Arc::clone(certificates),
            runtime,
            started: started.clone(),
            file: Mutex::default(),
            log: Mutex::default(),
            refused: Mutex::default(),
        }
    }

    /// Reads the file anew and puts it in force.
    pub(super) fn run(&self, actor: &Actor, unwritten: Unwritten) -> Result<Reloaded, ManageError> {
        let file = self.file.lock();
        let mut prepared = None;
        let result = self.manage.reload_configuration(actor, || {
            let made = self.prepare(file.as_deref())?;
            let (routes, upstreams) = (made.done.routes, made.done.upstreams);
            let said =
                json!({"routes": routes, "upstreams": upstreams, "needs_restart": made.done.needs_restart});
            prepared = Some(made);
            Ok(said)
        });
        match (result, prepared) {
            (Ok(()), Some(prepared)) => Ok(self.apply(prepared)),
            (Err(ManageError::Store(error)), Some(prepared)) if unwritten == Unwritten::Allow => {
                tracing::error!(%error, "the reload could not be written into the audit log");
                Ok(self.apply(prepared))
            }
            (Err(error), _) => Err(self.refuse(error, file.as_deref())),
            (Ok(()), None) => Err(ManageError::Conflict("there was nothing to reload".into())),
        }
    }

    fn prepare(&self, file: Option<&Path>) -> Result<Prepared, ManageError> {
        let Some(path) = file else {
            return Err(ManageError::Conflict(
                "the gateway was not started from a configuration file; there is none to reload".into(),
            ));
        };
        let config = file::load(path).map_err(|error| ManageError::Invalid(faults(&error)))?;
        self.ready(config)
    }

    fn ready(&self, config: Config) -> Result<Prepared, ManageError> {
        let certificates = Certificates::load(&config.gateway.tls).map_err(|fault| {
            let mut faults = Faults::default();
            faults.add("/gateway/tls", fault.to_string());
            ManageError::Invalid(faults)
        })?;
        let before = self.gateway.routing.load_full();
        let mut routing = Routing::new(&config, Some(&before), &*self.store, &self.metrics)?;
        let traces = Traces::new(config.traces.as_ref(), before.traces.as_ref(), &self.metrics);
        routing.traces = traces.map_err(|fault| {
            let mut faults = Faults::default();
            faults.add("/traces", format!("{fault:#}"));
            ManageError::Invalid(faults)
        })?;
        self.runtime.block_on(routing.resolve());
        let done = Reloaded {
            routes: config.routes.len(),
            upstreams: config.upstreams.len(),
            needs_restart: restart::needed(&self.started, &config),
        };
        Ok(Prepared { config, routing, certificates, done })
    }

    fn apply(&self, prepared: Prepared) -> Reloaded {
        let Prepared { config, routing, certificates, done } = prepared;
        let routing = Arc::new(routing);
        // One swap: a request has the routes, upstreams, limits and trusted proxies of one file.
        self.gateway.routing.store(Arc::clone(&routing));
        self.watch.follow(&routing);
        self.certificates.put_in_force(&certificates);
        if let Some(control) = &*self.log.lock() {
            control(&config.log);
        }
        *self.refused.lock() = None;
        tracing::info!(routes = done.routes, upstreams = done.upstreams, "configuration reloaded");
        if !done.needs_restart.is_empty() {
            let settings = done.needs_restart.join(", ");
            tracing::warn!(settings, "these settings differ from the start's and need a restart");
        }
        done
    }

    /// Says that the old configuration stays, in the log and for `/readyz`.
    fn refuse(&self, error: ManageError, file: Option<&Path>) -> ManageError {
        let path = file.unwrap_or(Path::new("")).display();
        match &error {
            ManageError::Invalid(faults) => {
                *self.refused.lock() = Some(Refused { at: self.clock.now(), faults: faults.iter().count() });
                for fault in faults.iter() {
                    tracing::error!(pointer = fault.pointer, fault = fault.detail, "configuration fault");
                }
                let faults = faults.iter().count();
                tracing::error!(%path, faults, "configuration not reloaded, the old one stays");
            }
            ManageError::Store(error) => {
                tracing::error!(%path, %error, "configuration not reloaded, the old one stays");
            }
            // That somebody may not is in the audit log.
            _ => {}
        }
        error
    }

    /// Sends the spans that wait, within what is left of the grace of a stop that began then, and two seconds.
    pub(super) fn flush_traces(&self, began: Monotonic) {
        let routing = self.gateway.routing.load_full();
        if let Some(traces) = &routing.traces {
            let gone = self.clock.monotonic().since(began);
            traces.flush(routing.bounds.grace.saturating_sub(gone).min(MOST_FOR_SPANS));
        }
    }

    /// What `/readyz` says of a file that was refused.
    pub(super) fn complaint(&self) -> Option<String> {
        let refused = (*self.refused.lock())?;
        let count =
            if refused.faults == 1 { "1 fault".to_owned() } else { format!("{} faults", refused.faults) };
        Some(format!("the file was refused at {} for {count}; the one before it is in force", refused.at))
    }
}

impl App {
    /// Tells from which file the configuration came, so that it can be reloaded, and how the log is changed then.
    pub fn configured_by(&self, file: &Path, log: LogControl) {
        *self.reloader.file.lock() = Some(file.to_owned());
        *self.reloader.log.lock() = Some(log);
    }

    /// Puts a configuration's routes, upstreams, limits, certificates and trusted proxies in place of those in force.
    ///
    /// # Errors
    /// The old ones stay in force.
    pub fn reload(&self, config: &Config) -> anyhow::Result<Reloaded> {
        let reloader = &self.reloader;
        let _one = reloader.file.lock();
        Ok(reloader.ready(config.clone()).map(|prepared| reloader.apply(prepared))?)
    }
}

impl Reload for Reloader {
    fn reload(&self, actor: &Actor) -> Result<Reloaded, ManageError> {
        self.run(actor, Unwritten::Refuse)
    }
}

/// The faults of a file, each with its path and line.
fn faults(error: &ConfigError) -> Faults {
    let mut faults = Faults::default();
    match error {
        ConfigError::Invalid { faults: all, .. } => {
            for fault in all {
                faults.add(fault.pointer.clone(), detail(fault));
            }
        }
        ConfigError::Unreadable { .. } => faults.add("", error.to_string()),
    }
    faults
}

fn detail(fault: &ConfigFault) -> String {
    match fault.line {
        Some(line) => format!("line {line}: {fault}"),
        None => fault.to_string(),
    }
}
