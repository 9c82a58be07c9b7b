//! How long a request's body has been waited for.
//!
//! On HTTP/1.1 that is the time in which the gateway wanted bytes and the client sent none: what a slow upstream holds up
//! does not count, since the gateway does not read then. The client's end of the connection ([`super::client`]) tells,
//! and the request asks, within one task.
//!
//! HTTP/2 reads in another task, for all streams. There it is the time since the request's head; what a connection keeps
//! for an upstream that stalls is more than the least rate asks in that time. gRPC calls are not measured, since a
//! caller may be silent for as long as it has nothing to say, nor is a request whose answer has begun.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

tokio::task_local! {
    static PACE: Pace;
}

/// One request's waiting.
#[derive(Debug, Default)]
struct Pace {
    waited: Cell<Duration>,
    since: Cell<Option<Instant>>,
    stream: Option<StreamPace>,
}

/// An HTTP/2 stream's.
#[derive(Debug)]
struct StreamPace {
    began: Instant,
    last: Cell<Instant>,
    upload: Cell<Upload>,
}

/// Whether a stream's body is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upload {
    /// There is more to come, and it has its time.
    Awaited,
    /// There is none, it is there, or it may take its time.
    Free,
}

/// Runs a request's work, in which the waiting is measured.
pub(super) async fn measured<T>(work: impl Future<Output = T>) -> T {
    PACE.scope(Pace::default(), work).await
}

/// Runs a stream's work; `None` where no byte of its body has come for `silence`.
pub(super) async fn stream<T>(upload: Upload, silence: Duration, work: impl Future<Output = T>) -> Option<T> {
    let now = Instant::now();
    let stream = StreamPace { began: now, last: Cell::new(now), upload: Cell::new(upload) };
    let pace = Pace { stream: Some(stream), ..Pace::default() };
    let both = async {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = silent_for(silence), if upload == Upload::Awaited => None,
        }
    };
    PACE.scope(pace, both).await
}

/// Waits until a stream's client has been silent for so long in the middle of its body.
async fn silent_for(silence: Duration) {
    let last =
        || PACE.with(|pace| pace.stream.as_ref().map(|stream| (stream.last.get(), stream.upload.get())));
    while let Some((last, Upload::Awaited)) = last() {
        let end = last + silence;
        if Instant::now() >= end {
            return;
        }
        sleep_until(end).await;
    }
    // It is not waited for any more.
    std::future::pending::<()>().await;
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

/// A piece of a body is passed on.
pub(super) fn passes() {
    with_stream(|stream| stream.last.set(Instant::now()));
}

/// A stream's body is there, or its answer has begun.
pub(super) fn is_free() {
    with_stream(|stream| stream.upload.set(Upload::Free));
}

fn with_stream(change: impl FnOnce(&StreamPace)) {
    let _ = PACE.try_with(|pace| pace.stream.as_ref().map(change));
}

/// How long the request's client was waited for.
pub(super) fn waited() -> Duration {
    let waited = PACE.try_with(|pace| match &pace.stream {
        Some(stream) if stream.upload.get() == Upload::Awaited => stream.began.elapsed(),
        Some(_) => Duration::ZERO,
        None => pace.waited.get(),
    });
    waited.unwrap_or_default()
}
