//! Certificates of a test's own, and a TLS client that trusts them.

use std::fs;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};

use super::{Answer, read_answer};

/// A connection to the gateway whose handshake is done.
pub type Secured = StreamOwned<ClientConnection, TcpStream>;

/// An authority whose certificates a test's clients trust.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // A name that is not that of its certificates: some clients take a certificate whose names are equal for one that
        // signed itself.
        params.distinguished_name.push(DnType::CommonName, "authority");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for these names and its key, as PEM.
    pub fn issue(&self, names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        (leaf.pem(), key.serialize_pem())
    }

    /// Writes a new certificate as `NAME.pem` and its key as `NAME.key`.
    pub fn write(&self, folder: &Path, file: &str, names: &[&str]) {
        let (certificate, key) = self.issue(names);
        fs::write(folder.join(format!("{file}.pem")), certificate).unwrap();
        fs::write(folder.join(format!("{file}.key")), key).unwrap();
    }

    /// A client that trusts this authority, speaks these versions, and shows this certificate.
    pub fn client(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        shows: Option<(String, String)>,
        protocols: &[&str],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let builder = builder.with_root_certificates(roots);
        let mut config = match shows {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        };
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

/// Connects and shakes hands.
pub fn handshake(address: SocketAddr, name: &str, client: &Arc<ClientConfig>) -> io::Result<Secured> {
    handshake_after(b"", address, name, client)
}

/// Connects, sends what comes before TLS, and shakes hands.
pub fn handshake_after(
    preamble: &[u8],
    address: SocketAddr,
    name: &str,
    client: &Arc<ClientConfig>,
) -> io::Result<Secured> {
    let mut socket = TcpStream::connect(address)?;
    socket.write_all(preamble)?;
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    socket.set_nodelay(true)?;
    let name = name.to_owned().try_into().unwrap();
    let mut connection = ClientConnection::new(Arc::clone(client), name).unwrap();
    while connection.is_handshaking() {
        connection.complete_io(&mut socket)?;
    }
    Ok(StreamOwned::new(connection, socket))
}

/// A `GET` with a key's secret; the connection is kept.
pub fn get(stream: &mut Secured, path: &str, secret: &str) -> io::Result<Answer> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {secret}\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    Ok(read_answer(stream, false))
}
