//! The configuration's text as a tree of which every node knows its line.
//!
//! The tree turns into a [`Value`], which `document` reads; a fault of that reading comes back with a pointer, and
//! the tree says where that stands in the text. The TOML crate's own errors print the line they are about, which may
//! hold a credential: only their message and place are used.

use std::ops::Range;

use serde_json::{Map, Number, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::expand::{Environment, expand};
use crate::document::Faults;
use crate::document::entries::pointer_segment;

/// Syntax errors listed at most: one that confuses the parser may bring many after it.
const MAX_SYNTAX_ERRORS: usize = 10;

/// A parsed text.
pub struct Tree<'t> {
    text: &'t str,
    root: DeValue<'t>,
}

/// Where something stands in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// As people write it: `routes[2].upstream`.
    pub path: String,
    /// Its line, from 1; that of what surrounds it where it is absent; `None` where that is the whole text.
    pub line: Option<usize>,
}

/// The text is not TOML.
#[derive(Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// From 1.
    pub line: Option<usize>,
    /// What was expected.
    pub detail: String,
}

impl<'t> Tree<'t> {
    /// Parses the text.
    ///
    /// # Errors
    /// Every line that is not TOML.
    pub fn parse(text: &'t str) -> Result<Self, Vec<SyntaxError>> {
        let (root, errors) = DeTable::parse_recoverable(text);
        if errors.is_empty() {
            return Ok(Self { text, root: DeValue::Table(root.into_inner()) });
        }
        let mut faults: Vec<_> = errors
            .iter()
            .map(|error| SyntaxError {
                line: error.span().map(|span| line_of(text, &span)),
                detail: error.message().to_owned(),
            })
            .collect();
        faults.sort_by_key(|fault| fault.line);
        faults.dedup_by_key(|fault| fault.line);
        faults.truncate(MAX_SYNTAX_ERRORS);
        Err(faults)
    }

    /// The tree as a value, with the environment's variables put in. What cannot be put is a fault and null.
    pub fn to_value(&self, environment: Environment<'_>, faults: &mut Faults) -> Value {
        Converter { environment, faults, pointer: String::new() }.convert(&self.root)
    }

    /// Where the thing at `pointer` stands.
    pub fn locate(&self, pointer: &str) -> Place {
        let mut place = Place { path: String::new(), line: None };
        let mut here = Some(&self.root);
        for segment in pointer.split('/').skip(1) {
            let child = here.and_then(|node| child(node, segment));
            match &child {
                Some(Child { name: Name::Index(index), .. }) => {
                    place.path.extend(["[", &index.to_string(), "]"]);
                }
                Some(Child { name: Name::Key(key), .. }) => push_key(&mut place.path, key),
                None => push_key(&mut place.path, segment),
            }
            if let Some(child) = &child {
                place.line = Some(line_of(self.text, &child.span));
            }
            here = child.map(|child| child.value);
        }
        place
    }
}

/// A child of a node.
struct Child<'a, 't> {
    name: Name<'a>,
    span: Range<usize>,
    value: &'a DeValue<'t>,
}

/// What a child is called.
enum Name<'a> {
    Index(usize),
    Key(&'a str),
}

/// The child that a pointer's segment names. The line of a table's entry is that of its key.
fn child<'a, 't>(node: &'a DeValue<'t>, segment: &str) -> Option<Child<'a, 't>> {
    match node {
        DeValue::Table(table) => {
            let (key, value) = table.iter().find(|(key, _)| pointer_segment(key.get_ref()) == segment)?;
            Some(Child { name: Name::Key(key.get_ref()), span: key.span(), value: value.get_ref() })
        }
        DeValue::Array(items) => {
            let index = segment.parse().ok()?;
            let item: &Spanned<DeValue<'t>> = items.get(index)?;
            Some(Child { name: Name::Index(index), span: item.span(), value: item.get_ref() })
        }
        _ => None,
    }
}

/// Appends a key to a dotted path, quoted where TOML wants quotes, and cut where it is long.
fn push_key(path: &mut String, key: &str) {
    const MAX_SHOWN: usize = 64;
    if !path.is_empty() {
        path.push('.');
    }
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let shown: String = key.chars().take(MAX_SHOWN).collect();
    if bare {
        path.push_str(&shown);
    } else {
        let quoted = format!("{shown:?}");
        path.push_str(&quoted);
    }
}

/// The line on which a span starts, from 1.
fn line_of(text: &str, span: &Range<usize>) -> usize {
    let before = text.as_bytes().get(..span.start).unwrap_or(text.as_bytes());
    memchr::memchr_iter(b'\n', before).count() + 1
}

/// Turns TOML nodes into values. Its depth is bounded by the parser, which refuses more than 80 levels.
struct Converter<'c> {
    environment: Environment<'c>,
    faults: &'c mut Faults,
    /// Where the converter stands.
    pointer: String,
}

