//! Unix sockets on both sides, the PROXY protocol, and connections that stay: where clients come from, and who they are
//! taken for.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use portcullis::app;
use serde_json::json;

use crate::support::{
    Fixture, Gateway, Script, Stopwatch, TOKEN, Wire, eventually, get, head_of, parse_with,
};

const ROUTE: &str = "[[routes]]\npath = \"/\"\nupstream = \"api\"\n";

/// A gateway with these lines in `[gateway]`.
fn fixture(lines: &str) -> Fixture {
    Fixture::with(&format!("[gateway]\n{lines}\n{ROUTE}"))
}

/// The whole answer to a request over a Unix socket.
fn ask_unix(path: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn bound(gateway: &Gateway, name: &str) -> u64 {
    let metrics = gateway.admin.metrics();
    let start = format!("portcullis_bounds_hit_total{{bound=\"{name}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&start)).unwrap().parse().unwrap()
}

#[test]
fn a_unix_socket_serves_and_goes_with_the_gateway() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.sock");
    let fixture =
        fixture(&format!("listen = [\"127.0.0.1:0\", \"unix:{}\"]\nunix_mode = \"0660\"", path.display()));
    // What an earlier process left behind.
    drop(UnixListener::bind(&path).unwrap());
    let gateway = fixture.start();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let (_, secret) = gateway.admin.key(&json!({}));
    assert!(ask_unix(&path, &get("/v1", "nobody")).starts_with("HTTP/1.1 401 "));
    assert_eq!(fixture.upstream.count(), 0);
    assert!(ask_unix(&path, &get("/v1", &secret)).starts_with("HTTP/1.1 200 "));
    assert_eq!(fixture.upstream.last().header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(gateway.admin.get("/readyz").status, 200);
    // Another gateway does not take it away.
    let other = tempfile::tempdir().unwrap();
    let text = fixture.text().replace("portcullis.redb", &other.path().join("s.redb").display().to_string());
    let config = parse_with(&text, folder.path(), &|_| None);
    let refused = app::build(&config, Some(TOKEN)).err().unwrap();
    assert!(format!("{refused:#}").contains("another process listens there"), "{refused:#}");
    assert!(ask_unix(&path, &get("/v1", &secret)).starts_with("HTTP/1.1 200 "));
    gateway.stop();
    assert!(!path.exists());
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    fs::write(&path, "mine").unwrap();
    let fixture = fixture(&format!("listen = [\"unix:{}\"]", path.display()));
    let refused = app::build(&fixture.config(), Some(TOKEN)).err().unwrap();
    assert!(format!("{refused:#}").contains("no socket"), "{refused:#}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
}

#[test]
fn a_target_may_be_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("api.sock");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut byte = [0];
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                head.push(byte[0]);
            }
            let body = String::from_utf8(head).unwrap().lines().next().unwrap().to_owned();
            let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        }
    });
    let fixture =
        Fixture::with(&format!("[upstreams.api]\ntargets = [\"unix:{}\"]\n{ROUTE}", path.display()));
    let gateway = fixture.start();
    let (_, secret) = gateway.admin.key(&json!({}));
    let answer = Wire::open(gateway.address).ask(get("/v1/x", &secret));
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"GET /v1/x HTTP/1.1"[..]));
}

/// A gateway whose second listener is behind load balancers on these networks.
fn behind(trusted: &str, more: &str) -> (Fixture, Gateway, SocketAddr) {
    let fixture = fixture(&format!(
        "listen = [\"127.0.0.1:0\"]\nproxy_protocol = [\"127.0.0.1:0\"]\ntrusted_proxies = [\"{trusted}\"]\n{more}"
    ));
    let gateway = fixture.start();
    let address = gateway.app().gateway_addresses[1];
    (fixture, gateway, address)
}

fn version_2(client: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend(client);
    header.extend([10, 0, 0, 1, 0xDC, 4, 1, 0xBB]);
    header
}

