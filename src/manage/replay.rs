//! Calls that may be repeated: with an `Idempotency-Key`, a repetition gets the first answer and makes nothing new.
//!
//! The answer holds a secret, so it is kept sealed under a key derived from the caller's text, which is not kept: the
//! store has a hash that finds it, and cannot open it. It is written in the transaction of the change itself, so that
//! there is never the one without the other. Refusals are not kept: they changed nothing.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::keys::Issued;
use super::{Actor, Deed, Manage, ManageError, Permission, view};
use crate::clock::Timestamp;
use crate::key::secret::NewSecret;
use crate::key::{Key, KeyId};
use crate::seal::{Derivation, SealError, SealingKey};
use crate::store::sealed::{Replay, ReplayId};
use crate::store::{StoreError, Write};

/// The longest `Idempotency-Key`, in characters.
pub const MAX_KEY_CHARS: usize = 255;
/// How long an answer is kept.
pub const KEPT_FOR: Duration = Duration::from_hours(24);
/// Answers that are kept at once; one more call with an `Idempotency-Key` is refused.
pub const MAX_REPLAYS: u64 = 200_000;
/// The same for every store: one that was restored has another ID, and its callers go on repeating their calls.
const SALT: &[u8] = b"portcullis replay";
/// Answers that are forgotten in one transaction.
const PURGE_AT_ONCE: usize = 1_000;

/// What a caller sends to be able to repeat a call. It opens the answer, so it has no readable `Debug`.
pub struct IdempotencyKey(Zeroizing<String>);

impl IdempotencyKey {
    /// `None` unless it is 1 to [`MAX_KEY_CHARS`] visible ASCII characters.
    pub fn new(text: &str) -> Option<Self> {
        let good = (1..=MAX_KEY_CHARS).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        good.then(|| Self(Zeroizing::new(text.to_owned())))
    }
}

impl std::fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IdempotencyKey(…)")
    }
}

/// What a caller may attach to a change.
#[derive(Debug, Clone, Copy, Default)]
pub struct Conditions<'a> {
    /// The `ETag` that the thing must still have.
    pub if_match: Option<&'a str>,
    /// What makes the call one that may be repeated.
    pub once: Option<&'a IdempotencyKey>,
}

/// The answer of a call that makes a secret.
pub enum Answered {
    /// It was made now.
    Made(Box<Issued>),
    /// It was made by an earlier call.
    Replayed(Replayed),
}

/// The answer of an earlier call.
pub struct Replayed {
    key: KeyId,
    etag: String,
    body: Zeroizing<String>,
}

impl Answered {
    /// The key.
    pub fn key(&self) -> KeyId {
        match self {
            Self::Made(issued) => issued.view.key.id,
            Self::Replayed(replayed) => replayed.key,
        }
    }

    /// The key's `ETag` when the secret was made.
    pub fn etag(&self) -> String {
        match self {
            Self::Made(issued) => issued.view.etag(),
            Self::Replayed(replayed) => replayed.etag.clone(),
        }
    }

    /// The key and its secret, as JSON.
    pub fn body(&self) -> Zeroizing<String> {
        match self {
            Self::Made(issued) => issued.body(),
            Self::Replayed(replayed) => replayed.body.clone(),
        }
    }
}

/// Calls with an `Idempotency-Key` that run now: no more than the admin listener has connections.
#[derive(Debug, Default)]
pub(super) struct Running(Mutex<HashSet<ReplayId>>);

/// The right to be the one call with an `Idempotency-Key` that runs.
pub(super) struct Claim<'a> {
    id: ReplayId,
    request: [u8; 32],
    key: SealingKey,
    running: &'a Running,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.running.0.lock().remove(&self.id);
    }
}

