//! Recoverable secrets: each newest secret is kept sealed under the operator's master key, and may be read again.
//!
//! One sealed secret is kept for a key, that of its newest version; it goes with the version, with the key, and when
//! the key is revoked. A sealed value of ours, made when the master key is first used, tells a wrong one at start.

use serde_json::json;

use super::import::Line;
use super::{Actor, Deed, Manage, ManageError, Permission};
use crate::clock::Timestamp;
use crate::key::secret::NewSecret;
use crate::key::{Key, KeyId};
use crate::seal::{KEY_BYTES, SealError, SealingKey};
use crate::store::audit::Draft;
use crate::store::sealed::{Resealed, SealedSecret};
use crate::store::{Change, Store, StoreError, Write};

/// What the value is bound to that is sealed when a master key is first used. It names no store: a restored one has
/// another ID.
const CHECK: &[u8] = b"portcullis master key";

/// Why there is no vault, or none that was resealed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The store was sealed with another master key.
    #[error("this is not the master key that the store's secrets are sealed with")]
    WrongKey,
    /// A secret does not open with the right key.
    #[error("the sealed secret of {0} is damaged; rotate that key, or erase all sealed secrets")]
    Damaged(KeyId),
    /// Nothing could be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What seals secrets and opens them.
#[derive(Debug)]
pub struct Vault(SealingKey);

/// What became of a change of the master key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MasterKeyChange {
    /// So many secrets are sealed with the new one.
    Done(u64),
    /// They were already.
    Already,
    /// The store never had a master key.
    Unused,
}

/// A secret that was read again.
pub struct Revealed {
    /// Which of the key's secrets: the newest.
    pub version: u32,
    /// What may be shown of it.
    pub fingerprint: String,
    /// The secret.
    pub secret: NewSecret,
}

impl Vault {
    /// With a master key that is the store's, or becomes it where the store has none.
    ///
    /// # Errors
    /// It is another one.
    pub fn unlock(
        store: &dyn Store,
        master_key: &[u8; KEY_BYTES],
        now: Timestamp,
    ) -> Result<Self, VaultError> {
        let vault = Self(SealingKey::new(master_key)?);
        match store.master_check()? {
            Some(check) if vault.made(&check) => {}
            Some(_) => return Err(VaultError::WrongKey),
            None => {
                let writes = vec![Write::PutMasterCheck(vault.check()?)];
                let audit = vec![draft(now, "start", "master_key.set", String::new())];
                store.commit(&mut Change { writes, audit })?;
            }
        }
        Ok(vault)
    }

    fn check(&self) -> Result<Vec<u8>, SealError> {
        self.0.seal(CHECK, &[])
    }

    fn made(&self, check: &[u8]) -> bool {
        self.0.open(CHECK, check).is_some()
    }

    pub(super) fn seal(
        &self,
        key: KeyId,
        version: u32,
        secret: &NewSecret,
    ) -> Result<SealedSecret, SealError> {
        let sealed = self.0.seal(&place(key, version), secret.expose().as_bytes())?;
        Ok(SealedSecret { key, version, sealed })
    }

    fn open(&self, kept: &SealedSecret) -> Option<NewSecret> {
        let opened = self.0.open(&place(kept.key, kept.version), &kept.sealed)?;
        std::str::from_utf8(&opened).ok().and_then(NewSecret::given)
    }
}

/// A sealed secret belongs to its key and version, so that none can be put in another's place.
fn place(key: KeyId, version: u32) -> Vec<u8> {
    [&b"portcullis secret"[..], &key.as_u128().to_be_bytes(), &version.to_be_bytes()].concat()
}

fn draft(at: Timestamp, actor: &str, action: &'static str, target: String) -> Draft {
    Draft {
        at,
        actor: actor.to_owned(),
        action,
        target,
        outcome: "done".into(),
        before: None,
        after: None,
        address: None,
        request_id: None,
    }
}

