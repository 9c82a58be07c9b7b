//! What is compared: how each is got, configured, filled with keys and started.
//!
//! Each has one worker thread, no access log, kept connections on both sides, and its keys in its own best way. The
//! configurations are the files of `benches/contenders/`, with addresses, limit and keys filled in.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::machine::{self, Cores, Process};
use crate::secrets::secret;

/// Where `make bench-setup` puts Envoy; a variable names another one.
const ENVOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/envoy/bin/envoy");
const ENVOY_VARIABLE: &str = "PORTCULLIS_BENCH_ENVOY";
/// Where a system puts what an administrator starts.
const SYSTEM: [&str; 4] = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];

/// Who stands between the client and the upstream.
#[derive(Clone, PartialEq, Eq)]
pub enum Software {
    ForwardOnly,
    Portcullis { binary: PathBuf, log: AccessLog },
    Nginx,
    HaProxy,
    Envoy,
}

/// Whether Portcullis writes a line for each request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum AccessLog {
    Off,
    On,
}

impl Software {
    /// Where its binary is, if it is installed.
    pub fn binary(&self) -> Option<PathBuf> {
        let known = |path: PathBuf| path.is_file().then_some(path);
        let on_system = |name: &str| SYSTEM.iter().find_map(|folder| known(Path::new(folder).join(name)));
        match self {
            Self::ForwardOnly => machine::example("forward_only").ok(),
            Self::Portcullis { binary, .. } => known(binary.clone()),
            Self::Nginx => on_system("nginx"),
            Self::HaProxy => on_system("haproxy"),
            Self::Envoy => std::env::var_os(ENVOY_VARIABLE)
                .map_or_else(|| known(ENVOY.into()), |path| known(path.into())),
        }
    }

    /// What it says about its version.
    pub fn version(&self) -> Option<String> {
        let flag = match self {
            Self::ForwardOnly => return None,
            Self::Nginx | Self::HaProxy => "-v",
            Self::Portcullis { .. } | Self::Envoy => "--version",
        };
        let output = Command::new(self.binary()?).arg(flag).output().ok()?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        let said = text.trim().lines().next()?;
        match self {
            // "PATH version: HASH/VERSION/…"
            Self::Envoy => Some(format!("Envoy {}", said.rsplit_once("version: ")?.1.split('/').nth(1)?)),
            // "HAProxy version VERSION DATE - LINK"
            Self::HaProxy => Some(said.split(" - ").next()?.to_owned()),
            _ => Some(said.trim_start_matches("nginx version: ").to_owned()),
        }
    }

    fn template(&self) -> &'static str {
        match self {
            Self::ForwardOnly => "",
            Self::Portcullis { .. } => include_str!("../contenders/portcullis.toml"),
            Self::Nginx => include_str!("../contenders/nginx.conf"),
            Self::HaProxy => include_str!("../contenders/haproxy.cfg"),
            Self::Envoy => include_str!("../contenders/envoy.yaml"),
        }
    }
}

/// A folder with a contender's keys, and the addresses that are its own.
pub struct Site {
    software: Software,
    keys: usize,
    folder: tempfile::TempDir,
    upstream: SocketAddr,
    pub address: SocketAddr,
    /// Portcullis's alone.
    pub admin: SocketAddr,
    cores: Cores,
    http2: Http2,
    threads: usize,
}

/// Whether Portcullis takes HTTP/2 on its plain listener.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Http2 {
    Off,
    On,
}

impl Site {
    /// Makes the folder and gives it the keys.
    pub fn new(software: Software, keys: usize, upstream: SocketAddr, cores: Cores) -> anyhow::Result<Self> {
        let (address, admin) = (machine::free_address()?, machine::free_address()?);
        let site = Self {
            software,
            keys,
            folder: tempfile::tempdir()?,
            upstream,
            address,
            admin,
            cores,
            http2: Http2::Off,
            threads: 1,
        };
        match site.software {
            Software::ForwardOnly => {}
            Software::Portcullis { .. } => site.import()?,
            Software::Nginx => {
                site.list("keys.nginx", |secret, id| format!("\"Bearer {secret}\" {id};\n"))?;
            }
            Software::HaProxy => site.list("keys.map", |secret, id| format!("{secret} {id}\n"))?,
            Software::Envoy => site.list("credentials.yaml", |secret, id| {
                format!("\n              - {{ key: {secret}, client: {id} }}")
            })?,
        }
        Ok(site)
    }

