//! Another master key for the sealed secrets of a store that no gateway has, or none.

use std::path::Path;

use crate::clock::{Clock, SystemClock};
use crate::config::{Config, MasterKey, Pepper, Store as StoreConfig};
use crate::key::secret::SecretHasher;
use crate::manage::recover::{self, MasterKeyChange, VaultError};
use crate::store::StoreError;
use crate::store::embedded::{EmbeddedStore, Peppering};
use crate::store::sealed::Sealed as _;

/// A store whose sealed secrets are about to be sealed anew, or erased. No gateway has it.
#[derive(Debug)]
pub struct SealedStore<'a> {
    store: EmbeddedStore,
    path: &'a Path,
}

impl<'a> SealedStore<'a> {
    /// Opens the configuration's store, which must be there, without any master key.
    ///
    /// # Errors
    /// The store is in use by a gateway, damaged, or not to be had.
    pub fn open(config: &'a Config) -> anyhow::Result<Self> {
        let StoreConfig::Redb { path } = &config.store;
        if !path.exists() {
            anyhow::bail!("{}: there is no store", path.display());
        }
        let hasher = SecretHasher::new(config.keys.pepper.as_ref().map(Pepper::expose));
        Ok(Self { store: EmbeddedStore::open(path, Peppering(&hasher))?, path })
    }

    /// How many sealed secrets there are.
    ///
    /// # Errors
    /// The store's.
    pub fn count(&self) -> Result<u64, StoreError> {
        self.store.sealed_count()
    }

    /// Seals every secret with the new master key, in one transaction; `each` hears of each.
    ///
    /// # Errors
    /// The old one is wrong, a secret is damaged, or the store failed. Nothing was changed.
    pub fn reseal(
        &self,
        old: &MasterKey,
        new: &MasterKey,
        each: &dyn Fn(),
    ) -> anyhow::Result<MasterKeyChange> {
        let keys = (old.expose(), new.expose());
        recover::reseal(&self.store, keys, SystemClock::new().now(), each).map_err(|error| match error {
            VaultError::WrongKey => anyhow::anyhow!(
                "the environment variable `{}` does not hold the master key that {} is sealed with",
                old.variable(),
                self.path.display()
            ),
            error => error.into(),
        })
    }

    /// Forgets every sealed secret and the master key; says how many. `each` hears of each.
    ///
    /// # Errors
    /// The store's. Nothing was changed.
    pub fn erase(&self, each: &dyn Fn()) -> anyhow::Result<u64> {
        Ok(recover::erase(&self.store, SystemClock::new().now(), each)?)
    }
}
