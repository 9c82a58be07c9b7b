//! HTTP/2 to upstreams, and gRPC from end to end: messages as they come, trailers, and refusals that its clients read.

use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;
use h2::client::ResponseFuture;
use http::Method;
use serde_json::json;

use crate::support::{
    Authority, DeadPort, Fixture, Gateway, GrpcUpstream, H2, H2Answer, block, eventually, send, whole,
};

const ECHO: &str = "/pkg.Service/Echo";

/// A gateway before an upstream that speaks gRPC, and a key for it.
struct World {
    gateway: Gateway,
    upstream: GrpcUpstream,
    id: String,
    credential: String,
    _fixture: Fixture,
}

impl World {
    /// Whose upstream has these further settings.
    fn new(more: &str) -> Self {
        Self::bounded("", more)
    }

    /// Whose gateway has further settings too.
    fn bounded(gateway: &str, more: &str) -> Self {
        let upstream = GrpcUpstream::start();
        let fixture = bounded(gateway, &upstream.address.to_string(), more);
        let gateway = fixture.start();
        let (id, secret) = gateway.admin.key(&json!({"name": "caller"}));
        Self { gateway, upstream, id, credential: format!("Bearer {secret}"), _fixture: fixture }
    }

    async fn client(&self) -> H2 {
        H2::connect(self.gateway.address).await
    }

    fn requests(&self) -> u64 {
        self.gateway.admin.show(&self.id)["usage"]["requests"].as_u64().unwrap()
    }
}

fn fixture(upstream: &str, more: &str) -> Fixture {
    bounded("", upstream, more)
}

/// One whose gateway has these further settings.
fn bounded(gateway: &str, upstream: &str, more: &str) -> Fixture {
    Fixture::with(&format!(
        "[gateway]\nlisten = [\"127.0.0.1:0\"]\nh2c = true\n{gateway}\n[upstreams.api]\ntargets = [\"{upstream}\"]\n\
         http2 = true\n{more}\n[[routes]]\npath = \"/pkg.Service\"\nupstream = \"api\"\n\
         [[routes]]\npath = \"/pkg.Scoped\"\nupstream = \"api\"\nscopes = [\"calls:make\"]\nmethods = [\"POST\"]\n"
    ))
}

/// A message in its frame.
fn message(text: &str) -> Bytes {
    let mut bytes = vec![0];
    bytes.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
    bytes.into()
}

fn call(credential: &str) -> [(&str, &str); 3] {
    [("content-type", "application/grpc"), ("te", "trailers"), ("authorization", credential)]
}

/// A call whose messages are still to be sent.
async fn begun(client: &mut H2, path: &str, credential: &str) -> (ResponseFuture, SendStream<Bytes>) {
    client.begin(Method::POST, path, &call(credential), false).await.unwrap()
}

/// A unary call, and its whole answer.
async fn called(client: &mut H2, path: &str, credential: &str, text: &str) -> H2Answer {
    let (answer, mut sending) = begun(client, path, credential).await;
    // A refused call may be over before its message is sent.
    let _ = sending.send_data(message(text), true);
    whole(answer.await.unwrap()).await.unwrap()
}

#[test]
fn a_unary_call_has_its_answer_and_its_trailers() {
    let world = World::new("");
    block(async {
        let mut client = world.client().await;
        for _ in 0..3 {
            let answer = called(&mut client, ECHO, &world.credential, "question").await;
            assert_eq!((answer.status, answer.body.as_slice()), (200, &message("question")[..]));
            assert_eq!(answer.header("content-type"), Some("application/grpc"));
            let trailers = answer.trailers.unwrap();
            assert_eq!(trailers["grpc-status"], "0");
            assert_eq!(trailers["x-checksum"], "abc");
            // Whoever has the trailers finds the call counted.
        }
    });
    assert_eq!(world.requests(), 3);
    let head = world.upstream.heads().pop().unwrap();
    assert_eq!(head.headers()["te"], "trailers");
    assert_eq!(head.headers()["x-portcullis-key-name"], "caller");
    assert_eq!(head.headers().get("authorization"), None);
    assert_eq!(head.uri().authority().map(http::uri::Authority::as_str), Some("localhost"));
    assert_eq!(head.headers().get("host"), None);
    assert_eq!(head.uri().path(), ECHO);
}

