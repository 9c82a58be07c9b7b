//! Admin tokens: what opens the admin API. Kept as a hash, compared in constant time.

use std::collections::HashMap;

use parking_lot::RwLock;

use super::{Actor, Manage, ManageError, Permission};
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
        digests.find_map(|digest| tokens.get(&digest).filter(|token| token.digest.matches(&digest)).cloned())
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
                self.put_token(ENVIRONMENT_TOKEN_ID.into(), "from the environment", &token)?;
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
        let secret = NewSecret::generate(TOKEN_PREFIX, TOKEN_KIND);
        let secret = secret.map_err(|error| ManageError::Randomness(error.to_string()))?;
        let id = self.new_id(&mut self.writer.lock());
        let id = id.to_string().replacen("key_", "admt_", 1);
        self.put_token(id, name, &secret)?;
        Ok(secret)
    }

    fn put_token(&self, id: String, name: &str, secret: &NewSecret) -> Result<(), ManageError> {
        let token = AdminToken {
            id,
            name: name.to_owned(),
            digest: SecretHasher::new(None).digest(secret),
            fingerprint: secret.fingerprint().as_str().to_owned(),
            permissions: vec![Permission::Admin.as_str().to_owned()],
            created_at: self.now(),
        };
        let actor = Actor::local("start");
        let draft = audit::Draft {
            at: self.now(),
            actor: actor.id,
            action: "admin_token.create",
            target: token.id.clone(),
            outcome: "done".into(),
            before: None,
            after: Some(serde_json::json!({"id": token.id, "name": token.name}).to_string()),
            address: None,
            request_id: None,
        };
        let _writer = self.writer.lock();
        let mut change = Change { writes: vec![Write::PutToken(token.clone())], audit: vec![draft] };
        self.store.commit(&mut change)?;
        self.tokens.replace(token);
        Ok(())
    }
}
