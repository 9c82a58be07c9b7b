//! An admin who changes keys of his own, and remembers what was acknowledged.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::support::{Answer, Client, TOKEN};

/// Keys of one writer at most.
const MAX_KEYS: usize = 10;

/// What a key is, as far as writers change it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    There {
        /// Written to three fields at once.
        note: u64,
        status: String,
        /// The number of its newest secret.
        newest: u64,
    },
    Gone,
}

/// A key, as its writer knows it.
pub(super) struct Tracked {
    id: String,
    /// The newest secret, where it is known.
    secret: Option<String>,
    /// As it was last acknowledged.
    state: State,
    /// What it may be instead: the change was in flight at the kill.
    maybe: Option<State>,
}

/// An admin.
pub(super) struct Writer {
    number: u64,
    random: StdRng,
    serial: u64,
    pub keys: Vec<Tracked>,
    /// The name of a key whose creation was in flight at the kill.
    creating: Option<String>,
    /// How many changes were acknowledged.
    pub done: u64,
}

/// Reads what is shown of a key; an error where it does not hold together.
fn read(key: &Value) -> Result<State, String> {
    let note = key["metadata"]["note"].as_u64().ok_or("no note")?;
    let text = note.to_string();
    if key["description"].as_str() != Some(&text) || key["tags"] != json!([text]) {
        return Err(format!("half an edit: {key}"));
    }
    let versions = key["versions"].as_array().ok_or("no versions")?;
    let (newest, older) = versions.split_last().ok_or("no secret")?;
    let rotated = key["rotated_at"].is_string();
    if newest["state"] != "active"
        || older.iter().any(|version| version["state"] == "active")
        || newest["fingerprint"] != key["fingerprint"]
        || rotated == older.is_empty()
    {
        return Err(format!("half a rotation: {key}"));
    }
    let status = key["status"].as_str().ok_or("no status")?.to_owned();
    if (status == "revoked") != key["revoked_at"].is_string() {
        return Err(format!("half a revocation: {key}"));
    }
    Ok(State::There { note, status, newest: newest["version"].as_u64().ok_or("no version")? })
}

fn fields(note: u64) -> Value {
    json!({"description": note.to_string(), "tags": [note.to_string()], "metadata": {"note": note}})
}

impl Writer {
    pub fn new(number: u64, seed: u64) -> Self {
        let random = StdRng::seed_from_u64(seed ^ (number + 1));
        Self { number, random, serial: 0, keys: Vec::new(), creating: None, done: 0 }
    }

    /// Makes changes until one is not answered.
    pub fn run(&mut self, admin: SocketAddr) {
        let mut client = Client::new(admin);
        loop {
            let alive: Vec<usize> =
                (0..self.keys.len()).filter(|&at| self.keys[at].state != State::Gone).collect();
            let wants_new =
                alive.is_empty() || (alive.len() < MAX_KEYS && self.random.random_range(0..5) == 0);
            let answered = if wants_new {
                self.create(&mut client)
            } else {
                let at = alive[self.random.random_range(0..alive.len())];
                self.change(&mut client, at)
            };
            if answered.is_none() {
                return;
            }
            self.done += 1;
        }
    }

    /// `None` where no whole answer came.
    fn create(&mut self, client: &mut Client) -> Option<()> {
        self.serial += 1;
        let name = format!("writer {} key {}", self.number, self.serial);
        let mut body = fields(0);
        body["name"] = json!(name);
        self.creating = Some(name);
        let answer = send(client, "POST", "/api/v1/keys", &body)?;
        assert_eq!(answer.status, 201, "{}", answer.json());
        self.creating = None;
        let body = answer.json();
        let id = body["key"]["id"].as_str().unwrap().to_owned();
        let secret = body["secret"].as_str().map(str::to_owned);
        self.keys.push(Tracked { id, secret, state: read(&body["key"]).unwrap(), maybe: None });
        Some(())
    }