#[test]
fn over_tls_an_upstream_is_asked_by_alpn() {
    let authority = Authority::new();
    let upstream = GrpcUpstream::start_secured(&authority.issue(&["api.test"]));
    let more = "tls = true\nhost = \"api.test\"\nca = \"ca.pem\"";
    let fixture = fixture(&upstream.address.to_string(), more);
    std::fs::write(fixture.folder.path().join("ca.pem"), &authority.pem).unwrap();
    let gateway = fixture.start();
    let (_, secret) = gateway.admin.key(&json!({}));
    let credential = format!("Bearer {secret}");
    block(async {
        let mut client = H2::connect(gateway.address).await;
        let answer = called(&mut client, ECHO, &credential, "question").await;
        assert_eq!(answer.trailers.unwrap()["grpc-status"], "0");
    });
    let head = upstream.heads().pop().unwrap();
    assert_eq!(head.uri().scheme_str(), Some("https"));
    assert_eq!(head.uri().authority().map(http::uri::Authority::as_str), Some("api.test"));
}

#[test]
fn health_checks_speak_http2_where_the_upstream_does() {
    let more = "health = { path = \"/healthz\", interval = \"100ms\" }";
    let world = World::new(more);
    let checked = || world.upstream.heads().iter().filter(|head| head.uri().path() == "/healthz").count();
    eventually("it is checked again and again", || checked() > 3);
    block(async {
        let mut client = world.client().await;
        let answer = called(&mut client, ECHO, &world.credential, "question").await;
        assert_eq!(answer.trailers.expect("it is healthy")["grpc-status"], "0");
    });
}

#[test]
fn a_stream_goes_both_ways_message_by_message() {
    let world = World::new("");
    block(async {
        let mut client = world.client().await;
        let (answer, mut sending) = begun(&mut client, ECHO, &world.credential).await;
        sending.send_data(message("0"), false).unwrap();
        let (head, mut stream) = answer.await.unwrap().into_parts();
        assert_eq!(head.status, 200);
        for number in 1..20 {
            // The answer to each message is there before the next one is sent.
            let echo = stream.data().await.unwrap().unwrap();
            assert_eq!(echo, message(&(number - 1).to_string()));
            sending.send_data(message(&number.to_string()), number == 19).unwrap();
        }
        assert_eq!(stream.data().await.unwrap().unwrap(), message("19"));
        assert!(stream.data().await.is_none());
        assert_eq!(stream.trailers().await.unwrap().unwrap()["grpc-status"], "0");
    });
    assert_eq!(world.requests(), 1);
}

#[test]
fn a_caller_may_be_silent_for_longer_than_a_body_may() {
    let bounds = "body_timeout = \"500ms\"\nmin_body_rate = \"1000\"\nbody_grace = \"100ms\"";
    let world = World::bounded(bounds, "");
    block(async {
        let mut client = world.client().await;
        let (answer, mut sending) = begun(&mut client, ECHO, &world.credential).await;
        for text in ["0", "1"] {
            tokio::time::sleep(Duration::from_millis(900)).await;
            sending.send_data(message(text), text == "1").unwrap();
        }
        let answer = whole(answer.await.unwrap()).await.unwrap();
        assert_eq!(answer.trailers.unwrap()["grpc-status"], "0");
    });
}

#[test]
fn a_revocation_cuts_a_call_that_streams() {
    let world = World::new("");
    block(async {
        let mut client = world.client().await;
        let (answer, mut sending) = begun(&mut client, ECHO, &world.credential).await;
        sending.send_data(message("0"), false).unwrap();
        let answer = answer.await.unwrap();
        let (admin, path) = (world.gateway.admin.clone(), format!("/api/v1/keys/{}/revoke", world.id));
        let revoked = tokio::task::spawn_blocking(move || admin.post(&path, &json!({"reason": "leaked"})));
        assert_eq!(revoked.await.unwrap().json()["cut"], 1);
        assert!(whole(answer).await.unwrap_err().is_reset());
    });
}

#[test]
fn an_upstreams_own_refusal_is_passed_on() {
    let world = World::new("");
    block(async {
        let mut client = world.client().await;
        let answer = called(&mut client, "/pkg.Service/Fails", &world.credential, "x").await;
        assert_eq!(
            (answer.header("grpc-status"), answer.header("grpc-message")),
            (Some("5"), Some("no such thing"))
        );
    });
    assert_eq!(world.requests(), 1);
}