#[test]
fn a_trusted_proxy_says_who_the_client_is() {
    let (fixture, gateway, address) = behind("127.0.0.1", "");
    let (_, secret) = gateway.admin.key(&json!({"ip_allow": ["203.0.113.7/32", "2001:db8::7/128"]}));
    for header in [
        b"PROXY TCP4 203.0.113.7 10.0.0.1 56324 443\r\n".to_vec(),
        b"PROXY TCP6 2001:db8::7 2001:db8::1 1 443\r\n".to_vec(),
        version_2([203, 0, 113, 7]),
    ] {
        let mut wire = Wire::open(address);
        wire.trickle(header);
        // It names the client of the connection, whatever that says of itself, and for each of its requests.
        for _ in 0..2 {
            let request = get("/v1", &secret).replace("\r\n\r\n", "\r\nx-forwarded-for: 6.6.6.6\r\n\r\n");
            assert_eq!(wire.ask(request).status, 200);
            let seen = fixture.upstream.last();
            let client = seen.header("x-forwarded-for").unwrap();
            assert!(["203.0.113.7", "2001:db8::7"].contains(&client), "{client}");
        }
    }
    let mut wire = Wire::open(address);
    wire.send(version_2([203, 0, 113, 8]));
    assert_eq!(wire.ask(get("/v1", &secret)).code(), "ip_not_allowed");
    // The header itself is no request of this listener, and one on the other listener is no request at all.
    let mut wire = Wire::open(gateway.address);
    wire.send(b"PROXY TCP4 203.0.113.7 10.0.0.1 56324 443\r\n");
    assert_eq!(wire.ask(get("/v1", &secret)).code(), "bad_request");
    assert_eq!(gateway.admin.get("/readyz").status, 200, "the probe needs no header");
}

#[test]
fn without_a_header_that_is_believed_a_connection_is_closed() {
    let (fixture, gateway, address) = behind("127.0.0.1", "header_timeout = \"500ms\"");
    let (_, secret) = gateway.admin.key(&json!({}));
    for bytes in [get("/v1", &secret).into_bytes(), b"PROXY TCP4 203.0.113.7 10.0.0.1 1\r\n".to_vec()] {
        let mut wire = Wire::open(address);
        wire.send_some(bytes);
        wire.assert_closed();
    }
    assert_eq!(bound(&gateway, "proxy_protocol"), 2);
    // Header and first head have one time, however they are spread over it.
    let watch = Stopwatch::start();
    let mut wire = Wire::open(address);
    wire.send(b"PROXY TCP4 203.0.113.7 ");
    wire.assert_closed();
    let mut wire = Wire::open(address);
    wire.send(version_2([203, 0, 113, 7]));
    assert!(String::from_utf8_lossy(&wire.rest()).is_empty());
    assert!(watch.elapsed() < Duration::from_secs(5), "{:?}", watch.elapsed());
    let (_other, untrusting, address) = behind("192.0.2.0/24", "");
    let mut wire = Wire::open(address);
    wire.send_some(version_2([203, 0, 113, 7]));
    wire.send_some(get("/v1", &secret));
    wire.assert_closed();
    assert_eq!(bound(&untrusting, "proxy_protocol"), 1);
    assert_eq!(untrusting.admin.get("/readyz").status, 200);
    assert_eq!(fixture.upstream.count(), 0);
}

#[test]
fn a_proxy_on_a_unix_socket_says_who_the_client_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxied.sock");
    let fixture = fixture(&format!(
        "listen = []\nproxy_protocol = [\"127.0.0.1:0\", \"unix:{}\"]\ntrusted_proxies = [\"127.0.0.1\"]",
        path.display()
    ));
    let gateway = fixture.start();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let (_, secret) = gateway.admin.key(&json!({"ip_allow": ["203.0.113.7/32", "127.0.0.1/32"]}));
    let request = get("/v1", &secret);
    for (header, client) in [("TCP4 203.0.113.7 10.0.0.1 56324 443", "203.0.113.7"), ("UNKNOWN", "127.0.0.1")]
    {
        assert!(ask_unix(&path, &format!("PROXY {header}\r\n{request}")).starts_with("HTTP/1.1 200 "));
        assert_eq!(fixture.upstream.last().header("x-forwarded-for"), Some(client));
    }
    let other = ask_unix(&path, &format!("PROXY TCP4 203.0.113.8 10.0.0.1 56324 443\r\n{request}"));
    assert!(other.contains("ip_not_allowed"), "{other}");
    let mut unnamed = UnixStream::connect(&path).unwrap();
    unnamed.write_all(request.as_bytes()).unwrap();
    let heard = unnamed.read(&mut [0]);
    assert!(matches!(&heard, Ok(0) | Err(_)), "without the header nobody is heard: {heard:?}");
    assert_eq!((bound(&gateway, "proxy_protocol"), fixture.upstream.count()), (1, 2));
    assert_eq!(gateway.admin.get("/readyz").status, 200, "the probe needs no header");
    gateway.stop();
    assert!(!path.exists());
}

