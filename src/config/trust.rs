//! Whom TLS to an upstream trusts, and as whom it speaks: `ca`, `client_certificate`, `client_key`, `tls_verify` of
//! `[upstreams.NAME]`. The files are read and checked here, so that a bad one is named at the start.

use std::fmt;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use zeroize::Zeroizing;

use super::file::Surroundings;
use super::sections::existing_file;
use crate::document::{Fields, either};

/// Certificates of one file at most.
const MAX_CERTIFICATES: usize = 256;
/// The largest file of certificates, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Whom TLS to an upstream trusts, and as whom it speaks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// The authorities, DER; `None`: those of the system.
    pub authorities: Option<Vec<Vec<u8>>>,
    /// The certificate that is shown to the upstream.
    pub identity: Option<Identity>,
    /// Whether certificates are looked at.
    pub verification: Verification,
}

/// Whether the upstream's certificate is looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Verification {
    /// Issuer, name and time must be right.
    #[default]
    Full,
    /// Anybody may answer.
    None,
}

/// A certificate chain, leaf first, and its key. It has no readable `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The chain, DER.
    pub chain: Vec<Vec<u8>>,
    /// The private key, DER.
    pub key: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({} certificates, …)", self.chain.len())
    }
}

/// Which of the fields have no meaning without TLS.
const FIELDS: [&str; 4] = ["ca", "client_certificate", "client_key", "tls_verify"];

/// Reads the four fields.
pub fn trust(fields: &mut Fields<'_>, around: &Surroundings<'_>) -> Trust {
    let authorities = fields.read("ca", |v| authorities(v, around));
    let chain = fields.read("client_certificate", |v| certificates(v, around));
    let key = fields.read("client_key", |v| private_key(v, around));
    let verification =
        fields.read("tls_verify", |v| either(v, Verification::Full, Verification::None)).unwrap_or_default();
    for (one, other) in [("client_certificate", "client_key"), ("client_key", "client_certificate")] {
        if fields.has(one) && !fields.has(other) {
            fields.fault(one, format!("needs `{other}` as well"));
        }
    }
    if fields.raw("tls") != Some(&Value::Bool(true)) {
        for field in FIELDS {
            if fields.has(field) {
                fields.fault(field, "has no meaning without tls = true");
            }
        }
    }
    if verification == Verification::None && fields.has("ca") {
        fields.fault("ca", "has no meaning with tls_verify = false, which trusts anybody");
    }
    let identity = chain.zip(key).map(|(chain, key)| Identity { chain, key });
    if let Some(identity) = &identity
        && let Err(detail) = belong_together(identity)
    {
        fields.fault("client_key", detail);
    }
    Trust { authorities, identity, verification }
}

/// The bytes of a file, of a bounded size. A fault names the file and never shows what is in it.
fn bytes(value: &Value, around: &Surroundings<'_>) -> Result<Zeroizing<Vec<u8>>, String> {
    let path = existing_file(value, around)?;
    let said = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    if std::fs::metadata(&path).map_err(said)?.len() > MAX_FILE_BYTES {
        return Err(format!("{} is larger than {MAX_FILE_BYTES} bytes", path.display()));
    }
    std::fs::read(&path).map(Zeroizing::new).map_err(said)
}

fn certificates(value: &Value, around: &Surroundings<'_>) -> Result<Vec<Vec<u8>>, String> {
    let pem = bytes(value, around)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let all = read.map_err(|_| "is no file of PEM certificates".to_owned())?;
    if all.is_empty() || all.len() > MAX_CERTIFICATES {
        return Err(format!("must have 1 to {MAX_CERTIFICATES} PEM certificates, not {}", all.len()));
    }
    for (number, one) in (1..).zip(&all) {
        if x509_parser::parse_x509_certificate(one).is_err() {
            return Err(format!("its certificate number {number} is not well-formed"));
        }
    }
    Ok(all.into_iter().map(|one| one.to_vec()).collect())
}

fn authorities(value: &Value, around: &Surroundings<'_>) -> Result<Vec<Vec<u8>>, String> {
    let all = certificates(value, around)?;
    let mut roots = RootCertStore::empty();
    for (number, one) in (1..).zip(&all) {
        let added = roots.add(CertificateDer::from(one.as_slice()));
        added.map_err(|error| format!("its certificate number {number} is no authority's: {error}"))?;
    }
    Ok(all)
}

fn private_key(value: &Value, around: &Surroundings<'_>) -> Result<Zeroizing<Vec<u8>>, String> {
    let pem = bytes(value, around)?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| "is no file with a PEM private key")?;
    Ok(Zeroizing::new(key.secret_der().to_vec()))
}

fn belong_together(identity: &Identity) -> Result<(), String> {
    let chain = identity.chain.iter().map(|one| CertificateDer::from(one.clone())).collect();
    let key =
        PrivateKeyDer::try_from(identity.key.to_vec()).map_err(|_| "is no private key of a known kind")?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::sign::CertifiedKey::from_der(chain, key, &provider)
        .map(drop)
        .map_err(|_| "is not the key of client_certificate".to_owned())
}