impl Claim<'_> {
    /// What an answer is bound to.
    fn place(&self, key: KeyId) -> Vec<u8> {
        [&self.id[..], &self.request, &key.as_u128().to_be_bytes()].concat()
    }

    fn seal(&self, issued: &Issued, made_at: Timestamp) -> Result<Replay, SealError> {
        let key = issued.view.key.id;
        let sealed = self.key.seal(&self.place(key), issued.body().as_bytes())?;
        Ok(Replay { id: self.id, request: self.request, key, made_at, revision: 0, sealed })
    }

    fn open(&self, kept: &Replay) -> Result<Zeroizing<String>, ManageError> {
        let opened = self.key.open(&self.place(kept.key), &kept.sealed);
        let text = opened.and_then(|bytes| std::str::from_utf8(&bytes).ok().map(str::to_owned));
        text.map(Zeroizing::new).ok_or(ManageError::Unsealable("the kept answer does not open"))
    }
}

impl Manage {
    /// Creates a key; where this call was answered before, answers that again.
    ///
    /// # Errors
    /// Nothing was created.
    pub fn create_key_once(
        &self,
        actor: &Actor,
        document: &Value,
        once: Option<&IdempotencyKey>,
    ) -> Result<Answered, ManageError> {
        self.audited(actor, "key.create", "", || {
            actor.needs(Permission::KeyCreate)?;
            let call = Call { actor, action: "key.create", target: "", document };
            self.at_most_once(&call, once, |claim| self.create(actor, document, claim))
        })
    }

    /// Gives a key a new secret; where this call was answered before, answers that again. The old secret works until
    /// the document's `grace` ends; without one it is dead at once.
    ///
    /// # Errors
    /// Nothing was changed: the key is revoked, or too many old secrets are still in their grace.
    pub fn rotate_key(
        &self,
        actor: &Actor,
        id: KeyId,
        document: &Value,
        conditions: &Conditions<'_>,
    ) -> Result<Answered, ManageError> {
        self.audited(actor, "key.rotate", id, || {
            actor.needs(Permission::KeyUpdate)?;
            let call = Call { actor, action: "key.rotate", target: &id.to_string(), document };
            self.at_most_once(&call, conditions.once, |claim| {
                self.rotate(actor, id, document, conditions.if_match, claim)
            })
        })
    }

    /// Forgets answers whose time is over, the oldest first and a bounded number of them; says how many.
    ///
    /// # Errors
    /// The store's.
    pub fn purge_replays(&self) -> Result<usize, StoreError> {
        let kept_for = u64::try_from(KEPT_FOR.as_millis()).unwrap_or(u64::MAX);
        let made_before = Timestamp::from_millis(self.now().as_millis().saturating_sub(kept_for));
        self.store.purge_replays(made_before, PURGE_AT_ONCE)
    }

