//! What goes on beside the requests: for each upstream in force, its checks, its names, and its ejections' time.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pingora::connectors::http::Connector;
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{Target, Upstream, check};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::proxy::routing::Routing;

/// How often is looked whether an ejection is over.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Watches the upstreams in force.
pub struct Watch {
    runtime: Handle,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    connector: Arc<Connector>,
    watched: Mutex<BTreeMap<String, Watched>>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watch({} upstreams)", self.watched.lock().len())
    }
}

/// One upstream and its task, which ends when this is dropped.
struct Watched {
    upstream: Arc<Upstream>,
    task: AbortHandle,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watch {
    /// Watches nothing yet.
    pub fn new(runtime: Handle, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        let connector = Arc::new(Connector::new(None));
        Self { runtime, clock, metrics, connector, watched: Mutex::default() }
    }

    /// Watches these upstreams and no others. The series of targets that are no more end.
    pub fn follow(&self, routing: &Routing) {
        let mut watched = self.watched.lock();
        let mut before = std::mem::take(&mut *watched);
        for (name, upstream) in &routing.upstreams {
            let same = before.get(name).is_some_and(|one| Arc::ptr_eq(&one.upstream, upstream));
            let one = match before.remove(name) {
                Some(one) if same => one,
                earlier => {
                    if let Some(earlier) = &earlier {
                        self.forget(&earlier.upstream, Some(upstream));
                    }
                    self.start(upstream)
                }
            };
            watched.insert(name.clone(), one);
        }
        for gone in before.values() {
            self.forget(&gone.upstream, None);
        }
    }

    /// Watches nothing any more.
    pub fn end(&self) {
        self.watched.lock().clear();
    }

    /// Ends the series of targets that the `later` upstream of this name has not.
    fn forget(&self, upstream: &Upstream, later: Option<&Arc<Upstream>>) {
        let stays = |target: &Target| {
            later.is_some_and(|later| later.targets.iter().any(|one| one.address == target.address))
        };
        for target in upstream.targets.iter().filter(|target| !stays(target)) {
            self.metrics.forget_target(&upstream.name, &target.address);
        }
    }

    fn start(&self, upstream: &Arc<Upstream>) -> Watched {
        let (one, clock, connector) =
            (Arc::clone(upstream), Arc::clone(&self.clock), Arc::clone(&self.connector));
        let task = self.runtime.spawn(async move {
            tokio::join!(checks(&one, &connector, &clock), names(&one), time(&one, &*clock));
        });
        Watched { upstream: Arc::clone(upstream), task: task.abort_handle() }
    }
}

async fn checks(upstream: &Arc<Upstream>, connector: &Arc<Connector>, clock: &Arc<dyn Clock>) {
    let Some(health) = &upstream.config.health else { return };
    let mut every = interval(health.interval);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        check::check_all(upstream, connector, clock).await;
    }
}

/// Looks each name up again when what was found of it holds no longer. The first look-up was made before the upstream
/// was put in force.
async fn names(upstream: &Arc<Upstream>) {
    // It ends with this task.
    let mut looking = JoinSet::new();
    for target in upstream.targets.iter().filter(|target| target.is_name()) {
        let (target, upstream) = (Arc::clone(target), Arc::clone(upstream));
        looking.spawn(async move {
            loop {
                sleep(target.lasts()).await;
                target.resolve(&upstream).await;
            }
        });
    }
    while looking.join_next().await.is_some() {}
}

async fn time(upstream: &Upstream, clock: &dyn Clock) {
    if upstream.config.ejection.is_none() {
        return;
    }
    let mut every = interval(LOOK_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        upstream.pass(clock.monotonic());
    }
}
