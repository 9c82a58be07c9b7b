//! A gateway on free ports, over a store in a folder of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis::app::{self, App};
use portcullis::clock::{Clock, SystemClock};
use portcullis::config::{Config, file};
use tempfile::TempDir;

use super::{Admin, Upstream};

/// The admin token of every gateway here.
pub const TOKEN: &str = "pca_test_token_0123456789";

/// A configuration under way: `{upstream}` in the text becomes the upstream's address.
pub struct Fixture {
    pub folder: TempDir,
    pub upstream: Upstream,
    text: String,
    clock: Arc<dyn Clock>,
}

impl Fixture {
    /// One route, `/v1`, for keys; see [`Fixture::with`] for more.
    pub fn new() -> Self {
        Self::with(
            r#"
            [[routes]]
            path = "/v1"
            upstream = "api"
            "#,
        )
    }

    /// These routes (and any other tables) beside an upstream `api` that remembers what it got.
    pub fn with(text: &str) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            upstream: Upstream::start(),
            text: text.to_owned(),
            clock: Arc::new(SystemClock::new()),
        }
    }

    /// With a clock of the test's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The whole configuration file.
    pub fn text(&self) -> String {
        let has_upstream = self.text.contains("[upstreams.api]");
        let api = if has_upstream { "" } else { "[upstreams.api]\ntargets = [\"{upstream}\"]\n" };
        let gateway =
            if self.text.contains("[gateway]") { "" } else { "[gateway]\nlisten = [\"127.0.0.1:0\"]\n" };
        let text = format!(
            "{gateway}[admin]\nlisten = \"127.0.0.1:0\"\n[store]\npath = \"portcullis.redb\"\n[log]\naccess = false\n{api}{}",
            self.text
        );
        text.replace("{upstream}", &self.upstream.address.to_string())
    }

    pub fn config(&self) -> Config {
        parse(&self.text(), self.folder.path())
    }

    pub fn store_path(&self) -> PathBuf {
        self.folder.path().join("portcullis.redb")
    }

    /// Starts a gateway over this folder's store.
    pub fn start(&self) -> Gateway {
        let app = app::build_with_clock(&self.config(), Some(TOKEN), Arc::clone(&self.clock)).unwrap();
        let admin = Admin::new(app.admin_address, TOKEN);
        let plain = app.gateway_addresses.first();
        let address = *plain.or(app.tls_addresses.first()).unwrap();
        Gateway { address, admin, app: Some(app) }
    }
}

pub fn parse(text: &str, folder: &Path) -> Config {
    parse_with(text, folder, &|name| std::env::var(name).ok())
}

/// Reads a configuration with this environment.
pub fn parse_with(text: &str, folder: &Path, env: &dyn Fn(&str) -> Option<String>) -> Config {
    file::parse(text, folder, Path::new("test.toml"), env).unwrap_or_else(|error| panic!("{error}"))
}

/// A gateway that runs in this process.
pub struct Gateway {
    pub address: std::net::SocketAddr,
    pub admin: Admin,
    pub app: Option<App>,
}

impl Gateway {
    pub fn app(&self) -> &App {
        self.app.as_ref().unwrap()
    }

    /// Stops it gracefully.
    pub fn stop(mut self) {
        self.app.take().unwrap().stop().unwrap();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(app) = self.app.take() {
            // A failed test must not hide its failure behind this one.
            let _ = app.stop();
        }
    }
}
