//! The addresses that the targets' names have now.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::endpoint::Endpoint;
use super::names::{self, Family, Found};
use super::{Place, Target, Upstream};
use crate::metrics::NameMetric;

/// Addresses of one name at most.
const MAX_ADDRESSES: usize = 64;
/// The shortest time to live that is kept to.
const SHORTEST: Duration = Duration::from_secs(1);
/// The longest.
const LONGEST: Duration = Duration::from_hours(1);
/// That of an answer that has none.
const UNSAID: Duration = Duration::from_secs(30);
/// After how long a name that was not resolved is looked up again.
const AGAIN: Duration = Duration::from_secs(5);

/// The look-ups of a target that has a name.
#[derive(Debug)]
pub(super) struct LookUps {
    /// For how long what the last one found holds, in milliseconds.
    lasts: AtomicU64,
    /// Whether the last one failed.
    failing: AtomicBool,
    failures: NameMetric,
}

impl LookUps {
    pub(super) fn new(failures: NameMetric) -> Self {
        Self { lasts: AtomicU64::new(0), failing: AtomicBool::new(false), failures }
    }
}

impl Upstream {
    /// Whether a target has a name that must be looked up.
    pub fn has_names(&self) -> bool {
        self.targets.iter().any(|target| target.is_name())
    }

    /// Looks up the targets that have names, all at once.
    pub async fn resolve(self: &Arc<Self>) {
        let mut looking = tokio::task::JoinSet::new();
        for target in self.targets.iter().filter(|target| target.is_name()) {
            let (target, upstream) = (Arc::clone(target), Arc::clone(self));
            looking.spawn(async move { target.resolve(&upstream).await });
        }
        while looking.join_next().await.is_some() {}
    }

    /// Takes over what an earlier one of this name knew of the same addresses: their health and their requests.
    pub fn inherit(&self, earlier: &Self) {
        let same =
            self.config.health == earlier.config.health && self.config.ejection == earlier.config.ejection;
        for target in &self.targets {
            let Some(known) = earlier.targets.iter().find(|one| one.address == target.address) else {
                continue;
            };
            let endpoints = known.endpoints();
            let taken = if same {
                endpoints.to_vec()
            } else {
                endpoints.iter().map(|one| Arc::new(Endpoint::new(one.address.clone()))).collect()
            };
            target.endpoints.store(Arc::new(taken));
            target.publish();
        }
    }
}

impl Target {
    pub(super) fn is_name(&self) -> bool {
        self.look_ups.is_some()
    }

    /// Looks its name up, and notes for how long what it found holds. A look-up that fails changes nothing else.
    pub(super) async fn resolve(&self, upstream: &Upstream) {
        let Some(look_ups) = &self.look_ups else { return };
        let most = upstream.config.resolve_every;
        let lasts = match names::look_up(&self.address, &upstream.config.dns_servers).await {
            Ok(found) => {
                if look_ups.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!(upstream = upstream.name, target = self.address, "name is resolved again");
                }
                let lasts = lasting(found.lasts, most);
                // What was left open is asked for again soon.
                let lasts = if found.unsaid.is_some() { lasts.min(AGAIN) } else { lasts };
                self.has_addresses(found, upstream);
                lasts
            }
            Err(error) => {
                look_ups.failures.count();
                // Said once, until it is over.
                if !look_ups.failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        upstream = upstream.name,
                        target = self.address,
                        error,
                        "name not resolved; the addresses that it had stay in use"
                    );
                }
                most.unwrap_or(AGAIN).min(AGAIN)
            }
        };
        look_ups.lasts.store(u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// For how long what the last look-up found holds.
    pub(super) fn lasts(&self) -> Duration {
        let millis = self.look_ups.as_ref().map_or(0, |look_ups| look_ups.lasts.load(Ordering::Relaxed));
        Duration::from_millis(millis).max(SHORTEST)
    }

    fn has_addresses(&self, found: Found, upstream: &Upstream) {
        let known = self.endpoints();
        let left = found.unsaid.into_iter().flat_map(|family| of_family(family, &known));
        let addresses = found.addresses.into_iter().chain(left);
        let mut found: Vec<Place> = addresses.take(MAX_ADDRESSES).map(Place::Inet).collect();
        // The same set is the same, in whatever order a name server gives it.
        found.sort_unstable();
        found.dedup();
        if known.iter().map(|one| &one.address).eq(&found) {
            return;
        }
        let kept = |address: Place| {
            let kept = known.iter().find(|one| one.address == address).cloned();
            kept.unwrap_or_else(|| Arc::new(Endpoint::new(address)))
        };
        let (upstream, target) = (&upstream.name, &self.address);
        tracing::debug!(upstream, target, addresses = found.len(), "name has other addresses");
        self.endpoints.store(Arc::new(found.into_iter().map(kept).collect()));
        self.publish();
    }
}

/// Those of a family among the addresses that are known.
fn of_family(family: Family, known: &[Arc<Endpoint>]) -> impl Iterator<Item = SocketAddr> {
    known.iter().filter_map(move |one| match &one.address {
        Place::Inet(address) => Some(*address).filter(|address| family.has(address)),
        Place::Unix(_) => None,
    })
}

/// For how long an answer is used: its time to live, within bounds.
fn lasting(ttl: Option<Duration>, most: Option<Duration>) -> Duration {
    let most = most.unwrap_or(if ttl.is_some() { LONGEST } else { UNSAID });
    ttl.unwrap_or(most).clamp(SHORTEST, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_used_for_as_long_as_it_says_within_bounds() {
        let secs = |secs: Option<u64>| secs.map(Duration::from_secs);
        let cases = [
            (Some(0), None, 1),
            (Some(1), None, 1),
            (Some(60), None, 60),
            (Some(86_000), None, 3600),
            (None, None, 30),
            (Some(60), Some(5), 5),
            (Some(2), Some(5), 2),
            (None, Some(5), 5),
        ];
        for (ttl, most, expected) in cases {
            assert_eq!(lasting(secs(ttl), secs(most)).as_secs(), expected, "{ttl:?} {most:?}");
        }
    }
}
