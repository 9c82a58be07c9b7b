//! The one service that changes anything: admin API, CLI and tests all come through here.
//!
//! Every change takes the same way: permission, validation, commit (record, audit entry and revision in one durable
//! transaction), snapshot, answer. So whoever has the answer knows that the change is on disk and holds for every
//! request that starts now. One lock orders changes, so that the snapshot sees them in the order of their commits.

pub mod audit;
pub mod backup;
mod follow;
#[doc(hidden)]
pub mod fuzzing;
pub mod groups;
pub mod import;
mod index;
pub mod keys;
pub mod list;
mod load;
mod patch;
mod permission;
pub mod profile;
pub mod recover;
pub mod reload;
pub mod replay;
pub mod rotation;
pub mod tokens;
pub mod usage;
pub mod view;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

pub use follow::OnCommitted;
pub use permission::{Actor, Permission};

use crate::clock::{Clock, Monotonic, Timestamp};
use crate::document::Faults;
use crate::key::due::RotateAfter;
use crate::key::secret::SecretHasher;
use crate::key::{Key, KeyId};
use crate::lines::Lines;
use crate::seal::SealError;
use crate::snapshot::Snapshot;
use crate::store::audit::Draft;
use crate::store::{Change, Store, StoreError, Write};
use crate::usage::callers::Callers;
use crate::usage::ledger::Ledger;
use crate::usage::quota::Quotas;

/// Why a change or a reading did not happen. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ManageError {
    /// There is no such thing.
    #[error("no {kind} has the ID {id:?}")]
    NotFound {
        /// `key`, for one.
        kind: &'static str,
        /// What was asked for.
        id: String,
    },
    /// What was sent does not hold.
    #[error("{0}")]
    Invalid(Faults),
    /// The thing's state does not allow it.
    #[error("{0}")]
    Conflict(String),
    /// The owner has as many active keys as it may.
    #[error("the owner {owner:?} may have {cap} active keys; revoke, disable or delete one first")]
    KeyLimitReached {
        /// The owner.
        owner: String,
        /// Its cap.
        cap: u64,
    },
    /// The thing changed since the caller read it.
    #[error("it changed since it was read: its ETag is {0}")]
    PreconditionFailed(String),
    /// The admin token is of one owner, and this concerns every owner.
    #[error("the admin token is bound to the owner {0:?}, and this is not that owner's alone")]
    BoundToOwner(String),
    /// The admin token may not.
    #[error("this needs the permission {}", .0.as_str())]
    Forbidden(Permission),
    /// The `Idempotency-Key` came before, with another body.
    #[error("this Idempotency-Key was sent before with another body; send a new one with each new call")]
    IdempotencyKeyReused,
    /// The call with this `Idempotency-Key` has not ended.
    #[error("the first call with this Idempotency-Key is still running; send it again in a moment")]
    IdempotencyInProgress,
    /// No more answers can be kept.
    #[error(
        "{0} answers are kept for repeated calls, which is all that can be; send no Idempotency-Key, or wait"
    )]
    TooManyReplays(u64),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness: {0}")]
    Randomness(String),
    /// Something could not be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A secret is not kept, or not any more.
    #[error("this secret cannot be shown: {0}")]
    NotRecoverable(&'static str),
    /// What was sealed does not open.
    #[error("{0}; the store is damaged there")]
    Unsealable(&'static str),
}

impl ManageError {
    /// The code on the wire, and in the audit log.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } | Self::NotRecoverable(_) => "not_found",
            Self::Invalid(_) => "validation_failed",
            Self::Conflict(_) => "conflict",
            Self::KeyLimitReached { .. } => "key_limit_reached",
            Self::PreconditionFailed(_) => "precondition_failed",
            Self::Forbidden(_) | Self::BoundToOwner(_) => "permission_denied",
            Self::Store(StoreError::HandedOver { .. }) => "upgrade_in_progress",
            Self::Store(_) => "store_unavailable",
            Self::IdempotencyKeyReused => "idempotency_key_reused",
            Self::IdempotencyInProgress => "idempotency_in_progress",
            Self::TooManyReplays(_) => "too_many_replays",
            Self::Randomness(_) | Self::Seal(_) | Self::Unsealable(_) => "internal_error",
        }
    }

    fn no_key(id: &KeyId) -> Self {
        Self::NotFound { kind: "key", id: id.to_string() }
    }
}

/// What the configuration says of keys.
#[derive(Debug, Clone)]
pub struct KeySettings {
    /// What secrets start with.
    pub prefix: String,
    /// After how long a rotation is due, by environment.
    pub rotate_after: RotateAfter,
}

/// The service.
pub struct Manage {
    store: Arc<dyn Store>,
    snapshot: Arc<Snapshot>,
    ledger: Arc<Ledger>,
    callers: Arc<Callers>,
    lines: Arc<Lines>,
    quotas: Arc<Quotas>,
    hasher: SecretHasher,
    settings: KeySettings,
    clock: Arc<dyn Clock>,
    /// Orders changes; holds the generator so that IDs made one after the other sort so.
    writer: Mutex<ulid::Generator>,
    tokens: tokens::Tokens,
    groups: groups::Groups,
    index: Arc<index::Index>,
    running: replay::Running,
    vault: Option<recover::Vault>,
    /// Whether a backup runs.
    backing_up: Arc<AtomicBool>,
    /// Calls without a right token. Locked for a moment by each.
    unknown: Mutex<audit::Unknown>,
    /// Told of each change that was committed.
    followers: OnceLock<OnCommitted>,
    /// Whether another process has taken over.
    succeeded: AtomicBool,
}

