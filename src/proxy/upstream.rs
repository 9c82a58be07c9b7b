//! Where requests go: the targets of an upstream, how one is chosen, and the connection's options.
//!
//! A target is what the configuration names; its [`Endpoint`]s are the addresses that its name has, each with a health
//! of its own.

pub mod check;
pub mod endpoint;
mod identity;
mod names;
mod place;
mod resolve;
pub mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use pingora::upstreams::peer::{HttpPeer, Peer};

use crate::clock::Monotonic;
use crate::config::{Balance, Protocol, SetHeader, Upstream as UpstreamConfig, Verification};
use crate::metrics::{Metrics, TargetMetric};
use endpoint::{Choice, Endpoint, Standing};
use identity::Credentials;
pub use place::Place;
use resolve::LookUps;

/// Requests at once on one HTTP/2 connection to a target; the next one opens another.
const STREAMS: usize = 100;
/// How often an HTTP/2 connection to a target is asked whether it still stands.
const PING_EVERY: Duration = Duration::from_secs(15);
/// How long an idle connection to a target is kept.
const POOL_IDLE: Duration = Duration::from_mins(1);

/// Tells the connections of one upstream from those of all others, earlier ones of its name included.
static NEXT_GROUP: AtomicU64 = AtomicU64::new(1);

/// An upstream at work.
#[derive(Debug)]
pub struct Upstream {
    /// Its name in the configuration.
    pub name: String,
    /// What the configuration says of it.
    pub config: UpstreamConfig,
    /// Replaces the client's `Host`.
    pub host: Option<http::HeaderValue>,
    /// Set on each forwarded request.
    pub set_headers: Vec<SetHeader>,
    /// Its targets, in the configuration's order.
    pub targets: Vec<Arc<Target>>,
    /// Indexes of targets, each as often as its weight says.
    turns: Vec<usize>,
    turn: AtomicUsize,
    credentials: Credentials,
    group: u64,
}

/// One target.
#[derive(Debug)]
pub struct Target {
    /// `host:port`, a name or an address.
    pub address: String,
    /// Its share.
    pub weight: u32,
    /// What the address resolved to last. A look-up that fails leaves them as they are.
    endpoints: ArcSwap<Vec<Arc<Endpoint>>>,
    turn: AtomicUsize,
    running: AtomicU32,
    metric: TargetMetric,
    /// Of one that has a name.
    look_ups: Option<LookUps>,
}

/// A target that a request goes to. Counts as running until it is dropped.
#[derive(Debug)]
pub struct Chosen {
    target: Arc<Target>,
    endpoint: Arc<Endpoint>,
}

impl Chosen {
    /// Where it is.
    pub fn address(&self) -> &Place {
        &self.endpoint.address
    }

    /// What the configuration calls it.
    pub fn target_name(&self) -> &str {
        &self.target.address
    }

    /// The request went well there.
    pub fn serves(&self) {
        self.endpoint.serves();
    }
}

impl Drop for Chosen {
    fn drop(&mut self) {
        self.target.running.fetch_sub(1, Ordering::Relaxed);
        self.endpoint.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why no target was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unchosen {
    /// No name has an address.
    NoAddress,
    /// Each target's checks fail.
    NoneHealthy,
}

/// What the request asks of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// Requests and answers.
    Plain,
    /// Asks for an upgrade: silence is normal then.
    Upgrade,
}

/// Which connections a request may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// One that was kept, or a new one.
    Any,
    /// A new one, that is not kept: a kept one was found closed.
    New,
}

impl Upstream {
    /// From its configuration. Its names are looked up by [`Upstream::resolve`].
    pub fn new(name: &str, config: &UpstreamConfig, metrics: &Metrics) -> Self {
        let target = |target: &crate::config::Target| Arc::new(Target::new(name, target, metrics));
        let targets: Vec<_> = config.targets.iter().map(target).collect();
        if config.tls.is_some() && config.trust.verification == Verification::None {
            tracing::warn!(
                "upstreams.{name}.tls_verify is false: whoever answers at the upstream's addresses is believed"
            );
        }
        Self {
            name: name.to_owned(),
            host: config.host.as_deref().and_then(|host| host.parse().ok()),
            set_headers: config.set_headers.clone(),
            turns: interleave(&targets),
            targets,
            turn: AtomicUsize::new(0),
            credentials: Credentials::new(&config.trust),
            group: NEXT_GROUP.fetch_add(1, Ordering::Relaxed),
            config: config.clone(),
        }
    }

