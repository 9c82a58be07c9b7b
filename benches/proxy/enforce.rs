//! What a contender must do before its speed means anything: let a key pass, refuse what is none, and hold a key to
//! its limit. One that does not is not measured.

use std::net::SocketAddr;

use anyhow::{Context as _, ensure};

use crate::contenders::Site;
use crate::load::Client;
use crate::secrets::secret;
use crate::wire::{self, request};

/// Numbers from here on are secrets of no key.
pub const UNKNOWN: usize = 1 << 40;
/// Requests a minute that a key has while its limit is looked at.
const LIMIT: u64 = 5;
/// Within so many requests the limit must have refused one: some let a burst pass.
const REFUSED_WITHIN: u64 = 3 * LIMIT;
/// How an upstream that is asked for this answers: with the head that it got.
const ECHO: &str = "/v1/echo";

/// Starts it with a low limit, and looks at everything.
pub fn check(client: &Client, site: &Site) -> anyhow::Result<()> {
    let process = site.start(LIMIT)?;
    let checked = keys(client, site.address).and_then(|()| limit(client, site.address));
    process.end()?;
    checked
}

/// A key passes, without its secret and with who it is; an unknown key and none are refused.
pub fn keys(client: &Client, address: SocketAddr) -> anyhow::Result<()> {
    for (what, unknown) in [("no key", None), ("an unknown key", Some(secret(UNKNOWN)))] {
        let status = status(client, address, unknown.as_deref())?;
        ensure!(matches!(status, 401 | 403), "{what} was answered with {status}");
    }
    let known = secret(1);
    let answer = client.ask(address, &request(ECHO, Some(&known)))?;
    ensure!(answer.starts_with("HTTP/1.1 200 "), "a key was answered with {answer}");
    let (_, forwarded) = answer.split_once("\r\n\r\n").context("an answer without a body")?;
    ensure!(!forwarded.contains(&known), "the upstream was sent the secret");
    ensure!(forwarded.contains("key-00001"), "the upstream was not told whose request it is: {forwarded}");
    Ok(())
}

/// One key is refused once it is over its limit, and another then passes.
fn limit(client: &Client, address: SocketAddr) -> anyhow::Result<()> {
    let mut passed = 0;
    let refused = loop {
        match status(client, address, Some(&secret(2)))? {
            200 => passed += 1,
            status => break status,
        }
        ensure!(passed < REFUSED_WITHIN, "{passed} requests passed where {LIMIT} a minute may");
    };
    ensure!(matches!(refused, 429 | 503), "a key over its limit was answered with {refused}");
    ensure!(passed >= LIMIT, "{passed} requests passed where {LIMIT} a minute may");
    let other = status(client, address, Some(&secret(3)))?;
    ensure!(other == 200, "one key's limit refused another key, with {other}");
    Ok(())
}

/// What only Portcullis has to show: the client is told of its limit.
pub fn headers(client: &Client, address: SocketAddr) -> anyhow::Result<()> {
    let answer = client.ask(address, &request(ECHO, Some(&secret(1))))?.to_ascii_lowercase();
    for header in
        ["ratelimit:", "ratelimit-policy:", "x-request-id:", "x-portcullis-key-id:", "x-forwarded-for:"]
    {
        ensure!(answer.contains(header), "there is no {header} in {answer}");
    }
    Ok(())
}

fn status(client: &Client, address: SocketAddr, secret: Option<&str>) -> anyhow::Result<u16> {
    let answer = client.ask(address, &request("/v1/models", secret))?;
    wire::status(answer.as_bytes()).context("an answer without a status")
}
