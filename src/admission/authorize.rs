//! Whether a known key may do what its request asks: its standing, its address, its environment, its scopes. In this
//! order, and the first that fails answers.

use std::net::IpAddr;

use super::denial::Denial;
use super::policy::Policy;
use crate::clock::Timestamp;
use crate::key::{Status, Superseded, VersionState};
use crate::snapshot::{Found, Rights};

/// Judges a known key.
///
/// # Errors
/// The first rule that says no.
pub fn authorize(found: &Found, policy: &Policy, address: IpAddr, now: Timestamp) -> Result<(), Denial> {
    standing(found, now)?;
    address_allowed(&found.entry.rights, address)?;
    environment_allowed(&found.entry.rights.environment, policy)?;
    scopes_granted(&found.entry.rights, policy)
}

pub(super) fn scopes_granted(rights: &Rights, policy: &Policy) -> Result<(), Denial> {
    rights
        .lacking(&policy.scopes)
        .map_or(Ok(()), |lacking| Err(Denial::InsufficientScope(policy.scopes.clone(), lacking.clone())))
}

/// Revoked before expired before disabled; then whether this secret is still one of the key's.
pub(super) fn standing(found: &Found, now: Timestamp) -> Result<(), Denial> {
    match found.entry.status(now) {
        Status::Revoked => return Err(Denial::KeyRevoked),
        Status::Expired => return Err(Denial::KeyExpired),
        Status::Disabled => return Err(Denial::KeyDisabled),
        Status::Active => {}
    }
    match found.entry.superseded(found.version) {
        Some(end) if end.state(now) == VersionState::Retired => Err(Denial::SecretRetired(end.at)),
        _ => Ok(()),
    }
}

/// How the secret that was used ends, where it was rotated away and its grace still runs.
pub fn retiring(found: &Found, now: Timestamp) -> Option<Superseded> {
    found.entry.superseded(found.version).filter(|end| end.state(now) == VersionState::Retiring)
}

pub(super) fn address_allowed(rights: &Rights, address: IpAddr) -> Result<(), Denial> {
    let address = address.to_canonical();
    let allowed = rights.ip_allow.is_empty() || rights.ip_allow.iter().any(|net| net.contains(&address));
    if allowed { Ok(()) } else { Err(Denial::IpNotAllowed(address)) }
}

pub(super) fn environment_allowed(environment: &str, policy: &Policy) -> Result<(), Denial> {
    let allowed = policy.environments.is_empty() || policy.environments.iter().any(|e| e == environment);
    if allowed { Ok(()) } else { Err(Denial::EnvironmentNotAllowed(environment.to_owned())) }
}
