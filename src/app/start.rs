//! How a gateway is put together: every port bound, every file open, every part made and introduced to the others.

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use pingora::proxy::http_proxy;
use pingora::server::configuration::ServerConf;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::certificates::Certificates;
use super::listeners::{self, Entrances};
use super::readiness::{self, Lacks, Readiness};
use super::reload::Reloader;
use super::upgrade::{Followers, Offer, Origin, State, control_socket};
use super::upstreams::Behind;
use super::{App, Before, Core, dry_run, tasks, usage_path};
use crate::admin::{self, AdminState, Hosts};
use crate::admission::Judge;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Store as StoreConfig};
use crate::metrics::{Metrics, NO_ROUTE};
use crate::proxy::connection::Connections;
use crate::proxy::listener::{self, Ending, Entrance};
use crate::proxy::routing::Routing;
use crate::proxy::upstream::watch::Watch;
use crate::proxy::{Gateway, KeyedProxy};
use crate::traces::Traces;

/// Connections kept to upstreams in all: at least so many, and at most.
const UPSTREAM_POOL: (usize, usize) = (1 << 10, 1 << 16);

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
    build_from(config, admin_token, clock, Origin::default())
}

/// As [`build_with_clock`], from what the service manager or a process that runs hands over. That process accepts no more
/// when this returns `Ok`, and goes on as it was when it does not.
///
/// # Errors
/// As [`build`].
pub fn build_from(
    config: &Config,
    admin_token: Option<&str>,
    clock: Arc<dyn Clock>,
    mut origin: Origin,
) -> anyhow::Result<App> {
    let proxies = runtime("gateway", config.gateway.threads)?;
    let admin = runtime("admin", 1)?;
    let sockets = &mut origin.sockets;
    let Entrances { all: mut entrances, addresses: gateway_addresses, sockets: gateway_sockets } =
        listeners::bind_all(&proxies, &config.gateway.listen, sockets)?;
    let certificates = Arc::new(Certificates::load(&config.gateway.tls)?);
    let (secured, tls_addresses) = listeners::bind_secured(&proxies, &certificates, sockets)?;
    entrances.extend(secured);
    let admin_listener = listeners::bind(&admin, config.admin.listen, sockets)?;
    origin.check_unused()?;
    let tls = config.admin.tls.as_ref().map(admin::tls::acceptor).transpose()?;
    let metrics = Arc::new(Metrics::new()?);
    let traces = Traces::new(config.traces.as_ref(), None, &metrics)?;
    // Before the store is asked for: a name that nobody answers for takes seconds.
    let upstreams = Routing::without_routes(config, &metrics);
    proxies.block_on(upstreams.resolve());
    let before = if origin.is_upgrade() { Before::HandsOver } else { Before::Nobody };
    origin.take_store()?;
    let core = Core::open_after(config, clock, metrics, before)?;
    let first_token = core.manage.ensure_first_token(admin_token)?;
    let mut routing = Routing::new(config, Some(&upstreams), &*core.store, &core.metrics)?;
    routing.traces = traces;
    let watch =
        Arc::new(Watch::new(admin.handle().clone(), Arc::clone(&core.clock), Arc::clone(&core.metrics)));
    watch.follow(&routing);
    let gateway = Arc::new(new_gateway(config, &core, routing));
    let connections = Arc::new(new_connections(config, &gateway));
    let (stop, stopping) = watch::channel(false);
    let (drain, draining) = watch::channel(false);
    let (admin_stop, admin_stopping) = watch::channel(false);
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
    let ending = Ending { drain: draining, stop: stopping };
    origin.hear_signals()?;
    // Nothing fails from here on, and nothing was answered before: the process that hands over would not know of it.
    let followers = origin.ready()?;
    let followed = Arc::clone(&followers);
    core.manage.tell(Box::new(move |writes| followed.tell(writes)));
    let serving_admin = admin.spawn(admin::serve(admin_listener, tls, state, admin_stopping));
    let accepting = accept(&proxies, entrances, &connections, &ending);
    let background =
        tasks::Background::start(&admin, gateway, Arc::clone(&core.manage), Arc::clone(&certificates));
    let offer = new_offer(config, &core, origin, followers, Stops { drain, stop, admin: admin_stop });
    Ok(App {
        gateway_addresses,
        tls_addresses,
        gateway_sockets,
        admin_address,
        core,
        first_token,
        offer: Arc::new(offer),
        proxies,
        admin,
        accepting,
        serving_admin,
        background,
        watch,
        reloader,
    })
}

/// What ends the parts of a gateway.
struct Stops {
    drain: watch::Sender<bool>,
    stop: watch::Sender<bool>,
    admin: watch::Sender<bool>,
}

fn new_offer(config: &Config, core: &Core, origin: Origin, followers: Arc<Followers>, stops: Stops) -> Offer {
    let StoreConfig::Redb { path } = &config.store;
    Offer {
        at: control_socket(path),
        usage: usage_path(path),
        manage: Arc::clone(&core.manage),
        sockets: Mutex::new(origin.sockets),
        followers,
        drain: stops.drain,
        stop: stops.stop,
        admin: stops.admin,
        state: Mutex::new(State::Serves),
        ends: false.into(),
        started: Mutex::default(),
    }
}

fn accept(
    proxies: &Runtime,
    entrances: Vec<Entrance>,
    connections: &Arc<Connections>,
    ending: &Ending,
) -> Vec<JoinHandle<()>> {
    let accept = |one| proxies.spawn(listener::accept(one, Arc::clone(connections), ending.clone()));
    entrances.into_iter().map(accept).collect()
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
