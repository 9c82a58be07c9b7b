//! A request's part in its trace: what its upstream is told of it, and the spans that it leaves.
//!
//! Where the gateway takes no part, all there is is the ID that the client named, for the log: nothing is made, and what
//! the client sent goes on untouched.

use std::sync::Arc;

use http::header::HOST;
use http::{HeaderMap, Method, Version};
use pingora::http::RequestHeader;

use super::context::Context;
use super::upstream::Place;
use crate::clock::Monotonic;
use crate::config::AccessLog;
use crate::key::redact::redacted;
use crate::metrics::NO_ROUTE;
use crate::outcome::Outcome;
use crate::traces::context::{self, Remote, SpanId, TRACEPARENT, TRACESTATE, TraceId};
use crate::traces::span::{Span, Spans, Value};
use crate::traces::{Joined, Traces};

/// The longest `Host` that is kept of a request, in characters.
const MAX_HOST_CHARS: usize = 255;
/// The most that a span keeps of a path, in bytes.
const MAX_PATH_BYTES: usize = 1024;
/// What a method of no known meaning is called.
const OTHER_METHOD: &str = "_OTHER";
/// Methods that are called by their names.
const METHODS: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::CONNECT,
    Method::OPTIONS,
    Method::TRACE,
    Method::PATCH,
];

/// A request's part.
#[derive(Debug)]
pub struct Part {
    traces: Arc<Traces>,
    joined: Joined,
    /// The try that runs, or ran last.
    span: SpanId,
    /// What is told of it; `None` where nobody is.
    told: Option<Told>,
}

/// What is told once the request has ended.
#[derive(Debug)]
struct Told {
    host: Option<String>,
    version: Version,
    scheme: &'static str,
    tries: Vec<(SpanId, Span)>,
    running: Option<Try>,
}

/// A try that runs.
#[derive(Debug)]
struct Try {
    began: Monotonic,
    upstream: String,
    target: String,
    address: Place,
    status: Option<u16>,
}

impl Part {
    fn new(traces: &Arc<Traces>, head: &RequestHeader, scheme: &'static str) -> Self {
        let joined = traces.join(&head.headers);
        let told = traces.tells(&joined).then(|| Told {
            host: host_of(&head.headers),
            version: head.version,
            scheme,
            tries: Vec::new(),
            running: None,
        });
        Self { traces: Arc::clone(traces), span: joined.span, joined, told }
    }

    /// Says on the way to the upstream whose child its work is.
    fn forward(&self, request: &mut RequestHeader) -> pingora::Result<()> {
        let joined = &self.joined;
        request.insert_header(TRACEPARENT, context::parent(joined.trace, self.span, joined.flags))?;
        match &joined.state {
            Some(state) => request.insert_header(TRACESTATE, state.clone())?,
            None => drop(request.remove_header(&TRACESTATE)),
        }
        Ok(())
    }

    /// Ends the try that runs, if one does.
    fn try_ends(&mut self, method: &Method, now: Monotonic, error: Option<&str>) {
        let Some(told) = &mut self.told else { return };
        let Some(ended) = told.running.take() else { return };
        let mut attributes = vec![
            ("http.request.method", Value::Word(method_name(method))),
            ("portcullis.upstream", Value::Text(ended.upstream)),
        ];
        server_address(&mut attributes, &ended.target);
        attributes.push(("network.peer.address", Value::Text(peer_address(&ended.address))));
        if let Some(status) = ended.status {
            attributes.push(("http.response.status_code", Value::Number(status.into())));
        }
        if !told.tries.is_empty() {
            let before = i64::try_from(told.tries.len()).unwrap_or(i64::MAX);
            attributes.push(("http.request.resend_count", Value::Number(before)));
        }
        let by_status = ended.status.filter(|status| *status >= 400).map(|status| status.to_string());
        let error = error.map(str::to_owned).or(by_status);
        if let Some(error) = &error {
            attributes.push(("error.type", Value::Text(error.clone())));
        }
        let name = method_name(method).to_owned();
        told.tries.push((self.span, Span { name, began: ended.began, ended: now, attributes, error }));
    }
}

impl Context {
    /// Finds the request's place in its trace.
    pub fn joins_trace(&mut self, head: &RequestHeader, scheme: &'static str) {
        match &self.traces {
            Some(traces) => {
                let part = Part::new(traces, head, scheme);
                self.trace_id = Some(part.joined.trace);
                self.part = Some(Box::new(part));
            }
            None if self.access_log == AccessLog::On => {
                self.trace_id = Remote::read(&head.headers).map(|remote| remote.trace);
            }
            None => {}
        }
    }

    /// The trace, for a log line.
    pub fn trace(&self) -> Option<tracing::field::DisplayValue<TraceId>> {
        self.trace_id.map(tracing::field::display)
    }

    /// Whether somebody is told of its path.
    pub(super) fn is_told(&self) -> bool {
        self.access_log == AccessLog::On || self.part.as_ref().is_some_and(|part| part.told.is_some())
    }

    /// Notes that a try at an upstream begins. Each is a span of its own.
    pub(super) fn try_begins(&mut self, began: Monotonic) {
        self.try_ends(None);
        let (Some(part), Some(chosen), Some(route)) = (&mut self.part, &self.chosen, &self.route) else {
            return;
        };
        part.span = SpanId::random();
        if let Some(told) = &mut part.told {
            told.running = Some(Try {
                began,
                upstream: route.upstream.name.clone(),
                target: chosen.target_name().to_owned(),
                address: chosen.address().clone(),
                status: None,
            });
        }
    }