impl Converter<'_> {
    fn convert(&mut self, node: &DeValue<'_>) -> Value {
        match node {
            DeValue::String(text) => self.or_null(expand(text, self.environment).map(Value::String)),
            DeValue::Integer(digits) => {
                let number = i64::from_str_radix(digits.as_str(), digits.radix());
                self.or_null(number.map(Value::from).map_err(|_| "is too large a number".to_owned()))
            }
            DeValue::Float(digits) => {
                let number = digits.as_str().parse().ok().and_then(Number::from_f64);
                self.or_null(number.map(Value::Number).ok_or_else(|| "must be a finite number".to_owned()))
            }
            DeValue::Boolean(flag) => Value::Bool(*flag),
            DeValue::Datetime(_) => self.or_null(Err("must not be a date or time".into())),
            DeValue::Array(items) => {
                let items = items.iter().enumerate();
                Value::Array(items.map(|(index, item)| self.below(&index.to_string(), item)).collect())
            }
            DeValue::Table(entries) => {
                let entries = entries.iter().map(|(key, value)| {
                    (key.get_ref().to_string(), self.below(&pointer_segment(key.get_ref()), value))
                });
                Value::Object(entries.collect::<Map<_, _>>())
            }
        }
    }

    fn below(&mut self, segment: &str, node: &Spanned<DeValue<'_>>) -> Value {
        let length = self.pointer.len();
        self.pointer.push('/');
        self.pointer.push_str(segment);
        let value = self.convert(node.get_ref());
        self.pointer.truncate(length);
        value
    }

    /// The value; null with a fault where there is none.
    fn or_null(&mut self, value: Result<Value, String>) -> Value {
        value.unwrap_or_else(|detail| {
            self.faults.add(self.pointer.clone(), detail);
            Value::Null
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TEXT: &str = r#"a = 1
list = [
  "x",
  { deep = true },
]

[table.inner]
"odd key" = "${V}"
b.c = 0x10

[[rows]]
n = 1.5
[[rows]]
n = 2
"#;

    fn place(tree: &Tree<'_>, pointer: &str) -> (String, Option<usize>) {
        let place = tree.locate(pointer);
        (place.path, place.line)
    }

    #[test]
    fn every_node_knows_its_path_and_line() {
        let tree = Tree::parse(TEXT).unwrap();
        let cases = [
            ("", "", None),
            ("/a", "a", Some(1)),
            ("/list", "list", Some(2)),
            ("/list/0", "list[0]", Some(3)),
            ("/list/1/deep", "list[1].deep", Some(4)),
            ("/list/1/absent/more", "list[1].absent.more", Some(4)),
            ("/table/inner", "table.inner", Some(7)),
            ("/table/inner/odd key", "table.inner.\"odd key\"", Some(8)),
            ("/table/inner/b/c", "table.inner.b.c", Some(9)),
            ("/rows", "rows", Some(11)),
            ("/rows/0/n", "rows[0].n", Some(12)),
            ("/rows/1", "rows[1]", Some(13)),
            ("/rows/1/absent", "rows[1].absent", Some(13)),
            ("/absent", "absent", None),
        ];
        for (pointer, path, line) in cases {
            assert_eq!(place(&tree, pointer), (path.to_owned(), line), "{pointer}");
        }
    }

    #[test]
    fn the_tree_turns_into_a_value() {
        let mut faults = Faults::default();
        let value = Tree::parse(TEXT).unwrap().to_value(&|_| Some("v".into()), &mut faults);
        assert_eq!(
            value,
            json!({
                "a": 1, "list": ["x", {"deep": true}],
                "table": {"inner": {"odd key": "v", "b": {"c": 16}}},
                "rows": [{"n": 1.5}, {"n": 2}],
            })
        );
        assert!(faults.is_empty());
    }

    #[test]
    fn what_is_no_value_is_a_fault_where_it_stands() {
        let tree =
            Tree::parse("a = 2020-01-01\nb = [nan]\n\"c/d\" = '${X}'\ne = 99999999999999999999").unwrap();
        let mut faults = Faults::default();
        let value = tree.to_value(&|_| None, &mut faults);
        assert_eq!(value, json!({"a": null, "b": [null], "c/d": null, "e": null}));
        let mut pointers: Vec<_> = faults.iter().map(|f| f.pointer.as_str()).collect();
        pointers.sort_unstable();
        assert_eq!(pointers, ["/a", "/b/0", "/c~1d", "/e"]);
        assert_eq!(place(&tree, "/c~1d"), ("\"c/d\"".to_owned(), Some(3)));
    }

    #[test]
    fn syntax_errors_have_a_line_and_show_none_of_the_text() {
        let text = "ok = 1\nsecret = \"hunter2\nnext = 1\nnext = 2\n";
        let errors = Tree::parse(text).err().unwrap();
        assert_eq!(errors[0].line, Some(2));
        assert!(errors.iter().any(|e| e.line == Some(4) && e.detail.contains("duplicate key")), "{errors:?}");
        assert!(!format!("{errors:?}").contains("hunter2"));
    }

    #[test]
    fn nesting_is_bounded() {
        let arrays = format!("a = {}{}", "[".repeat(10_000), "]".repeat(10_000));
        let tables = format!("a = {}{}", "{a=".repeat(10_000), "}".repeat(10_000));
        let keys = format!("{}a = 1", "a.".repeat(10_000));
        for text in [arrays, tables, format!("[{keys}]"), keys] {
            assert!(Tree::parse(&text).is_err());
        }
    }
}
