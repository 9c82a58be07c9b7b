//! The life of a key as its clients see it: each change holds for the next request.

mod audit;
mod durable;
mod files;
mod hammer;
mod limits;
mod rotation;
mod secrecy;

use serde_json::{Value, json};

use crate::support::{Admin, Answer, Client, Fixture};

/// One route, for keys with `models:read`.
const ROUTE: &str = r#"
[[routes]]
path = "/v1"
upstream = "api"
scopes = ["models:read"]
"#;

/// How a request is answered: 200 and no code, or a refusal.
type Verdict = (u16, &'static str);

const PASSES: Verdict = (200, "");

/// A change of a key, and what it does to the key's requests.
struct Change {
    /// What the key is made with.
    key: Value,
    /// Calls before the change under test.
    prepare: &'static [(&'static str, &'static str, &'static str)],
    /// Method, what follows the key's path, body.
    call: (&'static str, &'static str, &'static str),
    before: Verdict,
    after: Verdict,
}

fn change(call: (&'static str, &'static str, &'static str), after: Verdict) -> Change {
    Change { key: json!({"scopes": ["models:read"]}), prepare: &[], call, before: PASSES, after }
}

/// A change that opens what `shut` had closed.
fn opening(
    shut: &'static [(&'static str, &'static str, &'static str)],
    call: (&'static str, &'static str, &'static str),
    before: Verdict,
) -> Change {
    Change { prepare: shut, before, ..change(call, PASSES) }
}

const DAILY: &str = r#"{"limits": [{"name": "day", "requests": 1, "window": "1d"}]}"#;
const EXPIRED: &str = r#"{"expires_at": "2001-01-01T00:00:00Z"}"#;
const ELSEWHERE: &str = r#"{"ip_allow": ["192.0.2.1"]}"#;

/// Every change that decides whether a key's requests pass.
fn changes() -> Vec<Change> {
    let limited =
        json!({"scopes": ["*"], "limits": [{"name": "day", "requests": 1_000_000, "window": "1d"}]});
    vec![
        change(("POST", "/revoke", r#"{"reason": "leaked"}"#), (401, "key_revoked")),
        change(("POST", "/disable", ""), (401, "key_disabled")),
        change(("DELETE", "", ""), (401, "invalid_key")),
        change(("POST", "/rotate", ""), (401, "secret_retired")),
        change(("PATCH", "", r#"{"scopes": ["models:write"]}"#), (403, "insufficient_scope")),
        change(("PATCH", "", ELSEWHERE), (403, "ip_not_allowed")),
        change(("PATCH", "", EXPIRED), (401, "key_expired")),
        Change { key: limited, ..change(("PATCH", "", DAILY), (429, "rate_limited")) },
        change(
            ("PATCH", "", r#"{"quotas": [{"name": "day", "requests": 1, "window": "month"}]}"#),
            (429, "quota_exceeded"),
        ),
        opening(&[("POST", "/disable", "")], ("POST", "/enable", ""), (401, "key_disabled")),
        opening(
            &[("PATCH", "", r#"{"scopes": []}"#)],
            ("PATCH", "", r#"{"scopes": ["models:*"]}"#),
            (403, "insufficient_scope"),
        ),
        opening(&[("PATCH", "", ELSEWHERE)], ("PATCH", "", r#"{"ip_allow": null}"#), (403, "ip_not_allowed")),
        opening(&[("PATCH", "", EXPIRED)], ("PATCH", "", r#"{"expires_at": null}"#), (401, "key_expired")),
    ]
}

impl Change {
    /// Makes the key, as it is before the change: its ID and its secret.
    fn made(&self, admin: &Admin) -> (String, String) {
        let (id, secret) = admin.key(&self.key);
        for call in self.prepare {
            send(admin, &id, *call);
        }
        (id, secret)
    }

    fn name(&self) -> String {
        format!("{} {}", self.call.1, self.call.2)
    }
}

/// A call of a key, which must succeed.
fn send(admin: &Admin, id: &str, (method, rest, body): (&str, &str, &str)) -> Answer {
    let answer = admin.call(method, &format!("/api/v1/keys/{id}{rest}"), &[], body);
    assert!(matches!(answer.status, 200 | 204), "{rest} {body}: {}", String::from_utf8_lossy(&answer.body));
    answer
}

/// How a request was answered.
fn verdict(answer: &Answer) -> (u16, String) {
    (answer.status, if answer.status == 200 { String::new() } else { answer.code() })
}

fn is(answer: &Answer, expected: Verdict) -> bool {
    verdict(answer) == (expected.0, expected.1.to_owned())
}

#[test]
fn every_change_holds_for_the_very_next_request_of_a_kept_connection() {
    let gateway = Fixture::with(ROUTE).start();
    for change in changes() {
        let (id, secret) = change.made(&gateway.admin);
        let mut client = Client::new(gateway.address);
        for _ in 0..3 {
            let answer = client.get("/v1/x", &secret);
            assert!(is(&answer, change.before), "{}: {:?} before", change.name(), verdict(&answer));
        }
        send(&gateway.admin, &id, change.call);
        let answer = client.get("/v1/x", &secret);
        assert!(is(&answer, change.after), "{}: {:?} after", change.name(), verdict(&answer));
    }
}

#[test]
fn revoked_wins_over_expired_over_disabled() {
    let gateway = Fixture::with(ROUTE).start();
    let (id, secret) = gateway.admin.key(&json!({"scopes": ["*"]}));
    let mut client = Client::new(gateway.address);
    let steps = [
        (("POST", "/rotate", ""), "secret_retired"),
        (("POST", "/disable", ""), "key_disabled"),
        (("PATCH", "", EXPIRED), "key_expired"),
        (("POST", "/revoke", ""), "key_revoked"),
        (("DELETE", "", ""), "invalid_key"),
    ];
    for (call, code) in steps {
        send(&gateway.admin, &id, call);
        assert_eq!(verdict(&client.get("/v1/x", &secret)), (401, code.into()));
    }
}

#[test]
fn a_deleted_keys_secret_is_as_unknown_as_one_that_never_was() {
    let gateway = Fixture::with(ROUTE).start();
    let (id, secret) = gateway.admin.key(&json!({}));
    send(&gateway.admin, &id, ("DELETE", "", ""));
    let other = Fixture::with(ROUTE).start();
    let (_, never) = other.admin.key(&json!({}));
    let mut client = Client::new(gateway.address);
    let answers = [client.get("/v1/x", &secret), client.get("/v1/x", &never)].map(|answer| {
        let mut body = answer.json();
        body["request_id"] = Value::Null;
        assert_eq!(body["hint"], "not_found");
        (answer.status, body)
    });
    assert_eq!(answers[0], answers[1]);
}
