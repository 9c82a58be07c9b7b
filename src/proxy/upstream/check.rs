//! Active checks: a request of the gateway's own to each address of an upstream, on a new connection each time.

use std::sync::Arc;

use http::header::{CONNECTION, HOST, USER_AGENT};
use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::protocols::http::client::HttpSession;
use pingora::upstreams::peer::HttpPeer;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::endpoint::{Check, Endpoint, Standing};
use super::{Target, Traffic, Upstream};
use crate::clock::Clock;
use crate::config::Health;

/// Checks that run at once, of all upstreams: names may have many addresses.
static AT_ONCE: Semaphore = Semaphore::const_new(256);
/// Informational answers that are passed over.
const MAX_INFORMATIONAL: usize = 8;
/// How the checks name themselves.
const AGENT: &str = concat!("portcullis/", env!("CARGO_PKG_VERSION"), " health");

/// Checks every address of the upstream, all at once.
pub async fn check_all(upstream: &Arc<Upstream>, connector: &Arc<Connector>, clock: &Arc<dyn Clock>) {
    let Some(health) = &upstream.config.health else { return };
    let mut checks = JoinSet::new();
    for target in &upstream.targets {
        for endpoint in target.endpoints().iter() {
            let (upstream, connector, health) = (Arc::clone(upstream), Arc::clone(connector), health.clone());
            let (target, endpoint, clock) = (Arc::clone(target), Arc::clone(endpoint), Arc::clone(clock));
            checks.spawn(async move {
                // The semaphore is never closed.
                let _place = AT_ONCE.acquire().await;
                let asked = timeout(health.timeout, ask(&upstream, &connector, &endpoint, &health));
                let result = asked.await.unwrap_or_else(|_| Err("no answer in time".into()));
                let check = if result.is_ok() { Check::Passed } else { Check::Failed };
                let rules = upstream.config.ejection.as_ref();
                if let Some(standing) = endpoint.checked(check, &health, rules, clock.monotonic()) {
                    say(&upstream, &target, &endpoint, standing, result.err());
                }
            });
        }
    }
    while checks.join_next().await.is_some() {}
}

fn say(upstream: &Upstream, target: &Target, endpoint: &Endpoint, standing: Standing, cause: Option<String>) {
    match cause {
        Some(cause) => {
            tracing::warn!(
                upstream = upstream.name,
                target = target.address,
                address = %endpoint.address,
                cause,
                "upstream target is unhealthy: its checks fail"
            );
            target.publish();
        }
        None => upstream.say(target, endpoint, standing),
    }
}

/// Asks once. An error says what was wrong with the answer, in words of our own.
async fn ask(
    upstream: &Upstream,
    connector: &Connector,
    endpoint: &Endpoint,
    health: &Health,
) -> Result<(), String> {
    let mut peer = upstream.peer(&endpoint.address, Traffic::Plain).map_err(|_| "no socket has this path")?;
    peer.options.connection_timeout = Some(health.timeout);
    peer.options.total_connection_timeout = Some(health.timeout);
    let failed = |error: Box<pingora::Error>| error.etype().as_str().to_owned();
    let (mut session, _) = connector.get_http_session(&peer).await.map_err(failed)?;
    let request = request(upstream, &peer, health, &session).map_err(failed)?;
    session.write_request_header(Box::new(request)).await.map_err(failed)?;
    session.finish_request_body().await.map_err(failed)?;
    for _ in 0..MAX_INFORMATIONAL {
        session.read_response_header().await.map_err(failed)?;
        let status = session.response_header().map_or(0, |head| head.status.as_u16());
        match status {
            100..=199 => {}
            good if is_well(good, health) => return Ok(()),
            bad => return Err(format!("status {bad}")),
        }
    }
    Err("no final answer".into())
}

fn is_well(status: u16, health: &Health) -> bool {
    if health.statuses.is_empty() { (200..300).contains(&status) } else { health.statuses.contains(&status) }
}

fn request(
    upstream: &Upstream,
    peer: &HttpPeer,
    health: &Health,
    session: &HttpSession,
) -> pingora::Result<RequestHeader> {
    let mut head = RequestHeader::build("GET", health.path.as_bytes(), None)?;
    let host = match &upstream.config.host {
        Some(host) => host.clone(),
        None => peer._address.to_string(),
    };
    if matches!(session, HttpSession::H2(_)) {
        // HTTP/2 has scheme and authority of its own, which are those of the target.
        let scheme = if peer.is_tls() { "https" } else { "http" };
        if let Ok(uri) = format!("{scheme}://{host}{}", health.path).parse() {
            head.set_uri(uri);
        }
    }
    head.insert_header(HOST, host)?;
    head.insert_header(USER_AGENT, AGENT)?;
    if matches!(session, HttpSession::H1(_)) {
        head.insert_header(CONNECTION, "close")?;
    }
    for header in &upstream.set_headers {
        head.insert_header(header.name.clone(), header.value.clone())?;
    }
    Ok(head)
}
