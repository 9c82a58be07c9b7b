//! The configuration that quickstart writes, runs with, and leaves for `portcullis serve`.
//!
//! Its last line is a checksum of the rest, so that a file which somebody edited is known and never overwritten.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::front::{Front, Kind, Wire};
use crate::config::Config;
use crate::config::file;

/// The file that people go on with.
const FILE: &str = "portcullis.toml";
/// The file of this run where that one was edited.
const SECOND_FILE: &str = "quickstart.toml";
/// What the last line starts with.
const SEAL: &str = "# unedited: ";

/// The text, and where it belongs.
pub(super) struct Settings<'a> {
    dir: &'a Path,
    text: String,
}

/// Where the configuration is.
#[derive(Debug)]
pub(super) struct Written {
    /// The file.
    pub(super) path: PathBuf,
    /// The file that was left as it is, because somebody edited it.
    pub(super) left_alone: Option<PathBuf>,
}

impl<'a> Settings<'a> {
    pub(super) fn new(dir: &'a Path, front: &Front, gateway: SocketAddr, admin: SocketAddr) -> Self {
        Self { dir, text: sealed(&text(front, gateway, admin)) }
    }

    /// Reads the text as `serve` would: what is written is proved right.
    ///
    /// # Errors
    /// The upstream is none after all.
    pub(super) fn config(&self) -> anyhow::Result<Config> {
        let env = |name: &str| std::env::var(name).ok();
        Ok(file::parse(&self.text, self.dir, &self.dir.join(FILE), &env)?)
    }

    /// Writes the text, but never over a file that somebody edited.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn write(&self) -> anyhow::Result<Written> {
        let path = self.dir.join(FILE);
        let ours = match std::fs::read_to_string(&path) {
            Ok(text) => is_sealed(&text),
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        };
        let written = if ours {
            Written { path, left_alone: None }
        } else {
            Written { path: self.dir.join(SECOND_FILE), left_alone: Some(path) }
        };
        put(&written.path, &self.text)
            .with_context(|| format!("{}: cannot be written", written.path.display()))?;
        Ok(written)
    }
}

/// Beside its place first, so that nobody ever reads half of it.
fn put(path: &Path, text: &str) -> std::io::Result<()> {
    let young = path.with_extension("toml.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&young)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&young, path)
}

fn sealed(text: &str) -> String {
    format!("{text}{SEAL}{:08x}\n", crc32fast::hash(text.as_bytes()))
}

/// Whether nobody has changed the text since it was written.
fn is_sealed(text: &str) -> bool {
    text.rfind(SEAL).is_some_and(|at| sealed(&text[..at]) == text)
}

fn text(front: &Front, gateway: SocketAddr, admin: SocketAddr) -> String {
    format!(
        r#"# Written by `portcullis quickstart`. It is yours to edit; go on with
#   portcullis serve --config {FILE}
# Every setting, with its default: config/default.toml in the sources. quickstart writes this file anew only as long as
# nobody has edited it.

[gateway]
# "0.0.0.0:8080" to be reached from other machines.
listen = ["{gateway}"]

[admin]
listen = "{admin}"

[store]
path = "portcullis.redb"

[log]
format = "text"                   # "json" for machines
level = "info"
access = true                     # a line for each request

{upstream}
[[routes]]
path = "/"                        # every request; more routes with longer paths may follow
upstream = "api"
access = "key"                    # "public" for what needs no key
# scopes = ["models:read"]        # what a key must be allowed to do
# For keys that set no limits of their own:
limits = [{{ name = "minute", requests = 600, window = "1m" }}]

"#,
        upstream = upstream(front),
    )
}

fn upstream(front: &Front) -> String {
    let target = &front.target;
    match &front.kind {
        Kind::Demo => format!(
            "# The demo lives as long as quickstart runs: put the address of your own API here.\n\
             [upstreams.api]\n\
             targets = [\"{target}\"]\n"
        ),
        Kind::Own { host, wire: Wire::Plain, .. } => format!(
            "[upstreams.api]\n\
             targets = [\"{target}\"]\n\
             host = \"{host}\"\n"
        ),
        Kind::Own { host, wire: Wire::Tls, .. } => format!(
            "[upstreams.api]\n\
             targets = [\"{target}\"]\n\
             tls = true                        # verified against `host`\n\
             host = \"{host}\"\n\
             # set_headers = {{ authorization = \"Bearer ${{API_KEY}}\" }}   # the API's own credential\n"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Store;
    use std::os::unix::fs::PermissionsExt;

    fn fronts() -> Vec<Front> {
        let own = ["http://127.0.0.1:3000", "https://api.example.com", "http://[::1]:9000"];
        let mut fronts: Vec<Front> = own.iter().map(|url| Front::parse(url).unwrap()).collect();
        fronts.push(Front::demo("127.0.0.1:9000".parse().unwrap()));
        fronts
    }

    fn settings<'a>(dir: &'a Path, front: &Front) -> Settings<'a> {
        Settings::new(dir, front, "127.0.0.1:8080".parse().unwrap(), "127.0.0.1:9180".parse().unwrap())
    }

    #[test]
    fn what_is_written_is_a_configuration() {
        for front in fronts() {
            let config = settings(Path::new("/data"), &front).config().unwrap();
            assert_eq!(config.store, Store::Redb { path: "/data/portcullis.redb".into() });
            assert_eq!(config.upstreams["api"].targets[0].address, front.target);
            let tls = matches!(front.kind, Kind::Own { wire: Wire::Tls, .. });
            assert_eq!(config.upstreams["api"].tls.is_some(), tls);
        }
    }

    #[test]
    fn an_edited_file_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let first = settings(dir.path(), &fronts()[0]);
        for _ in 0..2 {
            let written = first.write().unwrap();
            assert_eq!((written.path, written.left_alone), (dir.path().join(FILE), None));
        }
        let mode = std::fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let edited = std::fs::read_to_string(dir.path().join(FILE)).unwrap().replace("info", "debug");
        std::fs::write(dir.path().join(FILE), &edited).unwrap();
        let written = first.write().unwrap();
        assert_eq!(written.path, dir.path().join(SECOND_FILE));
        assert_eq!(written.left_alone, Some(dir.path().join(FILE)));
        assert_eq!(std::fs::read_to_string(dir.path().join(FILE)).unwrap(), edited);
    }
}