#[test]
fn an_address_has_a_bounded_number_of_connections() {
    let (fixture, gateway, address) = behind("127.0.0.1", "max_connections_per_address = 2");
    let (_, secret) = gateway.admin.key(&json!({}));
    let open = |last| {
        let mut wire = Wire::open(address);
        wire.send(version_2([203, 0, 113, last]));
        wire.send_some(get("/v1", &secret));
        wire
    };
    let mut held: Vec<Wire> = (0..2).map(|_| open(7)).collect();
    for wire in &mut held {
        assert_eq!(wire.answer().status, 200);
    }
    open(7).assert_closed();
    assert_eq!(open(8).answer().status, 200, "another address");
    assert_eq!(bound(&gateway, "connections_per_address"), 1);
    held.clear();
    eventually("a place is free again", || open(7).rest_for_now().starts_with(b"HTTP/1.1 200"));
    // A reload may change how many there may be.
    let text = fixture.text().replace("max_connections_per_address = 2", "max_connections_per_address = 3");
    let config = parse_with(&text, fixture.folder.path(), &|_| None);
    assert_eq!(gateway.app().reload(&config).unwrap().needs_restart, [""; 0]);
    let mut held: Vec<Wire> = (0..3).map(|_| open(9)).collect();
    for wire in &mut held {
        assert_eq!(wire.answer().status, 200);
    }
    open(9).assert_closed();
}

/// An upstream that upgrades, and echoes.
fn echo() -> Script {
    Script::start(|mut stream| {
        head_of(&mut stream);
        let head = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        stream.write_all(head).unwrap();
        let mut bytes = [0; 64];
        while let Ok(read @ 1..) = stream.read(&mut bytes) {
            stream.write_all(&bytes[..read]).unwrap();
        }
    })
}

#[test]
fn a_websocket_may_be_silent_for_as_long_as_its_upstream_says() {
    let upstream = echo();
    let fixture = Fixture::with(&format!(
        "[gateway]\nlisten = [\"127.0.0.1:0\"]\nbody_timeout = \"100ms\"\n[upstreams.api]\ntargets = [\"{}\"]\n\
         response_timeout = \"100ms\"\nwebsocket_idle = \"2s\"\n{ROUTE}",
        upstream.address
    ));
    let gateway = fixture.start();
    let (_, secret) = gateway.admin.key(&json!({}));
    let mut wire = Wire::open(gateway.address);
    let upgrade = "\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    wire.send(get("/ws", &secret).replace("\r\n\r\n", upgrade));
    assert!(wire.head().starts_with("HTTP/1.1 101 "));
    // Longer than any other time there is, and as often as one likes.
    for _ in 0..3 {
        thread::sleep(Duration::from_millis(900));
        wire.send(b"ping");
        assert_eq!(wire.exactly(4), b"ping");
    }
    let watch = Stopwatch::start();
    wire.assert_closed();
    assert!(watch.elapsed() > Duration::from_millis(1_500), "{:?}", watch.elapsed());
    eventually("the bound is counted", || bound(&gateway, "websocket_idle") == 1);
    let metrics = gateway.admin.metrics();
    assert!(metrics.contains(r#"portcullis_requests_total{outcome="allowed",route="/"} 1"#), "{metrics}");
}
