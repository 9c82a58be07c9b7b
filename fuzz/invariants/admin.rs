//! Any body of an admin call is read, or refused with the places of its faults; what was read and is written again
//! reads as the same.
//!
//! The first byte says of which call the rest is the body.

use portcullis::document::{Faults, MAX_FAULTS};
use portcullis::key::group::{Owner, Role};
use portcullis::key::{Key, Profile};
use portcullis::manage::fuzzing::{edited_group, import_line, new_group, new_token, revocation, rotation};
use portcullis::manage::groups::Group;
use portcullis::manage::profile::{PastExpiry, Rules, patched, read_document, write};
use portcullis::manage::view;
use serde_json::{Value, json};

use super::world::{NOW, WORLD};

/// The least secret that is longer than any word of what is said of a line.
const LEAST_SECRET: usize = 24;
/// Longer names are cut in pointers.
const MOST_NAME: usize = 64;

/// Holds the readers of bodies to their promise.
pub fn hold(bytes: &[u8]) {
    let Some((call, body)) = bytes.split_first() else { return };
    if *call == b'i' {
        return import(body);
    }
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return };
    match call {
        b'k' => key(&body),
        b'K' => key_patch(&body),
        b'r' => group::<Role>(&body),
        b'R' => group_patch::<Role>(&body, &json!({"name": "n", "scopes": ["a:*"], "description": "d"})),
        b'o' => group::<Owner>(&body),
        b'O' => group_patch::<Owner>(&body, &json!({"name": "n", "max_active_keys": 3, "description": "d"})),
        b't' => fixed(&body, |body| new_token(body, NOW)),
        b'g' => fixed(&body, rotation),
        b'v' => fixed(&body, revocation),
        _ => {}
    }
}

/// Reading what was written changes nothing.
fn fixed(body: &Value, read: impl Fn(&Value) -> Result<Value, Faults>) {
    match read(body) {
        Ok(written) => assert_eq!(read(&written).as_ref(), Ok(&written)),
        Err(faults) => in_their_places(&faults, body),
    }
}

fn in_their_places(faults: &Faults, body: &Value) {
    assert!(!faults.is_empty() && faults.iter().count() <= MAX_FAULTS);
    for fault in faults.iter() {
        assert!(!fault.detail.is_empty());
        assert!(!fault.detail.contains(char::is_control), "{fault:?}");
        let parent = fault.pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
        let there = fault.pointer.split('/').any(|name| name.chars().count() >= MOST_NAME)
            || body.is_null()
            || body.pointer(&fault.pointer).or_else(|| body.pointer(parent)).is_some();
        assert!(there, "{fault:?} is not in {body}");
    }
}

const fn rules() -> Rules<'static> {
    Rules { past: PastExpiry::Allowed, role_exists: &|_| true }
}

fn shown(profile: &Profile) -> Value {
    Value::Object(write(profile))
}

fn key(body: &Value) {
    let new = read_document(body, &Rules { past: PastExpiry::Refused(NOW), role_exists: &|_| true });
    match read_document(body, &rules()) {
        Ok(profile) => profile_is_fixed(&profile),
        Err(faults) => {
            in_their_places(&faults, body);
            assert!(new.is_err(), "what an edit may not say, a creation may not");
        }
    }
}

fn profile_is_fixed(profile: &Profile) {
    let written = shown(profile);
    let again = read_document(&written, &rules()).unwrap_or_else(|faults| panic!("{faults} in {written}"));
    assert_eq!(shown(&again), written);
    assert_eq!(
        (&again.metadata, &again.tags, &again.ip_allow),
        (&profile.metadata, &profile.tags, &profile.ip_allow)
    );
    let unchanged = patched(profile, &json!({}), &rules()).unwrap();
    assert_eq!(shown(&unchanged), written, "a patch of nothing");
}

fn key_patch(patch: &Value) {
    let before = json!({
        "name": "ci", "owner": "acme", "environment": "test", "tags": ["a"], "metadata": {"k": [1, null], "o": {"p": 2}},
        "scopes": ["models:*"], "ip_allow": ["10.0.0.0/8"], "max_concurrent": 3,
        "limits": [{"name": "minute", "requests": 5, "window": "1m"}],
        "quotas": [{"name": "monthly", "requests": 100, "window": "month"}],
    });
    let before = read_document(&before, &rules()).unwrap();
    match patched(&before, patch, &rules()) {
        Ok(after) => {
            assert_eq!(after.environment, before.environment);
            profile_is_fixed(&after);
            let twice = patched(&after, patch, &rules()).unwrap();
            assert_eq!(shown(&twice), shown(&after), "the same patch again");
        }
        Err(faults) => assert!(!faults.is_empty()),
    }
}

fn group<G: Group + PartialEq + std::fmt::Debug>(body: &Value) {
    match new_group::<G>(body) {
        Ok(group) => group_is_fixed(&group),
        Err(faults) => in_their_places(&faults, body),
    }
}

fn group_is_fixed<G: Group>(group: &G) {
    let mut written = group.to_json();
    let shown = written.clone();
    for derived in ["created_at", "updated_at"] {
        written.as_object_mut().unwrap().remove(derived);
    }
    let again: G = new_group(&written).unwrap_or_else(|faults| panic!("{faults} in {written}"));
    assert_eq!(again.to_json(), shown);
    assert_eq!(edited_group(group, &json!({})).unwrap().to_json(), shown, "a patch of nothing");
}

fn group_patch<G: Group>(patch: &Value, before: &Value) {
    let before: G = new_group(before).unwrap();
    match edited_group(&before, patch) {
        Ok(after) => {
            assert_eq!(after.name(), before.name());
            group_is_fixed(&after);
            assert_eq!(
                edited_group(&after, patch).unwrap().to_json(),
                after.to_json(),
                "the same patch again"
            );
        }
        Err(faults) => assert!(!faults.is_empty()),
    }
}

/// A line is a key, which can be exported and imported again, or is refused; its secret is in nothing that is said.
fn import(body: &[u8]) {
    let Ok(line) = std::str::from_utf8(body) else { return };
    let document = serde_json::from_str::<Value>(line).unwrap_or_default();
    let secret = document["secret"].as_str().filter(|secret| secret.len() >= LEAST_SECRET);
    let secret = secret.filter(|secret| line.matches(*secret).count() == 1);
    let silent = |said: &str| assert!(secret.is_none_or(|secret| !said.contains(secret)), "{said}");
    let manage = &WORLD.core.manage;
    match import_line(manage, line) {
        Err(why) => {
            assert!(!why.is_empty());
            silent(&why);
        }
        Ok(key) => {
            silent(&format!("{key:?}"));
            let mut exported = view::audited(&key, NOW);
            silent(&exported.to_string());
            exported["secret_sha256"] = "0".repeat(64).into();
            let again = import_line(manage, &exported.to_string());
            let again = again.unwrap_or_else(|why| panic!("{why}: {exported}"));
            assert_eq!(standing(&again), standing(&key));
        }
    }
}

/// What an import takes over.
fn standing(key: &Key) -> (Value, String) {
    (shown(&key.profile), format!("{} {:?} {}", key.status(NOW).as_str(), key.created_at, key.id))
}
