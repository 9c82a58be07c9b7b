//! A client that keeps its connection: for many requests, and for tests that must know whether an answer was whole.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::raw::Answer;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A client of one address.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, stream: None }
    }

    /// A `GET` with a key's secret, which must be answered.
    pub fn get(&mut self, path: &str, secret: &str) -> Answer {
        self.try_get(path, secret).unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// A `GET` with a key's secret.
    pub fn try_get(&mut self, path: &str, secret: &str) -> io::Result<Answer> {
        let credential = format!("Bearer {secret}");
        self.try_send("GET", path, &[("authorization", &credential)], "")
    }

    /// One request. An error means that no whole answer came; whether the server saw the request is then unknown.
    pub fn try_send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> io::Result<Answer> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n");
        for (name, value) in headers {
            let _ = write!(request, "{name}: {value}\r\n");
        }
        if !body.is_empty() {
            let _ = write!(request, "content-length: {}\r\n", body.len());
        }
        request.push_str("\r\n");
        request.push_str(body);
        // Only a connection that brought a whole answer is used again.
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => BufReader::new(connect(self.address)?),
        };
        stream.get_mut().write_all(request.as_bytes())?;
        let answer = read(&mut stream)?;
        if !answer.closed {
            self.stream = Some(stream);
        }
        Ok(answer)
    }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Reads one answer, which must have a `Content-Length` or no body.
fn read(stream: &mut BufReader<TcpStream>) -> io::Result<Answer> {
    let status = line(stream)?.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status: u16 = status.ok_or_else(|| broken("no status"))?;
    let mut headers: HashMap<String, String> = HashMap::new();
    loop {
        let line = line(stream)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| broken("a header without a colon"))?;
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or(Ok(0), |text| text.parse());
    let mut body = vec![0; length.map_err(|_| broken("a bad content-length"))?];
    stream.read_exact(&mut body)?;
    let closed = headers.get("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    Ok(Answer { status, headers, body, closed })
}

fn line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 || !line.ends_with('\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
