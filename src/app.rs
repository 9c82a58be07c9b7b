//! The composition root: the only place where the parts meet. `main`, quickstart and the tests all start here.

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
mod tasks;
mod upstreams;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use pingora::proxy::http_proxy;
use pingora::server::configuration::ServerConf;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::admin::{self, AdminState, Hosts};
use crate::admission::Judge;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::config::{Config, MasterKey, Store as StoreConfig};
use crate::key::secret::SecretHasher;
use crate::lines::Lines;
use crate::manage::recover::{Vault, VaultError};
use crate::manage::{KeySettings, Manage, Parts, tokens::FirstToken};
use crate::metrics::{Metrics, NO_ROUTE};
use crate::proxy::connection::Connections;
use crate::proxy::listener;
use crate::proxy::routing::Routing;
use crate::proxy::upstream::watch::Watch;
use crate::proxy::{Gateway, KeyedProxy};
use crate::snapshot::Snapshot;
use crate::store::Store;
use crate::store::embedded::{EmbeddedStore, Peppering};
use crate::traces::Traces;
use crate::usage::callers::Callers;
use crate::usage::ledger::Ledger;
use crate::usage::quota::Quotas;
use crate::usage::slab::Slab;
use certificates::Certificates;
use listeners::Listeners;
use readiness::{Lacks, Readiness};
use reload::Reloader;
use signals::HangUps;
use upstreams::Behind;

/// Connections kept to upstreams in all: at least so many, and at most.
const UPSTREAM_POOL: (usize, usize) = (1 << 10, 1 << 16);
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
        let StoreConfig::Redb { path } = &config.store;
        let hasher = SecretHasher::new(config.keys.pepper.as_ref().map(crate::config::Pepper::expose));
        let metrics = Arc::new(Metrics::new()?);
        let mut store = EmbeddedStore::open(path, Peppering(&hasher))?;
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
        let ledger = Arc::new(Ledger::new(Arc::clone(&slab), Arc::clone(&store), config.metrics.top_keys));
        ledger.recover()?;
        let quotas = Arc::new(Quotas::new(slab, clock.now()));
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
    shutdown: watch::Sender<bool>,
    admin_shutdown: watch::Sender<bool>,
    proxies: Runtime,
    admin: Runtime,
    accepting: Vec<JoinHandle<()>>,
    serving_admin: JoinHandle<()>,
    background: tasks::Background,
    watch: Arc<Watch>,
    reloader: Arc<Reloader>,
}

/// Builds and starts a gateway: every port is bound and every file open when this returns.
///
/// # Errors
/// One line that names what cannot be had, why, and what to do.
pub fn build(config: &Config, admin_token: Option<&str>) -> anyhow::Result<App> {
    build_with_clock(config, admin_token, Arc::new(SystemClock::new()))
}

/// As [`build`], with a clock of the caller's.
///
/// # Errors
/// As [`build`].
pub fn build_with_clock(
    config: &Config,
    admin_token: Option<&str>,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<App> {
    let proxies = runtime("gateway", config.gateway.threads)?;
    let admin = runtime("admin", 1)?;
    let Listeners { all: mut listeners, addresses: gateway_addresses, sockets: gateway_sockets } =
        listeners::bind_all(&proxies, &config.gateway.listen)?;
    let certificates = Arc::new(Certificates::load(&config.gateway.tls)?);
    let (secured, tls_addresses) = listeners::bind_secured(&proxies, &certificates)?;
    listeners.extend(secured);
    let admin_listener = listeners::bind(&admin, config.admin.listen)?;
    let core = Core::open(config, clock)?;
    let first_token = core.manage.ensure_first_token(admin_token)?;
    let mut routing = Routing::new(config, None, &*core.store, &core.metrics)?;
    routing.traces = Traces::new(config.traces.as_ref(), None, &core.metrics)?;
    proxies.block_on(routing.resolve());
    let watch =
        Arc::new(Watch::new(admin.handle().clone(), Arc::clone(&core.clock), Arc::clone(&core.metrics)));
    watch.follow(&routing);
    let gateway = Arc::new(new_gateway(config, &core, routing));
    let connections = Arc::new(new_connections(config, &gateway));
    let (shutdown, stopping) = watch::channel(false);
    let (admin_shutdown, admin_stopping) = watch::channel(false);
    let reloader =
        Arc::new(Reloader::new(&core, &gateway, &watch, &certificates, proxies.handle().clone(), config));
    let behind = Arc::new(Behind(Arc::clone(&gateway)));
    let readiness = Readiness::new(
        &gateway_addresses,
        &tls_addresses,
        gateway_sockets.clone(),
        connections.probe.clone(),
        stopping.clone(),
        Arc::clone(&core.store),
        Lacks { reloader: Arc::clone(&reloader), behind: Arc::clone(&behind) },
    );
    let admin_address = admin_listener.local_addr()?;
    let state = admin_state(config, &core, &gateway, readiness, &reloader, behind);
    let tls = config.admin.tls.as_ref().map(admin::tls::acceptor).transpose()?;
    let serving_admin = admin.spawn(admin::serve(admin_listener, tls, state, admin_stopping));
    let accepting = listeners
        .into_iter()
        .map(|(one, transport)| {
            proxies.spawn(listener::accept(one, transport, connections.clone(), stopping.clone()))
        })
        .collect();
    let background =
        tasks::Background::start(&admin, gateway, Arc::clone(&core.manage), Arc::clone(&certificates));
    Ok(App {
        gateway_addresses,
        tls_addresses,
        gateway_sockets,
        admin_address,
        core,
        first_token,
        shutdown,
        admin_shutdown,
        proxies,
        admin,
        accepting,
        serving_admin,
        background,
        watch,
        reloader,
    })
}

fn runtime(name: &str, threads: usize) -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(threads).thread_name(name).enable_all().build()
}

