//! TLS listeners: what is negotiated, which certificate is shown, who gets in, and that a new certificate loses nothing.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use portcullis::config::file;
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::version::{TLS12, TLS13};

use crate::support::{
    Authority, Fixture, Gateway, Secured, Stopwatch, eventually, get_secured as get, handshake,
    handshake_after,
};

const ROUTE: &str = "[[routes]]\npath = \"/v1\"\nupstream = \"api\"\n";

/// A gateway with one TLS listener, and `more` in its entry.
fn one(authority: &Authority, more: &str) -> Fixture {
    one_in(authority, "", more)
}

/// The same with these further settings of the gateway.
fn one_in(authority: &Authority, gateway: &str, more: &str) -> Fixture {
    let fixture = Fixture::with(&format!(
        "[gateway]\nlisten = []\nheader_timeout = \"500ms\"\n{gateway}\n[[gateway.tls]]\nlisten = \"127.0.0.1:0\"\n\
         certificate = \"site.pem\"\nprivate_key = \"site.key\"\n{more}\n{ROUTE}"
    ));
    authority.write(fixture.folder.path(), "site", &["localhost"]);
    fixture
}

fn any_version(authority: &Authority) -> Arc<ClientConfig> {
    authority.client(&[&TLS13, &TLS12], None, &[])
}

fn leaf(stream: &Secured) -> CertificateDer<'static> {
    stream.conn.peer_certificates().unwrap()[0].clone().into_owned()
}

#[test]
fn both_versions_are_spoken_and_the_upstream_is_told_that_it_was_https() {
    let authority = Authority::new();
    let fixture = one(&authority, "");
    let gateway = fixture.start();
    let (_, secret) = gateway.admin.key(&serde_json::json!({}));
    for version in [&TLS12, &TLS13] {
        let client = authority.client(&[version], None, &["http/1.1"]);
        let mut stream = handshake(gateway.address, "localhost", &client).unwrap();
        assert_eq!(stream.conn.alpn_protocol(), Some(b"http/1.1".as_slice()));
        for _ in 0..3 {
            let answer = get(&mut stream, "/v1/x", &secret).unwrap();
            assert_eq!((answer.status, answer.body.as_slice()), (200, b"hello".as_slice()));
        }
        assert_eq!(fixture.upstream.last().header("x-forwarded-proto"), Some("https"));
        assert_eq!(get(&mut stream, "/v1/x", "wrong").unwrap().status, 401);
        let large = get(&mut stream, "/v1/bytes/300000", &secret).unwrap();
        assert_eq!(large.body.len(), 300_000);
    }
    assert_eq!(gateway.admin.get("/readyz").status, 200, "a TLS listener can be proved ready");
    gateway.stop();
}

#[test]
fn the_certificate_is_the_one_for_the_name_and_else_the_first() {
    let authority = Authority::new();
    let fixture = Fixture::with(&format!(
        "[gateway]\nlisten = []\n{}{ROUTE}",
        ["first", "second", "wild"].map(|name| format!(
            "[[gateway.tls]]\nlisten = \"127.0.0.1:0\"\ncertificate = \"{name}.pem\"\nprivate_key = \"{name}.key\"\n"
        ))
        .concat()
    ));
    let folder = fixture.folder.path();
    // The first is for `unknown.test` too, so that the client takes what it is shown where no name fits better.
    authority.write(folder, "first", &["first.test", "unknown.test"]);
    authority.write(folder, "second", &["second.test"]);
    authority.write(folder, "wild", &["*.wild.test", "first.test"]);
    let gateway = fixture.start();
    let client = any_version(&authority);
    let shown = |name: &str| leaf(&handshake(gateway.address, name, &client).unwrap());
    let file = |name: &str| {
        use rustls::pki_types::pem::PemObject;
        CertificateDer::from_pem_file(folder.join(format!("{name}.pem"))).unwrap()
    };
    for (name, expected) in [
        ("first.test", "first"),
        ("second.test", "second"),
        ("a.wild.test", "wild"),
        ("A.Wild.test", "wild"),
        ("unknown.test", "first"),
    ] {
        assert_eq!(shown(name), file(expected), "{name}");
    }
    let error = handshake(gateway.address, "a.b.wild.test", &client).unwrap_err();
    assert!(error.to_string().contains("not valid for name"), "{error}");
}

