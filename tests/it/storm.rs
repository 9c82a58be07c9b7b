//! Many clients at once: who comes while the gateway is busy waits in the queue, and is served.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::support::{Fixture, Process, config_file, serve};

/// More than the 128 that the standard library lets wait, fewer than any system's own bound.
const CLIENTS: usize = 1_000;
/// Less than the second after which a client that was turned away tries again.
const AT_ONCE: Duration = Duration::from_millis(700);

#[test]
fn a_thousand_clients_may_wait_to_be_accepted() {
    let fixture = Fixture::with(
        "[gateway]\nlisten = [\"127.0.0.1:0\"]\nthreads = 1\n[[routes]]\npath = \"/\"\nupstream = \"api\"\n",
    );
    let server = Process::start(&mut serve(&config_file(&fixture))).serving();
    let (_, secret) = server.admin.key(&json!({}));
    server.process.signal(Signal::STOP);
    let waiting: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let mut client = TcpStream::connect_timeout(&server.address, AT_ONCE)
                .unwrap_or_else(|error| panic!("client {number}: {error}"));
            client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            write!(client, "GET / HTTP/1.1\r\nhost: it\r\nauthorization: Bearer {secret}\r\n\r\n").unwrap();
            client
        })
        .collect();
    server.process.signal(Signal::CONT);
    for mut client in waiting {
        let mut start = [0; 12];
        client.read_exact(&mut start).unwrap();
        assert_eq!(&start, b"HTTP/1.1 200");
    }
}
