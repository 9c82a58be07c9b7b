//! node's fetch: connections that are kept, bodies that stream, server-sent events as each comes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::{path_of, program, run};
use crate::support::{Fixture, Script, head_of};

const EVENTS: usize = 4;

/// How many events the client says that it has.
#[derive(Default)]
struct Acknowledged {
    events: Mutex<usize>,
    more: Condvar,
}

impl Acknowledged {
    fn one(&self) {
        *self.events.lock().unwrap() += 1;
        self.more.notify_all();
    }

    fn wait_for(&self, events: usize) -> bool {
        let waited =
            self.more.wait_timeout_while(self.events.lock().unwrap(), Duration::from_mins(1), |seen| {
                *seen < events
            });
        !waited.unwrap().1.timed_out()
    }
}

fn answer(stream: &mut TcpStream, body: &str) {
    let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
}

/// Sends an event, and the next one only when the client has told that it has it.
fn events(stream: &mut TcpStream, acknowledged: &Acknowledged) {
    let _ = stream.write_all(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
    );
    for number in 1..=EVENTS {
        let event = format!("id: {number}\ndata: event {number}\n\n");
        let _ = write!(stream, "{:x}\r\n{event}\r\n", event.len());
        if !acknowledged.wait_for(number) {
            return;
        }
    }
    let _ = stream.write_all(b"0\r\n\r\n");
}

/// What it got in chunks, each of which is there before the next is sent.
fn chunks(stream: &mut TcpStream) -> String {
    let (mut body, mut bytes) = (Vec::new(), [0; 4096]);
    while !body.ends_with(b"0\r\n\r\n") {
        match stream.read(&mut bytes) {
            Ok(read @ 1..) => body.extend_from_slice(&bytes[..read]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&body).into_owned()
}

#[test]
fn kept_connections_streamed_bodies_and_events_one_by_one() {
    let acknowledged = Arc::new(Acknowledged::default());
    let script = Script::start(move |mut stream| {
        loop {
            let head = head_of(&mut stream).to_lowercase();
            if head.contains(" /v1/events ") {
                events(&mut stream, &acknowledged);
            } else if head.contains(" /v1/ack ") {
                acknowledged.one();
                answer(&mut stream, "");
            } else if head.contains("transfer-encoding: chunked") {
                let body = chunks(&mut stream);
                let parts = ["one", "two", "three"].iter().filter(|part| body.contains(*part)).count();
                answer(&mut stream, &parts.to_string());
            } else if head.is_empty() {
                return;
            } else {
                answer(&mut stream, "hello");
            }
        }
    });
    let fixture = Fixture::with(&format!(
        "[upstreams.api]\ntargets = [\"{}\"]\n[[routes]]\npath = \"/v1\"\nupstream = \"api\"\n",
        script.address
    ));
    let gateway = fixture.start();
    let (_, secret) = gateway.admin.key(&json!({}));
    let mut command = program("node");
    command
        .arg(path_of("fetch.mjs"))
        .env("GATEWAY", format!("http://{}", gateway.address))
        .env("SECRET", secret);
    let said: Value = serde_json::from_str(&run(&mut command).well()).unwrap();
    assert_eq!(said["kept"], json!({"answers": vec!["hello"; 5], "connections": 1}));
    assert_eq!(said["refused"], json!([401, "missing_key", "application/problem+json"]));
    assert_eq!(said["uploaded"], "3");
    let expected: Vec<String> = (1..=EVENTS).map(|number| format!("event {number}")).collect();
    assert_eq!(said["events"], json!(expected));
}