#[test]
fn client_certificates_are_asked_for_as_configured() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    for (demand, without) in [("", false), ("client_certificate = \"optional\"", true)] {
        let fixture = one(&authority, &format!("client_ca = \"clients.pem\"\n{demand}"));
        fs::write(fixture.folder.path().join("clients.pem"), &authority.pem).unwrap();
        let gateway = fixture.start();
        let (_, secret) = gateway.admin.key(&serde_json::json!({}));
        let passes = |shows| {
            let client = authority.client(&[&TLS13], shows, &[]);
            // In TLS 1.3 the client is done before it hears that it is refused.
            let Ok(mut stream) = handshake(gateway.address, "localhost", &client) else { return false };
            let sent = stream.write_all(
                format!("GET /v1/x HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {secret}\r\n\r\n").as_bytes(),
            );
            sent.is_ok() && stream.read(&mut [0; 512]).is_ok_and(|read| read > 0)
        };
        assert!(passes(Some(authority.issue(&["client"]))), "{demand}");
        assert!(!passes(Some(stranger.issue(&["client"]))), "{demand}");
        assert_eq!(passes(None), without, "{demand}");
        assert_eq!(fixture.upstream.seen().len(), 1 + usize::from(without));
    }
}

#[test]
fn changed_files_are_shown_to_new_clients_and_bad_ones_are_not() {
    let authority = Authority::new();
    let fixture = one(&authority, "");
    let folder = fixture.folder.path();
    let gateway = fixture.start();
    let (_, secret) = gateway.admin.key(&serde_json::json!({}));
    let client = any_version(&authority);
    let shown = || leaf(&handshake(gateway.address, "localhost", &client).unwrap());
    let mut kept = handshake(gateway.address, "localhost", &client).unwrap();
    assert_eq!(get(&mut kept, "/v1/x", &secret).unwrap().status, 200);
    let first = leaf(&kept);

    fs::write(folder.join("site.pem"), "nonsense").unwrap();
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!(shown(), first, "the old one stays in force");

    authority.write(folder, "site", &["localhost"]);
    eventually("the new certificate is shown", || shown() != first);
    assert_eq!(
        get(&mut kept, "/v1/x", &secret).unwrap().status,
        200,
        "the connection outlives its certificate"
    );

    let second = shown();
    authority.write(folder, "site", &["localhost"]);
    gateway.app().reload(&fixture.config()).unwrap();
    assert_ne!(shown(), second, "a reload does not wait for the next look");
    gateway.stop();
}

#[test]
fn a_handshake_has_the_time_of_a_head() {
    let authority = Authority::new();
    let fixture = one(&authority, "");
    let gateway = fixture.start();
    let watch = Stopwatch::start();
    let mut silent = TcpStream::connect(gateway.address).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut trickling = TcpStream::connect(gateway.address).unwrap();
    // A record of 512 bytes, of which one comes each 50 ms.
    trickling.write_all(&[22, 3, 1, 2, 0, 1]).unwrap();
    let trickler = std::thread::spawn(move || {
        (0..100)
            .take_while(|_| {
                std::thread::sleep(Duration::from_millis(50));
                trickling.write_all(&[0]).is_ok()
            })
            .count()
    });
    assert_eq!(silent.read(&mut [0]).unwrap_or(0), 0);
    assert!(trickler.join().unwrap() < 40, "it was cut off");
    assert!(watch.elapsed() < Duration::from_secs(5));
    eventually("it is counted", || counted(&gateway, "header_timeout") == 2);
}

#[test]
fn a_proxy_names_the_client_before_the_handshake() {
    let authority = Authority::new();
    let fixture = one_in(&authority, "trusted_proxies = [\"127.0.0.0/8\"]", "proxy_protocol = true");
    let gateway = fixture.start();
    let (_, secret) = gateway.admin.key(&serde_json::json!({}));
    let client = any_version(&authority);
    let named = b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\n";
    let mut stream = handshake_after(named, gateway.address, "localhost", &client).unwrap();
    assert_eq!(get(&mut stream, "/v1/x", &secret).unwrap().status, 200);
    assert_eq!(fixture.upstream.last().header("x-forwarded-for"), Some("203.0.113.9"));
    assert!(handshake(gateway.address, "localhost", &client).is_err(), "nobody is named");
    assert_eq!(gateway.admin.get("/readyz").status, 200);
}

