//! HTTP/1.1 by hand: what is sent is what the test says, byte for byte.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// By lower-case name; several values of a name are joined with `, `.
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
    /// Whether the server closed the connection after it.
    pub closed: bool,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The problem's code.
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// Sends bytes on a connection of their own and reads one answer.
pub fn send(address: SocketAddr, request: impl AsRef<[u8]>) -> Answer {
    let mut stream = connect(address);
    send_on(&mut stream, request)
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Sends bytes on a connection and reads one answer.
pub fn send_on(stream: &mut TcpStream, request: impl AsRef<[u8]>) -> Answer {
    stream.write_all(request.as_ref()).unwrap();
    read_answer(stream, request.as_ref().starts_with(b"HEAD "))
}

/// Reads one answer; `head` says that it has no body.
pub fn read_answer(stream: &mut impl Read, head: bool) -> Answer {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "closed after {:?}", String::from_utf8_lossy(&bytes));
        bytes.push(byte[0]);
    }
    let text = String::from_utf8(bytes).unwrap();
    let mut lines = text.trim_end().split("\r\n");
    let status: u16 = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let mut headers: HashMap<String, String> = HashMap::new();
    for line in lines {
        let (name, value) = line.split_once(':').unwrap();
        let entry = headers.entry(name.to_lowercase()).or_default();
        if !entry.is_empty() {
            entry.push_str(", ");
        }
        entry.push_str(value.trim());
    }
    if status == 100 {
        return read_answer(stream, head);
    }
    let body = if head || status == 204 || status == 304 || status == 101 {
        Vec::new()
    } else if let Some(length) = headers.get("content-length") {
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).unwrap();
        body
    } else if headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
        read_chunks(stream)
    } else {
        let mut body = Vec::new();
        stream.read_to_end(&mut body).unwrap();
        body
    };
    let closed = headers.get("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    Answer { status, headers, body, closed }
}

fn read_chunks(stream: &mut impl Read) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\r\n") {
            stream.read_exact(&mut byte).unwrap();
            line.push(byte[0]);
        }
        let size = usize::from_str_radix(String::from_utf8(line).unwrap().trim(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        stream.read_exact(&mut chunk).unwrap();
        body.extend_from_slice(&chunk[..size]);
        if size == 0 {
            return body;
        }
    }
}
