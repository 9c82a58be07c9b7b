//! `[[gateway.tls]]`: the listeners that speak TLS. Each file is loaded here, so that `portcullis check` says what a
//! start would.

use std::net::SocketAddr;

use serde_json::Value;

use super::file::Surroundings;
use super::listen::Listen;
use super::sections::{address, existing_file};
use super::{Preamble, TlsListener};
use crate::document::{Faults, Fields, either, string};
use crate::tls::{self, Clients, Demand, Pair, Part, Terms, TlsFault};

/// Entries at most.
const MAX_ENTRIES: usize = 256;

/// One entry of the list.
struct Entry {
    listen: SocketAddr,
    preamble: Preamble,
    pair: Pair,
    clients: Option<Clients>,
}

/// Reads the list. Entries with the same address are one listener with several certificates.
///
/// `plain` are the addresses of the listeners without TLS.
pub fn listeners(
    fields: &mut Fields<'_>,
    around: &Surroundings<'_>,
    plain: Option<&Listen>,
) -> Vec<TlsListener> {
    let mut found: Vec<TlsListener> = Vec::new();
    fields.list("tls", MAX_ENTRIES, |value, pointer, faults| {
        let entry = entry(value, pointer, faults, around)?;
        let taken = plain.is_some_and(|plain| plain.has(entry.listen));
        if entry.listen.port() != 0 && taken {
            faults.add(format!("{pointer}/listen"), "is an address of gateway.listen as well");
        }
        let Some(there) = found.iter_mut().find(|one| one.listen == entry.listen) else {
            let terms = Terms { pairs: vec![entry.pair], clients: entry.clients };
            found.push(TlsListener { listen: entry.listen, preamble: entry.preamble, terms });
            return Some(());
        };
        // Which certificate a client asks for is its own choice; what is asked of it must not follow from that.
        if there.terms.clients != entry.clients {
            faults.add(
                format!("{pointer}/client_ca"),
                "must be the same, as must client_certificate, in all entries of one address",
            );
        }
        if there.preamble != entry.preamble {
            faults.add(format!("{pointer}/proxy_protocol"), "must be the same in all entries of one address");
        }
        if there.terms.pairs.contains(&entry.pair) {
            faults.add(format!("{pointer}/certificate"), "is listed twice for this address");
        }
        there.terms.pairs.push(entry.pair);
        Some(())
    });
    found
}

fn entry(value: &Value, pointer: &str, faults: &mut Faults, around: &Surroundings<'_>) -> Option<Entry> {
    let mut fields = Fields::open(value, pointer, faults)?;
    let listen = fields.require("listen", address);
    let preamble = fields.read("proxy_protocol", |v| either(v, Preamble::Proxy, Preamble::None));
    let certificate = fields.require("certificate", |v| existing_file(v, around));
    let private_key = fields.require("private_key", |v| existing_file(v, around));
    let authorities = fields.read("client_ca", |v| existing_file(v, around));
    let demand = fields.read("client_certificate", demand);
    if demand.is_some() && !fields.has("client_ca") {
        fields.fault("client_certificate", "needs client_ca, the authorities of the clients' certificates");
    }
    let pair =
        certificate.zip(private_key).map(|(certificate, private_key)| Pair { certificate, private_key });
    if let Some(Err(fault)) = pair.as_ref().map(tls::load) {
        fields.fault(field_of(&fault), fault.to_string());
    }
    if let Some(Err(fault)) = authorities.as_deref().map(tls::load_authorities) {
        fields.fault(field_of(&fault), fault.to_string());
    }
    fields.finish();
    let clients =
        authorities.map(|authorities| Clients { authorities, demand: demand.unwrap_or(Demand::Required) });
    let preamble = preamble.unwrap_or(Preamble::None);
    Some(Entry { listen: listen?, preamble, pair: pair?, clients })
}

fn demand(value: &Value) -> Result<Demand, String> {
    match string(value)? {
        "required" => Ok(Demand::Required),
        "optional" => Ok(Demand::Optional),
        _ => Err("must be \"required\" or \"optional\"".into()),
    }
}

const fn field_of(fault: &TlsFault) -> &'static str {
    match fault.part {
        Part::Certificate => "certificate",
        Part::PrivateKey => "private_key",
        Part::Authorities => "client_ca",
    }
}
