//! Time as an argument: the only file that reads a clock.
//!
//! Two kinds of time, never mixed: [`Timestamp`] is wall time and decides what people wrote down (an expiry, a
//! calendar quota); [`Monotonic`] never goes back and decides what is measured (rates, durations). A jump of the
//! wall clock therefore neither refills nor empties a rate limit.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Wall time: milliseconds since 1970-01-01T00:00:00Z. Never negative here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

/// Milliseconds in an hour, the grain of the ledger.
const HOUR_MS: u64 = 3_600_000;

/// The latest time that can be written as RFC 3339 with a four-digit year and jiff holds: 9999-12-30T21:59:59.999Z.
const MAX_MS: u64 = 253_402_207_199_999;

impl Timestamp {
    /// From milliseconds since the epoch; what lies after the year 9999 becomes the last moment there is.
    pub const fn from_millis(ms: u64) -> Self {
        Self(if ms > MAX_MS { MAX_MS } else { ms })
    }

    /// From whole seconds since the epoch.
    pub const fn from_secs(secs: u64) -> Self {
        Self::from_millis(secs.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// Whole hours since the epoch: the ledger's bucket.
    pub fn hour(self) -> u32 {
        u32::try_from(self.0 / HOUR_MS).unwrap_or(u32::MAX)
    }

    /// The first moment of an hour bucket.
    pub const fn from_hour(hour: u32) -> Self {
        Self::from_millis(hour as u64 * HOUR_MS)
    }

    /// This time and `by` more.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self::from_millis(self.0.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long from `earlier` until now; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Reads RFC 3339 (`2026-11-21T13:00:00Z`, any offset). `None` for anything else, and before 1970.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let at: jiff::Timestamp = text.parse().ok().or_else(|| last_days(text))?;
        u64::try_from(at.as_millisecond()).ok().map(Self::from_millis)
    }

    /// The calendar view, for day, week and month windows in UTC.
    pub fn to_jiff(self) -> jiff::Timestamp {
        i64::try_from(self.0)
            .ok()
            .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
            .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }

    /// As other crates want it.
    pub fn to_system(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.0)
    }

    /// An HTTP-date (RFC 9110 section 5.6.7), rounded down to the second.
    pub fn to_http_date(self) -> String {
        self.to_jiff().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }
}

/// The last days of the year 9999, by which people mean never: jiff's time ends two days before the year does, and any
/// later moment is taken for that end.
fn last_days(text: &str) -> Option<jiff::Timestamp> {
    let rest = text.strip_prefix("9999-12-3")?;
    // The same moment a year earlier tells whether it is a time at all.
    format!("9998-12-3{rest}").parse::<jiff::Timestamp>().ok()?;
    Some(jiff::Timestamp::MAX)
}

/// RFC 3339 in UTC with milliseconds where there are any.
impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.to_jiff(), f)
    }
}

/// Monotonic time: nanoseconds since this process started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Monotonic(u64);

impl Monotonic {
    /// From nanoseconds since the process started.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the process started.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long from `earlier` until now; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// The machine's own monotonic clock in microseconds, which other processes read too: for the service manager.
pub fn machine_micros() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let (secs, nanos) = (u64::try_from(now.tv_sec).unwrap_or(0), u64::try_from(now.tv_nsec).unwrap_or(0));
    secs.saturating_mul(1_000_000).saturating_add(nanos / 1_000)
}

/// Where time comes from.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The wall clock.
    fn now(&self) -> Timestamp;
    /// The monotonic clock.
    fn monotonic(&self) -> Monotonic;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts at zero now.
    #[expect(clippy::disallowed_methods, reason = "this file is where clocks are read")]
    pub fn new() -> Self {
        Self { started: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this file is where clocks are read")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic(u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

/// A clock that stands until it is moved: for tests, which never sleep to make time pass.
#[derive(Debug, Default)]
pub struct ManualClock {
    wall_ms: AtomicU64,
    monotonic_ns: AtomicU64,
}

impl ManualClock {
    /// A clock that shows `now` on the wall.
    pub fn at(now: Timestamp) -> Self {
        Self { wall_ms: AtomicU64::new(now.0), monotonic_ns: AtomicU64::new(0) }
    }

    /// Moves both clocks on.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.monotonic_ns.fetch_add(nanos, Ordering::Relaxed);
        self.wall_ms.fetch_add(nanos / 1_000_000, Ordering::Relaxed);
    }

    /// Sets the wall clock alone, as NTP or an operator would.
    pub fn set_wall(&self, now: Timestamp) {
        self.wall_ms.store(now.0, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.wall_ms.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic(self.monotonic_ns.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_read_and_write_rfc3339() {
        let at = Timestamp::parse_rfc3339("2026-11-21T14:00:00+01:00").unwrap();
        assert_eq!(at.to_string(), "2026-11-21T13:00:00Z");
        assert_eq!(at.to_http_date(), "Sat, 21 Nov 2026 13:00:00 GMT");
        assert_eq!(Timestamp::parse_rfc3339("yesterday"), None);
        assert_eq!(Timestamp::parse_rfc3339("1960-01-01T00:00:00Z"), None);
        assert_eq!(Timestamp::from_millis(u64::MAX).to_string(), "9999-12-30T21:59:59.999Z");
    }

    #[test]
    fn the_end_of_the_last_year_is_the_end_of_time() {
        for never in ["9999-12-31T23:59:59Z", "9999-12-31T00:00:00.5Z", "9999-12-30T23:00:00+00:00"] {
            assert_eq!(
                Timestamp::parse_rfc3339(never).unwrap().to_string(),
                "9999-12-30T21:59:59.999Z",
                "{never}"
            );
        }
        for bad in ["9999-12-32T00:00:00Z", "9999-12-31", "9999-12-31T25:00:00Z", "99999-12-31T00:00:00Z"] {
            assert_eq!(Timestamp::parse_rfc3339(bad), None, "{bad}");
        }
    }
}
