//! A route as admission reads it: what it asks of a key.

use std::num::NonZeroU64;
use std::sync::Arc;

use crate::config::{Access, CredentialPlace, Route};
use crate::key::scope::Scope;
use crate::limit::Rate;

/// What a route asks.
#[derive(Debug)]
pub struct Policy {
    /// The route's name in metrics and the ledger.
    pub label: Arc<str>,
    /// The route's number in the ledger.
    pub number: u16,
    /// Who may pass.
    pub access: Access,
    /// Needed, all of them.
    pub scopes: Vec<Scope>,
    /// Which environments' keys may pass; empty: any.
    pub environments: Vec<String>,
    /// For keys that set none of their own.
    pub rates: Box<[Rate]>,
    /// Where the credential may be.
    pub places: Vec<CredentialPlace>,
    /// The largest request body; `None`: no limit.
    pub max_body: Option<NonZeroU64>,
}

impl Policy {
    /// Of a route with this name and number.
    pub fn new(route: &Route, label: &str, number: u16) -> Self {
        Self {
            label: label.into(),
            number,
            access: route.access,
            scopes: route.scopes.clone(),
            environments: route.environments.clone(),
            rates: route.limits.iter().map(|spec| Rate::of_route(spec, label)).collect(),
            places: route.credential.clone(),
            max_body: route.max_request_body,
        }
    }

    /// The places in words, for whoever sent no credential.
    pub fn places_in_words(&self) -> String {
        let words = |place: &CredentialPlace| match place {
            CredentialPlace::Bearer => "`Authorization: Bearer <key>`".to_owned(),
            CredentialPlace::Header(name) => format!("the header `{name}`"),
            CredentialPlace::Query(name) => format!("the query parameter `{name}`"),
        };
        self.places.iter().map(words).collect::<Vec<_>>().join(" or ")
    }
}
