//! Where requests go: the targets of an upstream, how one is chosen, and the connection's options.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use pingora::upstreams::peer::{HttpPeer, Peer};

use crate::config::listen::UNIX;
use crate::config::{Balance, Protocol, SetHeader, Upstream as UpstreamConfig};

/// How often the names of targets are looked up again.
pub const RESOLVE_EVERY: Duration = Duration::from_secs(30);
/// Requests at once on one HTTP/2 connection to a target; the next one opens another.
const STREAMS: usize = 100;
/// How often an HTTP/2 connection to a target is asked whether it still stands.
const PING_EVERY: Duration = Duration::from_secs(15);
/// How long an idle connection to a target is kept.
const POOL_IDLE: Duration = Duration::from_mins(1);

/// An upstream at work.
#[derive(Debug)]
pub struct Upstream {
    /// Its name in the configuration.
    pub name: String,
    /// Replaces the client's `Host`.
    pub host: Option<http::HeaderValue>,
    /// How long an upgraded connection may be silent.
    pub websocket_idle: Duration,
    /// Set on each forwarded request.
    pub set_headers: Vec<SetHeader>,
    targets: Vec<Arc<Target>>,
    /// Indexes of targets, each as often as its weight says.
    turns: Vec<usize>,
    turn: AtomicUsize,
    balance: Balance,
    tls: Option<String>,
    protocol: Protocol,
    connect_timeout: Duration,
    response_timeout: Duration,
}

/// One target.
#[derive(Debug)]
pub struct Target {
    address: String,
    weight: u32,
    /// What the address resolved to last. A look-up that fails leaves it as it is.
    resolved: ArcSwapOption<Place>,
    running: AtomicU32,
}

/// Where a target is.
#[derive(Debug)]
enum Place {
    Inet(SocketAddr),
    Unix(String),
}

impl Place {
    /// Of what needs no look-up.
    fn literal(address: &str) -> Option<Self> {
        match address.strip_prefix(UNIX) {
            Some(path) => Some(Self::Unix(path.to_owned())),
            None => address.parse().ok().map(Self::Inet),
        }
    }
}

/// A target that a request goes to. Counts as running until it is dropped.
#[derive(Debug)]
pub struct Chosen {
    target: Arc<Target>,
    /// Its index among the upstream's targets.
    pub index: usize,
}

impl Drop for Chosen {
    fn drop(&mut self) {
        self.target.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the request asks of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// Requests and answers.
    Plain,
    /// Asks for an upgrade: silence is normal then.
    Upgrade,
}

impl Upstream {
    /// From its configuration. Its names are looked up by [`Upstream::resolve`].
    pub fn new(name: &str, config: &UpstreamConfig) -> Self {
        let target = |target: &crate::config::Target| {
            let literal = Place::literal(&target.address).map(Arc::new);
            Arc::new(Target {
                address: target.address.clone(),
                weight: target.weight.get(),
                resolved: ArcSwapOption::new(literal),
                running: AtomicU32::new(0),
            })
        };
        let targets: Vec<_> = config.targets.iter().map(target).collect();
        Self {
            name: name.to_owned(),
            host: config.host.as_deref().and_then(|host| host.parse().ok()),
            websocket_idle: config.websocket_idle,
            set_headers: config.set_headers.clone(),
            turns: interleave(&targets),
            targets,
            turn: AtomicUsize::new(0),
            balance: config.balance,
            tls: config.tls.clone(),
            protocol: config.protocol,
            connect_timeout: config.connect_timeout,
            response_timeout: config.response_timeout,
        }
    }

    /// Looks up the targets that have names.
    pub async fn resolve(&self) {
        for target in &self.targets {
            if Place::literal(&target.address).is_some() {
                continue;
            }
            match tokio::net::lookup_host(&target.address).await.map(|mut found| found.next()) {
                Ok(Some(address)) => target.resolved.store(Some(Arc::new(Place::Inet(address)))),
                Ok(None) => {
                    tracing::warn!(upstream = self.name, target = target.address, "name has no address");
                }
                Err(error) => {
                    tracing::warn!(upstream = self.name, target = target.address, %error, "name not resolved");
                }
            }
        }
    }

    /// How many targets there are.
    pub fn targets(&self) -> usize {
        self.targets.len()
    }

    /// Chooses a target that is none of `failed`, and says how to connect to it. `None` where no such target has an
    /// address.
    pub fn choose(&self, traffic: Traffic, failed: &[usize]) -> Option<(Chosen, HttpPeer)> {
        let index = match self.balance {
            Balance::RoundRobin => self.next_in_turn(failed),
            Balance::LeastConnections => self.least_busy(failed),
        }?;
        let target = self.targets.get(index)?;
        let peer = self.peer(target.resolved.load().as_ref()?, traffic)?;
        target.running.fetch_add(1, Ordering::Relaxed);
        Some((Chosen { target: Arc::clone(target), index }, peer))
    }

