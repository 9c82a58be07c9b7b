//! The PROXY protocol (versions 1 and 2): a load balancer's word, before the first request, for who the client is.
//!
//! It is asked for on the listeners that the configuration names, and believed from `trusted_proxies` alone. No byte
//! after the header is read, so that what follows needs no handling of its own. The header's size is bounded, and its
//! time is the first request head's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest version 1 header, its line end included.
const MAX_V1: usize = 107;
/// The shortest version 1 header, `PROXY UNKNOWN`; one byte less than the fixed part of version 2.
const SHORTEST: usize = 15;
/// What version 2 may say after its fixed part, in bytes: addresses, and more that is passed over.
const MAX_V2_REST: usize = 16 << 10;
/// How version 2 begins.
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// What a connection begins with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Preamble {
    /// The client's address.
    Client(SocketAddr),
    /// The proxy speaks for itself, or knows no address.
    Own,
    /// Our own probe's first bytes.
    Probe,
    /// Nothing that is one of these.
    Bad,
}

/// Reads what a connection begins with, and not a byte more. An end or an error of the connection is as bad as a bad
/// header.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin), probe: &[u8]) -> Preamble {
    let mut start = [0; SHORTEST];
    if stream.read_exact(&mut start).await.is_err() {
        return Preamble::Bad;
    }
    if start.starts_with(V2_SIGNATURE) {
        return version_2(stream, &start).await.unwrap_or(Preamble::Bad);
    }
    if start.starts_with(b"PROXY ") {
        return version_1(stream, &start).await.unwrap_or(Preamble::Bad);
    }
    if probe.starts_with(&start) && is_probe(stream, &probe[SHORTEST..]).await {
        Preamble::Probe
    } else {
        Preamble::Bad
    }
}

/// Whether the rest of the probe follows.
async fn is_probe(stream: &mut (impl AsyncRead + Unpin), rest: &[u8]) -> bool {
    let mut bytes = vec![0; rest.len()];
    stream.read_exact(&mut bytes).await.is_ok() && bytes == rest
}

async fn version_1(stream: &mut (impl AsyncRead + Unpin), start: &[u8]) -> Option<Preamble> {
    let mut line = start.to_vec();
    while !line.ends_with(b"\n") {
        if line.len() == MAX_V1 {
            return None;
        }
        line.push(stream.read_u8().await.ok()?);
    }
    parse_1(&line)
}

/// `PROXY TCP4 <source> <destination> <port> <port>`, with single blanks and CRLF.
fn parse_1(line: &[u8]) -> Option<Preamble> {
    let text = std::str::from_utf8(line).ok()?.strip_suffix("\r\n")?;
    let mut words = text.split(' ').skip(1);
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(Preamble::Own);
    }
    let [source, destination, source_port, destination_port] =
        [words.next()?, words.next()?, words.next()?, words.next()?];
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(Into::into),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(Into::into),
            _ => None,
        }
    };
    let port =
        |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u16>().ok()).flatten();
    let client = SocketAddr::new(address(source)?, port(source_port)?);
    let whole = address(destination).is_some() && port(destination_port).is_some() && words.next().is_none();
    whole.then_some(Preamble::Client(client))
}

