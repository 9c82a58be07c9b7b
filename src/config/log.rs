//! `[log]`: what is written down of requests, and how.

use serde_json::Value;

use crate::document::{Fields, either, kind_of, string};

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// How lines are written.
    pub format: LogFormat,
    /// The least level that is written.
    pub level: tracing::Level,
    /// Whether requests get lines.
    pub access: AccessLog,
    /// Which of them do.
    pub sampling: Sampling,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Whether requests get log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessLog {
    /// One line a request, as sampled.
    On,
    /// None.
    Off,
}

/// Which requests get a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    /// Of those that were forwarded and answered with a status below 400.
    pub good: Ratio,
    /// Of all others.
    pub failed: Ratio,
}

/// A share of all there is, from none to each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ratio(u64);

impl Ratio {
    /// Each.
    pub const ALL: Self = Self(1 << 32);

    /// Whether what drew this lot is among them. Lots are even.
    pub const fn takes(self, lot: u32) -> bool {
        (lot as u64) < self.0
    }

    /// From a number from 0 to 1.
    ///
    /// # Errors
    /// A detail for a [`crate::document::Fault`].
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 2^32")]
    pub fn read(value: &Value) -> Result<Self, String> {
        let share = value.as_f64().ok_or_else(|| format!("must be a number, not {}", kind_of(value)))?;
        if !(0.0..=1.0).contains(&share) {
            return Err("must be from 0 to 1".into());
        }
        let lots = (share * 4_294_967_296.0).ceil() as u64;
        Ok(Self(lots))
    }
}

/// Reads `[log]`.
pub fn log(mut fields: Fields<'_>) -> Option<Log> {
    let format = fields.require("format", |value| match string(value)? {
        "json" => Ok(LogFormat::Json),
        "text" => Ok(LogFormat::Text),
        _ => Err("must be \"json\" or \"text\"".into()),
    });
    let level = fields.require("level", |value| match string(value)? {
        "error" => Ok(tracing::Level::ERROR),
        "warn" => Ok(tracing::Level::WARN),
        "info" => Ok(tracing::Level::INFO),
        "debug" => Ok(tracing::Level::DEBUG),
        "trace" => Ok(tracing::Level::TRACE),
        _ => Err("must be \"error\", \"warn\", \"info\", \"debug\" or \"trace\"".into()),
    });
    let access = fields.require("access", |v| either(v, AccessLog::On, AccessLog::Off));
    let good = fields.require("access_sample", Ratio::read);
    let failed = fields.require("access_sample_failed", Ratio::read);
    fields.finish();
    Some(Log {
        format: format?,
        level: level?,
        access: access?,
        sampling: Sampling { good: good?, failed: failed? },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_share_takes_as_many_lots_as_it_says() {
        let of = |share: f64| Ratio::read(&json!(share)).unwrap();
        for lot in [0, 1, u32::MAX / 2, u32::MAX] {
            assert!(!of(0.0).takes(lot), "{lot}");
            assert!(of(1.0).takes(lot), "{lot}");
        }
        assert_eq!((of(1.0), Ratio::read(&json!(1)).unwrap()), (Ratio::ALL, Ratio::ALL));
        assert!(of(0.5).takes(u32::MAX / 2) && !of(0.5).takes(u32::MAX / 2 + 1));
        assert!(of(1e-12).takes(0), "what is not none is some");
    }

    #[test]
    fn what_is_no_share_is_a_fault() {
        for bad in [json!(-0.1), json!(1.1), json!("1"), json!(true), json!(100)] {
            assert!(Ratio::read(&bad).is_err(), "{bad}");
        }
    }
}
