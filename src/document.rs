//! Reads a document from outside (a JSON body, a configuration file) field by field and collects every fault.
//!
//! A reader asks for each field it knows; [`Fields::finish`] makes a fault of each one it was not asked for. So one
//! answer can name all that is wrong, each by its JSON pointer (RFC 6901), and nothing unknown is ever ignored.

pub mod entries;
pub mod rates;
pub mod slugs;

use std::fmt;

use serde_json::{Map, Value};

/// Faults listed at most; a document with more is not listed further.
pub const MAX_FAULTS: usize = 100;

/// One thing wrong in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where: a JSON pointer, such as `/limits/0/window`; empty for the whole document.
    pub pointer: String,
    /// What is wrong and what would be right.
    pub detail: String,
}

/// All that is wrong in a document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Adds one, up to [`MAX_FAULTS`].
    pub fn add(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        if self.0.len() < MAX_FAULTS {
            self.0.push(Fault { pointer: pointer.into(), detail: detail.into() });
        }
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each fault, in the order found.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }

    /// `value` if nothing is wrong, all the faults if something is.
    ///
    /// # Errors
    /// The faults themselves.
    pub fn or_else_all<T>(self, value: Option<T>) -> Result<T, Self> {
        match value {
            Some(value) if self.is_empty() => Ok(value),
            _ => Err(self),
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "; " };
            write!(f, "{comma}{}: {}", fault.pointer, fault.detail)?;
        }
        Ok(())
    }
}

/// What a value is called in a fault.
pub fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The text of a value, or what it is instead.
///
/// # Errors
/// A detail for a [`Fault`].
pub fn string(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("must be a string, not {}", kind_of(value)))
}

/// A whole number between two bounds, both allowed.
///
/// # Errors
/// A detail for a [`Fault`].
pub fn integer(value: &Value, least: u64, most: u64) -> Result<u64, String> {
    let number = value
        .as_u64()
        .ok_or_else(|| format!("must be a whole number from {least} to {most}, not {}", shown(value)))?;
    if (least..=most).contains(&number) {
        Ok(number)
    } else {
        Err(format!("must be from {least} to {most}, not {number}"))
    }
}

/// A number as it stands, anything else by its kind: a fault never repeats a string, which may be a secret.
fn shown(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        other => kind_of(other).to_owned(),
    }
}

/// A boolean as one of two named things.
///
/// # Errors
/// A detail for a [`Fault`].
pub fn either<T>(value: &Value, yes: T, no: T) -> Result<T, String> {
    match value {
        Value::Bool(true) => Ok(yes),
        Value::Bool(false) => Ok(no),
        other => Err(format!("must be true or false, not {}", kind_of(other))),
    }
}

/// Text between two lengths in characters, without control characters.
///
/// # Errors
/// A detail for a [`Fault`].
pub fn text(value: &Value, least: usize, most: usize) -> Result<String, String> {
    let text = string(value)?;
    let length = text.chars().count();
    if length < least || length > most {
        return Err(format!("must have {least} to {most} characters, not {length}"));
    }
    if text.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        return Err("must not contain control characters".into());
    }
    Ok(text.to_owned())
}

/// An object being read.
pub struct Fields<'a> {
    map: &'a Map<String, Value>,
    pointer: String,
    asked: Vec<&'static str>,
    faults: &'a mut Faults,
}

impl<'a> Fields<'a> {
    /// Opens `value`, which stands at `pointer`. `None`, with a fault, unless it is an object.
    pub fn open(value: &'a Value, pointer: impl Into<String>, faults: &'a mut Faults) -> Option<Self> {
        let pointer = pointer.into();
        if let Value::Object(map) = value {
            Some(Self { map, pointer, asked: Vec::new(), faults })
        } else {
            faults.add(pointer, format!("must be an object, not {}", kind_of(value)));
            None
        }
    }

    /// The field's value; `None` where it is absent or null.
    pub fn raw(&mut self, name: &'static str) -> Option<&'a Value> {
        self.asked.push(name);
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// Whether the document has the field, be it null.
    pub fn has(&self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    /// Reads the field; `None` where it is absent, null or wrong (then with a fault).
    pub fn read<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&'a Value) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.raw(name)?;
        match read(value) {
            Ok(value) => Some(value),
            Err(detail) => {
                self.fault(name, detail);
                None
            }
        }
    }

    /// As [`Fields::read`]; absent or null is a fault.
    pub fn require<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&'a Value) -> Result<T, String>,
    ) -> Option<T> {
        if self.raw(name).is_none() {
            self.fault(name, "is required");
            return None;
        }
        self.read(name, read)
    }

    /// Reads a list of at most `most` items. Each item is read with its own pointer; an item that reads as `None` has
    /// left a fault behind.
    pub fn list<T>(
        &mut self,
        name: &'static str,
        most: usize,
        mut read: impl FnMut(&'a Value, &str, &mut Faults) -> Option<T>,
    ) -> Option<Vec<T>> {
        let items = self.read(name, |value| {
            let items =
                value.as_array().ok_or_else(|| format!("must be an array, not {}", kind_of(value)))?;
            if items.len() > most {
                return Err(format!("must have at most {most} items, not {}", items.len()));
            }
            Ok(items)
        })?;
        let pointer = self.at(name);
        let read_item = |(index, item)| read(item, &format!("{pointer}/{index}"), self.faults);
        Some(items.iter().enumerate().filter_map(read_item).collect())
    }

    /// A list whose items are single values.
    pub fn values<T>(
        &mut self,
        name: &'static str,
        most: usize,
        mut read: impl FnMut(&'a Value) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        self.list(name, most, |value, pointer, faults| {
            read(value).map_err(|detail| faults.add(pointer, detail)).ok()
        })
    }

    /// Opens a field that is an object; `None` where it is absent or null.
    pub fn object(&mut self, name: &'static str) -> Option<Fields<'_>> {
        let value = self.raw(name)?;
        let pointer = self.at(name);
        Fields::open(value, pointer, self.faults)
    }

    /// The pointer of a field.
    pub fn at(&self, name: &str) -> String {
        format!("{}/{}", self.pointer, escape(name))
    }

    /// Makes a fault of a field.
    pub fn fault(&mut self, name: &str, detail: impl Into<String>) {
        let pointer = self.at(name);
        self.faults.add(pointer, detail);
    }

    /// Makes a fault of each field that was not asked for.
    pub fn finish(mut self) {
        let map = self.map;
        for name in map.keys().filter(|name| !self.asked.contains(&name.as_str())).collect::<Vec<_>>() {
            self.fault(name, "unknown field");
        }
    }
}

/// Escapes a field name for a pointer (RFC 6901 section 3), cut at 64 characters.
fn escape(name: &str) -> String {
    name.chars().take(64).collect::<String>().replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_fault_is_named_by_its_pointer() {
        let document = json!({"name": 7, "tags": ["ok", 1], "a/b": 1});
        let mut faults = Faults::default();
        let mut fields = Fields::open(&document, "", &mut faults).unwrap();
        assert_eq!(fields.read("name", |v| text(v, 1, 10)), None);
        assert_eq!(fields.values("tags", 5, |v| text(v, 1, 10)), Some(vec!["ok".to_owned()]));
        assert_eq!(fields.require("owner", |v| text(v, 1, 10)), None);
        fields.finish();
        let pointers: Vec<_> = faults.iter().map(|f| f.pointer.as_str()).collect();
        assert_eq!(pointers, ["/name", "/tags/1", "/owner", "/a~1b"]);
    }
}
