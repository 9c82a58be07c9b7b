//! curl: every version of HTTP, uploads that ask first, Unix sockets, the PROXY protocol.

use std::fs;
use std::io::{Read, Write};
use std::process::Command;

use serde_json::{Value, json};

use super::{Said, program, run};
use crate::support::{Authority, Fixture, Gateway, Script, head_of};

const ROUTE: &str = "[[routes]]\npath = \"/v1\"\nupstream = \"api\"\n";

/// curl without the settings of whoever runs the tests; says at its end what it spoke and what it got.
fn curl(arguments: &[&str]) -> Command {
    let mut command = program("curl");
    command.args(["-q", "-sS", "--max-time", "60", "-w", "\n%{http_version} %{http_code} %{num_connects}\n"]);
    command.args(arguments);
    command
}

/// A gateway with these lines in `[gateway]`.
fn fixture(lines: &str) -> Fixture {
    Fixture::with(&format!("[gateway]\n{lines}\n{ROUTE}"))
}

fn bearer(gateway: &Gateway) -> String {
    let (_, secret) = gateway.admin.key(&json!({}));
    format!("authorization: Bearer {secret}")
}

/// The body, and the line after it.
fn told(said: Said) -> (String, String) {
    let out = said.well();
    let (body, line) = out.trim_end().rsplit_once('\n').unwrap();
    (body.to_owned(), line.to_owned())
}

#[test]
fn http_1_1_on_one_connection() {
    let fixture = fixture("listen = [\"127.0.0.1:0\"]");
    let gateway = fixture.start();
    let (url, key) = (format!("http://{}/v1/x", gateway.address), bearer(&gateway));
    let said = run(&mut curl(&["--http1.1", "-H", &key, &url, &url, &url])).well();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines, ["hello", "1.1 200 1", "hello", "1.1 200 0", "hello", "1.1 200 0"]);
    let (body, line) = told(run(&mut curl(&["--http1.1", &url])));
    assert_eq!(line, "1.1 401 1");
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["code"], "missing_key");
    let (_, line) = told(run(&mut curl(&["--http1.0", "-H", &key, &url])));
    assert!(line.ends_with(" 200 1"), "{line}");
    assert_eq!(fixture.upstream.count(), 4);
}

#[test]
fn http_2_over_tls_and_the_versions_beside_it() {
    let authority = Authority::new();
    let fixture = fixture(
        "listen = []\n[[gateway.tls]]\nlisten = \"127.0.0.1:0\"\ncertificate = \"site.pem\"\nprivate_key = \"site.key\"",
    );
    authority.write(fixture.folder.path(), "site", &["site.test"]);
    let trusted = fixture.folder.path().join("ca.pem");
    fs::write(&trusted, &authority.pem).unwrap();
    let gateway = fixture.start();
    let port = gateway.address.port();
    let (url, key) = (format!("https://site.test:{port}/v1/x"), bearer(&gateway));
    let place = format!("site.test:{port}:127.0.0.1");
    let ask = |options: &[&str]| {
        let mut command = curl(&["--cacert", trusted.to_str().unwrap(), "--resolve", &place, "-H", &key]);
        told(run(command.args(options).arg(&url)))
    };
    for (options, version) in [
        (&["--http2"][..], "2"),
        (&["--http2", "--tlsv1.3"], "2"),
        (&["--http2", "--tlsv1.2", "--tls-max", "1.2"], "2"),
        (&["--http1.1"], "1.1"),
    ] {
        let (body, line) = ask(options);
        assert_eq!((body.as_str(), line), ("hello", format!("{version} 200 1")), "{options:?}");
        assert_eq!(fixture.upstream.last().header("x-forwarded-proto"), Some("https"));
    }
    // Several at once on one connection.
    let mut command = curl(&["--cacert", trusted.to_str().unwrap(), "--resolve", &place, "-H", &key]);
    command.args(["--http2", "--parallel", "--parallel-max", "20"]).args(vec![&url; 40]);
    let said = run(&mut command).well();
    assert_eq!(said.matches("2 200 ").count(), 40, "{said}");
    assert_eq!(fixture.upstream.count(), 44);
}

