//! The decision: may this request pass? Synchronous, in memory, without I/O.
//!
//! [`Judge::admit`] is the only maker of a [`Permit`], and the proxy forwards nothing without one (or a public route's
//! [`Passage::Public`]). The order of the rules is the contract's: credential, key, address, environment, scopes,
//! limits, body. All limits are looked at before any is charged.

pub mod authorize;
pub mod credential;
pub mod denial;
pub mod explain;
pub mod policy;

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, StatusCode};

use crate::clock::{Monotonic, Timestamp};
use crate::config::Access;
use crate::key::Key;
use crate::key::secret::{Presented, SecretHasher};
use crate::limit::{Cells, Entered, Rate, Standing};
use crate::snapshot::{Entry, Found, Grant, Snapshot};
use crate::usage::quota::Quotas;
use denial::Denial;
use policy::Policy;

/// What is judged: a request whose route is known, and whose target is the one that will be forwarded.
#[derive(Debug)]
pub struct Request<'a> {
    /// What its route asks.
    pub policy: &'a Policy,
    /// Its header fields.
    pub headers: &'a HeaderMap,
    /// Its target's query, raw.
    pub query: Option<&'a [u8]>,
    /// The client's address, behind trusted proxies.
    pub address: IpAddr,
    /// The length of the body, where the head says one.
    pub declared_body: Option<u64>,
}

/// When it is judged.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// For expiries and calendars.
    pub wall: Timestamp,
    /// For rates.
    pub monotonic: Monotonic,
}

/// A request that may pass.
#[derive(Debug)]
pub enum Passage {
    /// Its route is public.
    Public,
    /// Its key may do this.
    Keyed(Permit),
}

/// Proof that a key may do this. It holds a place among the key's concurrent requests until it is dropped.
#[derive(Debug)]
pub struct Permit {
    found: Found,
    standings: Vec<Standing>,
}

impl Permit {
    /// The key.
    pub fn entry(&self) -> &Arc<Entry> {
        &self.found.entry
    }

    /// The key and which of its secrets was used.
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// Where the key stands with its limits, after this request.
    pub fn standings(&self) -> &[Standing] {
        &self.standings
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.found.entry.live.in_flight.leave();
    }
}

/// A request that may not pass.
#[derive(Debug)]
pub struct Refusal {
    /// Why.
    pub denial: Denial,
    /// The key, where it was known: the refusal counts on it.
    pub found: Option<Found>,
    /// Where the key stands with its limits, where they were looked at.
    pub standings: Vec<Standing>,
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        Self { denial, found: None, standings: Vec::new() }
    }
}

/// What a decision is made from.
#[derive(Debug)]
pub struct Judge {
    snapshot: Arc<Snapshot>,
    hasher: SecretHasher,
    quotas: Arc<Quotas>,
    prefix: String,
}

impl Judge {
    /// Judges by these; `prefix` is what secrets start with, for hints.
    pub fn new(snapshot: Arc<Snapshot>, hasher: SecretHasher, quotas: Arc<Quotas>, prefix: String) -> Self {
        Self { snapshot, hasher, quotas, prefix }
    }

    /// Decides.
    ///
    /// # Errors
    /// The first rule that says no, with the key where it was known.
    pub fn admit(&self, request: &Request<'_>, now: Moment) -> Result<Passage, Refusal> {
        let policy = request.policy;
        if policy.access == Access::Public {
            return match too_large(request) {
                Some(denial) => Err(denial.into()),
                None => Ok(Passage::Public),
            };
        }
        let found = self.identify(request)?;
        let refuse = |denial, standings| Refusal { denial, found: Some(found.clone()), standings };
        let grant = if found.entry.rights.rates.is_empty() { found.entry.rights.grant() } else { None };
        let shared = found.entry.owner.as_ref().and_then(|owner| owner.rates());
        let rates = rates(&found.entry, grant.as_deref(), policy);
        let shared = shared.as_deref().map_or(&[][..], |rates| rates);
        let limits = Limits { quotas: &self.quotas, found: &found, rates, shared, now };
        authorize::authorize(&found, policy, request.address, now.wall).map_err(|denial| {
            // A key in good standing is told where it stands with its limits, whatever else it lacks.
            let is_good = denial.status() == StatusCode::FORBIDDEN;
            refuse(denial, if is_good { limits.standings() } else { Vec::new() })
        })?;
        limits.take(request).map(Passage::Keyed).map_err(|denial| refuse(denial, limits.standings()))
    }