impl std::fmt::Debug for Manage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Manage({:?})", self.store)
    }
}

/// What the service is made of.
#[derive(Debug)]
pub struct Parts {
    /// Where changes become durable.
    pub store: Arc<dyn Store>,
    /// Where they take effect.
    pub snapshot: Arc<Snapshot>,
    /// Where usage is read.
    pub ledger: Arc<Ledger>,
    /// Where the callers of keys under rotation are.
    pub callers: Arc<Callers>,
    /// What runs, to be cut when its key ends.
    pub lines: Arc<Lines>,
    /// Where quotas count.
    pub quotas: Arc<Quotas>,
    /// How secrets are hashed.
    pub hasher: SecretHasher,
    /// What seals them, where they are recoverable.
    pub vault: Option<recover::Vault>,
    /// What the configuration says of keys.
    pub settings: KeySettings,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

/// What a change was, for the audit log.
struct Deed<'a> {
    actor: &'a Actor,
    action: &'static str,
    before: Option<&'a Key>,
    after: Option<&'a Key>,
}

impl Manage {
    /// Puts the service together; reads the admin tokens.
    ///
    /// # Errors
    /// The store's.
    pub fn new(parts: Parts) -> Result<Self, StoreError> {
        let Parts { store, snapshot, ledger, callers, lines, quotas, hasher, vault, settings, clock } = parts;
        let tokens = tokens::Tokens::load(store.as_ref())?;
        let groups = groups::Groups::load(store.as_ref())?;
        let index = Arc::new(index::Index::default());
        let rows = Arc::clone(&index);
        ledger.observe(Box::new(move |added| rows.add_usage(added)));
        let writer = Mutex::new(ulid::Generator::new());
        Ok(Self {
            store,
            snapshot,
            ledger,
            callers,
            lines,
            quotas,
            hasher,
            settings,
            clock,
            writer,
            tokens,
            groups,
            index,
            running: replay::Running::default(),
            vault,
            backing_up: Arc::default(),
            unknown: Mutex::default(),
            followers: OnceLock::new(),
            succeeded: AtomicBool::new(false),
        })
    }

    /// The snapshot that its changes take effect in.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// The ledger that its readings come from.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// What time it is.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The monotonic time.
    pub fn monotonic(&self) -> Monotonic {
        self.clock.monotonic()
    }

    fn new_id(&self, writer: &mut MutexGuard<'_, ulid::Generator>) -> KeyId {
        let now = std::time::UNIX_EPOCH + Duration::from_millis(self.now().as_millis());
        // The generator fails only when 2^80 IDs were made in one millisecond.
        let ulid = writer.generate_from_datetime(now).unwrap_or_else(|_| ulid::Ulid::from_datetime(now));
        KeyId::from_u128(ulid.0)
    }

    /// Commits one key's change and applies it. The caller holds the writer's lock.
    fn commit(&self, mut after: Key, deed: &Deed<'_>) -> Result<Key, ManageError> {
        self.prepare(&mut after, deed)?;
        self.finish(after, deed, Vec::new())
    }

    /// What is looked at before a change is committed.
    fn prepare(&self, after: &mut Key, deed: &Deed<'_>) -> Result<(), ManageError> {
        if deed.before.is_some() {
            after.updated_at = self.now();
        }
        self.check_groups(deed.before, after)?;
        if let Some(owner) = deed.actor.owner.as_ref().filter(|_| !deed.actor.sees(after)) {
            return Err(ManageError::BoundToOwner(owner.clone()));
        }
        if !after.profile.quotas.is_empty() {
            // A quota that is new counts what its window saw, up to the last request.
            self.ledger.merge()?;
            self.quotas.seed_added(deed.before, after, self.store.as_ref(), self.now())?;
        }
        Ok(())
    }

    /// Commits a change that was prepared, in one transaction with what goes with it.
    fn finish(&self, after: Key, deed: &Deed<'_>, mut writes: Vec<Write>) -> Result<Key, ManageError> {
        let draft = self.draft(&Deed { after: Some(&after), ..*deed }, after.id);
        if after.revoked.is_some() {
            // A dead secret is of no use, and so none is kept.
            writes.push(Write::DropSealed(after.id));
        }
        writes.push(Write::PutKey(Box::new(after)));
        let mut change = Change { writes, audit: vec![draft] };
        self.keep(&mut change)?;
        let Some(Write::PutKey(stored)) = change.writes.pop() else {
            return Err(ManageError::Conflict("the change held no key".into()));
        };
        self.snapshot.apply(deed.before, Some(&stored), self.clock.monotonic());
        self.index.put(&stored, &self.snapshot);
        Ok(*stored)
    }

    fn draft(&self, deed: &Deed<'_>, target: KeyId) -> Draft {
        let now = self.now();
        let shown = |key: &Key| view::audited(key, now).to_string();
        Draft {
            at: now,
            actor: deed.actor.id.clone(),
            action: deed.action,
            target: target.to_string(),
            outcome: "done".into(),
            before: deed.before.map(shown),
            after: deed.after.map(shown),
            address: deed.actor.address.map(|a| a.to_string()),
            request_id: deed.actor.request_id.clone(),
        }
    }
}