    /// Chooses a target that is at none of the addresses `tried`, and says how to connect to it.
    ///
    /// # Errors
    /// There is none.
    pub fn choose(
        &self,
        traffic: Traffic,
        line: Line,
        tried: &[Place],
    ) -> Result<(Chosen, HttpPeer), Unchosen> {
        let found = Choice::ALL.into_iter().find_map(|choice| match self.config.balance {
            Balance::RoundRobin => self.next_in_turn(choice, tried),
            Balance::LeastConnections => self.least_busy(choice, tried),
        });
        let Some((target, endpoint)) = found else {
            let known = self.targets.iter().any(|target| !target.endpoints.load().is_empty());
            return Err(if known { Unchosen::NoneHealthy } else { Unchosen::NoAddress });
        };
        let mut peer = self.peer(&endpoint.address, traffic).map_err(|_| Unchosen::NoAddress)?;
        target.running.fetch_add(1, Ordering::Relaxed);
        let busy = endpoint.running.fetch_add(1, Ordering::Relaxed);
        // So no more are ever kept than may be: only as many that run at once may stay.
        if line == Line::New || busy >= self.config.keepalive {
            peer.options.idle_timeout = Some(Duration::ZERO);
        }
        if line == Line::New {
            peer.group_key = NEXT_GROUP.fetch_add(1, Ordering::Relaxed);
        }
        Ok((Chosen { target: Arc::clone(target), endpoint }, peer))
    }

    /// Whether a target is left that is at none of these addresses and not known to be sick.
    pub fn has_other_than(&self, tried: &[Place]) -> bool {
        self.endpoints()
            .iter()
            .any(|endpoint| endpoint.standing() != Standing::Down && !tried.contains(&endpoint.address))
    }

    /// Every address of every target.
    fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        self.targets.iter().flat_map(|target| target.endpoints.load().to_vec()).collect()
    }

    fn next_in_turn(&self, choice: Choice, tried: &[Place]) -> Option<(&Arc<Target>, Arc<Endpoint>)> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let from = first % self.turns.len().max(1);
        let (after, before) = (self.turns.get(from..)?, self.turns.get(..from)?);
        after.iter().chain(before).filter_map(|&index| self.targets.get(index)).find_map(|target| {
            let endpoint = target.pick(choice, tried)?;
            Some((target, endpoint))
        })
    }

    fn least_busy(&self, choice: Choice, tried: &[Place]) -> Option<(&Arc<Target>, Arc<Endpoint>)> {
        // Ties go round, so that idle targets share.
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = self.targets.len();
        let open = self.targets.iter().enumerate().filter_map(|(index, target)| {
            let endpoint = target.pick(choice, tried)?;
            Some((target.load(), index.wrapping_add(first) % count, target, endpoint))
        });
        open.min_by_key(|(load, turn, ..)| (*load, *turn)).map(|(.., target, endpoint)| (target, endpoint))
    }

    /// A request failed at this target, as far as can be told by the target's fault. Too many in a row eject it, unless
    /// it is the last one there is.
    pub fn failed(&self, chosen: &Chosen, now: Monotonic) {
        let Some(rules) = &self.config.ejection else { return };
        if !chosen.endpoint.fails(rules) {
            return;
        }
        let other = |one: &Arc<Endpoint>| one.is_open() && one.address != *chosen.address();
        if !self.endpoints().iter().any(other) {
            return;
        }
        if let Some(lasts) = chosen.endpoint.eject(rules, now) {
            tracing::warn!(
                upstream = self.name,
                target = chosen.target.address,
                address = %chosen.address(),
                seconds = lasts.as_secs_f64(),
                "upstream target ejected: requests failed there in a row"
            );
            chosen.target.publish();
        }
    }

    /// Lets time pass for what is ejected or returns.
    pub fn pass(&self, now: Monotonic) {
        for target in &self.targets {
            for endpoint in target.endpoints.load().iter() {
                if let Some(standing) = endpoint.passes(self.config.ejection.as_ref(), now) {
                    self.say(target, endpoint, standing);
                }
            }
        }
    }

    /// Says that a target is back, or on its way.
    fn say(&self, target: &Target, endpoint: &Endpoint, standing: Standing) {
        let (upstream, name) = (&self.name, &target.address);
        match standing {
            Standing::Returning => {
                tracing::info!(upstream, target = name, address = %endpoint.address, "upstream target returns");
            }
            _ => {
                tracing::info!(upstream, target = name, address = %endpoint.address, "upstream target is healthy");
            }
        }
        target.publish();
    }

    /// How to connect to an address.
    ///
    /// # Errors
    /// It is a path that no socket can have.
    pub fn peer(&self, place: &Place, traffic: Traffic) -> pingora::Result<HttpPeer> {
        let config = &self.config;
        let mut peer = place.peer(config.tls.as_deref())?;
        peer.group_key = self.group;
        peer.client_cert_key.clone_from(&self.credentials.identity);
        if let Some(options) = peer.get_mut_peer_options() {
            options.connection_timeout = Some(config.connect_timeout);
            options.total_connection_timeout = Some(config.connect_timeout);
            let silence = match traffic {
                Traffic::Plain => config.response_timeout,
                Traffic::Upgrade => config.websocket_idle,
            };
            options.read_timeout = Some(silence);
            options.write_timeout = Some(silence);
            options.idle_timeout = Some(POOL_IDLE);
            options.ca.clone_from(&self.credentials.authorities);
            options.verify_cert = config.trust.verification == Verification::Full;
            options.verify_hostname = options.verify_cert;
            if config.protocol == Protocol::Http2 {
                options.set_http_version(2, 2);
                options.max_h2_streams = STREAMS;
                options.h2_ping_interval = Some(PING_EVERY);
            }
        }
        Ok(peer)
    }
}

