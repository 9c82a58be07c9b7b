//! The real binary, as an operator runs it.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::{Admin, Fixture, TOKEN, within};

/// How long a start may take.
pub const START: Duration = Duration::from_secs(5);

/// `portcullis serve` with this file, and the token of the tests.
pub fn serve(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command
        .args(["serve", "--config"])
        .arg(config)
        .env("PORTCULLIS_ADMIN_TOKEN", TOKEN)
        .env_remove("RUST_LOG");
    // Whatever it may leave behind goes away with the test's folder.
    command.current_dir(config.parent().unwrap());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Writes the fixture's configuration as a file, with a log that [`Process::serving`] can read.
pub fn config_file(fixture: &Fixture) -> PathBuf {
    let path = fixture.folder.path().join("portcullis.toml");
    fs::write(&path, fixture.text().replace("[log]\n", "[log]\nformat = \"json\"\n")).unwrap();
    path
}

/// A process that runs. It is killed when it is dropped.
pub struct Process {
    child: Child,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
}

/// A process that serves.
pub struct Server {
    pub process: Process,
    pub address: SocketAddr,
    pub admin: Admin,
}

impl Process {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stdout = gather(child.stdout.take().unwrap());
        // What is passed to it as a socket is no pipe.
        let stderr = child.stderr.take().map(gather).unwrap_or_default();
        Self { child, stdout, stderr }
    }

    /// What it wrote to standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.lock().unwrap().clone()
    }

    /// What it wrote to standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits for its end. Its output is whole then.
    pub fn wait(&mut self, most: Duration) -> ExitStatus {
        let status = within(most, "the process ends", || self.child.try_wait().unwrap());
        within(most, "its output ends", || {
            (Arc::strong_count(&self.stdout) == 1 && Arc::strong_count(&self.stderr) == 1).then_some(())
        });
        status
    }

    /// Whether it has ended; its output may go on, where it started another.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        // One that has ended already is as dead.
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    /// The addresses that it says it listens on (the gateway's, the admin API's), once it says that it is ready.
    fn addresses(&mut self) -> Option<(SocketAddr, SocketAddr)> {
        let output = self.stdout();
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "it ended with {ended:?}: {output}{}", self.stderr());
        let lines: Vec<serde_json::Value> =
            output.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        lines.iter().find(|line| line["message"] == "ready")?;
        let address = |message: &str| {
            let line = lines.iter().find(|line| line["message"] == message).unwrap();
            line["address"].as_str().unwrap().parse().unwrap()
        };
        Some((address("the gateway listens"), address("the admin API listens")))
    }

    /// Waits until it serves. Its log must be JSON.
    pub fn serving(mut self) -> Server {
        let (address, admin) = within(START, "it is ready", || self.addresses());
        Server { process: self, address, admin: Admin::new(admin, TOKEN) }
    }
}

impl Server {
    /// Starts one and waits until it serves.
    pub fn start(config: &Path) -> Self {
        Process::start(&mut serve(config)).serving()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Collects what comes out of a pipe. The thread lets go of the text when the pipe ends.
fn gather(pipe: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let gathered = Arc::clone(&text);
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let mut gathered = gathered.lock().unwrap();
            gathered.push_str(&line);
            gathered.push('\n');
        }
    });
    text
}