    /// Whether the target may be chosen.
    fn is_open(&self, index: usize, failed: &[usize]) -> bool {
        let known = self.targets.get(index).is_some_and(|target| target.resolved.load().is_some());
        known && !failed.contains(&index)
    }

    fn next_in_turn(&self, failed: &[usize]) -> Option<usize> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let from = first % self.turns.len().max(1);
        let (after, before) = (self.turns.get(from..)?, self.turns.get(..from)?);
        after.iter().chain(before).copied().find(|&index| self.is_open(index, failed))
    }

    fn least_busy(&self, failed: &[usize]) -> Option<usize> {
        let load = |target: &Target| {
            u64::from(target.running.load(Ordering::Relaxed)) * 1_000 / u64::from(target.weight)
        };
        // Ties go round, so that idle targets share.
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = self.targets.len();
        let open = self.targets.iter().enumerate().filter(|(index, _)| self.is_open(*index, failed));
        open.min_by_key(|(index, target)| (load(target), index.wrapping_add(first) % count))
            .map(|(index, _)| index)
    }

    fn peer(&self, place: &Place, traffic: Traffic) -> Option<HttpPeer> {
        let name = self.tls.clone().unwrap_or_default();
        let mut peer = match place {
            Place::Inet(address) => HttpPeer::new(address, self.tls.is_some(), name),
            Place::Unix(path) => HttpPeer::new_uds(path, self.tls.is_some(), name).ok()?,
        };
        if let Some(options) = peer.get_mut_peer_options() {
            options.connection_timeout = Some(self.connect_timeout);
            options.total_connection_timeout = Some(self.connect_timeout);
            let silence = match traffic {
                Traffic::Plain => self.response_timeout,
                Traffic::Upgrade => self.websocket_idle,
            };
            options.read_timeout = Some(silence);
            options.write_timeout = Some(silence);
            options.idle_timeout = Some(POOL_IDLE);
            if self.protocol == Protocol::Http2 {
                options.set_http_version(2, 2);
                options.max_h2_streams = STREAMS;
                options.h2_ping_interval = Some(PING_EVERY);
            }
        }
        Some(peer)
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
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    fn upstream(targets: &[(&str, u32)], balance: Balance) -> Upstream {
        let target = |&(address, weight): &(&str, u32)| crate::config::Target {
            address: address.to_owned(),
            weight: NonZeroU32::new(weight).unwrap(),
        };
        let config = UpstreamConfig {
            targets: targets.iter().map(target).collect(),
            balance,
            tls: None,
            protocol: Protocol::Http1,
            host: None,
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_secs(1),
            websocket_idle: Duration::from_hours(1),
            set_headers: Vec::new(),
        };
        Upstream::new("api", &config)
    }

    #[test]
    fn weights_are_kept_and_spread() {
        let upstream =
            upstream(&[("127.0.0.1:1", 5), ("127.0.0.1:2", 1), ("127.0.0.1:3", 1)], Balance::RoundRobin);
        assert_eq!(upstream.turns, [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn the_least_busy_target_for_its_weight_is_chosen() {
        let upstream = upstream(&[("127.0.0.1:1", 1), ("127.0.0.1:2", 3)], Balance::LeastConnections);
        let chosen: Vec<_> =
            (0..8).filter_map(|_| upstream.choose(Traffic::Plain, &[])).map(|(chosen, _)| chosen).collect();
        let on_first = chosen.iter().filter(|chosen| chosen.index == 0).count();
        assert_eq!(on_first, 2);
        drop(chosen);
        assert_eq!(upstream.targets[1].running.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_target_without_an_address_is_passed_over() {
        let upstream = upstream(&[("name.invalid:1", 1), ("127.0.0.1:2", 1)], Balance::RoundRobin);
        for _ in 0..4 {
            assert_eq!(upstream.choose(Traffic::Plain, &[]).unwrap().0.index, 1);
        }
    }

    #[test]
    fn a_target_that_failed_is_not_chosen_again() {
        for balance in [Balance::RoundRobin, Balance::LeastConnections] {
            let upstream = upstream(&[("127.0.0.1:1", 9), ("127.0.0.1:2", 1), ("127.0.0.1:3", 1)], balance);
            for _ in 0..9 {
                assert_eq!(upstream.choose(Traffic::Plain, &[0, 2]).unwrap().0.index, 1);
            }
            assert!(upstream.choose(Traffic::Plain, &[0, 1, 2]).is_none());
        }
    }
}
