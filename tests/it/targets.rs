//! Requests that try to be read in two ways: for each, the answer and what the upstream got.

mod heads;
mod smuggling;

use serde_json::json;

use crate::support::{Fixture, Gateway, Wire};

const ROUTES: &str = r#"
    [[routes]]
    path = "/v1"
    upstream = "api"
    [[routes]]
    path = "/v1/admin"
    upstream = "api"
    scopes = ["admin"]
    [[routes]]
    path = "/public"
    upstream = "api"
    access = "public"
    [[routes]]
    host = "internal.test"
    path = "/"
    upstream = "api"
    scopes = ["admin"]
"#;

/// A gateway with a key that has no scope.
struct World {
    fixture: Fixture,
    gateway: Gateway,
    secret: String,
}

impl World {
    fn new(gateway: &str) -> Self {
        let fixture = Fixture::with(&format!("{gateway}{ROUTES}"));
        let gateway = fixture.start();
        let (_, secret) = gateway.admin.key(&json!({}));
        Self { fixture, gateway, secret }
    }

    /// `200`, or the problem's code, and the target that the upstream got. An answer of the gateway's own is a problem,
    /// and one to a malformed request closes the connection.
    fn judge(&self, request: &[u8]) -> (String, Option<String>) {
        let before = self.fixture.upstream.count();
        let mut wire = Wire::open(self.gateway.address);
        let answer = wire.ask(request);
        let says = format!("{}\n{answer:?}", request.escape_ascii());
        let outcome = if answer.status == 200 {
            "200".to_owned()
        } else {
            assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{says}");
            assert_eq!(answer.header("server"), None, "{says}");
            answer.code()
        };
        if outcome == "bad_request" {
            assert!(answer.closed, "{says}");
            wire.assert_closed();
        }
        let after = self.fixture.upstream.count();
        assert!(after <= before + 1, "{says}");
        let seen = (after > before).then(|| self.fixture.upstream.last().target().to_owned());
        (outcome, seen)
    }

    fn judge_target(&self, target: &str, host: &str) -> (String, Option<String>) {
        let secret = &self.secret;
        self.judge(
            format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {secret}\r\n\r\n")
                .as_bytes(),
        )
    }

    fn refuses(&self, targets: &[&str]) {
        for target in targets {
            assert_eq!(self.judge_target(target, "a"), ("bad_request".to_owned(), None), "{target}");
        }
    }
}

#[test]
fn no_spelling_of_a_dot_segment_leads_to_another_route() {
    World::new("").refuses(&[
        "/public/../v1/admin",
        "/v1/x/../admin",
        "/v1/./admin",
        "/v1/admin/..",
        "/v1/..",
        "/..",
        "/.",
        "/public/..",
        "/v1/%2e%2e/v1/admin",
        "/v1/.%2e/admin",
        "/v1/%2E./admin",
        "/v1/%2e/admin",
        "/v1/..;/admin",
        "/v1/..;x=1/admin",
        "/v1/%2e%2e;/admin",
        "/v1/.;/admin",
        "/v1/..%3b/admin",
        "/public/%c0%ae%c0%ae/v1/admin",
        "/public/%e0%80%ae%e0%80%ae/v1/admin",
        "/v1/x/..?y=1",
    ]);
}

#[test]
fn no_spelling_of_a_slash_leads_to_another_route() {
    World::new("").refuses(&[
        "//v1/admin",
        "/v1//admin",
        "/v1///admin",
        "//internal.test/v1",
        "/v1/;/admin",
        "/v1/;x=1/admin",
        "/v1%2fadmin",
        "/v1/%2Fadmin",
        "/public%2f..%2fv1%2fadmin",
        "/v1/x%2f..%2fadmin",
        "/v1/%c0%af/admin",
        "/v1\\admin",
        "/v1/\\admin",
        "\\v1\\admin",
        "/public\\..\\v1\\admin",
        "/v1%5cadmin",
        "/v1/%5C..%5cadmin",
    ]);
}

#[test]
fn bytes_that_servers_cut_or_change_are_refused() {
    World::new("").refuses(&[
        "/v1/x%00/admin",
        "/v1/admin%00",
        "/v1/%0d%0aadmin",
        "/v1/%0a",
        "/v1/%7f",
        "/v1/%",
        "/v1/%2",
        "/v1/%zz",
        "/v1/%u002e",
        "/v1/admin#x",
        "/v1/\"x\"",
        "/v1/<x>",
        "/v1/`x`",
        "/v1/caf\u{e9}",
        "/v1/x?y=\u{e9}",
        "/v1/x?a b",
        "/v1/a\tb",
    ]);
}

