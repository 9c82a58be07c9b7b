//! What TLS to an upstream needs, in the form that Pingora takes.

use std::sync::Arc;

use pingora::utils::tls::{CertKey, WrappedX509, parse_x509};

use crate::config::Trust;

/// Certificates and keys, parsed once.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// Who may have issued the upstream's certificate; `None`: whom the system trusts.
    pub authorities: Option<Arc<[WrappedX509]>>,
    /// The certificate that is shown to the upstream.
    pub identity: Option<Arc<CertKey>>,
}

impl Credentials {
    /// From a configuration, whose certificates were parsed before: this parses them again and cannot fail.
    pub fn new(trust: &Trust) -> Self {
        let parsed = |one: &Vec<u8>| WrappedX509::new(one.clone(), parse_x509);
        let authorities = trust.authorities.as_ref().map(|all| all.iter().map(parsed).collect());
        let identity = trust.identity.as_ref();
        let identity = identity.map(|own| Arc::new(CertKey::new(own.chain.clone(), own.key.to_vec())));
        Self { authorities, identity }
    }
}