impl Target {
    fn new(upstream: &str, config: &crate::config::Target, metrics: &Metrics) -> Self {
        let literal = Place::literal(&config.address).map(|place| Arc::new(Endpoint::new(place)));
        let is_name = literal.is_none();
        let made = Self {
            address: config.address.clone(),
            weight: config.weight.get(),
            endpoints: ArcSwap::from_pointee(literal.into_iter().collect()),
            turn: AtomicUsize::new(0),
            running: AtomicU32::new(0),
            metric: metrics.target(upstream, &config.address),
            look_ups: is_name.then(|| LookUps::new(metrics.name(upstream, &config.address))),
        };
        made.publish();
        made
    }

    /// One of its addresses that takes this request.
    fn pick(&self, choice: Choice, tried: &[Place]) -> Option<Arc<Endpoint>> {
        let endpoints = self.endpoints.load();
        let takes = |one: &&Arc<Endpoint>| one.takes(choice) && !tried.contains(&one.address);
        if let [only] = &***endpoints {
            return Some(only).filter(takes).cloned();
        }
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % endpoints.len().max(1);
        let (after, before) = (endpoints.get(first..)?, endpoints.get(..first)?);
        after.iter().chain(before).find(takes).cloned()
    }

    /// Its addresses.
    pub fn endpoints(&self) -> Arc<Vec<Arc<Endpoint>>> {
        self.endpoints.load_full()
    }

    /// How busy it is, for its weight.
    fn load(&self) -> u64 {
        u64::from(self.running.load(Ordering::Relaxed)) * 1_000 / u64::from(self.weight)
    }

    /// Whether one of its addresses takes requests, as far as is known.
    pub fn is_open(&self) -> bool {
        self.endpoints.load().iter().any(|endpoint| endpoint.is_open())
    }

    /// Requests that run there.
    pub fn running(&self) -> u32 {
        self.running.load(Ordering::Relaxed)
    }

    /// Writes its series.
    pub fn publish(&self) {
        if self.is_open() { self.metric.healthy() } else { self.metric.unhealthy() }
    }
}

/// Spreads the turns of heavy targets evenly among the others (smooth weighted round-robin, as in nginx).
fn interleave(targets: &[Arc<Target>]) -> Vec<usize> {
    let total: i64 = targets.iter().map(|target| i64::from(target.weight)).sum();
    let mut credit = vec![0_i64; targets.len()];
    let mut turns = Vec::new();
    for _ in 0..total {
        for (credit, target) in credit.iter_mut().zip(targets) {
            *credit += i64::from(target.weight);
        }
        let Some(best) = (0..targets.len()).max_by_key(|&index| (credit[index], std::cmp::Reverse(index)))
        else {
            break;
        };
        credit[best] -= total;
        turns.push(best);
    }
    turns
}

#[cfg(test)]
mod tests;
