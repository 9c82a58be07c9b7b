//! Objects whose field names the reader does not know beforehand, such as a table of headers.

use serde_json::Value;

use super::{Faults, Fields, escape, kind_of};

/// A field name as it stands in the pointers of this module: escaped (RFC 6901), and cut where it is too long.
pub fn pointer_segment(name: &str) -> String {
    escape(name)
}

impl<'a> Fields<'a> {
    /// Reads each entry of the object `name`, of which there may be at most `most`. Each entry is read with its name
    /// and its own pointer; one that reads as `None` has left a fault behind.
    pub fn entries<T>(
        &mut self,
        name: &'static str,
        most: usize,
        mut read: impl FnMut(&'a str, &'a Value, &str, &mut Faults) -> Option<T>,
    ) -> Option<Vec<T>> {
        let map = self.read(name, |value| {
            let map =
                value.as_object().ok_or_else(|| format!("must be an object, not {}", kind_of(value)))?;
            if map.len() > most {
                return Err(format!("must have at most {most} entries, not {}", map.len()));
            }
            Ok(map)
        })?;
        let pointer = self.at(name);
        let read_entry = |(key, value): (&'a String, _)| {
            read(key, value, &format!("{pointer}/{}", escape(key)), self.faults)
        };
        Some(map.iter().filter_map(read_entry).collect())
    }

    /// Makes a fault of one entry of the object `name`.
    pub fn fault_entry(&mut self, name: &str, entry: &str, detail: impl Into<String>) {
        let pointer = format!("{}/{}", self.at(name), escape(entry));
        self.faults.add(pointer, detail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::string;
    use serde_json::json;

    #[test]
    fn each_entry_is_read_with_its_name_and_pointer() {
        let document = json!({"headers": {"a": "1", "b/c": 2}});
        let mut faults = Faults::default();
        let mut fields = Fields::open(&document, "", &mut faults).unwrap();
        let read = fields.entries("headers", 2, |name, value, pointer, faults| {
            string(value).map_err(|detail| faults.add(pointer, detail)).ok().map(|text| (name, text))
        });
        assert_eq!(read, Some(vec![("a", "1")]));
        assert_eq!(fields.entries("headers", 1, |_, _, _, _| Some(())), None);
        let seen: Vec<_> = faults.iter().map(|f| (f.pointer.as_str(), f.detail.as_str())).collect();
        assert_eq!(
            seen,
            [
                ("/headers/b~1c", "must be a string, not a number"),
                ("/headers", "must have at most 1 entries, not 2")
            ]
        );
    }
}
