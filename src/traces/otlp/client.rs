//! Calls to the collector, by the client that the commands use too.

use std::fmt;
use std::sync::Arc;

use anyhow::ensure;
use async_trait::async_trait;
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use opentelemetry_http::{Bytes, HttpClient, HttpError};
use ureq::Agent;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use crate::config::SetHeader;
use crate::config::traces::Export;

/// The largest answer that is read.
const MAX_ANSWER_BYTES: u64 = 64 << 10;
/// How the gateway names itself.
const AGENT: &str = concat!("portcullis/", env!("CARGO_PKG_VERSION"));

/// A client of one collector. Its calls block the thread.
pub(super) struct Client {
    agent: Agent,
    headers: Vec<SetHeader>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    /// Calls nobody yet.
    ///
    /// # Errors
    /// There are no authorities in this PEM.
    pub(super) fn new(settings: &Export, ca: Option<&[u8]>) -> anyhow::Result<Self> {
        let mut config = Agent::config_builder()
            .timeout_global(Some(settings.timeout))
            .http_status_as_error(false)
            // A credential goes nowhere but where the configuration sends it.
            .max_redirects(0)
            .proxy(None)
            .user_agent(AGENT);
        if let Some(ca) = ca {
            config = config.tls_config(TlsConfig::builder().root_certs(authorities(ca)?).build());
        }
        Ok(Self { agent: config.build().into(), headers: settings.headers.clone() })
    }

    fn call(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (mut parts, body) = request.into_parts();
        // The exporter adds what the environment says (`OTEL_EXPORTER_OTLP_HEADERS`); the configuration alone does.
        let form = parts.headers.remove(CONTENT_TYPE);
        parts.headers.clear();
        parts.headers.extend(form.map(|form| (CONTENT_TYPE, form)));
        for header in &self.headers {
            parts.headers.insert(header.name.clone(), header.value.clone());
        }
        let answer = self.agent.run(Request::from_parts(parts, &body[..]))?;
        let (parts, body) = answer.into_parts();
        let body = body.into_with_config().limit(MAX_ANSWER_BYTES).read_to_vec()?;
        Ok(Response::from_parts(parts, body.into()))
    }
}

fn authorities(pem: &[u8]) -> anyhow::Result<RootCerts> {
    let certificate = |item| match item {
        Ok(PemItem::Certificate(one)) => Some(one),
        _ => None,
    };
    let found: Vec<_> = parse_pem(pem).filter_map(certificate).collect();
    ensure!(!found.is_empty(), "`ca` holds no certificate");
    Ok(RootCerts::Specific(Arc::new(found)))
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        self.call(request)
    }
}
