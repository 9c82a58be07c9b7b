//! `health` and `ejection` of `[upstreams.NAME]`: how a target is found to be sick, and well again.

use std::num::NonZeroU32;
use std::time::Duration;

use serde_json::Value;

use super::sections::within;
use crate::document::{Faults, Fields, integer, string};
use crate::quantity::{HOUR, MINUTE};

const INTERVAL: (Duration, Duration) = (Duration::from_millis(100), HOUR);
const TIMEOUT: (Duration, Duration) = (Duration::from_millis(1), MINUTE);
const EJECTION_TIME: (Duration, Duration) = (Duration::from_millis(100), HOUR);
const SLOW_RETURN: (Duration, Duration) = (Duration::ZERO, HOUR);
/// Checks in a row at most, before a verdict.
const MAX_THRESHOLD: u64 = 100;
/// Failures in a row at most, before an ejection.
const MAX_FAILURES: u64 = 1_000;
/// Statuses at most that a check may ask for.
const MAX_STATUSES: usize = 32;
/// The longest path of a check, in bytes.
const MAX_PATH_BYTES: usize = 2_048;

/// What is asked where the file says nothing of it. `config/default.toml` names the same, which a test checks.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);
const DEFAULT_THRESHOLD: NonZeroU32 = NonZeroU32::MIN.saturating_add(1);
const DEFAULT_FAILURES: NonZeroU32 = NonZeroU32::MIN.saturating_add(4);
const DEFAULT_EJECTION_TIME: Duration = Duration::from_secs(10);
const DEFAULT_SLOW_RETURN: Duration = Duration::from_secs(10);

/// `health`: each target is asked by itself whether it is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// What is asked for, by `GET`.
    pub path: String,
    /// How often.
    pub interval: Duration,
    /// How long an answer may take; never longer than the interval.
    pub timeout: Duration,
    /// Which statuses say that it is well; empty: 200 to 299.
    pub statuses: Vec<u16>,
    /// How many good answers in a row bring a target back.
    pub healthy: NonZeroU32,
    /// How many bad ones in a row take a target away.
    pub unhealthy: NonZeroU32,
}

/// `ejection`: a target at which requests fail is left alone for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ejection {
    /// How many failures in a row.
    pub failures: NonZeroU32,
    /// How long the first time; longer each time that it fails again on its return.
    pub time: Duration,
    /// Over how long its share of the requests grows again.
    pub slow_return: Duration,
}

impl Default for Ejection {
    fn default() -> Self {
        Self { failures: DEFAULT_FAILURES, time: DEFAULT_EJECTION_TIME, slow_return: DEFAULT_SLOW_RETURN }
    }
}

/// Reads `health`.
pub fn health(fields: &mut Fields<'_>) -> Option<Health> {
    let mut fields = fields.object("health")?;
    let path = fields.require("path", path);
    let interval = fields.read("interval", |v| within(v, INTERVAL)).unwrap_or(DEFAULT_INTERVAL);
    let timeout = fields.read("timeout", |v| {
        let timeout = within(v, TIMEOUT)?;
        if timeout > interval { Err("must not be longer than the interval".to_owned()) } else { Ok(timeout) }
    });
    let statuses = statuses(&mut fields);
    let healthy = fields.read("healthy", |v| above_zero(v, MAX_THRESHOLD));
    let unhealthy = fields.read("unhealthy", |v| above_zero(v, MAX_THRESHOLD));
    fields.finish();
    Some(Health {
        path: path?,
        interval,
        timeout: timeout.unwrap_or(DEFAULT_TIMEOUT.min(interval)),
        statuses,
        healthy: healthy.unwrap_or(DEFAULT_THRESHOLD),
        unhealthy: unhealthy.unwrap_or(DEFAULT_THRESHOLD),
    })
}

/// Reads `ejection`; `None` where its `failures` is 0.
pub fn ejection(fields: &mut Fields<'_>) -> Option<Ejection> {
    let usual = Ejection::default();
    let Some(mut fields) = fields.object("ejection") else { return Some(usual) };
    let failures = fields.read("failures", |v| integer(v, 0, MAX_FAILURES));
    let time = fields.read("time", |v| within(v, EJECTION_TIME));
    let slow_return = fields.read("slow_return", |v| within(v, SLOW_RETURN));
    fields.finish();
    let failures = match failures {
        None => Some(usual.failures),
        Some(failures) => u32::try_from(failures).ok().and_then(NonZeroU32::new),
    };
    Some(Ejection {
        failures: failures?,
        time: time.unwrap_or(usual.time),
        slow_return: slow_return.unwrap_or(usual.slow_return),
    })
}

