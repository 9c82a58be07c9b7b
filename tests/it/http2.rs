//! HTTP/2 clients: the same judgement as for HTTP/1.1, each stream for itself, and the bounds of a connection.

mod bounds;
mod ends;
mod refused;

use std::time::Duration;

use http::Method;
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::support::{Authority, Fixture, H2, Stopwatch, block, eventually};

/// A body larger than one test allows.
static LARGE: [u8; 4096] = [b'x'; 4096];

/// A gateway that speaks HTTP/2 on its plain listener, with these further settings.
fn fixture(gateway: &str) -> Fixture {
    Fixture::with(&format!(
        "[gateway]\nlisten = [\"127.0.0.1:0\"]\nh2c = true\n{gateway}\n[[routes]]\npath = \"/v1\"\nupstream = \"api\"\n"
    ))
}

#[test]
fn requests_pass_side_by_side_and_are_judged_one_by_one() {
    let fixture = fixture("");
    let gateway = fixture.start();
    let (id, secret) = gateway.admin.key(&json!({}));
    block(async {
        let mut client = H2::connect(gateway.address).await;
        let watch = Stopwatch::start();
        let slow: Vec<_> = (0..20)
            .map(|_| {
                let (mut client, secret) = (client.another(), secret.clone());
                tokio::spawn(async move { client.get("/v1/slow/300", &secret).await.unwrap().status })
            })
            .collect();
        assert_eq!(client.get("/v1/x", "wrong").await.unwrap().code(), "invalid_key");
        assert_eq!(client.get("/elsewhere", &secret).await.unwrap().code(), "no_route");
        let posted = client.send(Method::POST, "/v1/x", &secret, b"a body").await.unwrap();
        assert_eq!((posted.status, posted.body.as_slice()), (200, b"hello".as_slice()));
        assert!(posted.header("x-request-id").is_some());
        for one in slow {
            assert_eq!(one.await.unwrap(), 200);
        }
        assert!(watch.elapsed() < Duration::from_secs(3), "they ran side by side");
        let large = client.get("/v1/bytes/1000000", &secret).await.unwrap();
        assert_eq!(large.body.len(), 1_000_000);
        let head = client.send(Method::HEAD, "/v1/x", &secret, b"").await.unwrap();
        assert_eq!((head.status, head.body.len()), (200, 0));
    });
    let posted = fixture.upstream.seen().into_iter().find(|seen| seen.line.starts_with("POST")).unwrap();
    assert_eq!(posted.body, b"a body");
    assert_eq!(posted.header("host"), Some("localhost"));
    assert_eq!(posted.header("x-forwarded-proto"), Some("http"));
    assert_eq!(posted.header("x-portcullis-key-id"), Some(id.as_str()));
    assert_eq!(posted.header("authorization"), None);
    assert_eq!(gateway.admin.show(&id)["usage"]["requests"], 23);
    gateway.stop();
}

#[test]
fn tls_clients_choose_it_by_alpn() {
    let authority = Authority::new();
    let fixture = Fixture::with(
        "[gateway]\nlisten = []\n[[gateway.tls]]\nlisten = \"127.0.0.1:0\"\ncertificate = \"site.pem\"\n\
         private_key = \"site.key\"\n[[routes]]\npath = \"/v1\"\nupstream = \"api\"\n",
    );
    authority.write(fixture.folder.path(), "site", &["localhost"]);
    let gateway = fixture.start();
    let (_, secret) = gateway.admin.key(&json!({}));
    let config = authority.client(rustls::ALL_VERSIONS, None, &["h2", "http/1.1"]);
    block(async {
        let socket = tokio::net::TcpStream::connect(gateway.address).await.unwrap();
        let name = "localhost".try_into().unwrap();
        let stream = tokio_rustls::TlsConnector::from(config).connect(name, socket).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
        let mut client = H2::over(stream).await;
        for _ in 0..3 {
            assert_eq!(client.get("/v1/x", &secret).await.unwrap().body, b"hello");
        }
    });
    assert_eq!(fixture.upstream.last().header("x-forwarded-proto"), Some("https"));
}