    /// With HTTP/2 or without.
    pub fn with(mut self, http2: Http2) -> Self {
        self.http2 = http2;
        self
    }

    /// With this many worker threads: Portcullis's alone.
    pub fn with_threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Starts it on the core that is measured, with this many requests a minute to each key.
    pub fn start(&self, limit: u64) -> anyhow::Result<Process> {
        let binary = self.software.binary().context("it is not installed")?;
        let config = self.configure(limit)?;
        let mut command = Command::new(binary);
        match self.software {
            Software::ForwardOnly => command.args([self.address.to_string(), self.upstream.to_string()]),
            Software::Portcullis { .. } => command.arg("serve").arg("--config").arg(config),
            Software::Nginx => command.arg("-c").arg(config).arg("-p").arg(self.folder.path()),
            Software::HaProxy => command.arg("-db").arg("-f").arg(config),
            Software::Envoy => {
                command.args(["--concurrency", "1", "--disable-hot-restart", "-l", "off", "-c"]).arg(config)
            }
        };
        let mut process = Process::start_measured(&mut command, self.cores)?;
        process.wait_for_any(self.address, "/v1/models")?;
        if matches!(self.software, Software::Portcullis { .. }) {
            process.wait_for(self.admin, "/readyz")?;
        }
        Ok(process)
    }

    /// The configuration, with everything filled in.
    fn configure(&self, limit: u64) -> anyhow::Result<PathBuf> {
        let (name, credentials) = match self.software {
            Software::ForwardOnly => return Ok(PathBuf::new()),
            Software::Portcullis { .. } => ("bench.toml", String::new()),
            Software::Nginx => ("nginx.conf", String::new()),
            Software::HaProxy => ("haproxy.cfg", String::new()),
            // Envoy reads no lists from files.
            Software::Envoy => ("envoy.yaml", std::fs::read_to_string(self.path("credentials.yaml"))?),
        };
        let on = matches!(self.software, Software::Portcullis { log: AccessLog::On, .. });
        let filled = [
            ("{{ADDRESS}}", self.address.to_string()),
            ("{{HOST}}", self.address.ip().to_string()),
            ("{{PORT}}", self.address.port().to_string()),
            ("{{UPSTREAM}}", self.upstream.to_string()),
            ("{{UPSTREAM_HOST}}", self.upstream.ip().to_string()),
            ("{{UPSTREAM_PORT}}", self.upstream.port().to_string()),
            ("{{ADMIN}}", self.admin.to_string()),
            ("{{FOLDER}}", self.folder.path().display().to_string()),
            ("{{LIMIT}}", limit.to_string()),
            ("{{ACCESS_LOG}}", on.to_string()),
            ("{{THREADS}}", self.threads.to_string()),
            ("{{H2C}}", (self.http2 == Http2::On).to_string()),
            ("{{CREDENTIALS}}", credentials),
        ]
        .iter()
        .fold(self.software.template().to_owned(), |text, (name, value)| text.replace(name, value));
        let path = self.path(name);
        std::fs::write(&path, filled)?;
        Ok(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file with something for each key.
    fn list(&self, name: &str, entry: impl Fn(&str, &str) -> String) -> anyhow::Result<()> {
        let entries = (0..self.keys).map(|number| entry(&secret(number), &format!("key-{number:05}")));
        Ok(std::fs::write(self.path(name), entries.collect::<String>())?)
    }

    /// Imports the keys into the store of a gateway that does not run.
    fn import(&self) -> anyhow::Result<()> {
        let mut lines = String::new();
        for number in 0..self.keys {
            let (secret, owner) = (secret(number), number % 100);
            writeln!(
                lines,
                r#"{{"name":"key-{number:05}","owner":"owner-{owner}","scopes":["models:*"],"secret":"{secret}"}}"#
            )?;
        }
        let file = self.path("keys.jsonl");
        std::fs::write(&file, lines)?;
        let config = self.configure(1)?;
        machine::import_keys(&self.software.binary().context("it is not built")?, &file, &config)
    }

    /// The requests that Portcullis has counted as let through on the route for keys.
    pub fn counted(&self) -> anyhow::Result<usize> {
        let metrics = machine::get(self.admin, "/metrics")?;
        let series = r#"portcullis_requests_total{outcome="allowed",route="/v1"} "#;
        let count = metrics.lines().find_map(|line| line.strip_prefix(series));
        count.map_or(Ok(0), |count| Ok(count.parse()?))
    }
}
