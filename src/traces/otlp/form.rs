//! Spans in the form that the exporter takes.

use opentelemetry::trace::{
    SpanContext, SpanId as OtelSpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use crate::traces::Joined;
use crate::traces::context::SpanId;
use crate::traces::span::{Span, Spans, Value};

/// Adds a request's spans: the request's own, and below it its tries.
pub(super) fn add(spans: Spans, batch: &mut Vec<SpanData>) {
    let Spans { joined, received, started, server, tries } = spans;
    let start = received.to_system();
    let form = |span: Span, id: SpanId, parent: Option<SpanId>, kind: SpanKind| SpanData {
        span_context: context(&joined, id),
        parent_span_id: parent
            .map_or(OtelSpanId::INVALID, |parent| OtelSpanId::from_bytes(parent.to_bytes())),
        parent_span_is_remote: kind == SpanKind::Server && parent.is_some(),
        span_kind: kind,
        name: span.name.into(),
        start_time: start + span.began.since(started),
        end_time: start + span.ended.since(started),
        attributes: span.attributes.into_iter().map(|(name, value)| attribute(name, value)).collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: if span.error.is_some() { Status::error("") } else { Status::Unset },
        instrumentation_scope: scope(),
    };
    batch.push(form(server, joined.span, joined.parent, SpanKind::Server));
    for (id, one) in tries {
        batch.push(form(one, id, Some(joined.span), SpanKind::Client));
    }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("portcullis").with_version(env!("CARGO_PKG_VERSION")).build()
}

fn context(joined: &Joined, id: SpanId) -> SpanContext {
    SpanContext::new(
        TraceId::from_bytes(joined.trace.to_bytes()),
        OtelSpanId::from_bytes(id.to_bytes()),
        TraceFlags::new(joined.flags.bits()),
        false,
        TraceState::NONE,
    )
}

fn attribute(name: &'static str, value: Value) -> KeyValue {
    match value {
        Value::Text(text) => KeyValue::new(name, text),
        Value::Word(word) => KeyValue::new(name, word),
        Value::Number(number) => KeyValue::new(name, number),
    }
}