#[test]
fn http_2_with_prior_knowledge() {
    let fixture = fixture("listen = [\"127.0.0.1:0\"]\nh2c = true");
    let gateway = fixture.start();
    let (url, key) = (format!("http://{}/v1/bytes/300000", gateway.address), bearer(&gateway));
    let (body, line) = told(run(&mut curl(&["--http2-prior-knowledge", "-H", &key, &url])));
    assert_eq!((body.len(), line.as_str()), (300_000, "2 200 1"));
    let (body, line) = told(run(&mut curl(&["--http2-prior-knowledge", &url])));
    assert_eq!(line, "2 401 1");
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["code"], "missing_key");
    assert_eq!(fixture.upstream.count(), 1);
}

#[test]
fn an_upload_that_asks_first_goes_through_whole_or_is_never_sent() {
    const BYTES: usize = 8 << 20;
    let script = Script::start(|mut stream| {
        let head = head_of(&mut stream).to_lowercase();
        assert!(head.contains("expect: 100-continue") && head.contains(&format!("content-length: {BYTES}")));
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        let mut body = vec![0; BYTES];
        stream.read_exact(&mut body).unwrap();
        let sum = crc32fast::hash(&body).to_string();
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{sum}", sum.len()).unwrap();
    });
    let fixture = Fixture::with(&format!("[upstreams.api]\ntargets = [\"{}\"]\n{ROUTE}", script.address));
    let gateway = fixture.start();
    let (url, key) = (format!("http://{}/v1/up", gateway.address), bearer(&gateway));
    let file = fixture.folder.path().join("body");
    let body: Vec<u8> = (0..BYTES).map(|at| (at * at / 7).to_le_bytes()[0]).collect();
    fs::write(&file, &body).unwrap();
    let data = format!("@{}", file.display());
    let asks = ["-v", "-H", "Expect: 100-continue", "--expect100-timeout", "50", "--data-binary", &data];
    let said = run(curl(&asks).args(["-H", &key, &url]));
    assert!(said.errors.contains("< HTTP/1.1 100 Continue"), "{}", said.errors);
    let (sum, line) = told(said);
    assert_eq!((sum, line.as_str()), (crc32fast::hash(&body).to_string(), "1.1 200 1"));
    // Of two `-w` the last counts.
    let said = run(curl(&asks).args(["-w", "\n%{http_code} %{size_upload}\n", &url]));
    assert!(!said.errors.contains("100 Continue"), "{}", said.errors);
    assert!(said.out.ends_with("\n401 0\n"), "{said:?}");
}

#[test]
fn a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.sock").display().to_string();
    let fixture = fixture(&format!("listen = [\"127.0.0.1:0\", \"unix:{path}\"]\nh2c = true"));
    let gateway = fixture.start();
    let key = bearer(&gateway);
    for (option, version) in [("--http1.1", "1.1"), ("--http2-prior-knowledge", "2")] {
        let (body, line) =
            told(run(&mut curl(&[option, "--unix-socket", &path, "-H", &key, "http://it/v1/x"])));
        assert_eq!((body.as_str(), line), ("hello", format!("{version} 200 1")));
        assert_eq!(fixture.upstream.last().header("host"), Some("it"));
    }
}

#[test]
fn the_proxy_protocol_and_nothing_else_where_it_is_spoken() {
    let fixture = fixture(
        "listen = [\"127.0.0.1:0\"]\nproxy_protocol = [\"127.0.0.1:0\"]\ntrusted_proxies = [\"127.0.0.0/8\"]\nh2c = true",
    );
    let gateway = fixture.start();
    let (url, key) = (format!("http://{}/v1/x", gateway.app().gateway_addresses[1]), bearer(&gateway));
    for (option, version) in [("--http1.1", "1.1"), ("--http2-prior-knowledge", "2")] {
        let (body, line) = told(run(&mut curl(&["--haproxy-protocol", option, "-H", &key, &url])));
        assert_eq!((body.as_str(), line), ("hello", format!("{version} 200 1")));
    }
    let without = run(&mut curl(&["-H", &key, &url]));
    assert!(!without.status.success() && without.out.ends_with(" 000 1\n"), "{without:?}");
    assert_eq!(fixture.upstream.count(), 2);
}