#[test]
fn without_h2c_a_plain_listener_speaks_http1_alone_and_with_it_both() {
    let fixture = fixture("");
    let gateway = fixture.start();
    let (_, secret) = gateway.admin.key(&json!({}));
    let mut old = crate::support::Client::new(gateway.address);
    assert_eq!(old.get("/v1/x", &secret).status, 200);
    assert_eq!(gateway.admin.get("/readyz").status, 200);
    let plain = Fixture::new();
    let gateway = plain.start();
    let answer = crate::support::send(gateway.address, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!((answer.status, answer.code().as_str()), (400, "bad_request"));
}

#[test]
fn a_revocation_cuts_the_keys_streams_and_no_other() {
    let fixture = fixture("");
    let gateway = fixture.start();
    let (revoked, first) = gateway.admin.key(&json!({}));
    let (_, second) = gateway.admin.key(&json!({}));
    block(async {
        let mut client = H2::connect(gateway.address).await;
        let headers = |secret: &str| format!("Bearer {secret}");
        let (cut, _) = client
            .begin(Method::GET, "/v1/stream/100", &[("authorization", &headers(&first))], true)
            .await
            .unwrap();
        let (stays, _) = client
            .begin(Method::GET, "/v1/stream/20", &[("authorization", &headers(&second))], true)
            .await
            .unwrap();
        let (cut, stays) = (cut.await.unwrap(), stays.await.unwrap());
        let admin = gateway.admin.clone();
        let path = format!("/api/v1/keys/{revoked}/revoke");
        let answer = tokio::task::spawn_blocking(move || admin.post(&path, &json!({"reason": "leaked"})))
            .await
            .unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json()["cut"], 1);
        let error = crate::support::whole(cut).await.unwrap_err();
        assert!(error.is_reset(), "{error}");
        assert_eq!(crate::support::whole(stays).await.unwrap().status, 200, "its neighbour ends by itself");
        assert_eq!(client.get("/v1/x", &first).await.unwrap().code(), "key_revoked");
        assert_eq!(client.get("/v1/x", &second).await.unwrap().status, 200);
    });
    assert_eq!(gateway.admin.show(&revoked)["usage"]["requests"], 1, "counted once, though it was cut");
}

#[test]
fn a_stream_that_its_client_resets_is_counted_once() {
    let fixture = fixture("");
    let gateway = fixture.start();
    let (id, secret) = gateway.admin.key(&json!({"max_concurrent": 1}));
    let credential = format!("Bearer {secret}");
    block(async {
        let mut client = H2::connect(gateway.address).await;
        for target in ["/v1/hang", "/v1/stream/100"] {
            let (answer, mut sending) =
                client.begin(Method::GET, target, &[("authorization", &credential)], true).await.unwrap();
            let begun = timeout(Duration::from_millis(300), answer).await;
            sending.send_reset(h2::Reason::CANCEL);
            drop(begun);
            // Its place is free again once it has ended, and it is counted then.
            loop {
                match client.get("/v1/x", &secret).await.unwrap() {
                    answer if answer.status == 200 => break,
                    answer => assert_eq!(answer.code(), "too_many_concurrent"),
                }
                sleep(Duration::from_millis(20)).await;
            }
        }
    });
    assert_eq!(gateway.admin.show(&id)["usage"]["requests"], 4);
}

#[test]
fn a_stop_lets_streams_end_and_takes_no_more() {
    let fixture = fixture("shutdown_grace = \"10s\"");
    let mut gateway = fixture.start();
    let (_, secret) = gateway.admin.key(&json!({}));
    block(async {
        let mut client = H2::connect(gateway.address).await;
        let mut idle = H2::connect(gateway.address).await;
        assert_eq!(idle.get("/v1/x", &secret).await.unwrap().status, 200);
        let credential = format!("Bearer {secret}");
        let (answer, _) = client
            .begin(Method::GET, "/v1/stream/10", &[("authorization", &credential)], true)
            .await
            .unwrap();
        let answer = answer.await.unwrap();
        let app = gateway.app.take().unwrap();
        let watch = Stopwatch::start();
        let stopped = tokio::task::spawn_blocking(move || app.stop().unwrap());
        assert_eq!(crate::support::whole(answer).await.unwrap().status, 200);
        stopped.await.unwrap();
        assert!(watch.elapsed() < Duration::from_secs(5), "it waits for the stream and no longer");
        assert!(client.get("/v1/x", &secret).await.is_err());
    });
}

#[test]
fn a_body_over_its_limit_is_refused_and_the_connection_lives() {
    let fixture = fixture("max_request_body = \"1KiB\"");
    let gateway = fixture.start();
    let (_, secret) = gateway.admin.key(&json!({}));
    block(async {
        let mut client = H2::connect(gateway.address).await;
        let answer = client.send(Method::POST, "/v1/x", &secret, &LARGE).await.unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"));
        assert_eq!(client.get("/v1/x", &secret).await.unwrap().status, 200);
    });
    eventually("nothing of it went on", || fixture.upstream.seen().len() == 1);
}
