//! Rates and address lists of other gateways, where they mean here what they mean there.

use serde_json::{Map, Value, json};

use super::{Converted, list, put};
use crate::key::quota::Window;

/// Kong's windows: the field, and what it is here.
const KONG_WINDOWS: [(&str, &str); 4] = [("second", "1s"), ("minute", "1m"), ("hour", "1h"), ("day", "1d")];

/// The rates of Kong's `rate-limiting` on a consumer.
pub(super) fn kong_rates(config: &Value, fields: &mut Map<String, Value>, out: &mut Converted) {
    let limits: Vec<Value> = KONG_WINDOWS
        .iter()
        .filter_map(|(name, window)| {
            let requests = config.get(*name)?.as_u64().filter(|requests| *requests > 0)?;
            Some(json!({"name": name, "requests": requests, "window": window}))
        })
        .collect();
    if !limits.is_empty() {
        put(fields, "limits", limits);
    }
    if let Some(requests) = config.get("month").and_then(Value::as_u64).filter(|requests| *requests > 0) {
        put(fields, "quotas", vec![quota("month", requests, Window::Month)]);
    }
    if config.get("year").is_some_and(|year| !year.is_null()) {
        out.note("a rate of a year, which is not taken over");
    }
}

/// A quota as a document.
pub(super) fn quota(name: &str, requests: u64, window: Window) -> Value {
    json!({"name": name, "requests": requests, "window": window.as_str()})
}

/// An allow-list of addresses: without it the key would open from everywhere.
pub(super) fn allowed(addresses: &[Value], fields: &mut Map<String, Value>) {
    if !addresses.is_empty() {
        put(fields, "ip_allow", addresses.to_vec());
    }
}

/// APISIX's `limit-count`: so many in so many seconds.
pub(super) fn apisix_rate(config: &Value, fields: &mut Map<String, Value>, out: &mut Converted) {
    let number = |name: &str| config.get(name).and_then(Value::as_u64).filter(|number| *number > 0);
    match (number("count"), number("time_window")) {
        (Some(requests), Some(seconds)) if config.get("group").is_none() => {
            let limit = json!({"name": "limit-count", "requests": requests, "window": format!("{seconds}s")});
            put(fields, "limits", vec![limit]);
        }
        _ => out.note("the plugin limit-count in a form that is not taken over"),
    }
}

/// APISIX's `ip-restriction`.
pub(super) fn apisix_addresses(config: &Value, fields: &mut Map<String, Value>, out: &mut Converted) {
    allowed(list(config, "whitelist"), fields);
    if !list(config, "blacklist").is_empty() {
        out.note("a list of refused addresses, which is not taken over");
    }
}
