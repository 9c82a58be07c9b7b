//! What is behind the gateway, for operators: how each target stands.

use std::sync::Arc;

use crate::admin::control::{AddressState, TargetState, UpstreamState, Upstreams};
use crate::proxy::Gateway;
use crate::proxy::upstream::endpoint::Endpoint;
use crate::proxy::upstream::{Target, Upstream};

/// The upstreams in force.
#[derive(Debug)]
pub(super) struct Behind(pub(super) Arc<Gateway>);

impl Behind {
    /// The names of the upstreams that have no target left.
    pub(super) fn without_targets(&self) -> Vec<String> {
        let routing = self.0.routing.load();
        let dead =
            routing.upstreams.values().filter(|upstream| !upstream.targets.iter().any(|one| one.is_open()));
        dead.map(|upstream| upstream.name.clone()).collect()
    }
}

impl Upstreams for Behind {
    fn upstreams(&self) -> Vec<UpstreamState> {
        self.0.routing.load().upstreams.values().map(|upstream| upstream_state(upstream)).collect()
    }
}

fn upstream_state(upstream: &Upstream) -> UpstreamState {
    UpstreamState {
        name: upstream.name.clone(),
        targets: upstream.targets.iter().map(|target| target_state(target)).collect(),
    }
}

fn target_state(target: &Target) -> TargetState {
    TargetState {
        address: target.address.clone(),
        weight: target.weight,
        running: target.running(),
        addresses: target.endpoints().iter().map(|one| address_state(one)).collect(),
    }
}

fn address_state(endpoint: &Endpoint) -> AddressState {
    AddressState {
        address: endpoint.address.to_string(),
        standing: endpoint.standing().as_str(),
        failures: endpoint.failures(),
    }
}
