//! Clients that are slow, or many: none holds a connection for ever, and none keeps an operator out.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use crate::support::{Fixture, Stopwatch, TOKEN, eventually};

/// Longer than any of the listener's bounds in time.
const LONGEST: Duration = Duration::from_secs(50);
/// Connections at once.
const MOST: usize = 512;

fn open(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONGEST)).unwrap();
    stream.set_write_timeout(Some(LONGEST)).unwrap();
    stream
}

/// Sends this and waits until the other side closes; what it answered.
fn until_closed(address: SocketAddr, what: &str) -> String {
    let mut stream = open(address);
    stream.write_all(what.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{what:?} is held"),
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Asks and asks, and never reads an answer, until the other side closes.
fn never_reads(address: SocketAddr) {
    let mut stream = open(address);
    let requests = "GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(1_000);
    let watch = Stopwatch::start();
    loop {
        match stream.write_all(requests.as_bytes()) {
            Ok(()) => assert!(watch.elapsed() < LONGEST, "it goes on answering a client that reads nothing"),
            Err(error) => {
                use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
                assert!(matches!(error.kind(), BrokenPipe | ConnectionReset), "{error}");
                return;
            }
        }
    }
}

#[test]
fn a_slow_client_is_let_go() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    let address = gateway.admin.address;
    let body = format!(
        "POST /api/v1/roles HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: 100\r\n\r\n{{"
    );
    thread::scope(|scope| {
        let silent = scope.spawn(|| until_closed(address, ""));
        let head = scope.spawn(|| until_closed(address, "GET /livez HTTP/1.1\r\nhost: local"));
        let idle = scope.spawn(|| until_closed(address, "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n"));
        let half = scope.spawn(|| until_closed(address, &body));
        let greedy = scope.spawn(|| never_reads(address));
        let watch = Stopwatch::start();
        while watch.elapsed() < Duration::from_secs(3) {
            assert_eq!(gateway.admin.get("/api/v1/keys").status, 200, "a right token meanwhile");
            thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(silent.join().unwrap(), "");
        let head = head.join().unwrap();
        assert!(head.is_empty() || head.starts_with("HTTP/1.1 408"), "{head}");
        assert!(idle.join().unwrap().starts_with("HTTP/1.1 200"));
        let half = half.join().unwrap();
        assert!(half.starts_with("HTTP/1.1 408") && half.contains("request_timeout"), "{half}");
        greedy.join().unwrap();
    });
}

#[test]
fn connections_are_bounded_and_free_again_when_they_end() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    let address = gateway.admin.address;
    let held: Vec<TcpStream> = (0..MOST).map(|_| open(address)).collect();
    let over = || {
        let mut one = open(address);
        one.read(&mut [0]).map_or(true, |read| read == 0)
    };
    assert!(over(), "one more than {MOST}");
    drop(held);
    eventually("a place is free again", || {
        let mut one = open(address);
        let asked = one.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        let mut answer = String::new();
        asked.is_ok() && one.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200")
    });
}
