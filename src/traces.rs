//! Traces: which one a request belongs to, and the spans that it leaves.
//!
//! [`context`] reads and writes what travels with a request (W3C Trace Context). Where spans go, [`span`] holds what a
//! request did, and `otlp` sends it, on a thread of its own: a request only puts its spans into a bounded queue, and
//! where that is full they are dropped and counted.

pub mod context;
#[cfg(feature = "otlp")]
mod otlp;
pub mod span;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http::HeaderMap;

use crate::config::log::Ratio;
use crate::config::traces::Traces as Settings;
use crate::metrics::Metrics;
use context::{Flags, Remote, SpanId, TraceId};
use span::Spans;

/// What the gateway does in traces. There is none where it takes no part.
#[derive(Debug)]
pub struct Traces {
    settings: Settings,
    /// What stood in the file of the collector's authorities.
    ca: Option<Vec<u8>>,
    #[cfg(feature = "otlp")]
    exporter: Option<otlp::Exporter>,
}

/// A request's place in its trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The trace.
    pub trace: TraceId,
    /// The span of the client's that this request belongs to; `None`: the trace begins here.
    pub parent: Option<SpanId>,
    /// The request's own span.
    pub span: SpanId,
    /// What is said to all that take part.
    pub flags: Flags,
    /// What others wrote into the trace, as it goes on.
    pub state: Option<http::HeaderValue>,
}

impl Traces {
    /// From a configuration. Those that were there `before` stay where nothing changes for them, with all that waits.
    ///
    /// # Errors
    /// What sends spans cannot be started.
    pub fn new(
        settings: Option<&Settings>,
        before: Option<&Arc<Self>>,
        metrics: &Metrics,
    ) -> anyhow::Result<Option<Arc<Self>>> {
        let Some(settings) = settings else { return Ok(None) };
        let file = settings.export.as_ref().and_then(|export| export.ca.as_ref());
        let read =
            |path: &PathBuf| fs::read(path).with_context(|| format!("{} cannot be read", path.display()));
        // A renewed file has the same path.
        let ca = file.map(read).transpose()?;
        if let Some(before) = before.filter(|before| before.settings == *settings && before.ca == ca) {
            return Ok(Some(Arc::clone(before)));
        }
        #[cfg(not(feature = "otlp"))]
        let _ = metrics;
        Ok(Some(Arc::new(Self {
            settings: settings.clone(),
            #[cfg(feature = "otlp")]
            exporter: settings
                .export
                .as_ref()
                .map(|export| otlp::Exporter::start(export, ca.as_deref(), metrics.spans.clone()))
                .transpose()?,
            ca,
        })))
    }

    /// A request's place: in the client's trace where it names one, else in a new one.
    pub fn join(&self, headers: &HeaderMap) -> Joined {
        let span = SpanId::random();
        if let Some(Remote { trace, parent, flags }) = Remote::read(headers) {
            return Joined { trace, parent: Some(parent), span, flags, state: context::state(headers) };
        }
        let trace = TraceId::random();
        let flags = Flags::new(self.settings.sample, trace);
        Joined { trace, parent: None, span, flags, state: None }
    }

    /// Whether what such a request does is told to anybody.
    pub fn tells(&self, joined: &Joined) -> bool {
        self.settings.export.is_some() && joined.flags.is_sampled()
    }

    /// Takes what a request did. Never waits.
    pub fn take(&self, spans: Box<Spans>) {
        #[cfg(feature = "otlp")]
        if let Some(exporter) = &self.exporter {
            exporter.take(spans);
        }
        #[cfg(not(feature = "otlp"))]
        drop(spans);
    }

    /// Sends what waits, for as long at most.
    pub fn flush(&self, most: Duration) {
        #[cfg(feature = "otlp")]
        if let Some(exporter) = &self.exporter {
            exporter.flush(most);
        }
        #[cfg(not(feature = "otlp"))]
        let _ = most;
    }
}

impl Flags {
    /// Of a new trace: as many as the ratio says are sampled.
    fn new(sample: Ratio, trace: TraceId) -> Self {
        if sample.takes(trace.lot()) { Self::SAMPLED } else { Self::NONE }
    }
}
