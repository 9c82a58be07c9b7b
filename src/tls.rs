//! Certificates and keys from PEM files, and what a TLS listener is told to do with them (rustls, TLS 1.2 and 1.3).
//!
//! The configuration loads each pair once to know that it is good; [`server`] loads it again to serve, and whenever the
//! files change.

pub mod server;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

/// The largest PEM file, in bytes.
const MAX_PEM_BYTES: u64 = 1 << 20;

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// PEM, leaf first.
    pub certificate: PathBuf,
    /// PEM.
    pub private_key: PathBuf,
}

/// What is asked of the clients of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clients {
    /// The authorities whose certificates are good, as PEM.
    pub authorities: PathBuf,
    /// Whether a client must have one.
    pub demand: Demand,
}

/// Whether a client must have a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// No handshake without one.
    Required,
    /// One that is shown must be good.
    Optional,
}

/// Everything that a listener is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Chosen by the name that the client asks for; the first where none fits. At least one.
    pub pairs: Vec<Pair>,
    /// What is asked of clients, if anything.
    pub clients: Option<Clients>,
}

impl Terms {
    /// All the files.
    fn files(&self) -> impl Iterator<Item = &Path> {
        let pairs = self.pairs.iter().flat_map(|pair| [&pair.certificate, &pair.private_key]);
        pairs.chain(self.clients.iter().map(|clients| &clients.authorities)).map(PathBuf::as_path)
    }
}

/// Which file is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The certificate.
    Certificate,
    /// The private key.
    PrivateKey,
    /// The authorities of client certificates.
    Authorities,
}

/// Why a file cannot be used. It names the file and holds nothing of what is in it.
#[derive(Debug)]
pub struct TlsFault {
    /// Which one.
    pub part: Part,
    file: PathBuf,
    detail: String,
}

impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.detail)
    }
}

impl std::error::Error for TlsFault {}

/// The cryptography of every listener.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Loads a certificate with its key, which must belong together.
///
/// # Errors
/// The file that is at fault.
pub fn load(pair: &Pair) -> Result<CertifiedKey, TlsFault> {
    let at = |part, file: &Path, detail: String| TlsFault { part, file: file.to_owned(), detail };
    let certificate = |detail: String| at(Part::Certificate, &pair.certificate, detail);
    let private_key = |detail: String| at(Part::PrivateKey, &pair.private_key, detail);
    let chain = read(&pair.certificate).map_err(|error| certificate(unreadable(&error)))?;
    let chain = certificates(&chain).ok_or_else(|| certificate("has no PEM certificate".into()))?;
    let key = read(&pair.private_key).map_err(|error| private_key(unreadable(&error)))?;
    let key =
        PrivateKeyDer::from_pem_slice(&key).map_err(|_| private_key("has no PEM private key".into()))?;
    CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
        rustls::Error::InvalidCertificate(_) => certificate(format!("cannot be used: {error}")),
        error => {
            let with = pair.certificate.display();
            private_key(format!("cannot be used with {with}: {error}"))
        }
    })
}

/// Loads the authorities of client certificates.
///
/// # Errors
/// The file cannot be read, or has no certificate that can be one's.
pub fn load_authorities(path: &Path) -> Result<RootCertStore, TlsFault> {
    let fault = |detail: String| TlsFault { part: Part::Authorities, file: path.to_owned(), detail };
    let pem = read(path).map_err(|error| fault(unreadable(&error)))?;
    let found = certificates(&pem).ok_or_else(|| fault("has no PEM certificate".into()))?;
    let mut roots = RootCertStore::empty();
    for certificate in found {
        roots.add(certificate).map_err(|error| fault(format!("cannot be used: {error}")))?;
    }
    Ok(roots)
}

fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().ok()?;
    (!found.is_empty()).then_some(found)
}

fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(path)?.take(MAX_PEM_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_PEM_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 1 MiB"));
    }
    Ok(bytes)
}

fn unreadable(error: &io::Error) -> String {
    format!("cannot be read: {error}")
}
