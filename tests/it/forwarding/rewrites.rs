//! What a route and its upstream change on purpose: path, host, headers.

use super::{World, lines};
use crate::support::send;

#[test]
fn a_stripped_path_is_cut_off_by_whole_segments() {
    let world = World::new(
        r#"
        [[routes]]
        path = "/api/v1"
        upstream = "api"
        strip_path = true
        credential = ["bearer", "query:key"]
        [[routes]]
        path = "/"
        upstream = "api"
        strip_path = true
        "#,
    );
    for (target, forwarded) in [
        ("/api/v1/models?x=1", "/models?x=1"),
        ("/api/v1/models/%2E%2Ea/", "/models/%2E%2Ea/"),
        ("/api/v1", "/"),
        ("/api/v1?x=/api/v1", "/?x=/api/v1"),
        ("/api/v1/", "/"),
        ("/api/v1/api/v1/x", "/api/v1/x"),
        ("/%61pi/%76%31/x", "/x"),
        ("/api/v1x/y", "/api/v1x/y"),
        ("/api", "/api"),
        ("/", "/"),
    ] {
        let seen = world
            .forwards(&format!("GET {target} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {{k}}\r\n\r\n"));
        assert_eq!(seen.target(), forwarded, "{target}");
    }
    let seen = world.forwards("GET /api/v1/m?key={k}&a=1 HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(seen.target(), "/m?a=1");
}

const UPSTREAM: &str = r#"
    [upstreams.api]
    targets = ["{upstream}"]
    host = "internal.test:8443"
    [upstreams.api.set_headers]
    authorization = "Bearer ${CARGO_PKG_NAME}-key"
    X-Tenant = "acme"
    x-forwarded-proto = "https"

    [[routes]]
    path = "/v1"
    upstream = "api"
    [[routes]]
    path = "/forward"
    upstream = "api"
    forward_credential = true
"#;

#[test]
fn the_upstreams_own_headers_and_host_replace_the_clients() {
    let world = World::new(UPSTREAM);
    for path in ["/v1/x", "/forward/x"] {
        let seen = world.forwards(&format!(
            "GET {path} HTTP/1.1\r\nhost: api.test\r\nauthorization: Bearer {{k}}\r\n\
             x-tenant: mine\r\nX-Tenant: forged\r\nconnection: x-tenant\r\n\r\n"
        ));
        let fields = lines(&seen);
        let of = |name: &str| -> Vec<&str> {
            fields.iter().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).collect()
        };
        assert_eq!(of("authorization"), ["Bearer portcullis-key"], "{path}");
        assert_eq!(of("x-tenant"), ["acme"]);
        assert_eq!(of("host"), ["internal.test:8443"]);
        assert_eq!(
            of("x-forwarded-host"),
            ["api.test"],
            "the upstream can still tell what the client asked for"
        );
        assert_eq!(of("x-forwarded-proto"), ["https"]);
    }
}

#[test]
fn the_upstreams_own_headers_do_not_reach_the_client() {
    let world = World::new(UPSTREAM);
    let answer = send(world.gateway.address, crate::support::get("/v1/x", &world.secret));
    assert_eq!(answer.status, 200);
    assert_eq!((answer.header("authorization"), answer.header("x-tenant")), (None, None));
}
