//! Looks a name up, and says for how long the answer holds.
//!
//! The system's configuration is read anew each time: its name servers, its search list and its hosts file. Where that
//! cannot be done, or does not know the name, the system itself is asked, which may know others (but not for how long).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup_ip::LookupIp;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// How long name servers have in all.
const PATIENCE: Duration = Duration::from_secs(4);
/// For one question to one of them.
const ONE_QUESTION: Duration = Duration::from_secs(2);
/// A time to live that nobody gave: the resolver's for what stands in the hosts file.
const NO_TTL: u32 = 86_400;

/// What a look-up found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The addresses. At least one.
    pub(super) addresses: Vec<SocketAddr>,
    /// For how long they hold; `None`: nobody said.
    pub(super) lasts: Option<Duration>,
}

/// Looks up the addresses of `host:port`, at these name servers or, where there are none, at the system's.
///
/// # Errors
/// What went wrong, in words.
pub(super) async fn look_up(name: &str, servers: &Arc<[SocketAddr]>) -> Result<Found, String> {
    let (host, port) = split(name)?;
    let asked = match timeout(PATIENCE, ask(host, servers)).await {
        Ok(asked) => asked,
        Err(_) => Err("no name server answered in time".to_owned()),
    };
    match asked {
        Ok(found) => Ok(of(&found, port)),
        Err(fault) if !servers.is_empty() => Err(fault),
        Err(fault) => match tokio::net::lookup_host(name).await.map(Iterator::collect::<Vec<_>>) {
            Ok(addresses) if !addresses.is_empty() => Ok(Found { addresses, lasts: None }),
            Ok(_) | Err(_) => Err(fault),
        },
    }
}

fn split(name: &str) -> Result<(&str, u16), String> {
    let parts = name.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    parts.ok_or_else(|| "is no name with a port".to_owned())
}

async fn ask(host: &str, servers: &Arc<[SocketAddr]>) -> Result<LookupIp, String> {
    let chosen = Arc::clone(servers);
    // Files are read.
    let made = spawn_blocking(move || resolver(&chosen)).await.map_err(|_| "the resolver broke off")?;
    let resolver = made.map_err(|error| error.to_string())?;
    let found = if servers.is_empty() {
        resolver.lookup_ip(host).await
    } else {
        // It stands for itself: there is no search list.
        resolver.lookup_ip(format!("{}.", host.trim_end_matches('.'))).await
    };
    let found = found.map_err(|error| error.to_string())?;
    if found.iter().next().is_none() { Err("the name has no address".into()) } else { Ok(found) }
}

fn resolver(servers: &[SocketAddr]) -> Result<TokioResolver, hickory_resolver::net::NetError> {
    let mut builder = if servers.is_empty() {
        TokioResolver::builder_tokio()?
    } else {
        let servers = servers.iter().map(server).collect();
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        builder.options_mut().use_hosts_file = ResolveHosts::Never;
        builder
    };
    options(builder.options_mut());
    builder.build()
}

fn options(options: &mut ResolverOpts) {
    options.timeout = options.timeout.min(ONE_QUESTION);
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    // What was found is kept by who asked, for as long as it holds.
    options.cache_size = 0;
}

fn server(address: &SocketAddr) -> NameServerConfig {
    let mut config = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut config.connections {
        connection.port = address.port();
    }
    config
}

fn of(found: &LookupIp, port: u16) -> Found {
    let ttl = found.as_lookup().answers().iter().map(|record| record.ttl).min();
    Found {
        addresses: found.iter().map(|address: IpAddr| SocketAddr::new(address, port)).collect(),
        lasts: ttl.filter(|ttl| *ttl < NO_TTL).map(|ttl| Duration::from_secs(ttl.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_of_the_hosts_file_are_found_and_have_no_time_to_live() {
        let found = look_up("localhost:80", &Arc::from([])).await.unwrap();
        assert!(found.addresses.contains(&"127.0.0.1:80".parse().unwrap()), "{found:?}");
        assert_eq!(found.lasts, None);
    }

    #[test]
    fn a_target_is_a_name_and_a_port() {
        assert_eq!(split("api.internal:80"), Ok(("api.internal", 80)));
        assert!(split("api.internal").is_err());
    }
}
