//! From the configuration's file to a [`Config`], or to every fault in it.
//!
//! The text becomes a tree that knows its lines (`tree`), variables are put in (`expand`), the defaults of
//! `config/default.toml` fill what their tables leave out, and the readers of the sections collect each fault by
//! its pointer. Faults name places and rules and never repeat what the file says: that may be a credential.

use std::collections::HashSet;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::expand::Environment;
use super::tree::{SyntaxError, Tree};
use super::{Config, log, route, sections, traces, upstream};
use crate::document::{Faults, Fields};

/// The largest file, in bytes: room for the most routes there may be.
pub const MAX_FILE_BYTES: u64 = 8 << 20;

/// The defaults, as operators read them.
pub const DEFAULTS: &str = include_str!("../../config/default.toml");

/// The tables that have defaults.
const TABLES: [&str; 7] = ["gateway", "admin", "store", "keys", "metrics", "log", "traces"];

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read. Its text says the cause as well, so the cause is not its `source`.
    #[error("{}: cannot be read: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The file says what it must not. One line a fault.
    #[error("{}", lines(path, faults))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// All that is wrong, in the order of the lines.
        faults: Vec<ConfigFault>,
    },
}

/// One thing wrong in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFault {
    /// Where, such as `routes[2].upstream`; empty where the text is not TOML.
    pub path: String,
    /// The same as a JSON pointer: `/routes/2/upstream`.
    pub pointer: String,
    /// The line, from 1; `None` for what the whole file lacks.
    pub line: Option<usize>,
    /// What is wrong and what would be right.
    pub detail: String,
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.detail)
    }
}

/// `FILE:LINE: path: detail`, a line for each fault.
fn lines(path: &Path, faults: &[ConfigFault]) -> String {
    let line = |fault: &ConfigFault| match fault.line {
        Some(line) => format!("{}:{line}: {fault}", path.display()),
        None => format!("{}: {fault}", path.display()),
    };
    faults.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Reads the file at `path` with the process's environment.
///
/// # Errors
/// Where the file cannot be read, or says what it must not.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let text = read(path).map_err(|cause| ConfigError::Unreadable { path: path.to_owned(), cause })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    parse(&text, folder, path, &|name| std::env::var(name).ok())
}

fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let detail = format!("it is larger than {MAX_FILE_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, detail));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

/// Reads the text of a file called `file_name`; relative paths in it start at `folder`.
///
/// # Errors
/// [`ConfigError::Invalid`], with every fault.
pub fn parse(
    text: &str,
    folder: &Path,
    file_name: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, ConfigError> {
    let invalid = |faults| ConfigError::Invalid { path: file_name.to_owned(), faults };
    let tree = Tree::parse(text).map_err(|errors| invalid(syntax_faults(errors)))?;
    let defaults = Tree::parse(DEFAULTS).map_err(|errors| invalid(syntax_faults(errors)))?;
    let mut faults = Faults::default();
    let mut document = tree.to_value(env, &mut faults);
    fill(&mut document, defaults.to_value(&|_| None, &mut faults));
    let config = config(&document, &Surroundings { folder, env }, &mut faults);
    faults.or_else_all(config).map_err(|faults| invalid(located(&tree, &faults)))
}

/// What a configuration needs besides its text.
pub struct Surroundings<'s> {
    /// Where relative paths start.
    pub folder: &'s Path,
    /// The environment's variables.
    pub env: Environment<'s>,
}

fn syntax_faults(errors: Vec<SyntaxError>) -> Vec<ConfigFault> {
    let fault = |e: SyntaxError| ConfigFault {
        path: String::new(),
        pointer: String::new(),
        line: e.line,
        detail: e.detail,
    };
    errors.into_iter().map(fault).collect()
}

/// Puts the defaults where the file says nothing. A table that is none stays, so that its reader refuses it.
fn fill(document: &mut Value, mut defaults: Value) {
    let Value::Object(document) = document else { return };
    for table in TABLES {
        let default = defaults.get_mut(table).map(Value::take).unwrap_or_default();
        match (document.get_mut(table), default) {
            (None, default) => {
                document.insert(table.to_owned(), default);
            }
            (Some(Value::Object(fields)), Value::Object(defaults)) => {
                for (name, value) in defaults {
                    fields.entry(name).or_insert(value);
                }
            }
            _ => {}
        }
    }
}

/// Reads the whole document. `None` has left a fault behind.
fn config(document: &Value, around: &Surroundings<'_>, faults: &mut Faults) -> Option<Config> {
    let mut root = Fields::open(document, "", faults)?;
    let gateway = root.object("gateway").and_then(|fields| sections::gateway(fields, around));
    let admin = root.object("admin").and_then(|fields| sections::admin(fields, around));
    if let (Some(gateway), Some(admin)) = (&gateway, &admin)
        && admin.listen.port() != 0
        && (gateway.listen.has(admin.listen) || gateway.tls.iter().any(|tls| tls.listen == admin.listen))
    {
        root.fault_entry("admin", "listen", "is an address of gateway.listen as well");
    }
    let store = root.object("store").and_then(|fields| sections::store(fields, around));
    let keys = root.object("keys").and_then(|fields| sections::keys(fields, around));
    let metrics = root.object("metrics").and_then(sections::metrics);
    let log = root.object("log").and_then(log::log);
    let traces = root.object("traces").and_then(|fields| traces::traces(fields, around));
    let upstreams = upstream::upstreams(&mut root, around);
    let inherited = route::Inherited {
        upstreams: upstream::names(document),
        max_request_body: gateway.as_ref().and_then(|gateway| gateway.max_request_body),
    };
    let routes = route::routes(&mut root, &inherited);
    root.finish();
    Some(Config {
        gateway: gateway?,
        admin: admin?,
        store: store?,
        keys: keys?,
        metrics: metrics?,
        log: log?,
        traces: traces?,
        upstreams,
        routes,
    })
}

/// The faults with their places, in the order of the lines. Of two at one place the first stands: what follows from
/// a missing variable need not be said as well.
fn located(tree: &Tree<'_>, faults: &Faults) -> Vec<ConfigFault> {
    let mut seen = HashSet::new();
    let mut located: Vec<_> = faults
        .iter()
        .filter(|fault| seen.insert(&fault.pointer))
        .map(|fault| {
            let place = tree.locate(&fault.pointer);
            ConfigFault {
                path: place.path,
                pointer: fault.pointer.clone(),
                line: place.line,
                detail: fault.detail.clone(),
            }
        })
        .collect();
    located.sort_by_key(|fault| fault.line.unwrap_or(usize::MAX));
    located
}

#[cfg(test)]
mod tests;
