//! What became of the spans that requests left.

use prometheus::{IntCounter, IntCounterVec, Opts};

/// What becomes of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The collector has it.
    Sent,
    /// The collector did not take it.
    NotSent,
    /// There was no room for it.
    QueueFull,
}

impl Fate {
    const ALL: [Self; 3] = [Self::Sent, Self::NotSent, Self::QueueFull];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::NotSent => "not_sent",
            Self::QueueFull => "queue_full",
        }
    }
}

/// `portcullis_trace_spans_total`
#[derive(Debug, Clone)]
pub struct SpanMetrics(Vec<IntCounter>);

impl SpanMetrics {
    /// The counters, and the series that they are.
    pub(super) fn new() -> prometheus::Result<(Self, IntCounterVec)> {
        let help = "Spans by what became of them: sent, or lost because the collector did not take them or because \
                    the queue was full.";
        let series = IntCounterVec::new(Opts::new("portcullis_trace_spans_total", help), &["result"])?;
        let counters = Fate::ALL.iter().map(|fate| series.with_label_values(&[fate.as_str()])).collect();
        Ok((Self(counters), series))
    }

    /// Counts.
    pub fn add(&self, fate: Fate, spans: u64) {
        if let Some(counter) = self.0.get(fate as usize) {
            counter.inc_by(spans);
        }
    }
}
