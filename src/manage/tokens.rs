//! Admin tokens: what opens the admin API. Kept as a hash, compared in constant time.

use std::collections::HashMap;

use parking_lot::RwLock;
use serde_json::{Value, json};

use super::profile::{self, MAX_NAME_CHARS, PastExpiry};
use super::{Actor, Manage, ManageError, Permission};
use crate::clock::Timestamp;
use crate::document::{self, Faults, Fields, slugs};
use crate::key::secret::{Digest, NewSecret, Presented, SecretHasher};
use crate::store::{AdminToken, Change, Store, StoreError, Write, audit};

/// What admin tokens start with.
const TOKEN_PREFIX: &str = "pca";
/// Where the environment stands in a key's secret.
const TOKEN_KIND: &str = "admin";
/// The ID of the token that the environment variable gives.
pub const ENVIRONMENT_TOKEN_ID: &str = "admt_environment";

/// The tokens in memory, by digest. Locked for writing by changes of tokens alone.
#[derive(Debug)]
pub(super) struct Tokens(RwLock<HashMap<Digest, AdminToken>>);

impl Tokens {
    pub(super) fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let tokens = store.tokens()?.into_iter().map(|token| (token.digest, token)).collect();
        Ok(Self(RwLock::new(tokens)))
    }

    pub(super) fn load_again(&self, store: &dyn Store) -> Result<(), StoreError> {
        let fresh = Self::load(store)?.0.into_inner();
        *self.0.write() = fresh;
        Ok(())
    }

    fn replace(&self, token: AdminToken) {
        let mut tokens = self.0.write();
        tokens.retain(|_, known| known.id != token.id);
        tokens.insert(token.digest, token);
    }
}

/// How the first token came to be.
pub enum FirstToken {
    /// One was there.
    Existing,
    /// It was made now and is shown this once.
    Made(NewSecret),
}

impl Manage {
    /// Who presents this token, if it is one. The lookup is by digest, and the digests are compared in constant time.
    pub fn authenticate(&self, presented: &[u8]) -> Option<AdminToken> {
        let presented = Presented::new(presented)?;
        let tokens = self.tokens.0.read();
        let mut digests = SecretHasher::new(None).candidates(presented);
        let now = self.now();
        let good = |token: &&AdminToken| token.expires_at.is_none_or(|at| now < at);
        let found = |digest: &Digest| tokens.get(digest).filter(|token| token.digest.matches(digest));
        digests.find_map(|digest| found(&digest).filter(good).cloned())
    }

    /// Makes sure that there is a token: the one given (from the environment), which then replaces an earlier one that
    /// was given so; else, in a store without any, a new one.
    ///
    /// # Errors
    /// The given text can be no token, or the store failed.
    pub fn ensure_first_token(&self, given: Option<&str>) -> Result<FirstToken, ManageError> {
        if let Some(text) = given {
            let token = NewSecret::given(text).ok_or_else(|| {
                ManageError::Conflict(
                    "the admin token must be visible ASCII without commas and quotes".into(),
                )
            })?;
            let known = self.tokens.0.read().get(&SecretHasher::new(None).digest(&token)).cloned();
            if known.is_none() {
                let terms = Terms {
                    name: "from the environment".into(),
                    permissions: vec![Permission::Admin.as_str().to_owned()],
                    owner: None,
                    expires_at: None,
                };
                self.put_token(&Actor::local("start"), ENVIRONMENT_TOKEN_ID.into(), terms, &token)?;
            }
            return Ok(FirstToken::Existing);
        }
        if !self.tokens.0.read().is_empty() {
            return Ok(FirstToken::Existing);
        }
        self.make_token("first token").map(FirstToken::Made)
    }

    /// Makes a token that may do everything.
    ///
    /// # Errors
    /// The store's.
    pub fn make_token(&self, name: &str) -> Result<NewSecret, ManageError> {
        let permissions = vec![Permission::Admin.as_str().to_owned()];
        let terms = Terms { name: name.to_owned(), permissions, owner: None, expires_at: None };
        self.issue_token(&Actor::local("start"), terms).map(|issued| issued.secret)
    }

    /// Makes a token with no more rights than the actor has.
    ///
    /// # Errors
    /// Nothing was made.
    pub fn create_token(&self, actor: &Actor, document: &Value) -> Result<IssuedToken, ManageError> {
        self.audited(actor, "admin_token.create", "", || {
            actor.needs(Permission::Admin)?;
            actor.needs_all_owners()?;
            let terms = terms_of(document, self.now()).map_err(ManageError::Invalid)?;
            let granted = terms.permissions.iter().filter_map(|text| Permission::parse(text)).flatten();
            for permission in granted {
                actor.needs(permission)?;
            }
            self.issue_token(actor, terms)
        })
    }

    /// Every token, by ID.
    ///
    /// # Errors
    /// The actor may not.
    pub fn tokens(&self, actor: &Actor) -> Result<Vec<AdminToken>, ManageError> {
        self.audited(actor, "admin_token.view", "", || {
            actor.needs(Permission::Admin)?;
            actor.needs_all_owners()
        })?;
        let mut tokens: Vec<AdminToken> = self.tokens.0.read().values().cloned().collect();
        tokens.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(tokens)
    }

