//! Sockets that the service manager bound (sd_listen_fds): a small parent that passes some.

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::json;

use super::{END, upgrade};
use crate::support::{Client, Fixture, Process, TOKEN, config_file};

/// Becomes the gateway with its first standard descriptor as 3, and its third as 4 where there are two.
const PASS: &str = "exec 3<&0 0</dev/null; if [ $LISTEN_FDS = 2 ]; then exec 4<&2 2>/dev/null; fi
LISTEN_PID=$$ exec \"$@\"";

fn activated(config: &Path, first: OwnedFd, second: Option<OwnedFd>) -> Process {
    let mut command = Command::new("sh");
    command.args(["-c", PASS, "sh", env!("CARGO_BIN_EXE_portcullis"), "serve", "--config"]).arg(config);
    command.env("PORTCULLIS_ADMIN_TOKEN", TOKEN).env_remove("RUST_LOG");
    command.env("LISTEN_FDS", if second.is_some() { "2" } else { "1" });
    command.stdin(first).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(second) = second {
        command.stderr(second);
    }
    Process::start(&mut command)
}

#[test]
fn sockets_of_the_service_manager_are_used_and_stay() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.sock");
    let (tcp, unix) = (TcpListener::bind("127.0.0.1:0").unwrap(), UnixListener::bind(&path).unwrap());
    let at = tcp.local_addr().unwrap();
    let fixture = Fixture::with(&format!(
        "[gateway]\nlisten = [\"{at}\", \"unix:{}\"]\n[[routes]]\npath = \"/v1\"\nupstream = \"api\"\n",
        path.display()
    ));
    let config = config_file(&fixture);
    let (tcp_too, unix_too) = (tcp.try_clone().unwrap(), unix.try_clone().unwrap());
    let mut server = activated(&config, unix.into(), Some(tcp.into())).serving();
    let (_, secret) = server.admin.key(&json!({}));
    assert_eq!(Client::new(at).get("/v1/x", &secret).status, 200);
    assert!(UnixStream::connect(&path).is_ok());
    // They are handed on like any other.
    let new = upgrade(&config);
    assert_eq!(server.process.wait(END).code(), Some(0));
    assert_eq!(Client::new(at).get("/v1/x", &secret).status, 200);
    let mut new = new;
    new.process.signal(Signal::TERM);
    assert_eq!(new.process.wait(END).code(), Some(0));
    assert!(fs::symlink_metadata(&path).is_ok(), "the file is the manager's");
    drop((tcp_too, unix_too));
}

#[test]
fn a_socket_that_no_entry_names_is_refused_by_name() {
    let fixture = Fixture::new();
    let config = config_file(&fixture);
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = tcp.local_addr().unwrap();
    let mut process = activated(&config, tcp.into(), None);
    assert_eq!(process.wait(END).code(), Some(1));
    let said = process.stderr();
    assert!(said.contains(&format!("a socket that listens on {at}, which no entry")), "{said}");
    assert!(!fixture.store_path().exists(), "before anything was made");
    let mut process = activated(&config, fs::File::open("/dev/null").unwrap().into(), None);
    assert_eq!(process.wait(END).code(), Some(1));
    assert!(process.stderr().contains("LISTEN_FDS"), "{}", process.stderr());
}
