//! The load that a build is profiled under (`make release-pgo`): requests with keys, refused ones and public ones, on
//! kept connections and on short ones, over HTTP/1.1 and HTTP/2. Nothing is measured.

use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use http::Request;
use tokio::net::TcpStream;
use tokio::runtime::Builder;

use crate::contenders::{AccessLog, Http2, Site, Software};
use crate::enforce::{self, UNKNOWN};
use crate::load::{Client, Load};
use crate::machine::{self, Cores};
use crate::measure::CONNECTIONS;
use crate::secrets::secret;
use crate::wire::{Secrets, request};
use crate::{KEYS, LIMIT};

/// Requests of each kind on kept connections; the fewer of HTTP/2 are a tenth of what HTTP/1.1 brings.
const KEYED: usize = 40_000;
const OTHER: usize = 10_000;
const STREAMS: usize = 4_000;
/// Requests on a connection of their own.
const SHORT: usize = 500;

/// Drives a gateway with its access log off, then one with it on, and lets each end in order: only then is its profile
/// written.
pub fn drive(client: &Client, upstream: SocketAddr, cores: Cores) -> anyhow::Result<()> {
    for log in [AccessLog::Off, AccessLog::On] {
        let software = Software::Portcullis { binary: machine::gateway(), log };
        let site = Site::new(software, KEYS, upstream, cores)?.with(Http2::On);
        enforce::check(client, &site)?;
        let process = site.start(LIMIT)?;
        let load = |path, numbers, requests, status| {
            let secrets = Some(Secrets::new(numbers));
            Load { addresses: vec![site.address], path, secrets, connections: CONNECTIONS, requests, status }
        };
        client.run(&load("/v1/models", 0..KEYS, KEYED, 200))?;
        client.run(&load("/v1/models", UNKNOWN..UNKNOWN + KEYS, OTHER, 401))?;
        client.run(&load("/public/models", 0..KEYS, OTHER, 200))?;
        for number in 0..SHORT {
            client.ask(site.address, &request("/v1/models", Some(&secret(number))))?;
        }
        Builder::new_current_thread().enable_io().build()?.block_on(streams(site.address))?;
        process.end()?;
    }
    Ok(())
}

/// Requests on one HTTP/2 connection, one after the other.
async fn streams(address: SocketAddr) -> anyhow::Result<()> {
    let (mut requests, connection) = h2::client::handshake(TcpStream::connect(address).await?).await?;
    let connection = tokio::spawn(connection);
    for number in 0..STREAMS {
        let credential = format!("Bearer {}", secret(number % KEYS));
        let uri = format!("http://{address}/v1/models");
        let request = Request::get(uri).header("authorization", credential).body(())?;
        requests = requests.ready().await?;
        let (answer, _) = requests.send_request(request, true)?;
        let answer = answer.await?;
        ensure!(answer.status() == 200, "over HTTP/2: {}", answer.status());
        let mut body = answer.into_body();
        while let Some(piece) = body.data().await {
            body.flow_control().release_capacity(piece?.len())?;
        }
    }
    drop(requests);
    connection.await.context("the connection's task")?.context("the connection")
}