    /// `None` where no whole answer came.
    fn change(&mut self, client: &mut Client, at: usize) -> Option<()> {
        self.serial += 1;
        let (what, note) = (self.random.random_range(0..12), self.serial);
        let key = &mut self.keys[at];
        let State::There { note: old, status, newest } = key.state.clone() else { return Some(()) };
        let there = |note, status: &str, newest| State::There { note, status: status.to_owned(), newest };
        let switched = |to: &str| there(old, if status == "revoked" { "revoked" } else { to }, newest);
        let (method, rest, body, after) = match what {
            0..4 => ("PATCH", "", fields(note), there(note, &status, newest)),
            4 | 5 => ("POST", "/disable", json!({}), switched("disabled")),
            6 | 7 => ("POST", "/enable", json!({}), switched("active")),
            8 => ("POST", "/rotate", json!({"grace": "1h"}), there(old, &status, newest + 1)),
            9 => ("POST", "/rotate", json!({}), there(old, &status, newest + 1)),
            10 => ("POST", "/revoke", json!({"reason": "a test"}), there(old, "revoked", newest)),
            _ => ("DELETE", "", json!({}), State::Gone),
        };
        key.maybe = Some(after.clone());
        let answer = send(client, method, &format!("/api/v1/keys/{}{rest}", key.id), &body)?;
        key.maybe = None;
        match answer.status {
            204 => key.state = State::Gone,
            200 => {
                let body = answer.json();
                let shown = if rest == "/rotate" { &body["key"] } else { &body };
                assert_eq!(read(shown).as_ref(), Ok(&after), "{method} {rest}");
                if let Some(secret) = body["secret"].as_str() {
                    key.secret = Some(secret.to_owned());
                }
                key.state = after;
            }
            // A revoked key stays as it is, and so does one with too many secrets in their grace.
            409 => assert!(status == "revoked" || rest == "/rotate", "{rest}: {}", answer.json()),
            other => panic!("{method} {rest}: {other} {}", answer.json()),
        }
        Some(())
    }

    /// Compares what is there with what was acknowledged, takes it out of `keys`, and goes on from it.
    pub fn settle(&mut self, keys: &mut BTreeMap<String, Value>) -> Result<(), String> {
        for key in &mut self.keys {
            let there = keys.remove(&key.id).map_or(Ok(State::Gone), |shown| read(&shown))?;
            let maybe = key.maybe.take();
            if there == key.state {
                continue;
            }
            if maybe.as_ref() != Some(&there) {
                return Err(format!(
                    "{}: acknowledged {:?}, maybe {maybe:?}, is {there:?}",
                    key.id, key.state
                ));
            }
            let newest = |state: &State| if let State::There { newest, .. } = state { *newest } else { 0 };
            if there != State::Gone && newest(&there) != newest(&key.state) {
                // The answer that showed the new secret never came.
                key.secret = None;
            }
            key.state = there;
        }
        let Some(name) = self.creating.take() else { return Ok(()) };
        let made = keys
            .iter()
            .find(|(_, key)| key["name"] == name.as_str())
            .map(|(id, key)| (id.clone(), read(key)));
        if let Some((id, state)) = made {
            keys.remove(&id);
            self.keys.push(Tracked { id, secret: None, state: state?, maybe: None });
        }
        Ok(())
    }

    /// Each key whose secret is known, and how the gateway must judge it.
    pub fn verdicts(&self) -> impl Iterator<Item = (&str, &str, &'static str)> {
        self.keys.iter().filter_map(|key| {
            let code = match &key.state {
                State::Gone => "invalid_key",
                State::There { status, .. } => match status.as_str() {
                    "active" => "",
                    "disabled" => "key_disabled",
                    "revoked" => "key_revoked",
                    other => panic!("{other}"),
                },
            };
            Some((key.id.as_str(), key.secret.as_deref()?, code))
        })
    }
}

/// `None` where no whole answer came.
fn send(client: &mut Client, method: &str, path: &str, body: &Value) -> Option<Answer> {
    let token = format!("Bearer {TOKEN}");
    client.try_send(method, path, &[("authorization", &token)], &body.to_string()).ok()
}
