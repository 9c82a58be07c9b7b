//! TLS to upstreams: whom the gateway believes, as whom it speaks, and what is refused at the start.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::support::{Client, Fixture, Gateway, Process, Script, config_file, serve};

/// An authority of one test's own.
struct Authority {
    pem: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
struct Issued {
    pem: String,
    key_pem: String,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { pem: certificate.pem(), der: certificate.der().clone(), issuer: Issuer::new(params, key) }
    }

    fn issue(&self, name: &str) -> Issued {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Issued {
            pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            chain: vec![certificate.der().clone()],
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        }
    }
}

/// An upstream over TLS that answers each request; with `clients`, only to those whom that authority vouches for.
fn upstream(issued: Issued, clients: Option<&Authority>) -> Script {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.der.clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let config = Arc::new(builder.with_single_cert(issued.chain, issued.key).unwrap());
    Script::start(move |stream| {
        let mut tls = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream);
        let (mut head, mut byte) = (Vec::new(), [0]);
        while matches!(tls.read(&mut byte), Ok(1)) {
            head.push(byte[0]);
            if head.ends_with(b"\r\n\r\n") {
                let cut = head.starts_with(b"GET /v1/cut");
                let answer: &[u8] = if cut {
                    b"HTTP/1.1 200 OK\r\n\r\nno length"
                } else {
                    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
                };
                if tls.write_all(answer).and_then(|()| tls.flush()).is_err() || cut {
                    // Without TLS's own goodbye.
                    return;
                }
                head.clear();
            }
        }
    })
}

fn text(upstream: &Script, settings: &str) -> String {
    format!(
        "[upstreams.api]\ntargets = [\"{}\"]\ntls = true\nhost = \"api.test\"\n{settings}\n[[routes]]\npath = \"/v1\"\nupstream = \"api\"\naccess = \"public\"\n",
        upstream.address
    )
}

/// A gateway before this upstream, with these files beside its configuration.
fn gateway(upstream: &Script, settings: &str, files: &[(&str, &str)]) -> (Fixture, Gateway) {
    let fixture = Fixture::with(&text(upstream, settings));
    write(fixture.folder.path(), files);
    let gateway = fixture.start();
    (fixture, gateway)
}

fn write(folder: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        fs::write(folder.join(name), text).unwrap();
    }
}

/// The status, or the code of the problem.
fn asked(gateway: &Gateway) -> String {
    let answer = Client::new(gateway.address).get("/v1/x", "");
    if answer.status == 200 { "200".into() } else { answer.code() }
}

#[test]
fn only_the_configured_authority_and_the_right_name_are_believed() {
    let (ours, others) = (Authority::new(), Authority::new());
    let cases = [
        (ours.issue("api.test"), "ca = \"ca.pem\"", "200"),
        (ours.issue("other.test"), "ca = \"ca.pem\"", "upstream_unreachable"),
        (others.issue("api.test"), "ca = \"ca.pem\"", "upstream_unreachable"),
        (ours.issue("api.test"), "", "upstream_unreachable"),
        (others.issue("other.test"), "tls_verify = false", "200"),
    ];
    for (number, (issued, settings, expected)) in cases.into_iter().enumerate() {
        let upstream = upstream(issued, None);
        let (_fixture, gateway) = gateway(&upstream, settings, &[("ca.pem", &ours.pem)]);
        for _ in 0..3 {
            assert_eq!(asked(&gateway), expected, "case {number}: {settings}");
        }
    }
}

#[test]
fn a_client_certificate_is_shown_where_it_is_configured() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let upstream = upstream(servers.issue("api.test"), Some(&clients));
    let (own, foreign) = (clients.issue("gateway.test"), servers.issue("gateway.test"));
    let files = [
        ("ca.pem", servers.pem.as_str()),
        ("own.pem", &own.pem),
        ("own.key", &own.key_pem),
        ("foreign.pem", &foreign.pem),
        ("foreign.key", &foreign.key_pem),
    ];
    let with = |name: &str| {
        format!("ca = \"ca.pem\"\nclient_certificate = \"{name}.pem\"\nclient_key = \"{name}.key\"")
    };
    let (_fixture, gateway) = gateway(&upstream, &with("own"), &files);
    assert_eq!(asked(&gateway), "200");
    for settings in [with("foreign"), "ca = \"ca.pem\"".to_owned()] {
        let (_fixture, gateway) = self::gateway(&upstream, &settings, &files);
        assert_ne!(asked(&gateway), "200", "{settings}");
    }
}

