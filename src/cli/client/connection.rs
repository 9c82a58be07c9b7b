//! Where the admin API is, who asks, and whom it trusts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use http::{HeaderValue, Uri};
use ureq::tls::{PemItem, RootCerts};

use crate::cli::{admin_token, read_bounded};

/// The largest file of a token, in bytes.
const MAX_TOKEN_BYTES: u64 = 4 << 10;
/// The largest file of certificates, in bytes.
const MAX_CERTIFICATE_BYTES: u64 = 1 << 20;

/// Where the admin API is, and who asks
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Admin API (the token is read from PORTCULLIS_ADMIN_TOKEN)")]
pub(in crate::cli) struct Connection {
    /// Where the admin API of the running gateway is
    #[arg(
        id = "admin_url",
        long = "admin-url",
        global = true,
        env = "PORTCULLIS_ADMIN_URL",
        default_value = "http://127.0.0.1:9180",
        value_name = "URL",
        value_parser = server_url,
    )]
    pub(super) url: String,
    /// Read the admin token from this file instead of PORTCULLIS_ADMIN_TOKEN
    #[arg(id = "admin_token_file", long = "admin-token-file", global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Trust the certificates of this PEM file, instead of the public authorities, where the URL is https
    #[arg(
        id = "admin_ca",
        long = "admin-ca",
        global = true,
        env = "PORTCULLIS_ADMIN_CA",
        value_name = "FILE"
    )]
    ca: Option<PathBuf>,
}

impl Connection {
    /// The header that says who asks; none where there is no token.
    ///
    /// # Errors
    /// The file cannot be read, or what it holds can be no token.
    pub(super) fn authorization(&self) -> anyhow::Result<Option<HeaderValue>> {
        let token = match &self.token_file {
            Some(path) => Some(token_of(path)?),
            None => admin_token(),
        };
        token.map(|token| bearer(&token)).transpose()
    }

    /// The certificates to trust, where they are not those of the public authorities.
    ///
    /// # Errors
    /// The file cannot be read, or holds none.
    pub(super) fn roots(&self) -> anyhow::Result<Option<RootCerts>> {
        self.ca.as_deref().map(certificates).transpose()
    }
}

/// An `http` or `https` URL of a server, without a slash at its end.
fn server_url(text: &str) -> Result<String, String> {
    let uri: Uri = text.parse().map_err(|_| "is no URL")?;
    let scheme = uri.scheme_str().is_some_and(|scheme| matches!(scheme, "http" | "https"));
    if !scheme || uri.host().is_none_or(str::is_empty) {
        return Err("must be http://HOST[:PORT] or https://HOST[:PORT]".into());
    }
    if uri.query().is_some() || uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("must have no query and no user; a token goes into PORTCULLIS_ADMIN_TOKEN".into());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn token_of(path: &Path) -> anyhow::Result<String> {
    let text = read_bounded(path, MAX_TOKEN_BYTES)?;
    let token = text.trim();
    if token.is_empty() {
        bail!("{}: holds no admin token", path.display());
    }
    Ok(token.to_owned())
}

/// The header's value. The error does not repeat the token.
fn bearer(token: &str) -> anyhow::Result<HeaderValue> {
    let value = HeaderValue::try_from(format!("Bearer {token}"));
    let mut value = value.ok().filter(|_| token.bytes().all(|byte| byte.is_ascii_graphic())).context(
        "the admin token has characters that no token has; look at PORTCULLIS_ADMIN_TOKEN or --admin-token-file",
    )?;
    value.set_sensitive(true);
    Ok(value)
}

fn certificates(path: &Path) -> anyhow::Result<RootCerts> {
    let pem = read_bounded(path, MAX_CERTIFICATE_BYTES)?;
    let mut found = Vec::new();
    for item in ureq::tls::parse_pem(pem.as_bytes()) {
        if let PemItem::Certificate(one) =
            item.with_context(|| format!("{}: is no PEM file", path.display()))?
        {
            found.push(one);
        }
    }
    if found.is_empty() {
        bail!("{}: holds no certificate", path.display());
    }
    Ok(RootCerts::Specific(Arc::new(found)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_is_that_of_a_server() {
        let good = [
            ("http://127.0.0.1:9180", "http://127.0.0.1:9180"),
            ("https://gateway.internal/", "https://gateway.internal"),
            ("http://[::1]:9180/portcullis/", "http://[::1]:9180/portcullis"),
        ];
        for (text, url) in good {
            assert_eq!(server_url(text).as_deref(), Ok(url));
        }
        for bad in ["", "127.0.0.1:9180", "ftp://host", "http://", "http://user@host", "http://host/?a=b"] {
            assert!(server_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bad_token_is_not_repeated() {
        for bad in ["pca_admin_a b", "pca_admin_\n", "pca_admin_ä"] {
            let error = format!("{:#}", bearer(bad).unwrap_err());
            assert!(!error.contains("pca_admin"), "{error}");
        }
        assert!(bearer("pca_admin_x").unwrap().is_sensitive());
    }
}
