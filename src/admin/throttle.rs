//! Wrong tokens are slowed down by address. A right token is never held up: it is looked for first, which is a hash and
//! a look into a map, so nobody can lock an operator out by guessing from the same address.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Monotonic;

/// Wrong tokens that an address may send in one window before it is told to wait.
const MAX_FAILURES: u32 = 10;
/// How long a window is.
const WINDOW: Duration = Duration::from_mins(1);
/// Addresses that are remembered. Over it, the one whose window began first is forgotten.
const MAX_ADDRESSES: usize = 4_096;

/// Who sent wrong tokens lately. Locked for a moment by each wrong token.
#[derive(Debug, Default)]
pub struct Throttle(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    windows: HashMap<Network, Window>,
    /// The networks in the order in which their windows began, which is the order in which they end.
    order: VecDeque<Network>,
}

/// An IPv4 address, or the /64 of an IPv6 address: what one client can easily choose from counts as one.
type Network = u128;

#[derive(Debug)]
struct Window {
    since: Monotonic,
    failures: u32,
}

/// What becomes of a wrong token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// One of the first.
    Counted,
    /// One too many, and how long to wait until the next.
    TooMany(Duration),
}

impl Throttle {
    /// Takes down that a wrong token came from this address.
    pub(super) fn failed(&self, address: IpAddr, now: Monotonic) -> Failure {
        let mut table = self.0.lock();
        table.forget(now);
        let network = network(address);
        let since = match table.windows.get_mut(&network) {
            None => {
                table.begin(network, now);
                return Failure::Counted;
            }
            Some(window) if window.failures < MAX_FAILURES => {
                window.failures += 1;
                return Failure::Counted;
            }
            Some(window) => window.since,
        };
        Failure::TooMany(WINDOW.saturating_sub(now.since(since)))
    }
}

impl Table {
    /// Drops the windows that are over.
    fn forget(&mut self, now: Monotonic) {
        while let Some(first) = self.order.front() {
            let over = self.windows.get(first).is_none_or(|window| now.since(window.since) >= WINDOW);
            if !over {
                return;
            }
            self.drop_first();
        }
    }

    fn begin(&mut self, network: Network, now: Monotonic) {
        if self.order.len() >= MAX_ADDRESSES {
            self.drop_first();
        }
        self.order.push_back(network);
        self.windows.insert(network, Window { since: now, failures: 1 });
    }

    fn drop_first(&mut self) {
        if let Some(first) = self.order.pop_front() {
            self.windows.remove(&first);
        }
    }
}

fn network(address: IpAddr) -> Network {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits() >> 64 << 64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic::from_nanos(seconds * 1_000_000_000)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn exhaust(throttle: &Throttle, from: &str, now: Monotonic) {
        for _ in 0..MAX_FAILURES {
            assert_eq!(throttle.failed(address(from), now), Failure::Counted);
        }
    }

    #[test]
    fn an_address_that_failed_too_often_waits_for_the_end_of_its_window() {
        let throttle = Throttle::default();
        exhaust(&throttle, "203.0.113.7", at(5));
        let wait = throttle.failed(address("203.0.113.7"), at(25));
        assert_eq!(wait, Failure::TooMany(Duration::from_secs(40)));
        assert_eq!(throttle.failed(address("203.0.113.8"), at(25)), Failure::Counted);
        assert_eq!(throttle.failed(address("203.0.113.7"), at(65)), Failure::Counted);
    }

    #[test]
    fn an_ipv6_network_and_a_mapped_address_are_one() {
        let throttle = Throttle::default();
        exhaust(&throttle, "2001:db8::1", at(0));
        assert_ne!(throttle.failed(address("2001:db8::ffff:2"), at(1)), Failure::Counted);
        assert_eq!(throttle.failed(address("2001:db8:0:1::1"), at(1)), Failure::Counted);
        exhaust(&throttle, "::ffff:203.0.113.7", at(0));
        assert_ne!(throttle.failed(address("203.0.113.7"), at(1)), Failure::Counted);
    }

    #[test]
    fn no_more_addresses_are_remembered_than_the_bound() {
        let throttle = Throttle::default();
        exhaust(&throttle, "203.0.113.7", at(0));
        for n in 0..u32::try_from(MAX_ADDRESSES * 2).unwrap() {
            throttle.failed(IpAddr::V4(n.into()), at(1));
            let table = throttle.0.lock();
            assert!(table.windows.len() <= MAX_ADDRESSES && table.order.len() == table.windows.len());
        }
        assert_eq!(throttle.failed(address("203.0.113.7"), at(2)), Failure::Counted);
        throttle.failed(address("203.0.113.9"), at(120));
        assert_eq!(throttle.0.lock().windows.len(), 1);
    }
}
