//! How many connections each address has open, so that one client cannot take every place.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;

use ipnet::IpNet;
use parking_lot::Mutex;

use super::request::is_trusted;

/// Bits of an IPv6 address that a client is known by: it has all of what follows to itself.
const IPV6_BITS: u32 = 64;

/// The open connections by address. As large as there are connections.
#[derive(Debug, Default)]
pub struct Addresses {
    open: Mutex<HashMap<IpAddr, u32>>,
}

/// A connection's place among its address's, until it is dropped.
#[derive(Debug)]
pub(super) struct Place(Option<(Arc<Addresses>, IpAddr)>);

impl Addresses {
    /// Takes a place; `None` where the address has as many as it may. Loopback and the `exempt` networks, which speak for
    /// many clients, have no bound.
    pub(super) fn enter(
        self: &Arc<Self>,
        address: IpAddr,
        most: Option<NonZeroU32>,
        exempt: &[IpNet],
    ) -> Option<Place> {
        let address = address.to_canonical();
        let Some(most) = most else { return Some(Place(None)) };
        if address.is_loopback() || is_trusted(address, exempt) {
            return Some(Place(None));
        }
        let client = client(address);
        let mut open = self.open.lock();
        let count = open.entry(client).or_default();
        if *count >= most.get() {
            return None;
        }
        *count += 1;
        drop(open);
        Some(Place(Some((Arc::clone(self), client))))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((addresses, client)) = self.0.take() else { return };
        let mut open = addresses.open.lock();
        if let Some(count) = open.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                open.remove(&client);
            }
        }
    }
}

fn client(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let kept = u128::MAX << (Ipv6Addr::BITS - IPV6_BITS);
            Ipv6Addr::from_bits(address.to_bits() & kept).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_places_and_gets_them_back() {
        let addresses = Arc::new(Addresses::default());
        let exempt: [IpNet; 1] = ["10.0.0.0/8".parse().unwrap()];
        let enter = |address: &str| addresses.enter(address.parse().unwrap(), NonZeroU32::new(2), &exempt);
        let held = [enter("203.0.113.7").unwrap(), enter("::ffff:203.0.113.7").unwrap()];
        assert!(enter("203.0.113.7").is_none());
        let others =
            ["203.0.113.8", "2001:db8::1", "2001:db8::2:1", "2001:db8:0:1::1"].map(|one| enter(one).unwrap());
        assert!(enter("2001:db8::3").is_none(), "a /64 is one client");
        for exempt in ["10.1.1.1", "127.0.0.1", "::1"] {
            assert!((0..5).map(|_| enter(exempt)).all(|place| place.is_some()), "{exempt}");
        }
        drop((held, others));
        assert!(enter("203.0.113.7").is_some());
        assert!(addresses.open.lock().is_empty(), "nothing is kept of who has gone");
    }
}
