//! `X-Forwarded-*`: the connection's own facts, unless a trusted proxy says more.

use serde_json::json;

use super::{KEYED, World};
use crate::support::{Fixture, get, send};

fn trusting(networks: &str) -> String {
    format!("[gateway]\nlisten = [\"127.0.0.1:0\"]\ntrusted_proxies = [{networks}]\n{KEYED}")
}

/// What the upstream gets of `Forwarded` and `X-Forwarded-*`.
fn forwarded(world: &World, fields: &str) -> Vec<String> {
    world.fields(fields).into_iter().filter(|line| line.contains("forwarded")).collect()
}

const CLAIMS: &str = "x-forwarded-for: 198.51.100.1\r\nX-Forwarded-For: 203.0.113.7\r\nx-forwarded-proto: https\r\n\
                      x-forwarded-host: shop.test\r\nforwarded: for=198.51.100.1\r\n";
/// What servers that hand headers on as variables cannot tell from the real ones.
const LOOKALIKES: &str =
    "x_forwarded_for: 198.51.100.1\r\nX-Forwarded_Proto: https\r\nx.forwarded.host: shop.test\r\n";

#[test]
fn what_a_client_says_of_itself_is_replaced() {
    let own = ["x-forwarded-for: 127.0.0.1", "x-forwarded-host: api.test:8080", "x-forwarded-proto: http"];
    for config in [KEYED.to_owned(), trusting("\"10.0.0.0/8\", \"::1\"")] {
        let world = World::new(&config);
        assert_eq!(forwarded(&world, ""), own);
        assert_eq!(forwarded(&world, CLAIMS), own);
        assert_eq!(forwarded(&world, LOOKALIKES), own);
    }
}

#[test]
fn what_a_trusted_proxy_says_is_kept_and_added_to() {
    let world = World::new(&trusting("\"127.0.0.0/8\""));
    let own = ["x-forwarded-for: 127.0.0.1", "x-forwarded-host: api.test:8080", "x-forwarded-proto: http"];
    assert_eq!(forwarded(&world, ""), own);
    let kept = [
        "forwarded: for=198.51.100.1",
        "x-forwarded-for: 198.51.100.1, 203.0.113.7, 127.0.0.1",
        "x-forwarded-host: shop.test",
        "x-forwarded-proto: https",
    ];
    assert_eq!(forwarded(&world, CLAIMS), kept);
}

#[test]
fn a_keys_address_list_is_checked_behind_trusted_proxies_only() {
    let open = |config: &str| {
        let fixture = Fixture::with(config);
        let gateway = fixture.start();
        let (_, secret) = gateway.admin.key(&json!({"ip_allow": ["203.0.113.0/24", "2001:db8::/32"]}));
        (fixture, gateway, secret)
    };
    let (plain, trusting) = (open(KEYED), open(&trusting("\"127.0.0.1\", \"10.0.0.0/8\"")));
    for ((_, gateway, secret), chain, expected) in [
        (&plain, "203.0.113.7", 403),
        (&trusting, "", 403),
        (&trusting, "203.0.113.7", 200),
        (&trusting, "203.0.113.7:4711", 200),
        (&trusting, "2001:db8::1", 200),
        (&trusting, "[2001:db8::1]:80", 200),
        (&trusting, "::ffff:203.0.113.7", 200),
        (&trusting, "6.6.6.6, 203.0.113.7, 10.1.2.3", 200),
        (&trusting, "203.0.113.7, 6.6.6.6", 403),
        (&trusting, "203.0.113.7, 6.6.6.6, 10.1.2.3", 403),
        (&trusting, "203.0.113.7, rubbish", 403),
    ] {
        let fields = if chain.is_empty() { String::new() } else { format!("x-forwarded-for: {chain}\r\n") };
        let request = get("/v1/x", secret).replace("\r\n\r\n", &format!("\r\n{fields}\r\n"));
        assert_eq!(send(gateway.address, request).status, expected, "{chain}");
    }
}
