//! The composition root: the only place where the parts meet. `main`, quickstart and the tests all start here.

mod activation;
mod certificates;
mod dry_run;
mod listeners;
mod notify;
pub mod offline;
mod readiness;
pub mod reload;
pub mod reseal;
mod restart;
pub mod signals;
mod start;
mod tasks;
pub mod upgrade;
mod upstreams;

use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::clock::{Clock, Monotonic, Timestamp};
use crate::config::{Config, MasterKey, Store as StoreConfig};
use crate::key::secret::SecretHasher;
use crate::lines::Lines;
use crate::manage::recover::{Vault, VaultError};
use crate::manage::{KeySettings, Manage, Parts, tokens::FirstToken};
use crate::metrics::Metrics;
use crate::proxy::upstream::watch::Watch;
use crate::snapshot::Snapshot;
use crate::store::Store;
use crate::store::embedded::{EmbeddedStore, Peppering};
use crate::usage::callers::Callers;
use crate::usage::ledger::Ledger;
use crate::usage::predecessor::{self, Predecessors};
use crate::usage::quota::Quotas;
use crate::usage::slab::Slab;
use notify::{Notify, State as Told};
use reload::Reloader;
use signals::{Early, Ended, Hearing};
pub use start::{build, build_from, build_with_clock};
use upgrade::Offer;

/// What the usage file is called beside the store.
const USAGE_SUFFIX: &str = "usage";

/// Everything that holds data: opened, loaded, and not yet serving.
#[derive(Debug)]
pub struct Core {
    /// The service that changes keys.
    pub manage: Arc<Manage>,
    /// The store.
    pub store: Arc<dyn Store>,
    /// The keys.
    pub snapshot: Arc<Snapshot>,
    /// The usage.
    pub ledger: Arc<Ledger>,
    /// The callers of keys under rotation.
    pub callers: Arc<Callers>,
    /// The connections.
    pub lines: Arc<Lines>,
    /// The quotas.
    pub quotas: Arc<Quotas>,
    /// The series.
    pub metrics: Arc<Metrics>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    hasher: SecretHasher,
}

impl Core {
    /// Opens the store and the usage file, and loads every key.
    ///
    /// # Errors
    /// One line that names the file, the cause and the remedy.
    pub fn open(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        Self::open_after(config, clock, Arc::new(Metrics::new()?), Before::Nobody)
    }

    fn open_after(
        config: &Config,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        before: Before,
    ) -> anyhow::Result<Self> {
        let StoreConfig::Redb { path } = &config.store;
        refuse_without_store(path)?;
        let hasher = SecretHasher::new(config.keys.pepper.as_ref().map(crate::config::Pepper::expose));
        let mut store = match before {
            Before::Nobody => EmbeddedStore::open(path, Peppering(&hasher))?,
            Before::HandsOver => EmbeddedStore::open_handed_over(path, Peppering(&hasher))?,
        };
        let observed = Arc::clone(&metrics);
        store.observe_commits(Arc::clone(&clock), Box::new(move |took| observed.store_committed(took)));
        let store: Arc<dyn Store> = Arc::new(store);
        let vault =
            config.keys.master_key.as_ref().map(|key| unlock(&*store, key, path, clock.now())).transpose()?;
        let (slab, opened) = Slab::open(&usage_path(path), store.store_id(), store.opening())?;
        if let Some(aside) = &opened.set_aside {
            let (path, fault) = (aside.path.display(), &aside.fault);
            tracing::error!(%path, %fault, "the usage file was damaged and is set aside; what was not merged is in it");
            metrics.usage_set_aside.inc();
        }
        tracing::debug!(counters = opened.recovered, damaged = opened.damaged, "usage file opened");
        let slab = Arc::new(slab);
        let predecessors = Predecessors::beside(&usage_path(path), store.store_id());
        let counted_before = !predecessors.is_empty();
        let series = config.metrics.top_keys;
        let ledger = Arc::new(Ledger::new(Arc::clone(&slab), Arc::clone(&store), series, predecessors));
        ledger.recover()?;
        ledger.inherit_quotas(clock.now());
        let quotas = Arc::new(Quotas::new(slab, clock.now()));
        if before == Before::Nobody && counted_before {
            // Whoever left them was cut off in the middle of an upgrade.
            ledger.merge_predecessors(clock.now())?;
            quotas.distrust();
        }
        let snapshot = Arc::new(Snapshot::new());
        let callers = Arc::new(Callers::default());
        let lines = Arc::new(Lines::default());
        let manage = Arc::new(Manage::new(Parts {
            store: Arc::clone(&store),
            snapshot: Arc::clone(&snapshot),
            ledger: Arc::clone(&ledger),
            callers: Arc::clone(&callers),
            lines: Arc::clone(&lines),
            quotas: Arc::clone(&quotas),
            hasher: hasher.clone(),
            vault,
            settings: KeySettings {
                prefix: config.keys.prefix.clone(),
                rotate_after: config.keys.rotate_after.clone(),
            },
            clock: Arc::clone(&clock),
        })?);
        let keys = manage.load()?;
        tracing::info!(keys, "keys loaded");
        Ok(Self { manage, store, snapshot, ledger, callers, lines, quotas, metrics, clock, hasher })
    }
}

