//! Quotas: so many requests in a calendar window in UTC, as people bill them. A rate (GCRA) is not a calendar; see
//! `limit.rs` for those.

use std::num::NonZeroU64;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{ToSpan, Unit};

use crate::clock::Timestamp;

/// A calendar window, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Window {
    /// From midnight.
    Day,
    /// From Monday, midnight (ISO 8601).
    Week,
    /// From the first of the month.
    Month,
}

/// The edges of the window that holds a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edges {
    /// The first moment inside.
    pub start: Timestamp,
    /// The first moment after it.
    pub end: Timestamp,
}

impl Window {
    /// Every window.
    pub const ALL: [Self; 3] = [Self::Day, Self::Week, Self::Month];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    /// Reads the word on the wire.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|window| window.as_str() == text)
    }

    /// The window that `now` lies in.
    pub fn edges(self, now: Timestamp) -> Edges {
        let today = now.to_jiff().to_zoned(TimeZone::UTC).date();
        let (first, next) = match self {
            Self::Day => (today, today.saturating_add(1.day())),
            Self::Week => {
                let monday = today.saturating_sub(i64::from(today.weekday().to_monday_zero_offset()).days());
                (monday, monday.saturating_add(7.days()))
            }
            Self::Month => (today.first_of_month(), today.first_of_month().saturating_add(1.month())),
        };
        Edges { start: midnight(first), end: midnight(next) }
    }
}

/// Midnight in UTC at the start of `date`.
fn midnight(date: Date) -> Timestamp {
    let zoned = date.to_zoned(TimeZone::UTC).and_then(|z| z.round(Unit::Second));
    let ms = zoned.map_or(0, |z| z.timestamp().as_millisecond());
    Timestamp::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// At most `requests` in each `window`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct QuotaSpec {
    /// The name that a refusal says.
    pub name: String,
    /// How many requests a window allows.
    pub requests: NonZeroU64,
    /// The calendar window.
    pub window: Window,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(window: Window, now: &str) -> (String, String) {
        let edges = window.edges(Timestamp::parse_rfc3339(now).unwrap());
        (edges.start.to_string(), edges.end.to_string())
    }

    #[test]
    fn windows_are_calendar_windows_in_utc() {
        let now = "2026-02-28T23:59:59.999Z";
        assert_eq!(edges(Window::Day, now), ("2026-02-28T00:00:00Z".into(), "2026-03-01T00:00:00Z".into()));
        assert_eq!(edges(Window::Week, now), ("2026-02-23T00:00:00Z".into(), "2026-03-02T00:00:00Z".into()));
        assert_eq!(edges(Window::Month, now), ("2026-02-01T00:00:00Z".into(), "2026-03-01T00:00:00Z".into()));
        assert_eq!(edges(Window::Month, "2026-12-31T12:00:00Z").1, "2027-01-01T00:00:00Z");
    }
}
