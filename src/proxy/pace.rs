//! How long a request's body has been waited for: the time in which the gateway wanted bytes and the client sent none.
//!
//! What a slow upstream holds up does not count, since the gateway does not read then. The client's end of the
//! connection ([`super::client`]) tells, and the request asks, within one task; HTTP/2 reads in another, and has bounds
//! of its own.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

tokio::task_local! {
    static PACE: Pace;
}

/// One request's waiting.
#[derive(Debug, Default)]
struct Pace {
    waited: Cell<Duration>,
    since: Cell<Option<Instant>>,
}

/// Runs a request's work, in which the waiting is measured.
pub(super) async fn measured<T>(work: impl Future<Output = T>) -> T {
    PACE.scope(Pace::default(), work).await
}

/// The client was asked for bytes and has none yet.
pub(super) fn waits() {
    // Where no request runs there is nothing to measure.
    let _ = PACE.try_with(|pace| {
        if pace.since.get().is_none() {
            pace.since.set(Some(Instant::now()));
        }
    });
}

/// The client sent bytes.
pub(super) fn sends() {
    let _ = PACE.try_with(|pace| {
        if let Some(since) = pace.since.take() {
            pace.waited.set(pace.waited.get() + since.elapsed());
        }
    });
}

/// How long the request's client was waited for.
pub(super) fn waited() -> Duration {
    PACE.try_with(|pace| pace.waited.get()).unwrap_or_default()
}
