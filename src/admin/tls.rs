//! TLS for the admin listener (rustls, TLS 1.2 and 1.3).

use std::sync::Arc;

use anyhow::Context;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::config::AdminTls;

/// Reads the certificate and its key.
///
/// # Errors
/// A file cannot be read, or the two do not belong together.
pub fn acceptor(tls: &AdminTls) -> anyhow::Result<TlsAcceptor> {
    let (certificate, key) = (tls.certificate.display(), tls.private_key.display());
    let chain = CertificateDer::pem_file_iter(&tls.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("{certificate}: not a PEM certificate"))?;
    let private = PrivateKeyDer::from_pem_file(&tls.private_key)
        .with_context(|| format!("{key}: not a PEM private key"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .with_context(|| format!("{certificate} and {key} cannot be used together"))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
