//! Looks a name up, and says for how long the answer holds.
//!
//! The system's configuration is read anew each time: its hosts file, its name servers and its search list. What the
//! hosts file has of the name itself is all that the name has. Where the configuration cannot be read, or its name servers
//! do not know the name, the system itself is asked, which may know others (but not for how long).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use hickory_resolver::{Hosts, TokioResolver};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// How long name servers have in all.
const PATIENCE: Duration = Duration::from_secs(4);
/// For the addresses of one family, so that a name server that never speaks of one does not hide the other.
const ONE_FAMILY: Duration = Duration::from_secs(3);
/// For one question to one of them.
const ONE_QUESTION: Duration = Duration::from_secs(2);

/// What a look-up found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The addresses. At least one.
    pub(super) addresses: Vec<SocketAddr>,
    /// For how long they hold; `None`: nobody said.
    pub(super) lasts: Option<Duration>,
    /// Nobody could say which addresses of these there are: those that were known may still be right.
    pub(super) unsaid: Option<Family>,
}

/// A kind of addresses. Name servers are asked for each by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// Of IPv4.
    V4,
    /// Of IPv6.
    V6,
}

impl Family {
    /// Whether this is one of them.
    pub(super) const fn has(self, address: &SocketAddr) -> bool {
        match self {
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }

    const fn record(self) -> RecordType {
        match self {
            Self::V4 => RecordType::A,
            Self::V6 => RecordType::AAAA,
        }
    }
}

/// What name servers said of a name's addresses of one family, maybe that there are none.
#[derive(Debug, Default)]
struct Said {
    addresses: Vec<IpAddr>,
    ttl: Option<u32>,
}

/// What stands in the files.
enum Files {
    /// All that the name has.
    Hosts(Vec<IpAddr>),
    /// Who is to be asked, and for which names, one after the other.
    Servers(Box<TokioResolver>, Vec<Name>),
}

/// Looks up the addresses of `host:port`, at these name servers or, where there are none, at the system's.
///
/// # Errors
/// What went wrong, in words.
pub(super) async fn look_up(name: &str, servers: &Arc<[SocketAddr]>) -> Result<Found, String> {
    let (host, port) = split(name)?;
    let asked = match timeout(PATIENCE, ask(host, port, servers)).await {
        Ok(asked) => asked,
        Err(_) => Err("no name server answered in time".to_owned()),
    };
    match asked {
        Ok(found) => Ok(found),
        Err(fault) if !servers.is_empty() => Err(fault),
        Err(fault) => match tokio::net::lookup_host(name).await.map(Iterator::collect::<Vec<_>>) {
            Ok(addresses) if !addresses.is_empty() => Ok(Found { addresses, lasts: None, unsaid: None }),
            Ok(_) | Err(_) => Err(fault),
        },
    }
}

fn split(name: &str) -> Result<(&str, u16), String> {
    let parts = name.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    parts.ok_or_else(|| "is no name with a port".to_owned())
}

async fn ask(host: &str, port: u16, servers: &Arc<[SocketAddr]>) -> Result<Found, String> {
    let (host, servers) = (host.to_owned(), Arc::clone(servers));
    let read = spawn_blocking(move || files(&host, &servers)).await.map_err(|_| "the resolver broke off")?;
    let with_port = |address| SocketAddr::new(address, port);
    let (resolver, names) = match read.map_err(|error| error.to_string())? {
        Files::Hosts(known) => {
            let addresses = known.into_iter().map(with_port).collect();
            return Ok(Found { addresses, lasts: None, unsaid: None });
        }
        Files::Servers(resolver, names) => (resolver, names),
    };
    let mut fault = None;
    for name in names {
        let of = |family| one_family(&resolver, &name, family);
        let (v4, v6) = tokio::join!(of(Family::V4), of(Family::V6));
        let unsaid = if v4.is_err() { Some(Family::V4) } else { v6.is_err().then_some(Family::V6) };
        let mut said = Vec::new();
        for answer in [v4, v6] {
            match answer {
                Ok(one) => said.push(one),
                Err(failed) => fault = fault.or(Some(failed)),
            }
        }
        let lasts = said.iter().filter_map(|one| one.ttl).min().map(|ttl| Duration::from_secs(ttl.into()));
        let addresses: Vec<_> = said.into_iter().flat_map(|one| one.addresses).map(with_port).collect();
        if !addresses.is_empty() {
            return Ok(Found { addresses, lasts, unsaid });
        }
    }
    Err(fault.unwrap_or_else(|| "the name has no address".into()))
}

/// # Errors
/// Nobody said which there are, nor that there is none.
async fn one_family(resolver: &TokioResolver, name: &Name, family: Family) -> Result<Said, String> {
    match timeout(ONE_FAMILY, resolver.lookup(name.clone(), family.record())).await {
        Ok(Ok(found)) => {
            let records = found.answers().iter();
            let addresses: Vec<_> = records.clone().filter_map(|record| record.data.ip_addr()).collect();
            Ok(Said { ttl: records.map(|record| record.ttl).min(), addresses })
        }
        Ok(Err(error)) if error.is_no_records_found() => Ok(Said::default()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no name server answered in time".to_owned()),
    }
}

fn files(host: &str, servers: &[SocketAddr]) -> Result<Files, NetError> {
    let name = Name::from_utf8(host)?;
    let (config, mut options) = if servers.is_empty() {
        let known = of_hosts(&Hosts::from_system().unwrap_or_default(), &name);
        if !known.is_empty() {
            return Ok(Files::Hosts(known));
        }
        read_system_conf()?
    } else {
        let servers = servers.iter().map(server).collect();
        (ResolverConfig::from_parts(None, Vec::new(), servers), ResolverOpts::default())
    };
    let names = stands_for(&name, &config, options.ndots);
    options.timeout = options.timeout.min(ONE_QUESTION);
    // What was found is kept by who asked, for as long as it holds.
    options.cache_size = 0;
    // What they have is known by now. A resolver would ask them for each family by itself, and mix both sources.
    options.use_hosts_file = ResolveHosts::Never;
    let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    Ok(Files::Servers(Box::new(builder.with_options(options).build()?), names))
}

/// The addresses of both families that the hosts file has of the name itself.
fn of_hosts(hosts: &Hosts, name: &Name) -> Vec<IpAddr> {
    let query = |family: Family| Query::query(name.clone(), family.record());
    let found =
        [Family::V4, Family::V6].into_iter().filter_map(|family| hosts.lookup_static_host(&query(family)));
    found
        .flat_map(|one| one.answers().iter().filter_map(|record| record.data.ip_addr()).collect::<Vec<_>>())
        .collect()
}

/// The names that one may stand for: itself and those below the domains that are searched. One that has as many dots as
/// the system asks for (`ndots`) stands for itself first.
fn stands_for(name: &Name, config: &ResolverConfig, ndots: usize) -> Vec<Name> {
    let mut itself = name.clone();
    itself.set_fqdn(true);
    if name.is_fqdn() {
        return vec![itself];
    }
    let searched = config.domain().into_iter().chain(config.search());
    let below = searched.filter_map(|domain| name.clone().append_domain(domain).ok());
    let is_first = usize::from(name.num_labels()) > ndots || name.is_localhost();
    let (first, last) = if is_first { (Some(itself), None) } else { (None, Some(itself)) };
    let mut names: Vec<Name> = Vec::new();
    for mut one in first.into_iter().chain(below).chain(last) {
        one.set_fqdn(true);
        if !names.contains(&one) {
            names.push(one);
        }
    }
    names
}

fn server(address: &SocketAddr) -> NameServerConfig {
    let mut config = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut config.connections {
        connection.port = address.port();
    }
    config
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
    fn the_hosts_file_has_all_of_a_name_that_it_has_and_nothing_of_others() {
        let mut hosts = Hosts::default();
        let file = "10.0.0.5 api.example.com other\n::5 six.example.com # api.example.com\n10.0.0.6 both\n::6 both\n";
        hosts.read_hosts_conf(file.as_bytes()).unwrap();
        let of = |name: &str| -> Vec<String> {
            let found = of_hosts(&hosts, &Name::from_utf8(name).unwrap());
            found.iter().map(ToString::to_string).collect()
        };
        assert_eq!(of("api.example.com"), ["10.0.0.5"], "and no name server is asked for IPv6");
        assert_eq!(of("API.example.com."), ["10.0.0.5"]);
        assert_eq!(
            (of("six.example.com"), of("both")),
            (vec!["::5".into()], vec!["10.0.0.6".into(), "::6".into()])
        );
        assert_eq!(of("api"), [""; 0]);
    }

    #[test]
    fn a_name_is_searched_for_in_the_systems_order() {
        let domains = ["a.test.", "b.test."].map(|domain| Name::from_utf8(domain).unwrap());
        let config = ResolverConfig::from_parts(None, domains.to_vec(), Vec::new());
        let of = |name: &str, ndots| -> Vec<String> {
            let names = stands_for(&Name::from_utf8(name).unwrap(), &config, ndots);
            names.iter().map(ToString::to_string).collect()
        };
        assert_eq!(of("api", 1), ["api.a.test.", "api.b.test.", "api."]);
        assert_eq!(of("api.x", 1), ["api.x.", "api.x.a.test.", "api.x.b.test."]);
        assert_eq!(of("api.x", 5), ["api.x.a.test.", "api.x.b.test.", "api.x."]);
        assert_eq!(of("api.", 5), ["api."]);
    }

    #[test]
    fn a_target_is_a_name_and_a_port() {
        assert_eq!(split("api.internal:80"), Ok(("api.internal", 80)));
        assert!(split("api.internal").is_err());
    }
}
