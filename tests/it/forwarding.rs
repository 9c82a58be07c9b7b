//! What the upstream gets: the client's request, byte for byte, but for what the contract says.

mod identity;
mod proxies;
mod rewrites;

use serde_json::json;

use crate::support::{Fixture, Gateway, GrpcUpstream, Seen, send};

/// A gateway with a key.
struct World {
    fixture: Fixture,
    gateway: Gateway,
    id: String,
    secret: String,
}

impl World {
    fn new(config: &str) -> Self {
        let fixture = Fixture::with(config);
        let gateway = fixture.start();
        let (id, secret) = gateway.admin.key(&json!({"name": "ci", "scopes": ["a:b", "c:*"]}));
        Self { fixture, gateway, id, secret }
    }

    /// What the upstream gets of a request. `{k}` stands for the secret.
    fn forwards(&self, request: &str) -> Seen {
        let before = self.fixture.upstream.count();
        let request = request.replace("{k}", &self.secret);
        let answer = send(self.gateway.address, &request);
        assert_eq!(answer.status, 200, "{request}{answer:?}");
        assert_eq!(self.fixture.upstream.count(), before + 1, "{request}");
        self.fixture.upstream.last()
    }

    /// The header fields that the upstream gets of a `GET` with the key as a bearer token and these fields.
    fn fields(&self, fields: &str) -> Vec<String> {
        let request = format!(
            "GET /v1/x HTTP/1.1\r\nhost: api.test:8080\r\nauthorization: Bearer {{k}}\r\n{fields}\r\n"
        );
        lines(&self.forwards(&request))
    }
}

/// The header fields as lines, sorted, their names in lower case.
fn lines(seen: &Seen) -> Vec<String> {
    let mut lines: Vec<String> =
        seen.headers.iter().map(|(name, value)| format!("{}: {value}", name.to_lowercase())).collect();
    lines.sort();
    lines
}

const KEYED: &str = r#"
    [[routes]]
    path = "/v1"
    upstream = "api"
"#;

#[test]
fn the_upstream_gets_what_the_contract_lists_and_nothing_else() {
    let world = World::new(KEYED);
    let mut expected = vec![
        "accept: */*".to_owned(),
        "host: api.test:8080".into(),
        "x-forwarded-for: 127.0.0.1".into(),
        "x-forwarded-host: api.test:8080".into(),
        "x-forwarded-proto: http".into(),
        "x-portcullis-environment: live".into(),
        format!("x-portcullis-key-id: {}", world.id),
        "x-portcullis-key-name: ci".into(),
        "x-portcullis-request-id: r-1".into(),
        "x-portcullis-scopes: a:b c:*".into(),
        "x-request-id: r-1".into(),
    ];
    expected.sort();
    assert_eq!(world.fields("accept: */*\r\nx-request-id: r-1\r\n"), expected);
}