/// Upstreams at one address whose certificates are judged otherwise share no connection.
#[test]
fn a_connection_of_one_upstream_serves_no_other() {
    let (ours, others) = (Authority::new(), Authority::new());
    let upstream = upstream(others.issue("api.test"), None);
    let strict = text(&upstream, "ca = \"ca.pem\"");
    let lax = text(&upstream, "ca = \"others.pem\"").replace("upstreams.api", "upstreams.lax");
    let lax = lax.replace("path = \"/v1\"\nupstream = \"api\"", "path = \"/lax\"\nupstream = \"lax\"");
    let fixture = Fixture::with(&format!("{strict}{lax}"));
    write(fixture.folder.path(), &[("ca.pem", &ours.pem), ("others.pem", &others.pem)]);
    let gateway = fixture.start();
    let mut client = Client::new(gateway.address);
    for _ in 0..5 {
        assert_eq!(client.get("/lax/x", "").status, 200);
        assert_eq!(client.get("/v1/x", "").code(), "upstream_unreachable");
    }
}

/// Whose end is not TLS's own may have been cut by anybody.
#[test]
fn an_answer_that_ends_without_the_goodbye_of_tls_does_not_look_whole() {
    let ours = Authority::new();
    let upstream = upstream(ours.issue("api.test"), None);
    let (_fixture, gateway) = gateway(&upstream, "ca = \"ca.pem\"", &[("ca.pem", &ours.pem)]);
    let mut wire = crate::support::Wire::open(gateway.address);
    wire.send("GET /v1/cut HTTP/1.1\r\nhost: a\r\n\r\n");
    let head = wire.head().to_lowercase();
    let rest = String::from_utf8_lossy(&wire.rest()).into_owned();
    assert!(head.contains("transfer-encoding: chunked") || head.contains(" 502 "), "{head}");
    assert!(!rest.contains("0\r\n\r\n"), "{rest:?}");
}

#[test]
fn bad_files_are_named_at_the_start_by_path_and_line() {
    let ours = Authority::new();
    let (one, other) = (ours.issue("a.test"), ours.issue("b.test"));
    let upstream = upstream(ours.issue("api.test"), None);
    let files = [
        ("ca.pem", ours.pem.as_str()),
        ("one.pem", &one.pem),
        ("one.key", &one.key_pem),
        ("other.key", &other.key_pem),
        ("text.pem", "this is no certificate"),
        ("rubbish.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
    ];
    let cases = [
        ("ca = \"nothing.pem\"", "upstreams.api.ca: there is no file"),
        ("ca = \"text.pem\"", "upstreams.api.ca: must have 1 to 256 PEM certificates"),
        ("ca = \"rubbish.pem\"", "upstreams.api.ca: its certificate number 1"),
        ("client_certificate = \"one.pem\"", "upstreams.api.client_certificate: needs `client_key` as well"),
        ("client_key = \"one.key\"", "upstreams.api.client_key: needs `client_certificate` as well"),
        (
            "client_certificate = \"one.pem\"\nclient_key = \"other.key\"",
            "upstreams.api.client_key: is not the key of client_certificate",
        ),
        (
            "client_certificate = \"one.pem\"\nclient_key = \"text.pem\"",
            "upstreams.api.client_key: is no file",
        ),
        ("ca = \"ca.pem\"\ntls_verify = false", "upstreams.api.ca: has no meaning with tls_verify = false"),
    ];
    let fixture = Fixture::with(&text(&upstream, "SETTINGS"));
    let config = config_file(&fixture);
    write(fixture.folder.path(), &files);
    let whole = fs::read_to_string(&config).unwrap();
    for (settings, expected) in cases {
        fs::write(&config, whole.replace("SETTINGS", settings)).unwrap();
        let mut process = Process::start(&mut serve(&config));
        assert_eq!(process.wait(crate::support::START).code(), Some(1), "{settings}");
        let said = process.stderr();
        assert!(said.contains(expected) && said.contains("portcullis.toml:"), "{settings}: {said}");
        assert!(!said.contains("PRIVATE"), "{said}");
    }
    fs::write(&config, whole.replace("SETTINGS", "").replace("tls = true\n", "tls_verify = false\n"))
        .unwrap();
    let mut process = Process::start(&mut serve(&config));
    process.wait(crate::support::START);
    assert!(
        process.stderr().contains("tls_verify: has no meaning without tls = true"),
        "{}",
        process.stderr()
    );
}

#[test]
fn a_start_warns_of_certificates_that_nobody_looks_at() {
    let ours = Authority::new();
    let upstream = upstream(ours.issue("api.test"), None);
    let fixture = Fixture::with(&text(&upstream, "tls_verify = false"));
    let server = crate::support::Server::start(&config_file(&fixture));
    let out = server.process.stdout();
    let warned = out.lines().find(|line| line.contains("upstreams.api.tls_verify")).unwrap();
    assert!(warned.contains("WARN"), "{warned}");
}
