//! The log: operational lines and access lines, on standard output, as text or JSON.
//!
//! Lines go through a queue to a thread of their own, so no request ever waits for a terminal or a full pipe; where
//! the reader is too slow, lines are dropped and counted. The `log` crate is deliberately not bridged into it: pingora
//! writes there, and its lines may quote a request's head and so a credential.

use std::fmt;
use std::io::{BufWriter, IsTerminal, Write};
use std::sync::mpsc;
use std::time::Duration;

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::SubscriberBuilder;
use tracing_subscriber::fmt::format::{DefaultFields, Format};

use crate::config::{AccessLog, Log, LogFormat};

/// The target of access lines.
const ACCESS: &str = "access";
/// The variable that replaces the configured level.
const OVERRIDE: &str = "RUST_LOG";
/// Lines that wait for the writer at most.
const QUEUED_LINES: usize = 32_768;
/// How long the end waits for what is queued.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// What is written at once, in bytes.
const WRITE_BUFFER_BYTES: usize = 64 << 10;

/// Keeps the log running. Dropping it writes out what is queued.
#[must_use = "the log ends when this is dropped"]
#[derive(Debug)]
pub struct Guard {
    dropped: ErrorCounter,
    worker: Option<WorkerGuard>,
    filtering: Filtering,
}

/// Changes what is written.
pub type Control = Box<dyn Fn(&Log) + Send + Sync>;

/// Puts another filter in force.
type Refilter = Box<dyn Fn(EnvFilter) -> bool + Send + Sync>;

/// What becomes of a changed level.
enum Filtering {
    /// It is put in force.
    Configured(Option<Refilter>),
    /// The variable's filter stays.
    Overridden,
}

impl fmt::Debug for Filtering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self, Self::Overridden) { "Overridden" } else { "Configured" })
    }
}

impl Guard {
    /// What puts the level and the access-log switch of another configuration in force. To be taken once.
    pub fn control(&mut self) -> Control {
        match &mut self.filtering {
            Filtering::Configured(refilter) => {
                let refilter = refilter.take();
                Box::new(move |log| {
                    let filtered = refilter.as_ref().is_some_and(|put| put(EnvFilter::new(directives(log))));
                    if !filtered {
                        tracing::warn!("the log's level cannot be changed");
                    }
                })
            }
            Filtering::Overridden => Box::new(|_| {
                tracing::info!("{OVERRIDE} is set, which stays in force instead of log.level and log.access");
            }),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let dropped = self.dropped.dropped_lines();
        flush(self.worker.take());
        if dropped > 0 {
            let line = format!(
                "portcullis: {dropped} log lines were dropped: standard output was too slow for them"
            );
            // Nobody is left to tell that this could not be told.
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }
}

/// Writes out what is queued, on a thread that may be left behind: the worker's guard itself prints, and so never ends,
/// where the queue is full and nobody reads standard output.
fn flush(worker: Option<WorkerGuard>) {
    let (done, ended) = mpsc::channel();
    let flushing = std::thread::Builder::new().name("log-flush".into()).spawn(move || {
        drop(worker);
        // Nobody waits any more where this fails.
        let _ = done.send(());
    });
    if flushing.is_ok() {
        let _ = ended.recv_timeout(FLUSH_TIMEOUT);
    }
}

/// Starts the log. Only the first call of a process has an effect.
pub fn init(log: &Log) -> Guard {
    let output = BufWriter::with_capacity(WRITE_BUFFER_BYTES, std::io::stdout());
    let (writer, worker) =
        NonBlockingBuilder::default().buffered_lines_limit(QUEUED_LINES).thread_name("log").finish(output);
    let dropped = writer.error_counter();
    let given = std::env::var(OVERRIDE).ok();
    let (filter, fault) = filter(log, given.as_deref());
    let overridden = given.as_deref().is_some_and(|given| !given.trim().is_empty()) && fault.is_none();
    let refilter = install(log.format, builder(filter, writer));
    let filtering = if overridden { Filtering::Overridden } else { Filtering::Configured(refilter) };
    if let Some(fault) = fault {
        tracing::warn!("{OVERRIDE} is not used: {fault}");
    }
    Guard { dropped, worker: Some(worker), filtering }
}

type Builder = SubscriberBuilder<DefaultFields, Format, EnvFilter, NonBlocking>;

fn builder(filter: EnvFilter, writer: NonBlocking) -> Builder {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(!plain && std::io::stdout().is_terminal())
}

/// `set_global_default` rather than `init()`, which would bridge the `log` crate. `None` where there is a log already,
/// which is no fault: it is the first one's.
fn install(format: LogFormat, builder: Builder) -> Option<Refilter> {
    match format {
        LogFormat::Text => {
            let text = builder.with_filter_reloading();
            let handle = text.reload_handle();
            tracing::subscriber::set_global_default(text.finish()).ok()?;
            Some(Box::new(move |filter| handle.reload(filter).is_ok()))
        }
        LogFormat::Json => {
            let json = builder.json().flatten_event(true).with_current_span(false).with_span_list(false);
            let json = json.with_filter_reloading();
            let handle = json.reload_handle();
            tracing::subscriber::set_global_default(json.finish()).ok()?;
            Some(Box::new(move |filter| handle.reload(filter).is_ok()))
        }
    }
}

/// What is written: the override, else the configured level; with what is wrong with the override.
fn filter(log: &Log, given: Option<&str>) -> (EnvFilter, Option<String>) {
    let configured = || EnvFilter::new(directives(log));
    match given
        .map(str::trim)
        .filter(|given| !given.is_empty())
        .map(|given| EnvFilter::builder().parse(given))
    {
        None => (configured(), None),
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (configured(), Some(error.to_string())),
    }
}

/// The configured level is for this program's own lines; libraries speak from warnings on. Access lines are switched
/// by `log.access` alone: a level of `warn` does not take them away.
fn directives(log: &Log) -> String {
    let libraries = log.level.min(tracing::Level::WARN);
    let access = match log.access {
        AccessLog::On => "info",
        AccessLog::Off => "off",
    };
    format!("{libraries},portcullis={},{ACCESS}={access}", log.level)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::log::{Ratio, Sampling};
    use tracing::Level as At;

    fn log(level: tracing::Level, access: AccessLog) -> Log {
        let sampling = Sampling { good: Ratio::ALL, failed: Ratio::ALL };
        Log { format: LogFormat::Text, level, access, sampling }
    }

    #[test]
    fn libraries_are_quiet_and_access_lines_have_a_switch_of_their_own() {
        let cases = [
            (At::ERROR, AccessLog::On, "ERROR,portcullis=ERROR,access=info"),
            (At::WARN, AccessLog::On, "WARN,portcullis=WARN,access=info"),
            (At::TRACE, AccessLog::Off, "WARN,portcullis=TRACE,access=off"),
        ];
        for (level, access, expected) in cases {
            assert_eq!(directives(&log(level, access)), expected);
        }
    }

    #[test]
    fn a_bad_override_is_named_and_leaves_the_configured_level() {
        let log = log(At::INFO, AccessLog::On);
        let (configured, none) = filter(&log, Some("  "));
        assert!(none.is_none());
        let (kept, fault) = filter(&log, Some("a=b=c"));
        assert!(fault.is_some());
        assert_eq!(kept.to_string(), configured.to_string());
        assert_eq!(filter(&log, Some("debug")).0.to_string(), "debug");
    }
}
