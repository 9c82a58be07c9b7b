//! A backup of the store as it is now, usage counted up to now among it.

use std::io::Write;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Actor, Manage, ManageError, Permission};
use crate::clock::Timestamp;
use crate::store::audit::Draft;
use crate::store::backup::{BackupError, Writer, Written};
use crate::store::{Change, Store};

/// The action in the audit log.
const ACTION: &str = "store.backup";

/// A backup that was allowed and written down, and is to be written out. There is one at a time.
#[derive(Debug)]
pub struct Backup {
    store: Arc<dyn Store>,
    begun_at: Timestamp,
    running: Arc<AtomicBool>,
}

impl Manage {
    /// Begins a backup: what was counted is merged, and the audit log says who took it before any of it leaves.
    ///
    /// # Errors
    /// The token may not, another backup runs, or the store failed.
    pub fn begin_backup(&self, actor: &Actor) -> Result<Backup, ManageError> {
        self.audited(actor, ACTION, "store", || {
            actor.needs(Permission::Admin)?;
            actor.needs_all_owners()?;
            if self.backing_up.swap(true, Ordering::AcqRel) {
                return Err(ManageError::Conflict(
                    "a backup runs already; take the next when it is done".into(),
                ));
            }
            // From here on dropping it makes room for the next.
            let (store, running) = (Arc::clone(&self.store), Arc::clone(&self.backing_up));
            let backup = Backup { store, begun_at: self.now(), running };
            let draft = Draft {
                at: backup.begun_at,
                actor: actor.id.clone(),
                action: ACTION,
                target: "store".into(),
                outcome: "done".into(),
                before: None,
                after: None,
                address: actor.address.map(|address| address.to_string()),
                request_id: actor.request_id.clone(),
            };
            self.store.commit(&mut Change { writes: Vec::new(), audit: vec![draft] })?;
            self.ledger.merge()?;
            Ok(backup)
        })
    }
}

impl Backup {
    /// When it was begun.
    pub fn begun_at(&self) -> Timestamp {
        self.begun_at
    }

    /// Writes it out: every record of one moment.
    ///
    /// # Errors
    /// The store cannot be read, or `out` takes no more. What was written is then no backup.
    pub fn write(&self, out: &mut dyn Write) -> Result<Written, BackupError> {
        let mut writer = Writer::begin(out, self.store.record_format(), self.begun_at)?;
        let mut failed = None;
        self.store.records(&mut |record| match writer.record(record) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        })?;
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(writer.finish()?),
        }
    }
}

impl Drop for Backup {
    fn drop(&mut self) {
        self.running.store(false, Ordering::Release);
    }
}