#[test]
fn refusals_are_calls_that_ended_with_a_status() {
    let upstream = GrpcUpstream::start();
    let fixture = fixture(&upstream.address.to_string(), "response_timeout = \"200ms\"");
    let gateway = fixture.start();
    let (_, secret) = gateway.admin.key(&json!({"scopes": []}));
    let (_, limited) =
        gateway.admin.key(&json!({"limits": [{"name": "hour", "requests": 1, "window": "1h"}]}));
    let (good, once) = (format!("Bearer {secret}"), format!("Bearer {limited}"));
    let cases = [
        (ECHO, once.as_str(), "0", ""),
        (ECHO, once.as_str(), "8", "Too many requests"),
        (ECHO, "Bearer wrong", "16", "The API key is not valid"),
        (
            "/pkg.Scoped/Echo",
            good.as_str(),
            "7",
            "The API key lacks a scope: This key lacks the scope calls:make.",
        ),
        ("/other.Service/Echo", good.as_str(), "12", "No route"),
        ("/pkg.Service/a//b", good.as_str(), "3", "The request is malformed"),
        ("/pkg.Service/Hangs", good.as_str(), "4", "The upstream was too slow"),
    ];
    block(async {
        let mut client = H2::connect(gateway.address).await;
        for (path, credential, status, text) in cases {
            let (answer, mut sending) = begun(&mut client, path, credential).await;
            // A refused call may be over before its message is sent.
            let _ = sending.send_data(message("x"), true);
            let answer = answer.await.unwrap();
            let over = answer.body().is_end_stream();
            let answer = whole(answer).await.unwrap();
            assert_eq!(answer.status, 200, "{path}");
            assert_eq!(answer.header("content-type"), Some("application/grpc"), "{path}");
            if status == "0" {
                assert_eq!(answer.trailers.unwrap()["grpc-status"], "0");
                continue;
            }
            assert!(over && answer.body.is_empty(), "{path}: the head is all of it");
            assert_eq!(answer.header("grpc-status"), Some(status), "{path}");
            assert!(answer.header("grpc-message").unwrap().starts_with(text), "{path}: {answer:?}");
            assert!(answer.header("x-request-id").is_some());
            assert_eq!(answer.header("retry-after").is_some(), status == "8");
        }
        let (answer, _) = client.begin(Method::GET, "/pkg.Scoped/Echo", &call(&good), true).await.unwrap();
        let answer = whole(answer.await.unwrap()).await.unwrap();
        assert_eq!(answer.header("grpc-status"), Some("12"), "a method that is not allowed");
    });
}

#[test]
fn an_upstream_that_cannot_be_had_or_speaks_http1_is_unavailable() {
    let dead = DeadPort::new();
    let old = crate::support::Upstream::start();
    for address in [dead.address, old.address] {
        let fixture = fixture(&address.to_string(), "");
        let gateway = fixture.start();
        let (_, secret) = gateway.admin.key(&json!({}));
        let credential = format!("Bearer {secret}");
        block(async {
            let mut client = H2::connect(gateway.address).await;
            let answer = called(&mut client, ECHO, &credential, "x").await;
            assert_eq!(answer.header("grpc-status"), Some("14"), "{address}: {answer:?}");
        });
        let plain = send(
            gateway.address,
            format!("GET /pkg.Service/x HTTP/1.1\r\nhost: a\r\nauthorization: {credential}\r\n\r\n"),
        );
        assert_eq!(plain.status, 502);
    }
}

#[test]
fn http1_clients_reach_an_http2_upstream() {
    let world = World::new("host = \"inner.test:81\"");
    let mut client = crate::support::Client::new(world.gateway.address);
    for _ in 0..3 {
        let answer =
            client.try_send("POST", "/pkg.Service/plain", &[("authorization", &world.credential)], "body");
        // An answer of unknown length is chunked, which this client does not read.
        assert!(answer.is_ok_and(|answer| answer.status == 200));
        client = crate::support::Client::new(world.gateway.address);
    }
    let head = world.upstream.heads().pop().unwrap();
    assert_eq!(head.uri().authority().map(http::uri::Authority::as_str), Some("inner.test:81"));
    assert_eq!(head.headers()["x-forwarded-host"], "localhost");
}

#[test]
fn many_calls_share_connections_to_the_upstream() {
    let world = World::new("");
    block(async {
        let client = world.client().await;
        let calls: Vec<_> = (0..90)
            .map(|number| {
                let (mut client, credential) = (client.another(), world.credential.clone());
                tokio::spawn(async move {
                    let (answer, mut sending) = begun(&mut client, ECHO, &credential).await;
                    tokio::time::sleep(Duration::from_millis(number % 10)).await;
                    sending.send_data(message("x"), true).unwrap();
                    whole(answer.await.unwrap()).await.unwrap().trailers.unwrap()["grpc-status"].clone()
                })
            })
            .collect();
        for one in calls {
            assert_eq!(one.await.unwrap(), "0");
        }
    });
    assert_eq!(world.requests(), 90);
}
