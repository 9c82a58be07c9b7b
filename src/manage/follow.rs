//! Changes beyond this process: told to those that follow, and taken over from the one that is followed.
//!
//! A process that has handed its store to a new one still answers what runs. So that a change holds there too before its
//! caller has the answer, the new process tells it of each, and it applies what it is told.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use super::Manage;
use crate::key::KeyId;
use crate::store::{Change, Revision, StoreError, Write};

/// Told what was committed, and back once it holds wherever it must.
pub type OnCommitted = Box<dyn Fn(&[Write]) + Send + Sync>;

impl Manage {
    /// Tells `told` of each change from here on. The first that is set stays.
    pub fn tell(&self, told: OnCommitted) {
        let _ = self.followers.set(told);
    }

    /// Commits a change and tells those that follow. The caller holds the writer's lock and applies it here.
    pub(super) fn keep(&self, change: &mut Change) -> Result<Revision, StoreError> {
        let revision = self.store.commit(change)?;
        if let Some(tell) = self.followers.get() {
            tell(&change.writes);
        }
        Ok(revision)
    }

    /// Lets go of the store between two changes, with all usage merged, and runs `aside` before another may have it.
    ///
    /// # Errors
    /// It stays in use here.
    pub fn hand_over(
        &self,
        patience: Duration,
        aside: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let _writer = self.writer.lock();
        self.ledger.hand_over(self.now(), || {
            self.store.hand_over(patience)?;
            aside().inspect_err(|_| self.store.take_back())
        })
    }

    /// Takes the store back from a process that did not get to serve. What it may have written by then is the admin
    /// token that it was started with.
    ///
    /// # Errors
    /// The store does not open again yet.
    pub fn take_back(&self) -> Result<(), StoreError> {
        let _writer = self.writer.lock();
        self.store.take_back();
        self.tokens.load_again(self.store.as_ref())
    }

    /// Another process has taken over: whoever asks here is to ask there.
    pub fn succeed(&self) {
        self.succeeded.store(true, Ordering::Release);
    }

    /// Whether another process has taken over.
    pub fn is_succeeded(&self) -> bool {
        self.succeeded.load(Ordering::Acquire)
    }

    /// A thread that cuts what runs of each key that it is told, until nobody can tell it of one: what may end by itself
    /// is not waited for by whoever tells.
    ///
    /// # Errors
    /// There is no room for another thread.
    pub fn cutter(&self) -> io::Result<mpsc::Sender<KeyId>> {
        let (tell, told) = mpsc::channel::<KeyId>();
        let lines = Arc::clone(&self.lines);
        let cut = move || {
            for id in told {
                lines.cut(id);
            }
        };
        thread::Builder::new().name("cut".into()).spawn(cut)?;
        Ok(tell)
    }

    /// Applies changes that another process has committed: they hold for every request that starts now. What runs of
    /// keys that ended is told to `cuts`.
    pub fn follow(&self, writes: Vec<Write>, cuts: &mpsc::Sender<KeyId>) {
        let cut = |id| {
            // A thread that is no more leaves it to this one.
            if cuts.send(id).is_err() {
                self.lines.cut(id);
            }
        };
        let now = self.clock.monotonic();
        for write in writes {
            match write {
                Write::PutKey(key) => {
                    self.snapshot.apply_over(&key, now);
                    if key.revoked.is_some() {
                        cut(key.id);
                    }
                }
                Write::DeleteKey(stone) => {
                    self.snapshot.remove(stone.id);
                    cut(stone.id);
                }
                Write::PutRole(role) => self.snapshot.apply_role(&role.name, Some(&role)),
                Write::DeleteRole(name) => self.snapshot.apply_role(&name, None),
                Write::PutOwner(owner) => self.snapshot.apply_owner(&owner.name, Some(&owner), now),
                Write::DeleteOwner(name) => self.snapshot.apply_owner(&name, None, now),
                Write::PutToken(_)
                | Write::DeleteToken(_)
                | Write::PutReplay(_)
                | Write::PutSealed(_)
                | Write::DropSealed(_)
                | Write::PutMasterCheck(_) => {}
            }
        }
    }
}
