//! An upstream that remembers every request, and answers as its path asks.
//!
//! `/…/status/503` answers 503; `/…/slow/250` answers after 250 ms; `/…/hang` never answers; `/…/cut` breaks off in the
//! middle of its body; `/…/bytes/N` answers N bytes; `/…/stream/N` sends N chunks, one each 50 ms; anything else 200
//! and `hello`. A request's body is read whole first.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What the upstream got.
#[derive(Debug, Clone)]
pub struct Seen {
    pub line: String,
    /// Names as they were written, in their order.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Seen {
    /// The header's value, whatever its name's case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap()
    }
}

/// An upstream that runs until the process ends.
pub struct Upstream {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    count: Arc<AtomicUsize>,
}

impl Upstream {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, count) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let upstream = Self { address, seen: Arc::clone(&seen), count: Arc::clone(&count) };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, count) = (Arc::clone(&seen), Arc::clone(&count));
                thread::spawn(move || serve(stream, &seen, &count));
            }
        });
        upstream
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The last request.
    pub fn last(&self) -> Seen {
        self.seen().pop().expect("the upstream got no request")
    }

    /// How many requests came with each value of a header.
    pub fn counts_by(&self, header: &str) -> HashMap<String, usize> {
        let mut counts = HashMap::new();
        for seen in self.seen.lock().unwrap().iter() {
            if let Some(value) = seen.header(header) {
                *counts.entry(value.to_owned()).or_default() += 1;
            }
        }
        counts
    }

    /// How many requests came.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

fn serve(stream: TcpStream, seen: &Mutex<Vec<Seen>>, count: &AtomicUsize) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    while let Some(request) = read_request(&mut reader) {
        count.fetch_add(1, Ordering::SeqCst);
        let target = request.target().to_owned();
        let head = request.line.starts_with("HEAD ");
        seen.lock().unwrap().push(request);
        if answer(&mut writer, &target, head).is_none() {
            return;
        }
    }
}

fn read_line(reader: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    (reader.read_line(&mut line).ok()? > 0).then(|| line.trim_end().to_owned())
}

fn read_request(reader: &mut impl BufRead) -> Option<Seen> {
    let line = read_line(reader)?;
    let mut headers = Vec::new();
    loop {
        let field = read_line(reader)?;
        if field.is_empty() {
            break;
        }
        let (name, value) = field.split_once(':')?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let mut seen = Seen { line, headers, body: Vec::new() };
    if let Some(length) = seen.header("content-length") {
        let mut body = vec![0; length.parse().ok()?];
        reader.read_exact(&mut body).ok()?;
        seen.body = body;
    } else if seen.header("transfer-encoding").is_some() {
        loop {
            let size = usize::from_str_radix(&read_line(reader)?, 16).ok()?;
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk).ok()?;
            seen.body.extend_from_slice(&chunk[..size]);
            if size == 0 {
                break;
            }
        }
    }
    Some(seen)
}

/// `None` where the connection is over.
fn answer(writer: &mut TcpStream, target: &str, head: bool) -> Option<()> {
    let path = target.split('?').next().unwrap();
    let mut parts = path.rsplit('/');
    let last = parts.next().unwrap_or_default();
    let before = parts.next().unwrap_or_default();
    let number: u64 = last.parse().unwrap_or(0);
    match (before, last) {
        ("status", _) => plain(writer, u16::try_from(number).unwrap(), b"status", head),
        ("bytes", _) => plain(writer, 200, &vec![b'x'; usize::try_from(number).unwrap()], head),
        ("slow", _) => {
            thread::sleep(Duration::from_millis(number));
            plain(writer, 200, b"slow", head)
        }
        ("stream", _) => stream(writer, number),
        (_, "hang") => {
            thread::sleep(Duration::from_mins(1));
            None
        }
        (_, "cut") => {
            writer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this").ok()?;
            None
        }
        (_, "drop") => None,
        (_, "rubbish") => {
            writer.write_all(b"this is not HTTP\r\n\r\n").ok()?;
            None
        }
        _ => plain(writer, 200, b"hello", head),
    }
}

fn plain(writer: &mut TcpStream, status: u16, body: &[u8], head: bool) -> Option<()> {
    let mut out = format!("HTTP/1.1 {status} Status\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
    if !head && status != 204 && status != 304 {
        out.extend_from_slice(body);
    }
    writer.write_all(&out).ok()
}

fn stream(writer: &mut TcpStream, chunks: u64) -> Option<()> {
    writer.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").ok()?;
    for number in 0..chunks {
        let text = format!("event {number}\n");
        writer.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes()).ok()?;
        thread::sleep(Duration::from_millis(50));
    }
    writer.write_all(b"0\r\n\r\n").ok()
}