/// Seals every secret anew with another master key, all in one transaction. `each` hears of each.
///
/// # Errors
/// The old one is wrong, or a sealed secret is damaged.
pub fn reseal(
    store: &dyn Store,
    (old, new): (&[u8; KEY_BYTES], &[u8; KEY_BYTES]),
    now: Timestamp,
    each: &dyn Fn(),
) -> Result<MasterKeyChange, VaultError> {
    let (old, new) = (Vault(SealingKey::new(old)?), Vault(SealingKey::new(new)?));
    let Some(check) = store.master_check()? else { return Ok(MasterKeyChange::Unused) };
    if !old.made(&check) {
        return if new.made(&check) { Ok(MasterKeyChange::Already) } else { Err(VaultError::WrongKey) };
    }
    let target = format!("{} keys", store.sealed_count()?);
    let audit = [draft(now, "offline", "master_key.reseal", target)];
    let mut failed = None;
    let resealed = store.reseal(Some(&new.check()?), &audit, &mut |kept| {
        each();
        let secret = old.open(&kept).ok_or(VaultError::Damaged(kept.key));
        let sealed = secret.and_then(|secret| Ok(new.seal(kept.key, kept.version, &secret)?));
        sealed.map_or_else(
            |error| {
                failed = Some(error);
                Resealed::BreakOff
            },
            Resealed::Keep,
        )
    });
    match failed {
        Some(error) => Err(error),
        None => Ok(MasterKeyChange::Done(resealed?)),
    }
}

/// Forgets every sealed secret and the master key itself; says how many. `each` hears of each.
///
/// # Errors
/// The store's.
pub fn erase(store: &dyn Store, now: Timestamp, each: &dyn Fn()) -> Result<u64, VaultError> {
    let target = format!("{} keys", store.sealed_count()?);
    let audit = [draft(now, "offline", "master_key.erase", target)];
    let erased = store.reseal(None, &audit, &mut |_| {
        each();
        Resealed::Erase
    });
    Ok(erased?)
}

impl Manage {
    /// A key's newest secret. That it was read is in the audit log before it is shown.
    ///
    /// # Errors
    /// The actor may not, or the secret is not kept.
    pub fn reveal_key(&self, actor: &Actor, id: KeyId) -> Result<Revealed, ManageError> {
        self.audited(actor, "key.reveal", id, || {
            actor.needs(Permission::KeyReveal)?;
            let (key, kept) = {
                // A rotation must not come between the two readings.
                let _writer = self.writer.lock();
                (self.seen(actor, id)?, self.store.sealed_secret(id)?)
            };
            let not_kept = ManageError::NotRecoverable;
            let vault = self.vault.as_ref().ok_or(not_kept("keys.recoverable is false here"))?;
            if key.revoked.is_some() {
                return Err(not_kept("the key is revoked, and its sealed secret was erased then"));
            }
            let newest = key.newest().filter(|newest| kept.as_ref().is_some_and(|k| k.version == newest.version));
            let (Some(newest), Some(kept)) = (newest, &kept) else {
                return Err(not_kept(
                    "the secret was made while keys.recoverable was false, or imported as a hash; rotate the key to \
                     keep a new one",
                ));
            };
            let secret = vault.open(kept).ok_or(ManageError::Unsealable("the sealed secret does not open"))?;
            let fingerprint = newest.fingerprint.as_str().to_owned();
            let shown = json!({"version": kept.version, "fingerprint": fingerprint});
            self.note_reading(actor, "key.reveal", id, &shown)?;
            Ok(Revealed { version: kept.version, fingerprint, secret })
        })
    }

    /// What is kept of an imported secret.
    pub(super) fn sealed_of(&self, line: &Line) -> Result<Option<SealedSecret>, SealError> {
        let (Some(vault), Some(secret), None) = (&self.vault, &line.secret, &line.key.revoked) else {
            return Ok(None);
        };
        let version = line.key.newest().map_or(0, |newest| newest.version);
        vault.seal(line.key.id, version, secret).map(Some)
    }

    /// What goes with a new secret: it is sealed, or the one before it is no longer kept.
    pub(super) fn keep_secret(
        &self,
        after: &Key,
        deed: &Deed<'_>,
        secret: &NewSecret,
    ) -> Result<Option<Write>, SealError> {
        let version = after.newest().map_or(0, |newest| newest.version);
        match &self.vault {
            Some(vault) => vault.seal(after.id, version, secret).map(|sealed| Some(Write::PutSealed(sealed))),
            None => Ok(deed.before.map(|_| Write::DropSealed(after.id))),
        }
    }
}
