//! Merge patches (RFC 7396), with every fault of a patch named.

use serde_json::{Map, Value};

use crate::document::entries::pointer_segment;
use crate::document::{self, Faults};

/// A field that no edit can change, and what to do instead.
pub type Fixed = (&'static str, &'static str);

/// The document after a patch; `None`, with a fault, where the patch is no object. Fixed fields are faults; so is null
/// for a field that there is none of, which the merge would drop, and a misspelt field with it.
pub fn patched(
    document: Map<String, Value>,
    patch: &Value,
    fixed: &[Fixed],
    faults: &mut Faults,
) -> Option<Value> {
    let Value::Object(patch) = patch else {
        faults.add("", format!("must be an object, not {}", document::kind_of(patch)));
        return None;
    };
    let mut changes = Map::new();
    for (name, value) in patch {
        let pointer = format!("/{}", pointer_segment(name));
        if let Some((_, why)) = fixed.iter().find(|(fixed, _)| fixed == name) {
            faults.add(pointer, *why);
        } else if value.is_null() && !document.contains_key(name) {
            faults.add(pointer, "unknown field");
        } else {
            changes.insert(name.clone(), value.clone());
        }
    }
    let mut document = Value::Object(document);
    merge(&mut document, &Value::Object(changes));
    Some(document)
}

/// Null takes a field away, objects are merged, all else replaces.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        target.clone_from(patch);
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(fields) = target else { return };
    for (name, value) in patch {
        if value.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn merge_patches_follow_the_rfc() {
        // RFC 7396 appendix A, a few of the cases.
        let cases = [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ];
        for (mut target, patch, expected) in cases {
            merge(&mut target, &patch);
            assert_eq!(target, expected);
        }
    }
}
