//! Every series, declared and documented once (contract, section 8). Series do not grow with the number of keys.

pub mod bounds;
pub mod traces;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::core::Collector;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use crate::key::Status;
use crate::outcome::Outcome;
use bounds::BoundsHit;
use traces::SpanMetrics;

/// The label of requests that no route took.
pub const NO_ROUTE: &str = "none";
/// The label of keys without a series of their own.
const OTHER_KEYS: &str = "other";

/// Buckets of a request's whole time, in seconds.
const DURATION_BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
/// Buckets of the gateway's own time, in seconds.
const OVERHEAD_BUCKETS: &[f64] = &[
    0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.05,
    0.25,
];
/// Buckets of a store's commit, in seconds.
const COMMIT_BUCKETS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// The counters of one route. Taken once when the route is built, so that a request looks nothing up.
#[derive(Debug)]
pub struct RouteMetrics {
    label: String,
    requests: IntCounterVec,
    by_outcome: [OnceLock<IntCounter>; Outcome::ALL.len()],
    /// `portcullis_request_duration_seconds`
    pub duration: Histogram,
}

impl RouteMetrics {
    /// Counts a request.
    pub fn count(&self, outcome: Outcome) {
        if let Some(counter) = self.by_outcome.get(usize::from(outcome.number())) {
            counter
                .get_or_init(|| self.requests.with_label_values(&[self.label.as_str(), outcome.as_str()]))
                .inc();
        }
    }
}

/// `portcullis_upstream_target_healthy` of one target.
#[derive(Debug, Clone)]
pub struct TargetMetric(IntGauge);

impl TargetMetric {
    /// It takes requests.
    pub fn healthy(&self) {
        self.0.set(1);
    }

    /// It takes none.
    pub fn unhealthy(&self) {
        self.0.set(0);
    }
}

/// `portcullis_upstream_resolve_failures_total` of one target.
#[derive(Debug, Clone)]
pub struct NameMetric(IntCounter);

impl NameMetric {
    /// A look-up failed.
    pub fn count(&self) {
        self.0.inc();
    }
}

/// What is read when Prometheus asks.
#[derive(Debug, Default)]
pub struct Reading {
    /// Keys by status.
    pub keys: HashMap<Status, u64>,
    /// The busiest keys: ID, name, requests.
    pub busiest: Vec<(String, String, u64)>,
    /// The requests of all other keys.
    pub other: u64,
    /// Requests that the ledger has not yet.
    pub unflushed: u64,
}

/// Every series.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    duration: HistogramVec,
    /// `portcullis_gateway_overhead_seconds`
    pub overhead: Histogram,
    upstream_errors: IntCounterVec,
    targets: IntGaugeVec,
    /// `portcullis_usage_files_set_aside_total`
    pub usage_set_aside: IntCounter,
    /// `portcullis_store_commit_seconds`
    pub store_commit: Histogram,
    /// `portcullis_connections_refused_total`
    pub connections_refused: IntCounter,
    /// `portcullis_bounds_hit_total`
    pub bounds: BoundsHit,
    /// `portcullis_trace_spans_total`
    pub spans: SpanMetrics,
    /// `portcullis_upstream_resolve_failures_total`
    unresolved: IntCounterVec,
    /// `portcullis_panics_total`
    pub panics: IntCounter,
    keys: IntGaugeVec,
    unflushed: IntGauge,
    routes: Mutex<HashMap<String, Arc<RouteMetrics>>>,
}

fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    made: prometheus::Result<C>,
) -> anyhow::Result<C> {
    let collector = made?;
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

fn targets() -> prometheus::Result<IntGaugeVec> {
    let help = "1 while a target takes requests, 0 while its checks fail or it is ejected.";
    IntGaugeVec::new(Opts::new("portcullis_upstream_target_healthy", help), &["upstream", "target"])
}

fn unresolved() -> prometheus::Result<IntCounterVec> {
    let help = "Look-ups of a target's name that failed; the addresses that it had before stay in use.";
    let opts = Opts::new("portcullis_upstream_resolve_failures_total", help);
    IntCounterVec::new(opts, &["upstream", "target"])
}

impl Metrics {
    /// Declares every series.
    ///
    /// # Errors
    /// Two have the same name, which is a mistake in this file.
    #[expect(clippy::too_many_lines, reason = "a list, one series after the other")]
    pub fn new() -> anyhow::Result<Self> {
        let registry = Registry::new();
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        let info = IntGaugeVec::new(
            Opts::new("portcullis_build_info", "Always 1; the version is in the label."),
            &["version"],
        );
        registered(&registry, info)?.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let requests = IntCounterVec::new(
            Opts::new(
                "portcullis_requests_total",
                "Requests by route and outcome: allowed, or the code of the refusal.",
            ),
            &["route", "outcome"],
        );
        let duration = HistogramVec::new(
            HistogramOpts::new(
                "portcullis_request_duration_seconds",
                "From a request's head to the end of its answer.",
            )
            .buckets(DURATION_BUCKETS.to_vec()),
            &["route"],
        );
        let overhead = Histogram::with_opts(
            HistogramOpts::new(
                "portcullis_gateway_overhead_seconds",
                "From a request's head to the choice of its upstream: what the gateway adds before forwarding.",
            )
            .buckets(OVERHEAD_BUCKETS.to_vec()),
        );
        let upstream_errors = IntCounterVec::new(
            Opts::new(
                "portcullis_upstream_errors_total",
                "Requests that failed at an upstream, by the code answered.",
            ),
            &["upstream", "code"],
        );
        let set_aside = IntCounter::new(
            "portcullis_usage_files_set_aside_total",
            "Usage files that were damaged and set aside at the start.",
        );
        let store_commit = Histogram::with_opts(
            HistogramOpts::new("portcullis_store_commit_seconds", "Time of a durable commit of the store.")
                .buckets(COMMIT_BUCKETS.to_vec()),
        );
        let keys = IntGaugeVec::new(Opts::new("portcullis_keys", "Keys by status."), &["status"]);
        let refused = IntCounter::new(
            "portcullis_connections_refused_total",
            "Connections closed at once because gateway.max_connections were open.",
        );
        let (bounds, bounds_hit) = BoundsHit::new()?;
        registered(&registry, Ok(bounds_hit))?;
        let (spans, span_fates) = SpanMetrics::new()?;
        registered(&registry, Ok(span_fates))?;
        let panics = IntCounter::new(
            "portcullis_panics_total",
            "Connections that a fault of the gateway's own cost: please report each.",
        );
        let unflushed = IntGauge::new(
            "portcullis_usage_unflushed",
            "Requests counted in the usage file and not yet in the ledger.",
        );
        Ok(Self {
            requests: registered(&registry, requests)?,
            duration: registered(&registry, duration)?,
            overhead: registered(&registry, overhead)?,
            upstream_errors: registered(&registry, upstream_errors)?,
            targets: registered(&registry, targets())?,
            usage_set_aside: registered(&registry, set_aside)?,
            store_commit: registered(&registry, store_commit)?,
            connections_refused: registered(&registry, refused)?,
            bounds,
            spans,
            unresolved: registered(&registry, unresolved())?,
            panics: registered(&registry, panics)?,
            keys: registered(&registry, keys)?,
            unflushed: registered(&registry, unflushed)?,
            routes: Mutex::default(),
            registry,
        })
    }

    /// The counters of a route; the same ones after a reload.
    pub fn route(&self, label: &str) -> Arc<RouteMetrics> {
        let make = || {
            Arc::new(RouteMetrics {
                label: label.to_owned(),
                requests: self.requests.clone(),
                by_outcome: [const { OnceLock::new() }; Outcome::ALL.len()],
                duration: self.duration.with_label_values(&[label]),
            })
        };
        Arc::clone(self.routes.lock().entry(label.to_owned()).or_insert_with(make))
    }

    /// Counts a request that failed at an upstream.
    pub fn upstream_error(&self, upstream: &str, outcome: Outcome) {
        self.upstream_errors.with_label_values(&[upstream, outcome.as_str()]).inc();
    }

    /// The gauge of a target; the same one after a reload.
    pub fn target(&self, upstream: &str, target: &str) -> TargetMetric {
        TargetMetric(self.targets.with_label_values(&[upstream, target]))
    }

    /// The counter of a name's look-ups that failed; the same one after a reload.
    pub fn name(&self, upstream: &str, target: &str) -> NameMetric {
        NameMetric(self.unresolved.with_label_values(&[upstream, target]))
    }

    /// Ends the series of a target that is no more.
    pub fn forget_target(&self, upstream: &str, target: &str) {
        let _ = self.unresolved.remove_label_values(&[upstream, target]);
        // One that was never there is as gone.
        let _ = self.targets.remove_label_values(&[upstream, target]);
    }

    /// Notes the time of a commit.
    pub fn store_committed(&self, took: Duration) {
        self.store_commit.observe(took.as_secs_f64());
    }

    /// The exposition text (Prometheus text format 0.0.4).
    ///
    /// # Errors
    /// A series could not be written.
    pub fn render(&self, reading: &Reading) -> anyhow::Result<String> {
        for status in Status::ALL {
            let count = reading.keys.get(&status).copied().unwrap_or(0);
            self.keys.with_label_values(&[status.as_str()]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.unflushed.set(i64::try_from(reading.unflushed).unwrap_or(i64::MAX));
        let mut families = self.registry.gather();
        families.extend(busiest_family(reading)?);
        let mut out = Vec::new();
        TextEncoder::new().encode(&families, &mut out)?;
        Ok(String::from_utf8(out)?)
    }
}

/// The busiest keys' series: made anew for each scrape, so that a key without a place leaves nothing behind.
fn busiest_family(reading: &Reading) -> anyhow::Result<Vec<prometheus::proto::MetricFamily>> {
    let opts = Opts::new(
        "portcullis_key_requests_total",
        "Requests let through, for the busiest keys since each became one; all others are key_id=\"other\".",
    );
    let counters = IntCounterVec::new(opts, &["key_id", "key_name"])?;
    for (id, name, requests) in &reading.busiest {
        counters.with_label_values(&[id.as_str(), name.as_str()]).inc_by(*requests);
    }
    counters.with_label_values(&[OTHER_KEYS, ""]).inc_by(reading.other);
    Ok(counters.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_of_the_contract_is_there() {
        let metrics = Metrics::new().unwrap();
        let route = metrics.route("/v1");
        route.count(Outcome::Allowed);
        route.count(Outcome::Allowed);
        route.duration.observe(0.1);
        metrics.upstream_error("api", Outcome::UpstreamTimeout);
        metrics.target("api", "10.0.0.7:80").unhealthy();
        metrics.target("api", "10.0.0.8:80").healthy();
        metrics.forget_target("api", "10.0.0.8:80");
        metrics.name("api", "a.internal:80").count();
        let reading =
            Reading { busiest: vec![("key_1".into(), "ci \"x\"".into(), 7)], other: 3, ..Reading::default() };
        let text = metrics.render(&reading).unwrap();
        for line in [
            "portcullis_requests_total{outcome=\"allowed\",route=\"/v1\"} 2",
            "portcullis_key_requests_total{key_id=\"key_1\",key_name=\"ci \\\"x\\\"\"} 7",
            "portcullis_key_requests_total{key_id=\"other\",key_name=\"\"} 3",
            "portcullis_upstream_errors_total{code=\"upstream_timeout\",upstream=\"api\"} 1",
            "portcullis_keys{status=\"active\"} 0",
            "portcullis_request_duration_seconds_count{route=\"/v1\"} 1",
            "portcullis_gateway_overhead_seconds_count 0",
            "portcullis_store_commit_seconds_count 0",
            "portcullis_usage_unflushed 0",
            "portcullis_bounds_hit_total{bound=\"connections\"} 0",
            "portcullis_panics_total 0",
            "portcullis_upstream_target_healthy{target=\"10.0.0.7:80\",upstream=\"api\"} 0",
            "portcullis_usage_files_set_aside_total 0",
            "portcullis_trace_spans_total{result=\"queue_full\"} 0",
            "portcullis_upstream_resolve_failures_total{target=\"a.internal:80\",upstream=\"api\"} 1",
            "process_open_fds",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(!text.contains("10.0.0.8"), "a target that is gone has no series");
    }
}
