//! A dry run of the decision: every rule in its order, and what it says. Nothing is charged or counted, and the rules
//! are the very functions that decide.

use std::net::IpAddr;

use super::authorize;
use super::denial::Denial;
use super::policy::Policy;
use super::{Judge, Limits, Moment, rates};
use crate::limit::Exceeded;
use crate::snapshot::Found;

/// One rule, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The rule's name.
    pub rule: &'static str,
    /// Why it says no, if it does.
    pub denial: Option<Denial>,
}

impl Step {
    /// A rule and its result.
    pub fn new(rule: &'static str, result: Result<(), Denial>) -> Self {
        Self { rule, denial: result.err() }
    }
}

impl Judge {
    /// What each rule says of a known key on this route from this address.
    pub fn explain(&self, found: &Found, policy: &Policy, address: IpAddr, now: Moment) -> Vec<Step> {
        let entry = &found.entry;
        let grant = entry.rights.grant().filter(|_| entry.rights.rates.is_empty());
        let shared = entry.owner.as_ref().and_then(|owner| owner.rates());
        let shared = shared.as_deref().map_or(&[][..], |rates| rates);
        let rates = rates(entry, grant.as_deref(), policy);
        let limits = Limits { quotas: &self.quotas, found, rates, shared, now };
        vec![
            Step::new("status", authorize::standing(found, now.wall)),
            Step::new("address", authorize::address_allowed(&entry.rights, address)),
            Step::new("environment", authorize::environment_allowed(&entry.rights.environment, policy)),
            Step::new("scopes", authorize::scopes_granted(&entry.rights, policy)),
            Step::new("rates", limits.peek_rates().map_err(Denial::RateLimited)),
            Step::new("quotas", self.quotas.peek(entry, now.wall)),
            Step::new("concurrency", limits.peek_concurrency()),
        ]
    }
}

impl Limits<'_> {
    /// Looks at the key's rates and its owner's.
    pub(super) fn peek_rates(&self) -> Result<(), Exceeded> {
        self.found.entry.live.cells.peek(self.rates, self.now.monotonic)?;
        self.shared_cells().map_or(Ok(()), |cells| cells.peek(self.shared, self.now.monotonic))
    }

    fn peek_concurrency(&self) -> Result<(), Denial> {
        let (entry, most) = (&self.found.entry, self.found.entry.rights.max_concurrent);
        match most {
            Some(most) if entry.live.in_flight.running() >= most.get() => {
                Err(Denial::TooManyConcurrent(most.get()))
            }
            _ => Ok(()),
        }
    }
}
