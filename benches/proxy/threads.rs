//! How many worker threads serve best on all cores, and whether it pays that they share their work.
//!
//! Nothing is pinned here: client, upstream and gateway share the machine, as they do at a small site. A runtime with
//! several workers moves work between them (stealing). What is best without it is two gateways of one thread each, that
//! share nothing at all and have half of the connections each: no design without stealing costs less.

use std::net::SocketAddr;

use crate::contenders::{AccessLog, Site, Software};
use crate::figures::{self, Sample};
use crate::load::{Client, Load};
use crate::machine::{self, Cores, Process};
use crate::measure::{REQUESTS, WARM_UP};
use crate::wire::Secrets;
use crate::{KEYS, LIMIT};

const CONNECTIONS: [usize; 2] = [32, 256];

/// Gateways that share the load, and what was measured.
struct Way {
    name: &'static str,
    running: Vec<(Site, Process)>,
    /// For each number of connections: microseconds of processor time a request, and requests a second.
    measured: Vec<(Vec<f64>, Vec<f64>)>,
}

impl Way {
    fn start(
        name: &'static str,
        gateways: usize,
        threads: usize,
        upstream: SocketAddr,
    ) -> anyhow::Result<Self> {
        let mut running = Vec::new();
        for _ in 0..gateways {
            let software = Software::Portcullis { binary: machine::gateway(), log: AccessLog::Off };
            let site = Site::new(software, KEYS, upstream, Cores::FREE)?.with_threads(threads);
            let process = site.start(LIMIT)?;
            running.push((site, process));
        }
        Ok(Self { name, running, measured: vec![(Vec::new(), Vec::new()); CONNECTIONS.len()] })
    }

    fn used(&self) -> anyhow::Result<f64> {
        self.running.iter().map(|(_, process)| process.cpu()).sum()
    }

    fn round(&mut self, client: &Client, load: &Load) -> anyhow::Result<()> {
        let addresses: Vec<SocketAddr> = self.running.iter().map(|(site, _)| site.address).collect();
        for (number, connections) in CONNECTIONS.into_iter().enumerate() {
            let load = Load { addresses: addresses.clone(), connections, ..load.clone() };
            let before = self.used()?;
            let took = client.run(&load)?;
            let used = self.used()? - before;
            #[expect(clippy::cast_precision_loss, reason = "a figure to print")]
            let requests = load.requests as f64;
            if let Some((cpu, rate)) = self.measured.get_mut(number) {
                cpu.push(used / requests * 1e6);
                rate.push(requests / took.as_secs_f64());
            }
        }
        Ok(())
    }
}

/// All ways, in turns.
pub fn compare(client: &Client, upstream: SocketAddr, rounds: usize) -> anyhow::Result<()> {
    let mut ways = [
        Way::start("one gateway, 1 thread", 1, 1, upstream)?,
        Way::start("one gateway, 2 threads that steal", 1, 2, upstream)?,
        Way::start("two gateways, 1 thread each, nothing shared", 2, 1, upstream)?,
    ];
    let (path, secrets, status) = ("/v1/models", Some(Secrets::new(0..KEYS)), 200);
    let load = Load { addresses: Vec::new(), path, secrets, connections: 1, requests: REQUESTS, status };
    for way in &mut ways {
        way.round(client, &Load { requests: WARM_UP, ..load.clone() })?;
        way.measured.fill((Vec::new(), Vec::new()));
    }
    for _ in 0..rounds {
        for way in &mut ways {
            way.round(client, &load)?;
        }
    }
    for (number, connections) in CONNECTIONS.into_iter().enumerate() {
        figures::title(&format!("{connections} connections, nothing pinned"));
        for way in &ways {
            let Some((cpu, rate)) = way.measured.get(number) else { continue };
            figures::sampled(way.name, &Sample::new(cpu.clone()), 1, "us");
            figures::sampled("  requests a second", &Sample::new(rate.clone()), 0, "");
        }
    }
    Ok(())
}
