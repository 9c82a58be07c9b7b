//! A TLS listener's side of the handshake: its certificates, chosen by name, and their replacement while it serves.
//!
//! A handshake takes what is in force when it begins, and a connection that stands keeps it: a replacement loses
//! nothing.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::client::verify_server_name;
use rustls::crypto::ring::Ticketer;
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ConfigBuilder, ServerConfig, WantsVerifier};
use tokio_rustls::TlsAcceptor;

use super::{Demand, Part, Terms, TlsFault, load, load_authorities, provider};

/// What is spoken over TLS, the best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A listener's certificates in force.
#[derive(Debug)]
pub struct Server {
    current: ArcSwap<ServerConfig>,
    source: Mutex<Source>,
}

/// Where the certificates are from.
#[derive(Debug, Clone)]
struct Source {
    terms: Terms,
    stamps: Vec<Option<Stamp>>,
}

/// What changes when a file does, or when a link leads to another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl Server {
    /// Loads every file.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub fn new(terms: Terms) -> Result<Self, TlsFault> {
        let stamps = stamps(&terms);
        let current = ArcSwap::from_pointee(config(&terms)?);
        Ok(Self { current, source: Mutex::new(Source { terms, stamps }) })
    }

    /// For one handshake.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.load_full())
    }

    /// Puts what another one has in force here.
    pub fn take_over(&self, other: &Self) {
        let theirs = other.source.lock().clone();
        let mut source = self.source.lock();
        self.current.store(other.current.load_full());
        *source = theirs;
    }

    /// Loads the files again if one has changed, and says whether one had. What fails is not tried again until a file
    /// changes once more.
    ///
    /// # Errors
    /// The first file that cannot be used; the old ones stay in force.
    pub fn refresh(&self) -> Result<bool, TlsFault> {
        let mut source = self.source.lock();
        let now = stamps(&source.terms);
        if now == source.stamps {
            return Ok(false);
        }
        source.stamps = now;
        self.current.store(Arc::new(config(&source.terms)?));
        Ok(true)
    }
}

/// As the files are now; `None` for one that is not there.
fn stamps(terms: &Terms) -> Vec<Option<Stamp>> {
    let stamp = |path: &Path| {
        let found = std::fs::metadata(path).ok()?;
        let modified = (found.mtime(), found.mtime_nsec());
        Some(Stamp { inode: found.ino(), length: found.len(), modified })
    };
    terms.files().map(stamp).collect()
}

fn config(terms: &Terms) -> Result<ServerConfig, TlsFault> {
    let pairs = terms.pairs.iter().map(load).collect::<Result<Vec<_>, _>>()?;
    let names = Names { pairs: pairs.into_iter().map(Arc::new).collect() };
    let mut config = match &terms.clients {
        None => builder().with_no_client_auth(),
        Some(clients) => {
            let fault = |detail: String| own(Part::Authorities, &clients.authorities, detail);
            let roots = Arc::new(load_authorities(&clients.authorities)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
            let verifier = match clients.demand {
                Demand::Required => verifier,
                Demand::Optional => verifier.allow_unauthenticated(),
            };
            let verifier = verifier.build().map_err(|error| fault(error.to_string()))?;
            builder().with_client_cert_verifier(verifier)
        }
    }
    .with_cert_resolver(Arc::new(names));
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    if let Ok(ticketer) = Ticketer::new() {
        // A session is resumed from what the client kept. The ticket's key ends with this configuration, so that no
        // session outlives the authorities that let it in.
        config.ticketer = ticketer;
    }
    Ok(config)
}

fn own(part: Part, file: &Path, detail: String) -> TlsFault {
    TlsFault { part, file: PathBuf::from(file), detail }
}

fn builder() -> ConfigBuilder<ServerConfig, WantsVerifier> {
    ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has cipher suites for TLS 1.2 and 1.3")
}

/// Chooses a certificate by the name that the client asks for (SNI).
#[derive(Debug)]
struct Names {
    pairs: Vec<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let fits = |pair: &&Arc<CertifiedKey>| name.as_ref().is_some_and(|name| is_for(pair, name));
        let signs = |pair: &&Arc<CertifiedKey>| pair.key.choose_scheme(hello.signature_schemes()).is_some();
        // Of two for one name (RSA and ECDSA, say) the first that the client can check.
        let chosen = self.pairs.iter().filter(fits).find(signs);
        chosen.or_else(|| self.pairs.iter().find(fits)).or(self.pairs.first()).cloned()
    }
}

fn is_for(pair: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let certificate = pair.end_entity_cert().ok().and_then(|leaf| ParsedCertificate::try_from(leaf).ok());
    certificate.is_some_and(|certificate| verify_server_name(&certificate, name).is_ok())
}