fn admin_state(
    config: &Config,
    core: &Core,
    gateway: &Arc<Gateway>,
    readiness: Readiness,
    reloader: &Arc<Reloader>,
    behind: Arc<Behind>,
) -> AdminState {
    AdminState {
        manage: Arc::clone(&core.manage),
        metrics: Arc::clone(&core.metrics),
        metrics_access: config.admin.metrics,
        readiness: Arc::new(readiness),
        dry_run: Arc::new(dry_run::GatewayRules(Arc::clone(gateway))),
        reload: Arc::clone(reloader) as Arc<dyn admin::control::Reload>,
        upstreams: behind,
        hosts: Hosts::of(&config.admin),
        throttle: Arc::default(),
    }
}

fn new_gateway(config: &Config, core: &Core, routing: Routing) -> Gateway {
    let judge = Judge::new(
        Arc::clone(&core.snapshot),
        core.hasher.clone(),
        Arc::clone(&core.quotas),
        config.keys.prefix.clone(),
    );
    Gateway {
        routing: ArcSwap::from_pointee(routing),
        judge,
        callers: Arc::clone(&core.callers),
        lines: Arc::clone(&core.lines),
        ledger: Arc::clone(&core.ledger),
        no_route: core.metrics.route(NO_ROUTE),
        metrics: Arc::clone(&core.metrics),
        clock: Arc::clone(&core.clock),
    }
}

fn new_connections(config: &Config, gateway: &Arc<Gateway>) -> Connections {
    let pingora = ServerConf {
        threads: config.gateway.threads,
        upstream_keepalive_pool_size: upstream_pool(config),
        ..ServerConf::default()
    };
    let proxy = http_proxy(&Arc::new(pingora), KeyedProxy(Arc::clone(gateway)));
    Connections {
        gateway: Arc::clone(gateway),
        proxy: Arc::new(proxy),
        places: Arc::default(),
        addresses: Arc::default(),
        probe: readiness::probe_head(),
        running: 0.into(),
    }
}

/// Room for the connections that each upstream may keep.
fn upstream_pool(config: &Config) -> usize {
    let of_one = |upstream: &crate::config::Upstream| {
        upstream.targets.len().saturating_mul(usize::try_from(upstream.keepalive).unwrap_or(usize::MAX))
    };
    let wanted = config.upstreams.values().map(of_one).fold(0_usize, usize::saturating_add);
    wanted.clamp(UPSTREAM_POOL.0, UPSTREAM_POOL.1)
}

impl App {
    /// Runs until a signal says to stop; a hang-up reloads the configuration's file, one that came `early` too.
    ///
    /// # Errors
    /// The signals cannot be heard.
    pub fn run_until_signal(&self, early: Option<&HangUps>) -> anyhow::Result<()> {
        signals::wait(self, early)
    }

    /// Stops: no new connection, what runs is finished within the grace, usage is merged.
    ///
    /// # Errors
    /// The last merge failed; what it held stays in the usage file for the next start.
    pub fn stop(self) -> anyhow::Result<()> {
        let Self {
            shutdown,
            admin_shutdown,
            proxies,
            admin,
            accepting,
            serving_admin,
            background,
            watch,
            core,
            reloader,
            ..
        } = self;
        let began = core.clock.monotonic();
        shutdown.send_replace(true);
        proxies.block_on(async {
            for task in accepting {
                // A listener that panicked has nothing left to wait for.
                let _ = task.await;
            }
        });
        watch.end();
        admin_shutdown.send_replace(true);
        admin.block_on(async {
            let _ = serving_admin.await;
            background.stop().await;
        });
        // Dropping the runtime drops what was cut off, and each request counts itself as it goes.
        drop(proxies);
        drop(admin);
        reloader.flush_traces(began);
        core.ledger.merge().context("usage could not be merged at the end; it is kept in the usage file")?;
        Ok(())
    }
}
