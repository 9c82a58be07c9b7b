//! `keys.rotate_after`: a duration, or a table of them by environment.

use std::time::Duration;

use serde_json::Value;

use super::sections::within;
use crate::document::slugs;
use crate::document::{Faults, Fields};
use crate::key::due::RotateAfter;
use crate::quantity::DAY;

/// The field.
const FIELD: &str = "rotate_after";
/// What may be written.
const BOUNDS: (Duration, Duration) = (DAY, Duration::from_secs(3650 * DAY.as_secs()));
/// What holds where a table names no default.
const DEFAULT: Duration = Duration::from_secs(90 * DAY.as_secs());
/// The entry for environments that the table does not name.
const DEFAULT_ENTRY: &str = "default";
/// Entries of the table.
const MAX_ENTRIES: usize = 64;
/// A rotation that is never due.
const NEVER: &str = "never";

/// Reads the field; `None` where a fault was left behind.
pub(super) fn rotate_after(fields: &mut Fields<'_>) -> Option<RotateAfter> {
    if !fields.raw(FIELD).is_some_and(Value::is_object) {
        return fields.require(FIELD, after).map(RotateAfter::everywhere);
    }
    let entries = fields.entries(FIELD, MAX_ENTRIES, entry)?;
    let mut rule = RotateAfter::everywhere(Some(DEFAULT));
    for (name, after) in entries {
        if name == DEFAULT_ENTRY {
            rule.default = after;
        } else {
            rule.environments.insert(name, after);
        }
    }
    Some(rule)
}

fn entry(
    name: &str,
    value: &Value,
    pointer: &str,
    faults: &mut Faults,
) -> Option<(String, Option<Duration>)> {
    let environment = slugs::environment(&name.into());
    let environment =
        environment.map_err(|detail| faults.add(pointer, format!("the environment {detail}"))).ok();
    let after = after(value).map_err(|detail| faults.add(pointer, detail)).ok();
    Some((environment?, after?))
}

fn after(value: &Value) -> Result<Option<Duration>, String> {
    if value.as_str() == Some(NEVER) {
        return Ok(None);
    }
    within(value, BOUNDS).map(Some).map_err(|detail| format!("{detail}, or \"{NEVER}\""))
}