/// Who had the store before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// Nobody, or one that ended, however it did.
    Nobody,
    /// One that still serves, and goes on if this one fails.
    HandsOver,
}

/// Makes sure that the master key is the one that the store was sealed with.
fn unlock(store: &dyn Store, key: &MasterKey, path: &Path, now: Timestamp) -> anyhow::Result<Vault> {
    Vault::unlock(store, key.expose(), now).map_err(|error| match error {
        VaultError::WrongKey => anyhow::anyhow!(
            "keys.master_key_env: the environment variable `{}` holds another master key than the one that {} was \
             sealed with; give that one, or see `portcullis store reseal --help`",
            key.variable(),
            path.display()
        ),
        error => error.into(),
    })
}

/// Refuses where the store is gone and its usage file is not: an empty store would know none of the keys.
fn refuse_without_store(path: &Path) -> anyhow::Result<()> {
    let is_gone = |path: &Path| fs::metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound);
    if !is_gone(path) {
        return Ok(());
    }
    let mut usage = predecessor::numbered(&usage_path(path)).into_iter().chain([usage_path(path)]);
    match usage.find(|usage| !is_gone(usage)) {
        Some(usage) => bail!(
            "{}: the store is gone, and its usage file {} is still there; put the store back (`portcullis store \
             restore`), or move that file away to begin with an empty store",
            path.display(),
            usage.display()
        ),
        None => Ok(()),
    }
}

/// The usage file's path: the store's, with another ending.
fn usage_path(store: &Path) -> PathBuf {
    store.with_extension(USAGE_SUFFIX)
}

/// A gateway that runs. Dropping it without [`App::stop`] cuts everything off, as a kill would.
pub struct App {
    /// Where the gateway listens for plain HTTP.
    pub gateway_addresses: Vec<SocketAddr>,
    /// Where it listens for TLS.
    pub tls_addresses: Vec<SocketAddr>,
    /// The Unix sockets that the gateway listens on.
    pub gateway_sockets: Vec<PathBuf>,
    /// Where the admin API listens.
    pub admin_address: SocketAddr,
    /// What holds the data.
    pub core: Core,
    /// The first admin token, if it was made now: shown once.
    pub first_token: FirstToken,
    offer: Arc<Offer>,
    proxies: Runtime,
    admin: Runtime,
    accepting: Vec<JoinHandle<()>>,
    serving_admin: JoinHandle<()>,
    background: tasks::Background,
    watch: Arc<Watch>,
    reloader: Arc<Reloader>,
}

impl App {
    /// From here on signals are heard, those that came `early` too, and a new process can take over.
    ///
    /// # Errors
    /// The signals cannot be heard.
    pub fn hear(&self, early: Option<&Early>) -> anyhow::Result<Hearing> {
        signals::hear(self, early)
    }

    /// Runs until a signal says to stop, or a new process has taken over; a hang-up reloads the configuration's file. To
    /// be ended by [`App::end`].
    ///
    /// # Errors
    /// The signals cannot be heard.
    pub fn run_until_signal(&self, hearing: Hearing) -> anyhow::Result<Ended> {
        signals::wait(self, hearing)
    }

    /// Ends as it was told to.
    ///
    /// # Errors
    /// As [`App::stop`].
    pub fn end(self, ended: Ended) -> anyhow::Result<()> {
        match ended {
            Ended::BySignal => self.stop(),
            Ended::ByUpgrade => {
                signals::stop_while_ending(&self.offer.stop)?;
                let (reloader, began) = self.finish();
                reloader.flush_traces(began);
                Ok(())
            }
        }
    }

    /// Stops: no new connection, what runs is finished within the grace, usage is merged.
    ///
    /// # Errors
    /// The last merge failed; what it held stays in the usage file for the next start.
    pub fn stop(self) -> anyhow::Result<()> {
        let offer = Arc::clone(&self.offer);
        let is_ours = offer.end();
        if is_ours {
            // Not where another process serves: the manager would take that one for stopping.
            Notify::new().tell(Told::Stopping);
        }
        let ledger = Arc::clone(&self.core.ledger);
        offer.stop.send_replace(true);
        let (reloader, began) = self.finish();
        let merged = if is_ours { ledger.merge().map(drop) } else { Ok(()) };
        // Last: what they go to may be dead.
        reloader.flush_traces(began);
        merged.context("usage could not be merged at the end; it is kept in the usage file")
    }

    /// Finishes what runs, within the grace. What then has the spans that wait, and when it began.
    fn finish(self) -> (Arc<Reloader>, Monotonic) {
        let Self {
            offer, proxies, admin, accepting, serving_admin, background, watch, core, reloader, ..
        } = self;
        let began = core.clock.monotonic();
        offer.drain.send_replace(true);
        proxies.block_on(async {
            for task in accepting {
                // A listener that panicked has nothing left to wait for.
                let _ = task.await;
            }
        });
        watch.end();
        offer.admin.send_replace(true);
        admin.block_on(async {
            let _ = serving_admin.await;
            background.stop().await;
        });
        // Dropping the runtime drops what was cut off, and each request counts itself as it goes.
        drop(proxies);
        drop(admin);
        drop(core);
        (reloader, began)
    }
}
