//! The protocols with peers that know nothing of this project: curl, h2load, grpcio, websockets, node. `make setup`
//! brings them.

mod curl;
mod grpc;
mod h2load;
mod node;
mod websockets;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::within;

/// How long a peer may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A program of the system.
fn program(name: &str) -> Command {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()));
    assert!(found, "{name} is missing: run `make setup`");
    let mut command = Command::new(name);
    // No proxy and no settings of whoever runs the tests.
    for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// A script of `tests/peers` under the Python that `make setup` makes.
fn python(script: &str) -> Command {
    let python = root().join("target/peers/bin/python");
    assert!(python.exists(), "{} is missing: run `make setup`", python.display());
    let mut command = program(python.to_str().unwrap());
    command.arg(path_of(script)).env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUNBUFFERED", "1");
    command
}

fn path_of(script: &str) -> PathBuf {
    root().join("tests/peers").join(script)
}

/// What a program said, all of it.
#[derive(Debug)]
struct Said {
    status: ExitStatus,
    out: String,
    errors: String,
}

impl Said {
    /// What it said, if it says that all went well.
    fn well(self) -> String {
        assert!(self.status.success(), "{self:#?}");
        self.out
    }
}

/// Runs a program to its end.
fn run(command: &mut Command) -> Said {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    command.stdout(File::create(file("out")).unwrap()).stderr(File::create(file("errors")).unwrap());
    let mut child = command.spawn().unwrap();
    let status = end_of(&mut child);
    let text = |name: &str| String::from_utf8_lossy(&std::fs::read(file(name)).unwrap()).into_owned();
    Said { status, out: text("out"), errors: text("errors") }
}

fn end_of(child: &mut Child) -> ExitStatus {
    within(PATIENCE, "the peer ends", || child.try_wait().unwrap())
}

/// A script that is an upstream and a client: it says where its upstream listens, waits to be told of the gateway before
/// it, and says how its calls ended. Lines of JSON, both ways. It is killed when it is dropped.
struct Talker {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    folder: TempDir,
}

impl Talker {
    fn start(mut command: Command) -> Self {
        let folder = tempfile::tempdir().unwrap();
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(folder.path().join("errors")).unwrap());
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let (said, lines) = mpsc::channel();
        // Reading has no time limit; waiting for what was read has.
        let each = move |line| said.send(line).is_ok();
        thread::spawn(move || output.lines().map_while(Result::ok).all(each));
        Self { child, input, lines, folder }
    }

    fn hear(&mut self) -> Value {
        // None: it has ended, or says nothing.
        let line = self.lines.recv_timeout(PATIENCE).unwrap_or_default();
        serde_json::from_str(&line).unwrap_or_else(|error| {
            let errors = std::fs::read_to_string(self.folder.path().join("errors"));
            panic!("{error}: {line:?}\n{}", errors.unwrap_or_default())
        })
    }

    fn tell(&mut self, what: &Value) {
        writeln!(self.input, "{what}").unwrap();
    }

    /// Where its upstream listens.
    fn upstream(&mut self) -> String {
        format!("127.0.0.1:{}", self.hear()["port"])
    }

    /// Tells it of the gateway; how its calls ended.
    fn ask(&mut self, what: &Value) -> Value {
        self.tell(what);
        let answer = self.hear();
        assert!(end_of(&mut self.child).success());
        answer
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        // One that has ended already is as dead.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
