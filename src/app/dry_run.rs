//! The gateway's rules, for the admin API's dry runs: the same routes and the same judge that requests meet.

use std::sync::Arc;

use http::HeaderMap;
use http::header::HOST;

use crate::admin::{Asked, DryRun};
use crate::admission::Moment;
use crate::admission::denial::Denial;
use crate::admission::explain::Step;
use crate::config::Access;
use crate::key::Key;
use crate::proxy::routing::Route;
use crate::proxy::{Gateway, request};
use crate::routes::target::CheckedTarget;

/// The rules in force.
#[derive(Debug)]
pub(super) struct GatewayRules(pub(super) Arc<Gateway>);

impl GatewayRules {
    fn route(&self, asked: &Asked) -> Result<Arc<Route>, Denial> {
        let target = CheckedTarget::parse(asked.path.as_bytes())
            .map_err(|fault| Denial::BadRequest(fault.detail().into()))?;
        let mut headers = HeaderMap::new();
        if let Some(host) = asked.host.as_deref().and_then(|host| host.parse().ok()) {
            headers.insert(HOST, host);
        }
        request::route(&self.0.routing.load(), &headers, &target, &asked.method)
    }
}

impl DryRun for GatewayRules {
    fn dry_run(&self, key: &Key, asked: &Asked) -> Vec<Step> {
        let route = match self.route(asked) {
            Ok(route) => route,
            Err(denial) => return vec![Step::new("route", Err(denial))],
        };
        let mut steps = vec![Step::new("route", Ok(()))];
        let gateway = &self.0;
        // A public route asks nothing of a key.
        if route.policy.access == Access::Key
            && let Some(found) = gateway.judge.newest_of(key)
        {
            let now = Moment { wall: gateway.clock.now(), monotonic: gateway.clock.monotonic() };
            steps.extend(gateway.judge.explain(&found, &route.policy, asked.address, now));
        }
        steps
    }
}