    /// Notes the status that its upstream answered with.
    pub(super) fn try_answers(&mut self, status: http::StatusCode) {
        let told = self.part.as_mut().and_then(|part| part.told.as_mut());
        if let Some(running) = told.and_then(|told| told.running.as_mut()) {
            running.status = Some(status.as_u16());
        }
    }

    /// Notes that the try has ended, with this fault if it is one.
    pub(super) fn try_ends(&mut self, error: Option<&str>) {
        if self.part.as_ref().is_some_and(|part| part.told.is_some()) {
            let now = self.now();
            if let Some(part) = &mut self.part {
                part.try_ends(&self.line.0, now, error);
            }
        }
    }

    /// Tells the upstream of the trace. Where the gateway takes no part, it gets what the client sent.
    pub(super) fn forward_trace(&self, request: &mut RequestHeader) -> pingora::Result<()> {
        self.part.as_ref().map_or(Ok(()), |part| part.forward(request))
    }

    /// Hands over what is told of it.
    pub(super) fn tell_trace(&mut self) {
        let Some(part) = self.part.take() else { return };
        let Part { traces, joined, told, .. } = *part;
        let Some(told) = told else { return };
        let server = self.server_span(&told);
        let (received, started) = (self.received, self.started());
        traces.take(Box::new(Spans { joined, received, started, server, tries: told.tries }));
    }

    fn server_span(&self, told: &Told) -> Span {
        let route = self.route.as_ref().map(|route| route.policy.label.to_string());
        let method = method_name(&self.line.0);
        let status = self.status.map(|status| status.as_u16());
        let mut attributes = vec![
            ("http.request.method", Value::Word(method)),
            ("url.scheme", Value::Word(told.scheme)),
            ("network.protocol.version", Value::Word(version(told.version))),
            ("portcullis.outcome", Value::Word(self.outcome().as_str())),
            ("portcullis.request_id", Value::Text(self.request_id.clone())),
        ];
        if let Some(host) = &told.host {
            server_address(&mut attributes, host);
        }
        let address = self.address.map(|address| address.to_string());
        let key = self.found.as_ref().map(|found| found.entry.id.to_string());
        let error = self.fault(status);
        // There is none where the target was not read.
        let path = Some(beginning(&self.line.1, MAX_PATH_BYTES)).filter(|path| !path.is_empty());
        let texts = [
            ("url.path", path.map(str::to_owned)),
            ("client.address", address),
            ("http.route", route.clone()),
            ("portcullis.key.id", key),
            ("error.type", error.clone()),
        ];
        let known = texts.into_iter().filter_map(|(name, text)| text.map(|text| (name, Value::Text(text))));
        attributes.extend(known);
        if let Some(status) = status {
            attributes.push(("http.response.status_code", Value::Number(status.into())));
        }
        let name = format!("{method} {}", route.as_deref().unwrap_or(NO_ROUTE));
        Span { name, began: self.started(), ended: self.now(), attributes, error }
    }

    /// What it failed with, where that is not its client's doing.
    fn fault(&self, status: Option<u16>) -> Option<String> {
        let failed = status.is_some_and(|status| status >= 500);
        // An answer that was good so far, and broke off.
        let broken = status.is_none_or(|status| status < 400);
        match self.outcome() {
            Outcome::Allowed => status.filter(|_| failed).map(|status| status.to_string()),
            outcome => (failed || broken).then(|| outcome.as_str().to_owned()),
        }
    }
}

/// The name of a method that is known; others could be anything.
fn method_name(method: &Method) -> &'static str {
    match METHODS.iter().position(|known| known == method) {
        Some(at) => ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"][at],
        None => OTHER_METHOD,
    }
}

/// As many bytes of it as there may be, in whole characters.
fn beginning(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}

/// The client's `Host`, as far as it may be written down.
fn host_of(headers: &HeaderMap) -> Option<String> {
    let host = headers.get(HOST)?.to_str().ok()?;
    (host.len() <= MAX_HOST_CHARS).then(|| redacted(host).into_owned())
}

/// A host, and a port where there is one.
fn server_address(attributes: &mut Vec<(&'static str, Value)>, authority: &str) {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port.parse::<u16>().ok()),
        _ => (authority, None),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    attributes.push(("server.address", Value::Text(host.to_owned())));
    if let Some(port) = port {
        attributes.push(("server.port", Value::Number(port.into())));
    }
}

fn peer_address(place: &Place) -> String {
    match place {
        Place::Inet(address) => address.ip().to_string(),
        Place::Unix(path) => path.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_a_host_and_perhaps_a_port() {
        let of = |authority: &str| {
            let mut attributes = Vec::new();
            server_address(&mut attributes, authority);
            format!("{attributes:?}")
        };
        assert!(of("api.example.com").contains("\"api.example.com\""));
        assert!(of("api.example.com:80").contains("Number(80)"));
        assert!(of("[::1]:80").contains("Text(\"::1\")") && of("[::1]:80").contains("Number(80)"));
        assert!(of("[::1]").contains("Text(\"::1\")"));
        assert!(of("unix:/run/api.sock").contains("unix"));
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!((beginning("/aé", 3), beginning("/aé", 4), beginning("", 4)), ("/a", "/aé", ""));
    }

    #[test]
    fn a_method_that_could_be_anything_is_not_written_down() {
        assert_eq!(method_name(&Method::PATCH), "PATCH");
        assert_eq!(method_name(&Method::from_bytes(b"PURGE").unwrap()), OTHER_METHOD);
    }
}