#[test]
fn targets_in_other_forms_are_refused() {
    let world = World::new("");
    world.refuses(&[
        "http://b/v1/x",
        "http://internal.test/v1/x",
        "http://a:80/v1/x",
        "http://x@a/v1/x",
        "https://b/v1/x",
        "http:/v1/x",
        "http:///v1/x",
        "ftp://a/v1/x",
        "*",
        "v1/x",
        "../v1/x",
        "?x",
        "@internal.test/v1/x",
        ":80/v1/x",
        "a:80",
        "%2fv1/x",
        "%2e%2e/v1",
        "",
    ]);
    for line in ["OPTIONS *", "OPTIONS http://a", "CONNECT a:443", "GET", "OPTIONS"] {
        let request = format!("{line} HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(world.judge(request.as_bytes()), ("bad_request".to_owned(), None), "{line}");
    }
}

#[test]
fn a_target_that_names_its_own_host_is_judged_and_forwarded_as_if_it_did_not() {
    let world = World::new("");
    let forwarded = |target: &str| ("200".to_owned(), Some(target.to_owned()));
    assert_eq!(world.judge_target("http://a/v1/x?y", "a"), forwarded("/v1/x?y"));
    assert_eq!(world.judge_target("HTTPS://A/v1/x", "a"), forwarded("/v1/x"));
    assert_eq!(world.judge_target("http://a/v1/admin", "a"), ("insufficient_scope".to_owned(), None));
    for target in
        ["http://a//v1/admin", "http://a/v1/../v1/admin", "http://a/v1\\admin", "http://a/http://a/v1/x#"]
    {
        assert_eq!(world.judge_target(target, "a"), ("bad_request".to_owned(), None), "{target}");
    }
}

#[test]
fn an_encoded_letter_reaches_the_route_that_the_letter_would() {
    let world = World::new("");
    for target in [
        "/v1/admin",
        "/v1/admin/",
        "/v1/admin?x",
        "/v1/admin/x",
        "/v1/%61dmin",
        "/v1/%61%64%6d%69%6E/x",
        "/%761/admin",
        "/v%31/%61dmin/x?y",
    ] {
        assert_eq!(world.judge_target(target, "a"), ("insufficient_scope".to_owned(), None), "{target}");
    }
    for target in ["/v1/admin;x=1", "/v1/admin;/x", "/v1;x/admin", "/%76%31/admin;a", "/v1/x;/../admin"] {
        assert_eq!(world.judge_target(target, "a"), ("bad_request".to_owned(), None), "{target}");
    }
}

#[test]
fn what_only_resembles_a_stricter_route_is_forwarded_as_it_came() {
    let world = World::new("");
    for target in [
        "/v1/administrator",
        "/v1/Admin",
        "/v1/admin%20",
        "/v1/%2561dmin",
        "/v1/%252e%252e/admin",
        "/v1/admin.",
        "/v1/...",
        "/v1/..admin",
        "/v1/x/admin",
        "/v1/x;a=1/y",
        "/v1/a%3bb",
        "/v1/x?../../admin",
        "/v1/x?%2e%2e%2fadmin//\\".trim_end_matches('\\'),
        "/v1/caf%C3%A9",
        "/v1/caf%e9",
        "/v1",
        "/v1/",
    ] {
        assert_eq!(world.judge_target(target, "a"), ("200".to_owned(), Some(target.to_owned())), "{target}");
    }
    for target in ["/V1/x", "/v1x", "/v1.", "/v1%20/x", "/"] {
        assert_eq!(world.judge_target(target, "a"), ("no_route".to_owned(), None), "{target}");
    }
}

#[test]
fn no_spelling_of_a_host_slips_past_its_route() {
    let world = World::new("");
    for host in
        ["internal.test", "INTERNAL.Test", "internal.test:80", "internal.test.", "internal.test.:8443"]
    {
        assert_eq!(world.judge_target("/v1/x", host), ("insufficient_scope".to_owned(), None), "{host}");
    }
    for host in
        ["a@internal.test", "internal.test, a", "internal.test/", "", "internal.test:x", "a b", "[::1"]
    {
        assert_eq!(world.judge_target("/v1/x", host), ("bad_request".to_owned(), None), "{host}");
    }
    for host in ["internal.test.a", "xinternal.test", "[::1]:80", "127.0.0.1"] {
        assert_eq!(world.judge_target("/v1/x", host).0, "200", "{host}");
    }
}
