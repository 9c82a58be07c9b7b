//! A gateway that runs over the bench's upstream, and plain connections to it, for what is measured by threads.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::admin;
use super::machine::{self, Cores, Process, now};
use super::secrets::secret;
use super::wire;

/// What is asked for.
pub const PATH: &str = "/v1/models";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The gateway.
pub struct Site {
    pub process: Process,
    pub address: SocketAddr,
    pub admin: SocketAddr,
    _upstream: Process,
    _folder: tempfile::TempDir,
}

impl Site {
    /// Starts it on the measured core, with further settings of `[gateway]` and of its one route, and so many keys:
    /// those with the secrets from 0 on.
    pub fn start(cores: Cores, gateway: &str, route: &str, keys: usize) -> anyhow::Result<Self> {
        let at = machine::free_address()?;
        let mut upstream =
            Process::start(Command::new(machine::example("bench_upstream")?).arg(at.to_string()))?;
        upstream.wait_for(at, "/")?;
        let folder = tempfile::tempdir()?;
        let (address, admin) = (machine::free_address()?, machine::free_address()?);
        let config = folder.path().join("bench.toml");
        std::fs::write(
            &config,
            format!(
                "[gateway]\nlisten = [\"{address}\"]\n{gateway}\n[admin]\nlisten = \"{admin}\"\n[log]\naccess = false\n\
                 [upstreams.api]\ntargets = [\"{at}\"]\n[[routes]]\npath = \"/v1\"\nupstream = \"api\"\n{route}\n"
            ),
        )?;
        let file = folder.path().join("keys.jsonl");
        std::fs::write(&file, lines(keys)?)?;
        machine::import_keys(&machine::gateway(), &file, &config)?;
        let mut command = Command::new(machine::gateway());
        command.env("PORTCULLIS_ADMIN_TOKEN", admin::TOKEN).arg("serve").arg("--config").arg(&config);
        let mut process = Process::start_measured(&mut command, cores)?;
        process.wait_for(admin, "/readyz")?;
        Ok(Self { process, address, admin, _upstream: upstream, _folder: folder })
    }
}

fn lines(keys: usize) -> anyhow::Result<String> {
    let mut lines = String::new();
    for number in 0..keys {
        let secret = secret(number);
        writeln!(lines, r#"{{"name":"key {number:05}","scopes":["models:*"],"secret":"{secret}"}}"#)?;
    }
    Ok(lines)
}

/// A connection.
pub fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// One request and its answer, which must have this status.
pub fn ask(stream: &mut TcpStream, request: &[u8], status: u16) -> anyhow::Result<Vec<u8>> {
    stream.write_all(request)?;
    read_answer(stream, status)
}

/// Reads one whole answer.
pub fn read_answer(stream: &mut TcpStream, status: u16) -> anyhow::Result<Vec<u8>> {
    let mut answer = Vec::with_capacity(2 << 10);
    let mut piece = [0; 2 << 10];
    loop {
        let read = stream.read(&mut piece)?;
        anyhow::ensure!(read > 0, "the connection was closed");
        answer.extend_from_slice(&piece[..read]);
        if let Some(end) = wire::end(&answer)? {
            wire::expect(&answer, end, status)?;
            return Ok(answer);
        }
    }
}

/// Sleeps until something is due.
pub fn wait_until(due: Instant) {
    thread::sleep(due.saturating_duration_since(now()));
}