    /// Ends a token at once.
    ///
    /// # Errors
    /// There is none, or it is the last one that may do everything.
    pub fn revoke_token(&self, actor: &Actor, id: &str) -> Result<(), ManageError> {
        self.audited(actor, "admin_token.revoke", id, || {
            actor.needs(Permission::Admin)?;
            actor.needs_all_owners()?;
            let _writer = self.writer.lock();
            let tokens: Vec<AdminToken> = self.tokens.0.read().values().cloned().collect();
            let found = tokens.iter().find(|token| token.id == id);
            let token =
                found.ok_or_else(|| ManageError::NotFound { kind: "admin token", id: id.to_owned() })?;
            if is_master(token) && tokens.iter().filter(|token| is_master(token)).count() == 1 {
                return Err(ManageError::Conflict(
                    "this is the last token that may do everything; make another one first".into(),
                ));
            }
            let draft = self.token_draft(actor, "admin_token.revoke", Some(token), None);
            self.keep(&mut Change { writes: vec![Write::DeleteToken(id.to_owned())], audit: vec![draft] })?;
            self.tokens.0.write().remove(&token.digest);
            Ok(())
        })
    }

    fn issue_token(&self, actor: &Actor, terms: Terms) -> Result<IssuedToken, ManageError> {
        let secret = NewSecret::generate(TOKEN_PREFIX, TOKEN_KIND);
        let secret = secret.map_err(|error| ManageError::Randomness(error.to_string()))?;
        let id = self.new_id(&mut self.writer.lock());
        let id = id.to_string().replacen("key_", "admt_", 1);
        let token = self.put_token(actor, id, terms, &secret)?;
        Ok(IssuedToken { token, secret })
    }

    fn put_token(
        &self,
        actor: &Actor,
        id: String,
        terms: Terms,
        secret: &NewSecret,
    ) -> Result<AdminToken, ManageError> {
        let token = AdminToken {
            id,
            name: terms.name,
            digest: SecretHasher::new(None).digest(secret),
            fingerprint: secret.fingerprint().as_str().to_owned(),
            permissions: terms.permissions,
            owner: terms.owner,
            expires_at: terms.expires_at,
            created_at: self.now(),
        };
        let draft = self.token_draft(actor, "admin_token.create", None, Some(&token));
        let _writer = self.writer.lock();
        let mut change = Change { writes: vec![Write::PutToken(token.clone())], audit: vec![draft] };
        self.keep(&mut change)?;
        self.tokens.replace(token.clone());
        Ok(token)
    }

    fn token_draft(
        &self,
        actor: &Actor,
        action: &'static str,
        before: Option<&AdminToken>,
        after: Option<&AdminToken>,
    ) -> audit::Draft {
        let shown = |token: &AdminToken| token_json(token).to_string();
        audit::Draft {
            at: self.now(),
            actor: actor.id.clone(),
            action,
            target: after.or(before).map_or_else(String::new, |token| token.id.clone()),
            outcome: "done".into(),
            before: before.map(shown),
            after: after.map(shown),
            address: actor.address.map(|address| address.to_string()),
            request_id: actor.request_id.clone(),
        }
    }
}

/// What a token is made with.
pub(super) struct Terms {
    pub(super) name: String,
    pub(super) permissions: Vec<String>,
    pub(super) owner: Option<String>,
    pub(super) expires_at: Option<Timestamp>,
}

/// A token, and the plaintext that is shown this once.
pub struct IssuedToken {
    /// The token.
    pub token: AdminToken,
    /// Its plaintext.
    pub secret: NewSecret,
}

/// Reads the document that a token is made of.
pub(super) fn terms_of(document: &Value, now: Timestamp) -> Result<Terms, Faults> {
    let mut faults = Faults::default();
    let terms = Fields::open(document, "", &mut faults).and_then(|mut fields| {
        let terms = read_terms(&mut fields, now);
        fields.finish();
        terms
    });
    faults.or_else_all(terms)
}

fn read_terms(fields: &mut Fields<'_>, now: Timestamp) -> Option<Terms> {
    let name = fields.require("name", |v| document::text(v, 1, MAX_NAME_CHARS));
    fields.require("permissions", |v| match v.as_array().map(Vec::len) {
        Some(0) => Err("must not be empty".into()),
        _ => Ok(()),
    });
    let permissions = fields.values("permissions", Permission::ALL.len(), |v| {
        let text = document::string(v)?;
        let words = || Permission::ALL.map(Permission::as_str).join(", ");
        Permission::parse(text).map(|_| text.to_owned()).ok_or_else(|| format!("must be one of {}", words()))
    });
    let owner = fields.read("owner", slugs::slug);
    let expires_at = fields.read("expires_at", |v| profile::expiry(v, PastExpiry::Refused(now)));
    Some(Terms { name: name?, permissions: permissions?, owner, expires_at })
}

/// Whether the token may do everything, for every owner, for good: one such token always stays.
fn is_master(token: &AdminToken) -> bool {
    token.permissions.iter().any(|held| held == Permission::Admin.as_str())
        && token.owner.is_none()
        && token.expires_at.is_none()
}

/// The token as JSON: never the plaintext or its hash.
pub fn token_json(token: &AdminToken) -> Value {
    json!({
        "id": token.id,
        "name": token.name,
        "fingerprint": token.fingerprint,
        "permissions": token.permissions,
        "owner": token.owner,
        "created_at": token.created_at.to_string(),
        "expires_at": token.expires_at.map(|at| at.to_string()),
    })
}
