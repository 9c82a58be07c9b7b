//! Who uses which secret of a key: a table, or a line each few seconds while an old secret's traffic fades.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::{Target, list};
use crate::cli::client::Client;
use crate::cli::output::{self, Form, cell};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::quantity;

/// The columns of the secrets, each with its place in a version.
const SECRETS: [&str; 8] = [
    "version",
    "fingerprint",
    "state",
    "created_at",
    "expires_at",
    "requests",
    "first_used_at",
    "last_used_at",
];
/// The columns of the callers.
const CALLERS: [&str; 4] = ["version", "address", "at", "user_agent"];
/// How often is looked whether Ctrl-C was pressed.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Calls that may fail one after the other before watching ends: a restart of the gateway is shorter.
const MAX_FAILURES: u32 = 10;

/// Show each secret of a key, how much it is used, and by whom
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Show each secret of a key, how much it is used, and by whom: who still has to change over to the new \
                  one. The last callers of each secret are known while a rotation's grace runs and for a day after it \
                  (refused attempts too), since the gateway's last start.",
    after_help = "Example:\n  portcullis keys rotation key_01…"
)]
pub(super) struct Args {
    #[command(flatten)]
    target: Target,
}

/// How often to look.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    let every = quantity::parse_duration(text)?;
    let bounds = Duration::from_millis(100)..=quantity::HOUR;
    if bounds.contains(&every) { Ok(every) } else { Err("must be from 100ms to 1h".into()) }
}

/// Shows the rotation once.
///
/// # Errors
/// What the admin API refused, or standard output takes nothing.
pub(super) fn run(client: &Client, args: &Args, form: Form) -> anyhow::Result<()> {
    let rotation = client.get(&args.target.path("/rotation")?, &Vec::new())?.body;
    match form {
        Form::Json => output::json(&rotation),
        Form::Table | Form::Csv => output::write(&tables(&rotation)),
    }
}

fn versions(rotation: &Value) -> &[Value] {
    rotation["versions"].as_array().map_or(&[], Vec::as_slice)
}

/// The secrets, and below them their callers, if any are known.
fn tables(rotation: &Value) -> String {
    let secret = |version: &Value| SECRETS.map(|name| shown(&version[name])).to_vec();
    let mut text = output::table(&SECRETS, versions(rotation).iter().map(secret), &SECRETS);
    let mut callers = Vec::new();
    for version in versions(rotation) {
        for caller in version["callers"].as_array().into_iter().flatten() {
            let number = |name| if name == "version" { &version[name] } else { &caller[name] };
            callers.push(CALLERS.map(|name| shown(number(name))).to_vec());
        }
    }
    if !callers.is_empty() {
        text.push('\n');
        text.push_str(&output::table(&CALLERS, callers, &CALLERS[..3]));
    }
    text
}

fn shown(value: &Value) -> String {
    list::shown(Some(value))
}

/// Says how the traffic of the secret before the newest fades, until its grace has ended or Ctrl-C.
///
/// # Errors
/// The admin API was out of reach for too long.
pub(super) fn watch(client: &Client, target: &Target, every: Duration) -> anyhow::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The second one ends the process at once. The order matters: the first must find the flag not set.
        flag::register_conditional_default(signal, Arc::clone(&stop)).context("signals cannot be heard")?;
        flag::register(signal, Arc::clone(&stop)).context("signals cannot be heard")?;
    }
    let path = target.path("/rotation")?;
    let (mut before, mut failures) = (None, 0);
    output::note(format!(
        "\nWatching the old secret, each {}; Ctrl-C ends it.",
        quantity::format_duration(every)
    ));
    while !stop.load(Ordering::Relaxed) {
        let mut wait = every;
        match client.get(&path, &Vec::new()) {
            Ok(answer) => {
                failures = 0;
                let Some(look) = Look::at(&answer.body) else { break };
                output::note(look.line(before));
                if look.state != "retiring" {
                    output::note("The grace has ended: the old secret is refused.");
                    break;
                }
                before = Some(look.requests);
                wait = wait.min(look.left);
            }
            Err(error) => {
                failures += 1;
                if failures >= MAX_FAILURES || stop.load(Ordering::Relaxed) {
                    return Err(error);
                }
                output::note(format!("{error:#}"));
            }
        }
        pause(wait, &stop);
    }
    Ok(())
}

