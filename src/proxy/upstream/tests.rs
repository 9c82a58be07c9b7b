//! Which target is chosen.

use super::*;
use std::net::SocketAddr;
use std::num::NonZeroU32;

fn upstream(targets: &[(&str, u32)], balance: Balance) -> Upstream {
    let target = |&(address, weight): &(&str, u32)| crate::config::Target {
        address: address.to_owned(),
        weight: NonZeroU32::new(weight).unwrap(),
    };
    let config = UpstreamConfig {
        targets: targets.iter().map(target).collect(),
        balance,
        tls: None,
        host: None,
        connect_timeout: Duration::from_secs(1),
        response_timeout: Duration::from_secs(1),
        websocket_idle: Duration::from_secs(1),
        protocol: Protocol::Http1,
        trust: crate::config::Trust::default(),
        keepalive: 128,
        resolve_every: None,
        dns_servers: Arc::from([]),
        health: None,
        ejection: Some(crate::config::Ejection::default()),
        set_headers: Vec::new(),
    };
    Upstream::new("api", &config, &Metrics::new().unwrap())
}

#[test]
fn weights_are_kept_and_spread() {
    let upstream =
        upstream(&[("127.0.0.1:1", 5), ("127.0.0.1:2", 1), ("127.0.0.1:3", 1)], Balance::RoundRobin);
    assert_eq!(upstream.turns, [0, 0, 1, 0, 2, 0, 0]);
}

fn address(upstream: &Upstream, target: usize) -> SocketAddr {
    inet(&upstream.targets[target].endpoints()[0].address)
}

fn inet(place: &Place) -> SocketAddr {
    let Place::Inet(address) = place else { panic!("{place} is no address") };
    *address
}

fn choose(upstream: &Upstream, tried: &[SocketAddr]) -> Option<Chosen> {
    let tried: Vec<Place> = tried.iter().copied().map(Place::Inet).collect();
    upstream.choose(Traffic::Plain, Line::Any, &tried).ok().map(|(chosen, _)| chosen)
}

#[test]
fn the_least_busy_target_for_its_weight_is_chosen() {
    let upstream = upstream(&[("127.0.0.1:1", 1), ("127.0.0.1:2", 3)], Balance::LeastConnections);
    let chosen: Vec<_> = (0..8).filter_map(|_| choose(&upstream, &[])).collect();
    let first = address(&upstream, 0);
    assert_eq!(chosen.iter().filter(|chosen| inet(chosen.address()) == first).count(), 2);
    drop(chosen);
    assert_eq!(upstream.targets[1].running(), 0);
}

#[test]
fn a_target_without_an_address_is_passed_over() {
    let upstream = upstream(&[("name.invalid:1", 1), ("127.0.0.1:2", 1)], Balance::RoundRobin);
    for _ in 0..4 {
        assert_eq!(inet(choose(&upstream, &[]).unwrap().address()), address(&upstream, 1));
    }
}

#[test]
fn a_target_that_failed_is_not_chosen_again() {
    for balance in [Balance::RoundRobin, Balance::LeastConnections] {
        let upstream = upstream(&[("127.0.0.1:1", 9), ("127.0.0.1:2", 1), ("127.0.0.1:3", 1)], balance);
        let [one, two, three] = [0, 1, 2].map(|target| address(&upstream, target));
        for _ in 0..9 {
            assert_eq!(inet(choose(&upstream, &[one, three]).unwrap().address()), two);
        }
        assert!(choose(&upstream, &[one, two, three]).is_none());
    }
}

#[test]
fn of_the_addresses_of_one_name_each_has_its_turn() {
    let upstream = upstream(&[("name.invalid:1", 1)], Balance::RoundRobin);
    let known = ["127.0.0.1:1", "127.0.0.2:1", "127.0.0.3:1"].map(|one| one.parse().unwrap());
    let endpoints = known.iter().map(|one| Arc::new(Endpoint::new(Place::Inet(*one)))).collect();
    upstream.targets[0].endpoints.store(Arc::new(endpoints));
    let mut seen: Vec<_> = (0..6).map(|_| inet(choose(&upstream, &[]).unwrap().address())).collect();
    seen.sort_unstable();
    let twice: Vec<SocketAddr> = known.iter().flat_map(|one| [*one, *one]).collect();
    assert_eq!(seen, twice);
}

#[test]
fn failures_eject_all_targets_but_the_last() {
    let upstream = upstream(&[("127.0.0.1:1", 1), ("127.0.0.1:2", 1)], Balance::RoundRobin);
    let [one, two] = [0, 1].map(|target| address(&upstream, target));
    let now = Monotonic::default();
    for failing in [one, two] {
        let other = if failing == one { two } else { one };
        for _ in 0..20 {
            let Some(chosen) = choose(&upstream, &[other]) else { break };
            upstream.failed(&chosen, now);
        }
    }
    for _ in 0..4 {
        assert_eq!(inet(choose(&upstream, &[]).unwrap().address()), two, "the last one stays");
    }
    assert!(upstream.targets[1].is_open() && !upstream.targets[0].is_open());
    assert_eq!(inet(choose(&upstream, &[two]).unwrap().address()), one, "an ejected one is better than none");
}

#[test]
fn no_more_connections_are_kept_than_may_be() {
    let mut upstream = upstream(&[("127.0.0.1:1", 1)], Balance::RoundRobin);
    upstream.config.keepalive = 2;
    let taken: Vec<_> = (0..4).map(|_| upstream.choose(Traffic::Plain, Line::Any, &[]).unwrap()).collect();
    let kept = taken.iter().filter(|(_, peer)| peer.options.idle_timeout == Some(POOL_IDLE));
    assert_eq!(kept.count(), 2);
    let (_, peer) = upstream.choose(Traffic::Plain, Line::New, &[]).unwrap();
    assert_ne!(peer.group_key, taken[0].1.group_key, "a new connection is none of those that were kept");
}