async fn version_2(stream: &mut (impl AsyncRead + Unpin), start: &[u8]) -> Option<Preamble> {
    let (command, family) = (start[12], start[13]);
    let length = usize::from(u16::from_be_bytes([start[14], stream.read_u8().await.ok()?]));
    if length > MAX_V2_REST {
        return None;
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await.ok()?;
    parse_2(command, family, &rest)
}

fn parse_2(command: u8, family: u8, rest: &[u8]) -> Option<Preamble> {
    match command {
        // LOCAL: what it says of addresses does not count.
        0x20 => return Some(Preamble::Own),
        0x21 => {}
        _ => return None,
    }
    let port = |at: usize| Some(u16::from_be_bytes(rest.get(at..at + 2)?.try_into().ok()?));
    match family {
        0x11 => {
            let source: [u8; 4] = rest.get(..4)?.try_into().ok()?;
            let whole = rest.len() >= 12;
            whole.then_some(Preamble::Client(SocketAddr::new(source.into(), port(8)?)))
        }
        0x21 => {
            let source: [u8; 16] = rest.get(..16)?.try_into().ok()?;
            let whole = rest.len() >= 36;
            whole.then_some(Preamble::Client(SocketAddr::new(source.into(), port(32)?)))
        }
        // UNSPEC, and a Unix socket, which has no address.
        0x00 | 0x31 => Some(Preamble::Own),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn from(mut bytes: &[u8]) -> (Preamble, usize) {
        let preamble = read(&mut bytes, b"GET /0123456789abcdef HTTP/1.1\r\n\r\n").await;
        (preamble, bytes.len())
    }

    fn client(text: &str) -> Preamble {
        Preamble::Client(text.parse().unwrap())
    }

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [V2_SIGNATURE, &[command, family], &length, rest].concat()
    }

    #[tokio::test]
    async fn both_versions_name_the_client_and_leave_what_follows() {
        let cases: [(&[u8], Preamble); 5] = [
            (b"PROXY TCP4 203.0.113.7 10.0.0.1 56324 443\r\n", client("203.0.113.7:56324")),
            (b"PROXY TCP6 2001:db8::7 2001:db8::1 1 65535\r\n", client("[2001:db8::7]:1")),
            (b"PROXY UNKNOWN\r\n", Preamble::Own),
            (b"PROXY UNKNOWN whatever it says\r\n", Preamble::Own),
            (b"GET /0123456789abcdef HTTP/1.1\r\n\r\n", Preamble::Probe),
        ];
        let v4: &[u8] = &[203, 0, 113, 7, 10, 0, 0, 1, 0xDC, 4, 1, 0xBB];
        let mut v6 = [0; 36];
        v6[..4].copy_from_slice(&[0x20, 0x01, 0x0D, 0xB8]);
        v6[33] = 9;
        let more = [v4, &[4, 0, 2, 1, 1]].concat();
        let binary = [
            (v2(0x21, 0x11, v4), client("203.0.113.7:56324")),
            (v2(0x21, 0x11, &more), client("203.0.113.7:56324")),
            (v2(0x21, 0x21, &v6), client("[2001:db8::]:9")),
            (v2(0x20, 0x00, b""), Preamble::Own),
            (v2(0x21, 0x31, &[0; 216]), Preamble::Own),
        ];
        let cases = cases.into_iter().map(|(bytes, expected)| (bytes.to_vec(), expected)).chain(binary);
        for (bytes, expected) in cases {
            let read = from(&[&bytes, &b"GET / HTTP/1.1\r\n"[..]].concat()).await;
            assert_eq!(read, (expected, 16), "{}", bytes.escape_ascii());
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_bad() {
        let long = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 200], b"\r\n".to_vec()].concat();
        let cases: Vec<Vec<u8>> = vec![
            b"".to_vec(),
            b"PROXY TCP4".to_vec(),
            b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(),
            b"GET /0123456789abcdeX HTTP/1.1\r\n\r\n".to_vec(),
            b"proxy TCP4 203.0.113.7 10.0.0.1 1 2\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.7 10.0.0.1 1 2\n".to_vec(),
            b"PROXY TCP4  203.0.113.7 10.0.0.1 1 2\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.7 10.0.0.1 1 2 3\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.7 10.0.0.1 1\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.7 10.0.0.1 +1 2\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.7 10.0.0.1 1 65536\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n".to_vec(),
            b"PROXY UDP4 203.0.113.7 10.0.0.1 1 2\r\n".to_vec(),
            long,
            v2(0x21, 0x11, &[0; 11]),
            v2(0x21, 0x21, &[0; 35]),
            v2(0x21, 0x12, &[0; 12]),
            v2(0x22, 0x11, &[0; 12]),
            v2(0x11, 0x11, &[0; 12]),
            v2(0x21, 0x11, &vec![0; MAX_V2_REST + 1]),
        ];
        for bytes in cases {
            assert_eq!(from(&bytes).await.0, Preamble::Bad, "{}", bytes.escape_ascii());
        }
    }
}
