//! One request's state, from its head to its end. It settles itself when it is dropped, so that a client that leaves, a
//! panic and a shutdown are counted like any other end, once.

use std::net::IpAddr;
use std::sync::Arc;

use http::StatusCode;
use pingora::http::RequestHeader;

use super::bounds::BodyBounds;
use super::reply::Field;
use super::request::RouteFound;
use super::routing::Route;
use super::trace::Part;
use super::upstream::{Chosen, Line, Place};
use super::{Gateway, pace, reply};
use crate::admission::{Passage, authorize};
use crate::clock::{Monotonic, Timestamp};
use crate::config::AccessLog;
use crate::config::log::{Ratio, Sampling};
use crate::key::redact::redacted;
use crate::lines::Hold;
use crate::metrics::NO_ROUTE;
use crate::outcome::Outcome;
use crate::request_id;
use crate::snapshot::Found;
use crate::traces::Traces;
use crate::traces::context::TraceId;

/// One request.
#[derive(Debug)]
pub struct Context {
    gateway: Arc<Gateway>,
    /// When its head was there, on the wall.
    pub received: Timestamp,
    started: Monotonic,
    /// Its ID, in the answer and the log.
    pub request_id: String,
    /// Its method and path, for the log; the query is left out, for it may hold a credential.
    pub line: (http::Method, String),
    /// The client's address.
    pub address: Option<IpAddr>,
    /// Its route.
    pub route: Option<Arc<Route>>,
    /// Whether it may pass. Forwarding asks for it.
    pub passage: Option<Passage>,
    /// The key, where it is known.
    pub found: Option<Found>,
    /// Its hold of its connection, by which a revocation finds it.
    pub hold: Option<Hold>,
    /// Where it was forwarded to.
    pub chosen: Option<Chosen>,
    /// The addresses that it got no connection to.
    pub failed: Vec<Place>,
    /// Which connections it may have.
    pub line_wanted: Line,
    /// Bytes of its body so far.
    pub body_bytes: u64,
    /// The status that the client was sent.
    pub status: Option<StatusCode>,
    upstream_began: Option<Monotonic>,
    upstream_answered: Option<Monotonic>,
    outcome: Outcome,
    settled: Settled,
    /// Whether it may get a log line.
    pub(super) access_log: AccessLog,
    /// Which requests do.
    sampling: Sampling,
    /// What its body is bounded by.
    pub(super) body: BodyBounds,
    /// What the gateway does in traces.
    pub(super) traces: Option<Arc<Traces>>,
    /// The trace that it belongs to.
    pub(super) trace_id: Option<TraceId>,
    /// Its part in that, where the gateway takes one.
    pub(super) part: Option<Box<Part>>,
    /// Set where a revocation ended it.
    cut: Option<bool>,
}

/// Whether the request was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Settled {
    No,
    Yes,
}

impl Context {
    /// A request whose head is there.
    pub fn new(gateway: Arc<Gateway>) -> Self {
        let (received, started) = (gateway.clock.now(), gateway.clock.monotonic());
        let routing = gateway.routing.load();
        let (access_log, sampling, traces) = (routing.access_log, routing.sampling, routing.traces.clone());
        let body = routing.bounds.body;
        drop(routing);
        Self {
            gateway,
            access_log,
            sampling,
            body,
            traces,
            trace_id: None,
            part: None,
            received,
            started,
            request_id: String::new(),
            line: (http::Method::GET, String::new()),
            address: None,
            route: None,
            passage: None,
            found: None,
            hold: None,
            chosen: None,
            failed: Vec::new(),
            line_wanted: Line::Any,
            body_bytes: 0,
            status: None,
            upstream_began: None,
            upstream_answered: None,
            outcome: Outcome::Allowed,
            settled: Settled::No,
            cut: None,
        }
    }

    /// Notes what its head says of it, and gives it an ID.
    pub fn begins(&mut self, head: &RequestHeader, scheme: &'static str) {
        self.line.0 = head.method.clone();
        let given = request_id::given(&head.headers).map(str::to_owned);
        self.request_id = given.unwrap_or_else(|| request_id::new(self.received));
        self.joins_trace(head, scheme);
    }

    /// Notes its route, and whose it is.
    pub fn note_route(&mut self, found: &RouteFound) {
        self.route = Some(Arc::clone(&found.route));
        self.address = Some(found.address);
    }

    /// Notes its path for the log and its trace, if there is one.
    pub fn note_path(&mut self, path: &[u8]) {
        if self.is_told() {
            self.line.1 = redacted(&String::from_utf8_lossy(path)).into_owned();
        }
    }