/// The target of a request: a path, with or without a query.
fn path(value: &Value) -> Result<String, String> {
    let text = string(value)?;
    let good = text.starts_with('/')
        && text.len() <= MAX_PATH_BYTES
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b'#')
        && text.parse::<http::uri::PathAndQuery>().is_ok();
    if good { Ok(text.to_owned()) } else { Err("must be a path, such as \"/healthz\"".into()) }
}

fn above_zero(value: &Value, most: u64) -> Result<NonZeroU32, String> {
    let number = integer(value, 1, most)?;
    u32::try_from(number).ok().and_then(NonZeroU32::new).ok_or_else(|| "is out of range".to_owned())
}

/// `status`: one, or a list.
fn statuses(fields: &mut Fields<'_>) -> Vec<u16> {
    let read = |value: &Value| {
        integer(value, 200, 599).and_then(|code| u16::try_from(code).map_err(|_| "is out of range".into()))
    };
    if fields.raw("status").is_some_and(Value::is_array) {
        let listed = fields.list("status", MAX_STATUSES, |value, pointer, faults: &mut Faults| {
            read(value).map_err(|detail| faults.add(pointer, detail)).ok()
        });
        return listed.unwrap_or_default();
    }
    fields.read("status", read).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read<T>(value: &Value, read: impl FnOnce(&mut Fields<'_>) -> T) -> (T, Vec<String>) {
        let mut faults = Faults::default();
        let mut fields = Fields::open(value, "", &mut faults).unwrap();
        let read = read(&mut fields);
        fields.finish();
        (read, faults.iter().map(|f| format!("{}: {}", f.pointer, f.detail)).collect())
    }

    #[test]
    fn a_check_needs_its_path_alone() {
        let (found, faults) = read(&json!({"health": {"path": "/healthz", "interval": "1s"}}), health);
        assert_eq!(faults, [""; 0]);
        let found = found.unwrap();
        assert_eq!((found.interval, found.timeout), (Duration::from_secs(1), Duration::from_secs(1)));
        assert_eq!((found.healthy.get(), found.unhealthy.get(), found.statuses.len()), (2, 2, 0));
        assert_eq!(read(&json!({}), health).0, None);
        let one = json!({"health": {"path": "/h", "status": 204}});
        assert_eq!(read(&one, health).0.unwrap().statuses, [204]);
        let several = json!({"health": {"path": "/h", "status": [200, 401]}});
        assert_eq!(read(&several, health).0.unwrap().statuses, [200, 401]);
    }

    #[test]
    fn ejection_has_defaults_and_can_be_switched_off() {
        assert_eq!(read(&json!({}), ejection).0, Some(Ejection::default()));
        assert_eq!(read(&json!({"ejection": {"failures": 0}}), ejection).0, None);
        let given = json!({"ejection": {"failures": 2, "time": "1s", "slow_return": "0s"}});
        let expected = Ejection {
            failures: NonZeroU32::new(2).unwrap(),
            time: Duration::from_secs(1),
            slow_return: Duration::ZERO,
        };
        assert_eq!(read(&given, ejection).0, Some(expected));
    }

    #[test]
    fn each_rule_is_checked() {
        let cases = [
            (json!({"health": {}}), "/health/path: is required"),
            (json!({"health": "/healthz"}), "/health: must be an object"),
            (json!({"health": {"path": "healthz"}}), "/health/path: must be a path"),
            (json!({"health": {"path": "/a b"}}), "/health/path: must be a path"),
            (json!({"health": {"path": "/h", "interval": "1ms"}}), "/health/interval: must be from 100ms"),
            (
                json!({"health": {"path": "/h", "interval": "1s", "timeout": "2s"}}),
                "/health/timeout: must not be longer",
            ),
            (json!({"health": {"path": "/h", "status": 99}}), "/health/status: must be from 200 to 599"),
            (json!({"health": {"path": "/h", "status": [200, "x"]}}), "/health/status/1: must be a whole"),
            (json!({"health": {"path": "/h", "healthy": 0}}), "/health/healthy: must be from 1 to 100"),
            (json!({"health": {"path": "/h", "port": 1}}), "/health/port: unknown field"),
            (json!({"ejection": {"failures": -1}}), "/ejection/failures: must be a whole number"),
            (json!({"ejection": {"time": "1ms"}}), "/ejection/time: must be from 100ms to 1h"),
            (json!({"ejection": {"for": "1s"}}), "/ejection/for: unknown field"),
        ];
        for (value, expected) in cases {
            let both = |fields: &mut Fields<'_>| (health(fields), ejection(fields));
            let (_, faults) = read(&value, both);
            assert_eq!(faults.len(), 1, "{value}: {faults:?}");
            assert!(faults[0].starts_with(expected), "{value}: {faults:?}");
        }
    }
}
