//! Targets with names: an answer of DNS is used for as long as it says, and what was known outlives DNS.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::{Answer, Client, Fixture, Gateway, Known, NameServer, eventually, head_of, within};

/// Two upstreams on one port of two addresses, as two machines that have a name in turn.
struct Machines {
    port: u16,
    requests: [Arc<AtomicUsize>; 2],
}

const FIRST: Ipv4Addr = Ipv4Addr::LOCALHOST;
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

impl Machines {
    fn start() -> Self {
        loop {
            let first = TcpListener::bind(SocketAddr::new(IpAddr::V4(FIRST), 0)).unwrap();
            let port = first.local_addr().unwrap().port();
            // Somebody else may have the port there.
            let Ok(second) = TcpListener::bind(SocketAddr::new(IpAddr::V4(SECOND), port)) else { continue };
            return Self { port, requests: [serve(first), serve(second)] };
        }
    }

    fn count(&self, machine: usize) -> usize {
        self.requests[machine].load(Ordering::SeqCst)
    }
}

/// Serves one request a connection.
fn serve(listener: TcpListener) -> Arc<AtomicUsize> {
    let requests = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&requests);
    let one = move |mut stream: TcpStream| {
        head_of(&mut stream);
        counts.fetch_add(1, Ordering::SeqCst);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    };
    thread::spawn(move || listener.incoming().flatten().for_each(one));
    requests
}

/// A gateway before the machine that `api.test` is now.
struct World {
    server: NameServer,
    machines: Machines,
    gateway: Gateway,
}

impl World {
    fn new(known: Known, more: &str) -> Self {
        let (server, machines) = (NameServer::start(known), Machines::start());
        let fixture = Fixture::with(&format!(
            "[upstreams.api]\ntargets = [\"api.test:{}\"]\ndns_servers = [\"{}\"]\n{more}\n\
             [[routes]]\npath = \"/open\"\nupstream = \"api\"\naccess = \"public\"\n",
            machines.port, server.address
        ));
        let gateway = fixture.start();
        Self { server, machines, gateway }
    }

    fn get(&self) -> Answer {
        Client::new(self.gateway.address).get("/open/x", "")
    }

    /// How many look-ups failed.
    fn failures(&self) -> u64 {
        let metrics = self.gateway.admin.metrics();
        let name = "portcullis_upstream_resolve_failures_total{";
        let line = metrics.lines().find(|line| line.starts_with(name)).unwrap();
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    }
}

#[test]
fn a_short_time_to_live_moves_the_traffic() {
    let world = World::new(Known::As(vec![FIRST], 1), "");
    assert_eq!((world.get().status, world.machines.count(0)), (200, 1));
    world.server.knows(Known::As(vec![SECOND], 1));
    // Without it, it would be asked for again after 30 seconds.
    within(Duration::from_secs(20), "requests go to the other one, soon after its second", || {
        assert_eq!(world.get().status, 200, "and none is lost on the way");
        (world.machines.count(1) > 0).then_some(())
    });
    // What has two addresses gives each its share.
    world.server.knows(Known::As(vec![FIRST, SECOND], 1));
    let before = world.machines.count(0);
    eventually("both are used", || {
        world.get();
        world.machines.count(0) > before + 1
    });
}

#[test]
fn a_long_time_to_live_is_not_asked_for_again() {
    let world = World::new(Known::As(vec![FIRST], 60), "");
    world.server.knows(Known::As(vec![SECOND], 60));
    let asked = world.server.asked();
    assert!(asked >= 1, "at the start");
    thread::sleep(Duration::from_millis(3500));
    assert_eq!((world.get().status, world.machines.count(0)), (200, 1));
    // On a busy machine the start's question may have been put again.
    assert!(world.server.asked() <= asked + 1, "not each second");
    // Unless the configuration wants to know it sooner.
    let sooner = World::new(Known::As(vec![FIRST], 60), "resolve_every = \"1s\"");
    eventually("it is asked again", || sooner.server.asked() > 2);
}

#[test]
fn a_name_that_is_gone_keeps_its_addresses_and_its_failures_are_counted() {
    let world = World::new(Known::As(vec![FIRST], 1), "resolve_every = \"1s\"");
    assert_eq!(world.failures(), 0);
    for gone in [Known::Nothing, Known::Silence, Known::As(vec![], 1)] {
        let before = world.failures();
        world.server.knows(gone.clone());
        within(Duration::from_secs(20), "it is counted", || (world.failures() > before).then_some(()));
        assert_eq!(world.get().status, 200, "{gone:?}");
    }
    world.server.knows(Known::As(vec![SECOND], 1));
    eventually("it is found again", || {
        world.get();
        world.machines.count(1) > 0
    });
}

#[test]
fn addresses_of_a_kind_that_nobody_could_ask_for_stay() {
    let world = World::new(Known::As(vec![FIRST], 1), "");
    let asked = world.server.asked();
    // Nobody listens there, if there is IPv6 at all.
    world.server.knows(Known::Half(Ipv6Addr::LOCALHOST, 1));
    // A question that failed is put again, so these are two look-ups at least: the answer of the first is in use.
    within(Duration::from_secs(30), "it is asked", || (world.server.asked() > asked + 6).then_some(()));
    for count in 1..=4 {
        assert_eq!((world.get().status, world.machines.count(0)), (200, count));
    }
    assert_eq!(world.failures(), 0, "there was an answer");
}

#[test]
fn a_name_that_never_was_is_502_and_is_found_once_it_is_there() {
    let world = World::new(Known::Nothing, "resolve_every = \"1s\"");
    let answer = world.get();
    assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_unreachable"));
    world.server.knows(Known::As(vec![FIRST], 1));
    eventually("it is found", || world.get().status == 200);
}