    /// The time, for what is measured.
    pub fn now(&self) -> Monotonic {
        self.gateway.clock.monotonic()
    }

    /// Whether a byte of its answer came.
    pub fn has_upstream_answered(&self) -> bool {
        self.upstream_answered.is_some()
    }

    /// When it began, for rates.
    pub fn started(&self) -> Monotonic {
        self.started
    }

    /// Bytes a second that its body must bring.
    pub fn least_rate(&self) -> u64 {
        self.body.least_rate()
    }

    /// What its answer says of a secret whose grace runs.
    pub fn retirement_headers(&self) -> Vec<Field> {
        let retiring = self.found.as_ref().and_then(|found| authorize::retiring(found, self.received));
        retiring.map_or_else(Vec::new, |end| reply::retirement_headers(end.at, end.not_after))
    }

    /// Notes how it ends.
    pub fn ends(&mut self, outcome: Outcome, status: StatusCode) {
        self.outcome = outcome;
        self.status = Some(status);
    }

    /// Notes how it ends where no status can be sent any more.
    pub fn breaks(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }

    /// Notes that its answer has no end but its own.
    pub fn streams(&self) {
        self.hold.iter().for_each(Hold::streams);
    }

    /// How it ends, as far as is known.
    pub(super) fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Notes that its upstream is about to be connected to.
    pub fn upstream_begins(&mut self) {
        let now = self.gateway.clock.monotonic();
        if self.upstream_began.is_none() {
            self.gateway.metrics.overhead.observe(now.since(self.started).as_secs_f64());
        }
        self.upstream_began = Some(now);
        self.try_begins(now);
    }

    /// Notes that its upstream has answered.
    pub fn upstream_answers(&mut self) {
        self.upstream_answered = Some(self.gateway.clock.monotonic());
    }

    /// Counts it and gives its place back, before its last byte is written: whoever has the whole answer finds it
    /// counted. What happens after that changes nothing any more.
    pub fn settle(&mut self) {
        if self.settled == Settled::Yes {
            return;
        }
        self.settled = Settled::Yes;
        self.try_ends(None);
        let now = self.gateway.clock.now();
        if let (Some(found), Some(route)) = (&self.found, &self.route) {
            self.gateway.ledger.settle(found, route.policy.number, self.outcome, now);
        }
        match &self.route {
            Some(route) => {
                route.metrics.count(self.outcome);
                let took = self.gateway.clock.monotonic().since(self.started);
                route.metrics.duration.observe(took.as_secs_f64());
            }
            None => self.gateway.no_route.count(self.outcome),
        }
        let answered = self.has_upstream_answered() && self.status != Some(StatusCode::BAD_GATEWAY);
        if let Some(chosen) = self.chosen.take()
            && answered
            && self.outcome == Outcome::Allowed
        {
            chosen.serves();
        }
        self.passage = None;
        self.cut = self.hold.take().is_some_and(|hold| hold.is_cut()).then_some(true);
    }

    /// Whether it is among those that get a line.
    fn is_drawn(&self) -> bool {
        let good = self.outcome == Outcome::Allowed
            && self.cut.is_none()
            && self.status.is_some_and(|status| status.as_u16() < 400);
        let share = if good { self.sampling.good } else { self.sampling.failed };
        // Nothing that the client chooses decides.
        share == Ratio::ALL || share.takes(rand::random())
    }

    /// One line about it: the key's ID and never its secret, the path and never its query.
    fn log(&self) {
        let took = |from: Option<Monotonic>, to: Option<Monotonic>| {
            from.zip(to).map(|(a, b)| u64::try_from(b.since(a).as_micros()).unwrap_or(u64::MAX))
        };
        let label = self.route.as_ref().map_or(NO_ROUTE, |route| &*route.policy.label);
        tracing::info!(
            target: "access",
            request_id = self.request_id,
            address = self.address.map(tracing::field::display),
            method = self.line.0.as_str(),
            path = self.line.1,
            route = label,
            key_id = self.found.as_ref().map(|found| tracing::field::display(found.entry.id)),
            outcome = self.outcome.as_str(),
            status = self.status.map_or(0, |status| status.as_u16()),
            duration_us = took(Some(self.started), Some(self.gateway.clock.monotonic())),
            upstream_us = took(self.upstream_began, self.upstream_answered),
            request_bytes = self.body_bytes,
            cut = self.cut,
            trace_id = self.trace(),
        );
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.outcome = Outcome::InternalError;
        }
        if pace::was_silent() && self.settled == Settled::No {
            self.breaks(Outcome::RequestTimeout);
        }
        self.settle();
        if self.access_log == AccessLog::On && self.is_drawn() {
            self.log();
        }
        self.tell_trace();
    }
}
