//! Sends spans by OTLP over HTTP, from a thread of its own.

mod client;
mod form;

use std::fmt;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use opentelemetry_otlp::{Protocol, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::runtime::{Builder, Runtime};

use super::span::Spans;
use crate::clock::{Clock, Monotonic, SystemClock};
use crate::config::traces::Export;
use crate::metrics::traces::{Fate, SpanMetrics};

/// Spans in one call, about: those of one request stay together.
const BATCH: usize = 512;
/// Their bytes in one call, about.
const BATCH_BYTES: usize = 1 << 20;
/// How long the first of a call waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// How often a collector that fails is spoken of.
const COMPLAIN_EVERY: Duration = Duration::from_mins(1);
/// How often is looked whether a full queue has room again, at the end.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What the thread is told.
enum Message {
    Spans(Box<Spans>),
    /// All that came before this is to be sent now.
    Flush(mpsc::Sender<()>),
}

/// Where requests put their spans. The thread ends, when it has sent them, after this is dropped.
pub(super) struct Exporter {
    queue: SyncSender<Message>,
    metrics: SpanMetrics,
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exporter")
    }
}

impl Exporter {
    /// Starts the thread.
    pub(super) fn start(settings: &Export, ca: Option<&[u8]>, metrics: SpanMetrics) -> anyhow::Result<Self> {
        let (queue, waiting) = mpsc::sync_channel(settings.queue);
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client::Client::new(settings, ca)?)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(&settings.endpoint)
            .with_timeout(settings.timeout)
            .with_retry_policy(RetryPolicy::disabled())
            .build()
            .context("what sends spans cannot be made")?;
        exporter.set_resource(&resource(&settings.service_name));
        // Only so that the exporter's future has somewhere to run; the calls themselves block this thread.
        let runtime = Builder::new_current_thread().build().context("what sends spans cannot be started")?;
        let sender = Sender {
            exporter,
            runtime,
            metrics: metrics.clone(),
            clock: SystemClock::new(),
            complained: None,
        };
        thread::Builder::new()
            .name("traces".into())
            .spawn(move || sender.run(&waiting))
            .context("the thread that sends spans cannot be started")?;
        Ok(Self { queue, metrics })
    }

    /// Puts them into the queue, or drops them where it is full.
    pub(super) fn take(&self, spans: Box<Spans>) {
        let count = spans.count();
        if self.queue.try_send(Message::Spans(spans)).is_err() {
            self.metrics.add(Fate::QueueFull, count);
        }
    }

    /// Waits until all that is in the queue was sent, for as long at most.
    pub(super) fn flush(&self, most: Duration) {
        let clock = SystemClock::new();
        let (done, flushed) = mpsc::channel();
        let mut message = Message::Flush(done);
        while let Err(TrySendError::Full(back)) = self.queue.try_send(message) {
            if clock.monotonic().since(Monotonic::default()) >= most {
                return;
            }
            message = back;
            thread::sleep(LOOK_EVERY);
        }
        let left = most.saturating_sub(clock.monotonic().since(Monotonic::default()));
        // What is not sent by then is lost with the process.
        let _ = flushed.recv_timeout(left);
    }
}

/// What the collector is told of this process.
fn resource(service: &str) -> Resource {
    Resource::builder_empty()
        .with_service_name(service.to_owned())
        .with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build()
}

/// The thread.
struct Sender {
    exporter: SpanExporter,
    runtime: Runtime,
    metrics: SpanMetrics,
    clock: SystemClock,
    /// When a failure was last spoken of, and since then it went on.
    complained: Option<Monotonic>,
}

impl Sender {
    fn run(mut self, waiting: &Receiver<Message>) {
        while let Ok(first) = waiting.recv() {
            let mut batch = Vec::with_capacity(BATCH);
            let flushed = self.gather(first, waiting, &mut batch);
            if !batch.is_empty() {
                self.send(batch);
            }
            if let Some(flushed) = flushed {
                // Who has waited for long enough is gone.
                let _ = flushed.send(());
            }
        }
    }

    /// Takes what comes within a while after the first. Who waits for it is told afterwards.
    fn gather(
        &self,
        first: Message,
        waiting: &Receiver<Message>,
        batch: &mut Vec<SpanData>,
    ) -> Option<mpsc::Sender<()>> {
        let began = self.clock.monotonic();
        let (mut message, mut bytes) = (first, 0);
        loop {
            match message {
                Message::Spans(spans) => {
                    bytes += spans.bytes();
                    form::add(*spans, batch);
                }
                Message::Flush(done) => return Some(done),
            }
            let left = GATHER.saturating_sub(self.clock.monotonic().since(began));
            if batch.len() >= BATCH || bytes >= BATCH_BYTES {
                return None;
            }
            message = match waiting.recv_timeout(left) {
                Ok(next) => next,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
            };
        }
    }

    fn send(&mut self, batch: Vec<SpanData>) {
        let count = batch.len() as u64;
        match self.runtime.block_on(self.exporter.export(batch)) {
            Ok(()) => {
                self.metrics.add(Fate::Sent, count);
                if self.complained.take().is_some() {
                    tracing::info!("spans reach their collector again");
                }
            }
            Err(error) => {
                self.metrics.add(Fate::NotSent, count);
                let now = self.clock.monotonic();
                if self.complained.is_none_or(|at| now.since(at) >= COMPLAIN_EVERY) {
                    self.complained = Some(now);
                    tracing::warn!(%error, spans = count, "spans do not reach their collector and are lost");
                }
            }
        }
    }
}
