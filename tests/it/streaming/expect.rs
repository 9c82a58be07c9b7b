//! `Expect: 100-continue`: a client that asks first is not told to go on with what is refused.

use std::io::Write;

use super::World;
use crate::support::{GrpcUpstream, Script, Wire, eventually, head_of};

const ROUTES: &str = r#"
    [[routes]]
    path = "/v1"
    upstream = "api"
    max_request_body = "10"
"#;

fn request(path: &str, secret: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {secret}\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
    )
}

#[test]
fn a_refused_client_never_gets_a_100() {
    let world = World::new(ROUTES);
    for (path, secret, length, status) in [
        ("/v1/x", "unknown", 5, 401),
        ("/nowhere", &*world.secret, 5, 404),
        ("/v1/x", &*world.secret, 11, 413),
        ("/v1/../x", &*world.secret, 5, 400),
    ] {
        let mut wire = Wire::open(world.gateway.address);
        wire.send(request(path, secret, length));
        let head = wire.head();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        // Whether the body comes after all cannot be known, so the connection cannot carry another request.
        assert!(head.to_lowercase().contains("connection: close"), "{head}");
        let body = String::from_utf8(wire.rest()).unwrap();
        assert!(body.starts_with('{') && body.ends_with('}'), "one answer and no more: {body}");
    }
    assert_eq!(world.upstream().count(), 0);
}

#[test]
fn a_client_that_may_go_on_hears_it_from_the_upstream() {
    let script = Script::start(|mut stream| {
        let head = head_of(&mut stream);
        assert!(head.to_lowercase().contains("expect: 100-continue"), "{head}");
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        let mut body = [0; 5];
        std::io::Read::read_exact(&mut stream, &mut body).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n").unwrap();
        stream.write_all(&body).unwrap();
    });
    let world = World::before(script.address, "");
    let mut wire = Wire::open(world.gateway.address);
    wire.send(request("/v1/x", &world.secret, 5));
    let head = wire.head();
    assert_eq!(head.lines().next(), Some("HTTP/1.1 100 Continue"));
    wire.send("hello");
    let answer = wire.answer();
    assert_eq!((answer.status, &answer.body[..]), (200, &b"hello"[..]));
    assert_eq!(world.usage(), (1, 0));
}

#[test]
fn before_an_upstream_of_http2_the_gateway_says_to_go_on() {
    let upstream = GrpcUpstream::start();
    let world = World::before(upstream.address, "http2 = true");
    for _ in 0..2 {
        let mut wire = Wire::open(world.gateway.address);
        wire.send(request("/v1/Echo", &world.secret, 5));
        assert_eq!(wire.head().lines().next(), Some("HTTP/1.1 100 Continue"));
        wire.send("hello");
        let head = wire.head();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(wire.chunk(), "hello");
    }
    assert!(upstream.heads().iter().all(|head| !head.headers().contains_key("expect")));
    let mut wire = Wire::open(world.gateway.address);
    wire.send(request("/v1/Echo", "unknown", 5));
    assert!(wire.head().starts_with("HTTP/1.1 401 "));
}

#[test]
fn what_fails_after_a_100_is_still_answered() {
    let silent = Script::start(|mut stream| {
        head_of(&mut stream);
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        // It goes away once it has something of the body, or nothing comes.
        let _ = std::io::Read::read(&mut stream, &mut [0; 3]);
    });
    for (address, more) in [(silent.address, ""), (GrpcUpstream::start().address, "http2 = true")] {
        let world = World::new(&format!(
            "[gateway]\nlisten = [\"127.0.0.1:0\"]\nbody_timeout = \"500ms\"\n\
             [upstreams.api]\ntargets = [\"{address}\"]\n{more}\n\
             [[routes]]\npath = \"/v1\"\nupstream = \"api\"\nmax_request_body = \"10\"\n"
        ));
        let chunked =
            request("/v1/Hangs", &world.secret, 0).replace("content-length: 0", "transfer-encoding: chunked");
        for (body, status, code) in [
            ("b\r\nhello world\r\n", 413, "body_too_large"),
            ("zz\r\nhello\r\n", 400, "bad_request"),
            ("", 408, "request_timeout"),
        ] {
            let mut wire = Wire::open(world.gateway.address);
            wire.send(&chunked);
            assert_eq!(wire.head().lines().next(), Some("HTTP/1.1 100 Continue"));
            wire.send_some(body);
            let answer = wire.answer();
            assert_eq!((answer.status, answer.code().as_str()), (status, code), "{more} {body:?}");
        }
    }
}

#[test]
fn an_upstream_that_breaks_after_a_100_is_named() {
    let broken = Script::start(|mut stream| {
        head_of(&mut stream);
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        let _ = std::io::Read::read(&mut stream, &mut [0; 5]);
    });
    let world = World::before(broken.address, "");
    let mut wire = Wire::open(world.gateway.address);
    wire.send(request("/v1/x", &world.secret, 5));
    wire.head();
    wire.send("hello");
    assert_eq!(wire.answer().code(), "upstream_failed");
}

#[test]
fn a_client_that_asks_and_leaves_is_no_fault_of_the_gateways() {
    let world = World::before(GrpcUpstream::start().address, "http2 = true");
    for _ in 0..10 {
        let mut wire = Wire::open(world.gateway.address);
        wire.send(request("/v1/Echo", &world.secret, 5));
        wire.reset();
    }
    let counted = || {
        let metrics = world.gateway.admin.metrics();
        let requests = metrics.lines().filter(|line| line.starts_with("portcullis_requests_total{"));
        requests.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum::<u64>()
    };
    eventually("they are counted", || counted() == 10);
    assert!(!world.gateway.admin.metrics().contains("internal_error"));
}