#[test]
fn target_fields_and_body_arrive_byte_for_byte() {
    let world = World::new(KEYED);
    // Every byte that a target may have, in path and query alike.
    let free: String = (0x21..=0x7E_u8).map(char::from).filter(|c| !"\"#<>\\%?/`".contains(*c)).collect();
    for target in [
        format!("/v1/{free}/%20%c3%A9%25%2e%2E%7e?{free}/../%2f%5c//?{free}`"),
        "/v1?".to_owned(),
        "/v1/?&&a=&=b&%zz&a=1&a=2".to_owned(),
        "/v1/caf\u{e9}".replace('\u{e9}', "%E9"),
        format!("/v1/{}", "long/".repeat(1_000)),
    ] {
        let seen = world
            .forwards(&format!("GET {target} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {{k}}\r\n\r\n"));
        assert_eq!(seen.line, format!("GET {target} HTTP/1.1"));
    }
    let binary: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    let head = format!("POST /v1/x HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n", world.secret);
    let whole = [format!("{head}content-length: {}\r\n\r\n", binary.len()).as_bytes(), &binary].concat();
    let chunks = binary
        .chunks(9_999)
        .flat_map(|chunk| [format!("{:x};ext=1\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
    let mut chunked = format!("{head}transfer-encoding: chunked\r\n\r\n").into_bytes();
    chunked.extend(chunks);
    chunked.extend(b"0\r\ntrailer: dropped\r\n\r\n");
    for (request, framing) in [(whole, "content-length"), (chunked, "transfer-encoding")] {
        assert_eq!(send(world.gateway.address, request).status, 200);
        let seen = world.fixture.upstream.last();
        assert_eq!(seen.body, binary);
        assert!(seen.header(framing).is_some(), "{:?}", seen.headers);
        assert_eq!(seen.header("trailer"), None);
    }
}

#[test]
fn repeated_fields_keep_their_order_and_spelling() {
    let world = World::new(KEYED);
    let fields = "X-MiXed: b\r\nx-mixed: a\r\nX-MIXED:  c  d \t\r\naccept: x;q=\"1,2\"\r\nx-empty:\r\n";
    let seen = world
        .forwards(&format!("GET /v1/x HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {{k}}\r\n{fields}\r\n"));
    let of = |name: &str| -> Vec<(String, String)> {
        seen.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).cloned().collect()
    };
    let values: Vec<_> = of("x-mixed").into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, ["b", "a", "c  d"]);
    assert_eq!(of("accept"), [("accept".to_owned(), "x;q=\"1,2\"".to_owned())]);
    assert_eq!(of("x-empty").len(), 1);
}

#[test]
fn fields_of_one_connection_stay_on_it() {
    let world = World::new(KEYED);
    let plain = world.fields("x-request-id: r\r\n");
    for hop in [
        "connection: keep-alive\r\n",
        "connection: close\r\n",
        "connection: x-mine, X-Other\r\nx-mine: 1\r\nx-mine: 2\r\nx-other: 3\r\n",
        "connection: ,\r\nconnection: x-mine\r\nx-mine: 1\r\n",
        "connection: authorization, x-portcullis-key-id, x-portcullis-request-id\r\n",
        "keep-alive: timeout=5\r\n",
        "proxy-connection: keep-alive\r\n",
        "proxy-authorization: Basic eA==\r\n",
        "proxy-authenticate: Basic\r\n",
        "te: trailers\r\n",
        "trailer: x-sum\r\n",
        "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAM\r\n",
        "upgrade: anything\r\n",
    ] {
        assert_eq!(world.fields(&format!("x-request-id: r\r\n{hop}")), plain, "{hop}");
    }
}

#[test]
fn the_request_id_that_is_answered_is_the_one_that_the_upstream_gets() {
    let world = World::new(KEYED);
    let ask = |fields: &str| {
        let secret = &world.secret;
        let request =
            format!("GET /v1/x HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {secret}\r\n{fields}\r\n");
        let answer = send(world.gateway.address, request);
        let seen = world.fixture.upstream.last();
        let given: Vec<String> = seen
            .headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case("x-request-id"))
            .map(|(_, v)| v.clone())
            .collect();
        let answered = answer.header("x-request-id").unwrap().to_owned();
        assert_eq!(seen.header("x-portcullis-request-id"), Some(&*answered), "{fields}");
        (answered, given)
    };
    let (answered, given) = ask("x-request-id: mine-1\r\n");
    assert_eq!((answered.as_str(), given.as_slice()), ("mine-1", &["mine-1".to_owned()][..]));
    for insane in ["x-request-id: a b\r\n", "x-request-id: a\r\nX-Request-Id: b\r\n", "x-request-id: <x>\r\n"]
    {
        let (answered, given) = ask(insane);
        assert_eq!(given, [answered], "{insane}");
    }
    assert_eq!(ask("").1, [""; 0], "none is added");
}

#[test]
fn a_request_without_a_host_reaches_the_upstream_as_valid_http() {
    let world = World::new(KEYED);
    let seen = world.forwards("GET /v1/x HTTP/1.0\r\nauthorization: Bearer {k}\r\n\r\n");
    assert_eq!(seen.line, "GET /v1/x HTTP/1.1");
    assert_eq!(seen.header("host"), Some(""), "RFC 9112 section 3.2: empty where there is none");
    assert_eq!(seen.header("x-forwarded-host"), None);
    let upstream = GrpcUpstream::start();
    let world =
        World::new(&format!("[upstreams.api]\ntargets = [\"{}\"]\nhttp2 = true\n{KEYED}", upstream.address));
    let request = format!("GET /v1/x HTTP/1.0\r\nauthorization: Bearer {}\r\n\r\n", world.secret);
    assert_eq!(send(world.gateway.address, request).status, 200);
    assert_eq!(upstream.heads()[0].uri().authority().map(http::uri::Authority::as_str), Some("localhost"));
}
