//! An upstream that keeps every byte that it gets. Each connection brings it one request; what comes after it is kept
//! too.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::support::eventually;

/// What a connection of its own sends.
const LAST: &[u8] = b"last";

/// What one connection brought.
#[derive(Clone, Default)]
pub(super) struct Arrived {
    /// All of it.
    pub raw: Vec<u8>,
    /// Whether its first request is whole: a body may have been cut off.
    pub whole: bool,
    /// Bytes after the end of its first request.
    pub leftover: usize,
}

/// A head, read strictly.
pub(super) struct Head {
    pub target: String,
    pub fields: Vec<(String, String)>,
}

/// The upstream.
pub(super) struct Recorder {
    pub address: SocketAddr,
    open: Arc<AtomicUsize>,
    arrived: Arc<Mutex<Vec<Arrived>>>,
}

impl Recorder {
    pub(super) fn start() -> Self {
        let (open, arrived) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (counts, keeps) = (Arc::clone(&open), Arc::clone(&arrived));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counts.fetch_add(1, Ordering::SeqCst);
                let (counts, keeps) = (Arc::clone(&counts), Arc::clone(&keeps));
                thread::spawn(move || {
                    let one = record(stream);
                    if !one.raw.is_empty() && one.raw != LAST {
                        keeps.lock().unwrap().push(one);
                    }
                    counts.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, open, arrived }
    }

    /// What arrived since the last call, once every connection is over.
    pub(super) fn take(&self) -> Vec<Arrived> {
        // Connections are taken in the order in which they came: once this one is, those before it are counted.
        let mut last = TcpStream::connect(self.address).unwrap();
        last.write_all(LAST).unwrap();
        last.shutdown(Shutdown::Write).unwrap();
        let _ = last.read(&mut [0]);
        eventually("the upstream's connections end", || self.open.load(Ordering::SeqCst) == 0);
        std::mem::take(&mut self.arrived.lock().unwrap())
    }
}

/// Answers the first request, and reads on to the end of the connection.
fn record(mut stream: TcpStream) -> Arrived {
    let (mut raw, mut bytes) = (Vec::new(), [0; 4096]);
    let mut end = None;
    while let Ok(read @ 1..) = stream.read(&mut bytes) {
        raw.extend_from_slice(&bytes[..read]);
        if end.is_none() {
            end = end_of_request(&raw);
            if end.is_some() {
                let _ =
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
            }
        }
    }
    let leftover = end.map_or(0, |end| raw.len() - end);
    Arrived { raw, whole: end.is_some(), leftover }
}

fn head_end(raw: &[u8]) -> Option<usize> {
    raw.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

/// Where the first request ends, if it is whole.
fn end_of_request(raw: &[u8]) -> Option<usize> {
    let head = head_end(raw)?;
    let text = String::from_utf8_lossy(&raw[..head]).to_ascii_lowercase();
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    if value("transfer-encoding:").is_some() {
        let mut at = head;
        loop {
            let line = raw[at..].windows(2).position(|window| window == b"\r\n")?;
            let size = usize::from_str_radix(str::from_utf8(&raw[at..at + line]).ok()?, 16).ok()?;
            at += line + 2 + size + 2;
            if at > raw.len() {
                return None;
            }
            if size == 0 {
                return Some(at);
            }
        }
    }
    let length: usize = value("content-length:").map_or(Ok(0), str::parse).ok()?;
    (raw.len() >= head + length).then_some(head + length)
}

impl std::fmt::Debug for Arrived {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.raw.escape_ascii())
    }
}

impl Arrived {
    /// Its head, which must be of the one form that no server misreads.
    pub(super) fn head(&self) -> Result<Head, String> {
        let end = head_end(&self.raw).ok_or("no whole head")?;
        // A field's value may have bytes over 0x7F (RFC 9110 section 5.5).
        let text = String::from_utf8_lossy(&self.raw[..end - 4]);
        let mut lines = text.split("\r\n");
        let words: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
        let [_, target, "HTTP/1.1"] = words[..] else { return Err("a malformed request line".into()) };
        if !target.starts_with('/') || !target.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("a malformed target".into());
        }
        let mut fields = Vec::new();
        for line in lines {
            let (name, value) = line.split_once(':').ok_or("a field without a colon")?;
            let token = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
            let clean = value.chars().all(|c| c == '\t' || !c.is_control());
            if name.is_empty() || !token || !clean {
                return Err(format!("a malformed field: {line:?}"));
            }
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let count = |name: &str| fields.iter().filter(|(other, _)| other == name).count();
        let framings = count("content-length") + count("transfer-encoding");
        if count("host") != 1 || framings > 1 {
            return Err("a head that can be read in two ways".into());
        }
        Ok(Head { target: target.to_owned(), fields })
    }
}
