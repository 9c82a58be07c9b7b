//! A name server of one name: it answers as the test says, and counts what it is asked.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;

/// The part of a message before its question.
const HEADER: usize = 12;
/// The type of a question for IPv4 addresses.
const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const FAILURE: u8 = 2;
const NO_SUCH_NAME: u8 = 3;

/// What is known of the name.
#[derive(Debug, Clone)]
pub enum Known {
    /// Its addresses, and for how many seconds they hold.
    As(Vec<Ipv4Addr>, u32),
    /// It has this one of IPv6; a question for those of IPv4 fails.
    Half(Ipv6Addr, u32),
    /// There is no such name.
    Nothing,
    /// It says nothing at all.
    Silence,
}

/// A name server that runs until the process ends.
#[derive(Debug)]
pub struct NameServer {
    pub address: SocketAddr,
    known: Arc<Mutex<Known>>,
    asked: Arc<Mutex<usize>>,
}

impl NameServer {
    pub fn start(known: Known) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let (known, asked) = (Arc::new(Mutex::new(known)), Arc::new(Mutex::new(0)));
        let (knows, counts) = (Arc::clone(&known), Arc::clone(&asked));
        thread::spawn(move || {
            let mut bytes = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut bytes) {
                let question = &bytes[..length];
                if type_of(question) == TYPE_A {
                    *counts.lock().unwrap() += 1;
                }
                let known = knows.lock().unwrap().clone();
                if let Some(answer) = answer(question, &known) {
                    socket.send_to(&answer, from).unwrap();
                }
            }
        });
        Self { address, known, asked }
    }

    pub fn knows(&self, known: Known) {
        *self.known.lock().unwrap() = known;
    }

    /// How often it was asked for IPv4 addresses.
    pub fn asked(&self) -> usize {
        *self.asked.lock().unwrap()
    }
}

/// Where the question ends.
fn end_of(question: &[u8]) -> usize {
    let mut at = HEADER;
    while question[at] != 0 {
        at += 1 + usize::from(question[at]);
    }
    at + 5
}

fn type_of(question: &[u8]) -> u16 {
    let end = end_of(question);
    u16::from_be_bytes([question[end - 4], question[end - 3]])
}

fn answer(question: &[u8], known: &Known) -> Option<Vec<u8>> {
    let asked = type_of(question);
    let (addresses, ttl, code) = match known {
        Known::As(addresses, ttl) if asked == TYPE_A => {
            (addresses.iter().map(|one| one.octets().to_vec()).collect(), *ttl, 0)
        }
        Known::As(_, ttl) => (Vec::new(), *ttl, 0),
        Known::Half(address, ttl) if asked == TYPE_AAAA => (vec![address.octets().to_vec()], *ttl, 0),
        Known::Half(..) => (Vec::new(), 0, FAILURE),
        Known::Nothing => (Vec::new(), 0, NO_SUCH_NAME),
        Known::Silence => return None,
    };
    let mut out = question[..end_of(question)].to_vec();
    // An answer, as recursion was wished and is available.
    (out[2], out[3]) = (0x81, 0x80 | code);
    let count = u16::try_from(addresses.len()).unwrap().to_be_bytes();
    out[4..HEADER].copy_from_slice(&[0, 1, count[0], count[1], 0, 0, 0, 0]);
    for address in addresses {
        // The name is that of the question.
        out.extend_from_slice(&[0xc0, 0x0c]);
        out.extend_from_slice(&asked.to_be_bytes());
        out.extend_from_slice(&[0, 1]);
        out.extend_from_slice(&ttl.to_be_bytes());
        out.extend_from_slice(&u16::try_from(address.len()).unwrap().to_be_bytes());
        out.extend_from_slice(&address);
    }
    Some(out)
}