    /// What a key's newest secret leads to.
    pub fn newest_of(&self, key: &Key) -> Option<Found> {
        self.snapshot.newest_of(key)
    }

    /// Why a request cannot be any key's, where its route wants one. It is refused with that before anything is charged.
    pub fn stranger(&self, request: &Request<'_>) -> Option<Denial> {
        if request.policy.access == Access::Public { None } else { self.identify(request).err() }
    }

    fn identify(&self, request: &Request<'_>) -> Result<Found, Denial> {
        let text = credential::find(request.policy, request.headers, request.query)?;
        self.known(credential::present(&text)?)
    }

    fn known(&self, presented: Presented<'_>) -> Result<Found, Denial> {
        self.hasher
            .candidates(presented)
            .find_map(|digest| self.snapshot.find(&digest))
            .ok_or_else(|| Denial::InvalidKey(presented.hint(&self.prefix)))
    }
}

/// The key's own rates, else its role's, else the route's.
fn rates<'a>(entry: &'a Entry, grant: Option<&'a Grant>, policy: &'a Policy) -> &'a [Rate] {
    let by_role = grant.map_or(&[][..], |grant| &grant.rates);
    match (&*entry.rights.rates, by_role) {
        ([], []) => &policy.rates,
        ([], by_role) => by_role,
        (own, _) => own,
    }
}

fn too_large(request: &Request<'_>) -> Option<Denial> {
    let most = request.policy.max_body?.get();
    request.declared_body.filter(|length| *length > most).map(|_| Denial::BodyTooLarge(most))
}

/// The limits that one request meets.
struct Limits<'a> {
    quotas: &'a Quotas,
    found: &'a Found,
    rates: &'a [Rate],
    /// The limits that all of the owner's keys share.
    shared: &'a [Rate],
    now: Moment,
}

impl Limits<'_> {
    /// Looks at every limit, takes a place, then charges. Where a charge fails because another request was faster,
    /// what was charged before it is given back.
    fn take(&self, request: &Request<'_>) -> Result<Permit, Denial> {
        let entry = &self.found.entry;
        let (live, quotas) = (&entry.live, &entry.rights.quotas);
        // Where one rate is the last rule there is, charging it is looking at it.
        let one_rule = self.rates.len() + self.shared.len() <= 1
            && quotas.is_empty()
            && entry.rights.max_concurrent.is_none()
            && too_large(request).is_none();
        if !one_rule {
            self.peek_rates().map_err(Denial::RateLimited)?;
            self.quotas.peek(entry, self.now.wall)?;
        }
        if live.in_flight.enter(entry.rights.max_concurrent) == Entered::Full {
            return Err(Denial::TooManyConcurrent(entry.rights.max_concurrent.map_or(0, Into::into)));
        }
        let mut permit = Permit { found: self.found.clone(), standings: Vec::new() };
        if let Some(denial) = too_large(request) {
            return Err(denial);
        }
        if !quotas.is_empty() {
            self.quotas.charge(entry, self.now.wall)?;
        }
        match self.charge_rates() {
            Ok(standings) => permit.standings = standings,
            Err(denial) => {
                self.quotas.refund(entry, self.now.wall);
                return Err(denial);
            }
        }
        permit.standings.extend(self.quotas.standings(entry, self.now.wall));
        Ok(permit)
    }

    /// Charges the key's rates and its owner's, or none.
    fn charge_rates(&self) -> Result<Vec<Standing>, Denial> {
        let (own, now) = (&self.found.entry.live.cells, self.now.monotonic);
        let mut standings = own.charge(self.rates, now).map_err(Denial::RateLimited)?;
        if let Some(cells) = self.shared_cells() {
            let shared = cells.charge(self.shared, now).map_err(|exceeded| {
                own.refund(self.rates);
                Denial::RateLimited(exceeded)
            });
            standings.extend(shared?);
        }
        Ok(standings)
    }

    /// The owner's states, where it has limits.
    fn shared_cells(&self) -> Option<&Cells> {
        let owner = self.found.entry.owner.as_ref().filter(|_| !self.shared.is_empty())?;
        Some(&owner.cells)
    }

    /// Where the key stands, without charging.
    fn standings(&self) -> Vec<Standing> {
        let entry = &self.found.entry;
        let mut standings = entry.live.cells.standings(self.rates, self.now.monotonic);
        if let Some(cells) = self.shared_cells() {
            standings.extend(cells.standings(self.shared, self.now.monotonic));
        }
        standings.extend(self.quotas.standings(entry, self.now.wall));
        standings
    }
}