    /// Runs a call, unless it ran before.
    fn at_most_once(
        &self,
        call: &Call<'_>,
        once: Option<&IdempotencyKey>,
        run: impl FnOnce(Option<&Claim<'_>>) -> Result<Issued, ManageError>,
    ) -> Result<Answered, ManageError> {
        let Some(once) = once else { return run(None).map(|issued| Answered::Made(Box::new(issued))) };
        let claim = self.claim(call, once)?;
        let kept = self.store.replay(&claim.id)?;
        match kept.filter(|kept| self.now().since(kept.made_at) < KEPT_FOR) {
            Some(kept) => self.replayed(call, &claim, &kept).map(Answered::Replayed),
            None if self.store.replay_count()? >= MAX_REPLAYS => {
                Err(ManageError::TooManyReplays(MAX_REPLAYS))
            }
            None => run(Some(&claim)).map(|issued| Answered::Made(Box::new(issued))),
        }
    }

    fn claim(&self, call: &Call<'_>, once: &IdempotencyKey) -> Result<Claim<'_>, ManageError> {
        let derivation = Derivation::new(SALT, once.0.as_bytes());
        let scope = call.scope();
        let id = *derivation.bytes(&[b"portcullis replay id", &scope])?;
        let request = *derivation.bytes(&[b"portcullis replay request", &digest_of(call.document)])?;
        let key = SealingKey::new(&*derivation.bytes(&[b"portcullis replay key", &scope])?)?;
        if !self.running.0.lock().insert(id) {
            return Err(ManageError::IdempotencyInProgress);
        }
        Ok(Claim { id, request, key, running: &self.running })
    }

    /// The first answer again. It shows a secret, so it is written down.
    fn replayed(&self, call: &Call<'_>, claim: &Claim<'_>, kept: &Replay) -> Result<Replayed, ManageError> {
        if kept.request != claim.request {
            return Err(ManageError::IdempotencyKeyReused);
        }
        if self.store.key(kept.key)?.is_some_and(|key| !call.actor.sees(&key)) {
            return Err(ManageError::no_key(&kept.key));
        }
        let body = claim.open(kept)?;
        self.note_reading(call.actor, "key.replay", kept.key, &json!({"call": call.action}))?;
        Ok(Replayed { key: kept.key, etag: view::etag_of(kept.revision), body })
    }

    /// Commits a change that makes a secret, with its answer where the call may be repeated. The caller holds the
    /// writer's lock.
    pub(super) fn commit_issued(
        &self,
        mut after: Key,
        deed: &Deed<'_>,
        secret: NewSecret,
        claim: Option<&Claim<'_>>,
    ) -> Result<Issued, ManageError> {
        self.prepare(&mut after, deed)?;
        if deed.before.is_some() {
            // The answer shows what was used; a store that cannot take the newest counts shows those it has.
            let _ = self.ledger.merge();
        }
        let mut issued = Issued { view: self.view_merged(after.clone())?, secret };
        let replay = claim.map(|claim| claim.seal(&issued, self.now())).transpose()?;
        let kept = self.keep_secret(&after, deed, &issued.secret)?;
        let writes = replay.map(Write::PutReplay).into_iter().chain(kept).collect();
        issued.view.key = self.finish(after, deed, writes)?;
        Ok(issued)
    }
}

/// A call, as far as a repetition must be the same.
struct Call<'a> {
    actor: &'a Actor,
    action: &'static str,
    target: &'a str,
    document: &'a Value,
}

impl Call<'_> {
    /// Who asks for what: the same text from another caller, or for another key, is another call.
    fn scope(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for part in [&self.actor.id, self.action, self.target] {
            put(&mut hash, b't', part.as_bytes());
        }
        hash.finalize().into()
    }
}

/// A hash of a document that does not hang on the order of its fields and its blanks.
fn digest_of(document: &Value) -> [u8; 32] {
    let mut hash = Sha256::new();
    put_value(&mut hash, document);
    hash.finalize().into()
}

fn put(hash: &mut Sha256, kind: u8, bytes: &[u8]) {
    hash.update([kind]);
    hash.update((bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}

/// Recursive, as deep as the parser lets a document be.
fn put_value(hash: &mut Sha256, value: &Value) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => put(hash, b'v', value.to_string().as_bytes()),
        Value::String(text) => put(hash, b's', text.as_bytes()),
        Value::Array(items) => {
            put(hash, b'a', &(items.len() as u64).to_be_bytes());
            for item in items {
                put_value(hash, item);
            }
        }
        Value::Object(fields) => {
            put(hash, b'o', &(fields.len() as u64).to_be_bytes());
            for (name, value) in fields.iter().collect::<BTreeMap<_, _>>() {
                put(hash, b'n', name.as_bytes());
                put_value(hash, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_documents_hash_is_of_what_it_says() {
        let same = [r#"{"a":1,"b":[true,null]}"#, r#"{ "b": [true, null], "a": 1 }"#];
        let [first, second] = same.map(|text| digest_of(&serde_json::from_str(text).unwrap()));
        assert_eq!(first, second);
        let others = [
            json!({"a": "1", "b": [true, null]}),
            json!({"a": 1, "b": [null, true]}),
            json!({"a": 1, "b": [[true], null]}),
            json!({"a": 1}),
            json!({}),
            json!(null),
        ];
        for other in others {
            assert_ne!(digest_of(&other), first, "{other}");
        }
    }

    #[test]
    fn a_key_is_visible_ascii() {
        assert!(IdempotencyKey::new(&"x".repeat(MAX_KEY_CHARS)).is_some());
        for bad in ["", "a b", "ä", "\t", &"x".repeat(MAX_KEY_CHARS + 1)] {
            assert!(IdempotencyKey::new(bad).is_none(), "{bad:?}");
        }
    }
}
