//! How long a request's body has been waited for.
//!
//! On HTTP/1.1 that is the time in which the gateway wanted bytes and the client sent none: what a slow upstream holds up
//! does not count, since the gateway does not read then. The client's end of the connection ([`super::client`]) tells,
//! and the request asks, within one task.
//!
//! HTTP/2 reads in another task, for all streams. There it is the time since the upstream was connected to; what a
//! connection keeps for an upstream that stalls is more than the least rate asks in that time. gRPC calls to an upstream
//! that speaks HTTP/2 are not measured, since a caller may be silent for as long as it has nothing to say, nor is a
//! request whose answer has begun.

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
    began: Cell<Instant>,
    last: Cell<Instant>,
    upload: Cell<Upload>,
}

/// Whether a stream's body is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upload {
    /// There is more to come, and nobody to pass it on to yet.
    Later,
    /// There is more to come, and it has its time.
    Awaited,
    /// There is none, it is there, or it may take its time.
    Free,
    /// None came for too long.
    Silent,
}

/// Runs a request's work, in which the waiting is measured.
pub(super) async fn measured<T>(work: impl Future<Output = T>) -> T {
    PACE.scope(Pace::default(), work).await
}

/// Runs a stream's work; `None` where no byte of its body has come for `silence`.
pub(super) async fn stream<T>(upload: Upload, silence: Duration, work: impl Future<Output = T>) -> Option<T> {
    let now = Instant::now();
    let stream = StreamPace { began: Cell::new(now), last: Cell::new(now), upload: Cell::new(upload) };
    let pace = Pace { stream: Some(stream), ..Pace::default() };
    let both = async {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = silent_for(silence), if upload == Upload::Later => None,
        }
    };
    PACE.scope(pace, both).await
}

/// Waits until a stream's client has been silent for so long in the middle of its body.
async fn silent_for(silence: Duration) {
    let now =
        || PACE.with(|pace| pace.stream.as_ref().map(|stream| (stream.last.get(), stream.upload.get())));
    loop {
        let end = match now() {
            Some((_, Upload::Later)) => Instant::now() + silence,
            Some((last, Upload::Awaited)) => last + silence,
            // It is not waited for any more.
            _ => std::future::pending().await,
        };
        if Instant::now() >= end {
            // Whoever drops the work finds why.
            return with_stream(|stream| stream.upload.set(Upload::Silent));
        }
        sleep_until(end).await;
    }
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

/// There is an upstream that a stream's body can be passed on to.
pub(super) fn begins() {
    with_stream(|stream| {
        if matches!(stream.upload.get(), Upload::Later | Upload::Awaited) {
            let now = Instant::now();
            stream.began.set(now);
            stream.last.set(now);
            stream.upload.set(Upload::Awaited);
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

/// Whether the request is dropped because its client was silent.
pub(super) fn was_silent() -> bool {
    let silent = PACE
        .try_with(|pace| pace.stream.as_ref().is_some_and(|stream| stream.upload.get() == Upload::Silent));
    silent.unwrap_or(false)
}

fn with_stream(change: impl FnOnce(&StreamPace)) {
    let _ = PACE.try_with(|pace| pace.stream.as_ref().map(change));
}

/// How long the request's client was waited for.
pub(super) fn waited() -> Duration {
    let waited = PACE.try_with(|pace| match &pace.stream {
        Some(stream) if stream.upload.get() == Upload::Awaited => stream.began.get().elapsed(),
        Some(_) => Duration::ZERO,
        None => pace.waited.get(),
    });
    waited.unwrap_or_default()
}
