//! What runs beside the requests: usage into the ledger each second, answers whose time is over forgotten, and
//! certificates loaded again when their files change.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::certificates::{Certificates, LOOK_EVERY};
use crate::manage::Manage;
use crate::proxy::Gateway;
use crate::store::StoreError;

/// How often usage is merged: what a power loss can cost at most.
const MERGE_EVERY: Duration = Duration::from_secs(1);

/// How often answers whose time is over are forgotten.
const PURGE_EVERY: Duration = Duration::from_secs(1);

/// The background tasks.
pub(super) struct Background {
    tasks: Vec<JoinHandle<()>>,
}

impl Background {
    pub(super) fn start(
        runtime: &Runtime,
        gateway: Arc<Gateway>,
        manage: Arc<Manage>,
        certificates: Arc<Certificates>,
    ) -> Self {
        let merging = runtime.spawn(merge(gateway));
        let purging = runtime.spawn(purge(manage));
        let renewing = runtime.spawn(renew(certificates));
        Self { tasks: vec![merging, purging, renewing] }
    }

    /// Ends the tasks and waits until each has.
    pub(super) async fn stop(self) {
        for task in self.tasks {
            task.abort();
            // An aborted task ends with an error that says so.
            let _ = task.await;
        }
    }
}

async fn merge(gateway: Arc<Gateway>) {
    let mut every = interval(MERGE_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        every.tick().await;
        let gateway = Arc::clone(&gateway);
        let merged = tokio::task::spawn_blocking(move || gateway.ledger.turn(gateway.clock.now())).await;
        match merged {
            Ok(Ok(())) if failing => {
                failing = false;
                tracing::info!("usage is merged again");
            }
            // A new process takes over, and merges what is counted here.
            Ok(Err(StoreError::HandedOver { .. })) => {}
            // Said once, not each second: the counters keep it until the store takes it.
            Ok(Err(error)) if !failing => {
                failing = true;
                tracing::error!(%error, "usage cannot be merged; it waits in the usage file");
            }
            Ok(Ok(()) | Err(_)) => {}
            Err(error) => tracing::error!(%error, "the merge of usage broke off"),
        }
    }
}

/// Forgets answers that were kept for repeated calls, a bounded number each time.
async fn purge(manage: Arc<Manage>) {
    let mut every = interval(PURGE_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let manage = Arc::clone(&manage);
        let purged = tokio::task::spawn_blocking(move || manage.purge_replays()).await;
        // A store that fails says so elsewhere, and they are not replayed whether they are forgotten or not.
        if let Ok(Err(error)) = purged {
            tracing::debug!(%error, "kept answers could not be forgotten");
        }
    }
}

/// Loads certificates whose files have changed.
async fn renew(certificates: Arc<Certificates>) {
    let mut every = interval(LOOK_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let certificates = Arc::clone(&certificates);
        if let Err(error) = tokio::task::spawn_blocking(move || certificates.refresh()).await {
            tracing::error!(%error, "looking at the certificates broke off");
        }
    }
}