#[test]
fn plain_bytes_on_a_tls_listener_and_a_head_that_trickles_in_tls_are_refused() {
    let authority = Authority::new();
    let fixture = one(&authority, "");
    let gateway = fixture.start();
    let mut plain = TcpStream::connect(gateway.address).unwrap();
    plain.write_all(b"GET /v1/x HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let mut got = Vec::new();
    // Reset or closed after it.
    let _ = plain.read_to_end(&mut got);
    assert_eq!(got.first(), Some(&21), "an alert: {got:?}");
    let mut stream = handshake(gateway.address, "localhost", &any_version(&authority)).unwrap();
    stream.write_all(b"GET /v1/x HTTP/1.1\r\n").unwrap();
    assert_eq!(crate::support::read_answer(&mut stream, false).status, 408);
    assert!(fixture.upstream.seen().is_empty());
}

fn counted(gateway: &Gateway, bound: &str) -> u64 {
    let text = gateway.admin.metrics();
    let series = format!("portcullis_bounds_hit_total{{bound=\"{bound}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&series)).map_or(0, |count| count.parse().unwrap())
}

#[test]
fn what_cannot_be_used_is_named_with_its_path_and_file() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    authority.write(folder.path(), "a", &["a.test"]);
    authority.write(folder.path(), "b", &["b.test"]);
    write("empty.pem", "");
    write("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    write("ca.pem", &authority.pem);
    let entry = |listen: &str, certificate: &str, key: &str, more: &str| {
        format!(
            "[[gateway.tls]]\nlisten = \"{listen}\"\ncertificate = \"{certificate}\"\nprivate_key = \"{key}\"\n{more}"
        )
    };
    let at = "0.0.0.0:8443";
    let cases = [
        (entry(at, "no.pem", "a.key", ""), "gateway.tls[0].certificate: there is no file", "no.pem"),
        (entry(at, "a.pem", "no.key", ""), "gateway.tls[0].private_key: there is no file", "no.key"),
        (
            entry(at, "empty.pem", "a.key", ""),
            "gateway.tls[0].certificate: ",
            "empty.pem: has no PEM certificate",
        ),
        (entry(at, "broken.pem", "a.key", ""), "gateway.tls[0].certificate: ", "broken.pem: cannot be used"),
        (entry(at, "a.pem", "a.pem", ""), "gateway.tls[0].private_key: ", "a.pem: has no PEM private key"),
        (entry(at, "a.pem", "b.key", ""), "gateway.tls[0].private_key: ", "b.key: cannot be used with"),
        (
            entry(at, "a.pem", "a.key", "client_ca = \"a.key\""),
            "gateway.tls[0].client_ca: ",
            "a.key: has no PEM",
        ),
        (
            entry(at, "a.pem", "a.key", "client_certificate = \"optional\""),
            "gateway.tls[0].client_certificate: needs client_ca",
            "",
        ),
        (
            entry(at, "a.pem", "a.key", "client_ca = \"ca.pem\"\nclient_certificate = \"maybe\""),
            "gateway.tls[0].client_certificate: must be",
            "",
        ),
        (
            entry(at, "a.pem", "a.key", "") + &entry(at, "b.pem", "b.key", "client_ca = \"ca.pem\""),
            "gateway.tls[1].client_ca: must be the same",
            "",
        ),
        (entry(at, "a.pem", "a.key", "").repeat(2), "gateway.tls[1].certificate: is listed twice", ""),
        (entry("0.0.0.0:8080", "a.pem", "a.key", ""), "gateway.tls[0].listen: is an address of", ""),
        (entry("127.0.0.1:9180", "a.pem", "a.key", ""), "admin.listen: is an address of", ""),
        (entry(at, "a.pem", "a.key", "name = \"x\""), "gateway.tls[0].name: unknown field", ""),
    ];
    for (text, place, file_named) in cases {
        let text = format!("{text}\n[upstreams.api]\ntargets = [\"127.0.0.1:1\"]\n{ROUTE}");
        let error =
            file::parse(&text, folder.path(), Path::new("test.toml"), &|_| None).unwrap_err().to_string();
        assert!(error.contains(place) && error.contains(file_named), "{text}\n{error}");
        assert!(!error.contains("BEGIN"), "{error}");
    }
}
