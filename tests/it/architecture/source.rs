//! The source as text: its files, what they import, which crates they name.

use std::fs;
use std::path::{Path, PathBuf};

/// A file of `src`.
pub(super) struct Source {
    /// Its path below `src`.
    pub path: String,
    pub text: String,
    /// Its lines without comments and without what is built for its own tests alone.
    pub code: Vec<String>,
}

impl Source {
    fn read(root: &Path, path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let path = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        let code = if is_test(&path) { Vec::new() } else { code_of(&text) };
        Self { path, text, code }
    }

    /// The module of the library that it is a part of.
    pub fn module(&self) -> &str {
        let end = self.path.find(['/', '.']).unwrap();
        &self.path[..end]
    }

    /// The modules of ours that it imports, with what follows them.
    pub fn imports(&self) -> Vec<&str> {
        let mut found = Vec::new();
        let ours = if self.path == "main.rs" { "portcullis::" } else { "crate::" };
        for line in &self.code {
            for (at, _) in line.match_indices(ours) {
                let rest = &line[at + ours.len()..];
                assert!(!rest.starts_with('{'), "{}: one `use` for each module: {line}", self.path);
                found.push(rest);
            }
        }
        found
    }

    /// Whether its code names a crate.
    pub fn names(&self, name: &str) -> bool {
        let path = format!("{name}::");
        let whole = |line: &String| {
            line.match_indices(&path).any(|(at, _)| {
                !line[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | ':' | '"'))
            })
        };
        self.code.iter().any(whole)
    }
}

/// Files that are built for tests alone.
pub(super) fn is_test(path: &str) -> bool {
    path.contains("/tests/") || ["/tests.rs", "_tests.rs", "/stress.rs"].iter().any(|end| path.ends_with(end))
}

fn code_of(text: &str) -> Vec<String> {
    let mut code: Vec<String> = Vec::new();
    for line in text.lines() {
        if line.starts_with("mod ") && line.ends_with('{') && code.last().is_some_and(|l| l == "#[cfg(test)]")
        {
            break;
        }
        if !line.trim_start().starts_with("//") {
            code.push(line.to_owned());
        }
    }
    code
}

pub(super) fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut files) = (vec![root.clone()], Vec::<PathBuf>::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    assert!(files.len() > 50, "the source is not where it was: {}", root.display());
    files.iter().map(|path| Source::read(&root, path)).collect()
}

/// The first word of a path.
pub(super) fn first_word(path: &str) -> &str {
    path.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap()
}
