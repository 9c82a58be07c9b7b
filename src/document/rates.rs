//! Rate limits, as the configuration and the admin API write them: `{"name":"minute","requests":600,"window":"1m"}`.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::time::Duration;

use serde_json::Value;

use super::{Faults, Fields, integer, string};
use crate::key::RateSpec;
use crate::quantity::{self, DAY};

/// Limits in one list at most.
pub const MAX_RATES: usize = 8;
/// The longest name of a limit, in bytes.
pub const MAX_RATE_NAME_BYTES: usize = 32;
/// The most requests that a window or a burst may allow.
pub const MAX_RATE_REQUESTS: u64 = 1_000_000_000;
/// The shortest window.
pub const MIN_WINDOW: Duration = Duration::from_secs(1);
/// The longest window.
pub const MAX_WINDOW: Duration = Duration::from_secs(31 * DAY.as_secs());

/// Reads one limit, which stands at `pointer`. `None` has left a fault behind.
pub fn rate_spec(value: &Value, pointer: &str, faults: &mut Faults) -> Option<RateSpec> {
    let mut fields = Fields::open(value, pointer, faults)?;
    let name = fields.require("name", limit_name);
    let requests = fields.require("requests", count);
    let window = fields.require("window", |v| quantity::duration(v, MIN_WINDOW, MAX_WINDOW));
    let burst = fields.read("burst", count);
    fields.finish();
    Some(RateSpec { name: name?, requests: requests?, window: window?, burst })
}

/// Reads the list of limits `name`: at most [`MAX_RATES`], no two with one name. `None` where the list is absent or
/// is no list.
pub fn rate_specs(fields: &mut Fields<'_>, name: &'static str) -> Option<Vec<RateSpec>> {
    let mut seen = HashSet::new();
    fields.list(name, MAX_RATES, |value, pointer, faults| {
        let spec = rate_spec(value, pointer, faults)?;
        if !seen.insert(spec.name.clone()) {
            faults.add(format!("{pointer}/name"), "another limit of the list has this name");
        }
        Some(spec)
    })
}

/// Reads the name of a limit or a quota, `[a-z0-9][a-z0-9_-]{0,31}`: it stands unescaped in the `RateLimit` header.
pub fn limit_name(value: &Value) -> Result<String, String> {
    let text = string(value)?;
    let good = text.len() <= MAX_RATE_NAME_BYTES
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'));
    if good {
        return Ok(text.to_owned());
    }
    Err(format!(
        "must be 1 to {MAX_RATE_NAME_BYTES} characters of a-z, 0-9, `_` and `-`, starting with a letter or digit"
    ))
}

fn count(value: &Value) -> Result<NonZeroU32, String> {
    let count = integer(value, 1, MAX_RATE_REQUESTS)?;
    u32::try_from(count).ok().and_then(NonZeroU32::new).ok_or_else(|| "is out of range".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pointers(faults: &Faults) -> Vec<&str> {
        faults.iter().map(|f| f.pointer.as_str()).collect()
    }

    #[test]
    fn a_limit_reads_with_and_without_a_burst() {
        let mut faults = Faults::default();
        let plain = json!({"name": "minute", "requests": 600, "window": "1m"});
        let spec = rate_spec(&plain, "", &mut faults).unwrap();
        assert_eq!((spec.name.as_str(), spec.requests.get(), spec.window.as_secs()), ("minute", 600, 60));
        assert_eq!(spec.burst, None);
        let burst = json!({"name": "0-a_b", "requests": 1_000_000_000, "window": "31d", "burst": 7});
        assert_eq!(rate_spec(&burst, "", &mut faults).unwrap().burst, NonZeroU32::new(7));
        assert!(faults.is_empty(), "{faults}");
    }

    #[test]
    fn each_bad_field_of_a_limit_is_a_fault() {
        let good = json!({"name": "minute", "requests": 600, "window": "1m", "burst": 5});
        let cases = [
            ("name", json!("")),
            ("name", json!("-a")),
            ("name", json!("A")),
            ("name", json!("a".repeat(33))),
            ("requests", json!(0)),
            ("requests", json!(1_000_000_001u64)),
            ("requests", json!(1.5)),
            ("requests", json!("600")),
            ("requests", Value::Null),
            ("window", json!("0s")),
            ("window", json!("999ms")),
            ("window", json!("32d")),
            ("window", json!(60)),
            ("burst", json!(0)),
            ("burst", json!(-1)),
            ("extra", json!(1)),
        ];
        for (field, value) in cases {
            let mut bad = good.clone();
            bad[field] = value;
            let mut faults = Faults::default();
            rate_spec(&bad, "/limits/3", &mut faults);
            assert_eq!(pointers(&faults), [format!("/limits/3/{field}")], "{bad}");
        }
    }

    #[test]
    fn lists_are_bounded_and_names_unique() {
        let limit = |name: &str| json!({"name": name, "requests": 1, "window": "1s"});
        let read = |document: &Value| {
            let mut faults = Faults::default();
            let mut fields = Fields::open(document, "", &mut faults).unwrap();
            let specs = rate_specs(&mut fields, "limits");
            (specs.map(|s| s.len()), pointers(&faults).join(" "))
        };
        assert_eq!(read(&json!({})), (None, String::new()));
        assert_eq!(read(&json!({"limits": [limit("a"), limit("b")]})), (Some(2), String::new()));
        assert_eq!(read(&json!({"limits": [limit("a"), limit("a")]})).1, "/limits/1/name");
        let nine: Vec<_> = (0..9).map(|i| limit(&format!("l{i}"))).collect();
        assert_eq!(read(&json!({"limits": nine})), (None, "/limits".into()));
    }
}
