//! The addresses that the targets' names have now.

use std::sync::Arc;

use super::endpoint::Endpoint;
use super::{Place, Target, Upstream};

/// Addresses of one name at most.
const MAX_ADDRESSES: usize = 64;

impl Upstream {
    /// Whether a target has a name that must be looked up.
    pub fn has_names(&self) -> bool {
        self.targets.iter().any(|target| target.is_name())
    }

    /// Looks up the targets that have names, all at once.
    pub async fn resolve(&self) {
        let mut looking = tokio::task::JoinSet::new();
        for target in self.targets.iter().filter(|target| target.is_name()) {
            let (target, upstream) = (Arc::clone(target), self.name.clone());
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
    fn is_name(&self) -> bool {
        Place::literal(&self.address).is_none()
    }

    async fn resolve(&self, upstream: &str) {
        let target = &self.address;
        let mut found: Vec<Place> = match tokio::net::lookup_host(target).await {
            Ok(found) => found.take(MAX_ADDRESSES).map(Place::Inet).collect(),
            Err(error) => {
                tracing::warn!(upstream, target, %error, "name not resolved");
                return;
            }
        };
        // The same set is the same, in whatever order a name server gives it.
        found.sort_unstable();
        found.dedup();
        if found.is_empty() {
            tracing::warn!(upstream, target, "name has no address");
            return;
        }
        let known = self.endpoints();
        if known.iter().map(|one| &one.address).eq(&found) {
            return;
        }
        let kept = |address: Place| {
            let kept = known.iter().find(|one| one.address == address).cloned();
            kept.unwrap_or_else(|| Arc::new(Endpoint::new(address)))
        };
        tracing::debug!(upstream, target, addresses = found.len(), "name has other addresses");
        self.endpoints.store(Arc::new(found.into_iter().map(kept).collect()));
        self.publish();
    }
}