/// Waits, or until it is to stop.
fn pause(mut wait: Duration, stop: &AtomicBool) {
    while !wait.is_zero() && !stop.load(Ordering::Relaxed) {
        let step = wait.min(LOOK_EVERY);
        thread::sleep(step);
        wait -= step;
    }
}

/// The old secret at one moment, and the new one's requests.
struct Look<'a> {
    old: &'a Value,
    state: &'a str,
    requests: u64,
    new_requests: u64,
    now: Timestamp,
    left: Duration,
}

impl<'a> Look<'a> {
    /// `None` where there is no old secret (any more).
    fn at(rotation: &'a Value) -> Option<Self> {
        let [.., old, new] = versions(rotation) else { return None };
        let now = SystemClock::new().now();
        let end = old["expires_at"].as_str().and_then(Timestamp::parse_rfc3339);
        Some(Self {
            old,
            state: old["state"].as_str().unwrap_or_default(),
            requests: old["requests"].as_u64().unwrap_or(0),
            new_requests: new["requests"].as_u64().unwrap_or(0),
            now,
            // Not before the end, by a clock that may be a little ahead of the gateway's.
            left: end.map_or(Duration::ZERO, |end| end.since(now)) + LOOK_EVERY * 2,
        })
    }

    fn line(&self, before: Option<u64>) -> String {
        let more =
            before.map_or_else(String::new, |before| format!(" (+{})", self.requests.saturating_sub(before)));
        let caller = &self.old["callers"][0];
        let by = match caller["address"].as_str() {
            Some(address) => format!(" by {address} {}", cell(&caller["user_agent"])),
            None => String::new(),
        };
        let line = format!(
            "{}  {} {}: {} requests{more}, last used {}{by}; the new one: {}; ends {}",
            shown(&self.now.to_string().into()),
            cell(&self.old["fingerprint"]),
            self.state,
            self.requests,
            shown(&self.old["last_used_at"]),
            self.new_requests,
            shown(&self.old["expires_at"]),
        );
        output::tame(&line)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rotation() -> Value {
        let caller =
            json!({"address": "192.0.2.7", "user_agent": "curl/8.5\u{1b}", "at": "2026-11-21T13:00:05.250Z"});
        let version = |number: u64, state: &str, callers: Value| {
            json!({
                "version": number, "fingerprint": "pc_live_…abcd", "state": state,
                "created_at": "2026-11-21T12:00:00Z", "expires_at": null, "requests": 7 * number,
                "first_used_at": null, "last_used_at": "2026-11-21T13:00:05.250Z", "callers": callers,
            })
        };
        json!({"versions": [version(1, "retiring", json!([caller])), version(2, "active", json!([]))]})
    }

    #[test]
    fn a_line_says_how_the_old_secret_fades() {
        let rotation = rotation();
        let look = Look::at(&rotation).unwrap();
        let line = look.line(Some(4));
        let expected = "pc_live_…abcd retiring: 7 requests (+3), last used 2026-11-21T13:00:05Z by 192.0.2.7 curl/8.5 ; \
                        the new one: 14; ends -";
        assert!(line.ends_with(expected), "{line}");
        assert!(Look::at(&json!({"versions": [{}]})).is_none());
    }

    #[test]
    fn the_callers_stand_below_the_secrets() {
        let text = tables(&rotation());
        assert!(text.contains("1        192.0.2.7  2026-11-21T13:00:05Z  curl/8.5"), "{text}");
        assert_eq!(text.lines().count(), 6);
    }
}
