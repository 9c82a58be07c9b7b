//! WebSockets: upgraded for whoever may pass, tunnelled untouched, and counted as one request.

use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::World;
use crate::support::{Script, Wire, eventually, get, head_of};

const ACCEPTED: &str = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nx-upstream: yes\r\n\r\n";

/// An upstream that upgrades whatever asks for it, and then sends back each byte.
fn echo() -> Script {
    Script::start(|mut stream| {
        let head = head_of(&mut stream).to_lowercase();
        if !head.contains("upgrade: websocket") || !head.contains("connection: upgrade") {
            let _ = stream.write_all(b"HTTP/1.1 426 Upgrade Required\r\ncontent-length: 0\r\n\r\n");
            return;
        }
        stream.write_all(ACCEPTED.as_bytes()).unwrap();
        let mut bytes = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut bytes) {
            stream.write_all(&bytes[..read]).unwrap();
        }
    })
}

fn upgrade(secret: &str) -> String {
    get("/v1/ws", secret).replace("\r\n\r\n", "\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n")
}

/// A real server behind, a real client in front.
#[test]
fn messages_of_every_kind_come_back() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let world = World::before(listener.local_addr().unwrap(), "");
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut sink, mut source) = tokio_tungstenite::accept_async(stream).await.unwrap().split();
                while let Some(Ok(message)) = source.next().await {
                    if sink.send(message).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(world.gateway.address).await.unwrap();
        let mut request = format!("ws://{}/v1/ws?x=1", world.gateway.address).into_client_request().unwrap();
        let bearer = format!("Bearer {}", world.secret).parse().unwrap();
        request.headers_mut().insert("authorization", bearer);
        let (mut socket, answer) = tokio_tungstenite::client_async(request, stream).await.unwrap();
        assert!(answer.headers().contains_key("x-request-id"));
        for message in [
            Message::text("hello"),
            Message::text(""),
            Message::binary((0..=255_u8).cycle().take(300_000).collect::<Vec<_>>()),
        ] {
            socket.send(message.clone()).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap(), message);
        }
        socket.close(None).await.unwrap();
        while let Some(Ok(_)) = socket.next().await {}
    });
    eventually("it is counted", || world.usage() == (1, 0));
}

#[test]
fn only_who_may_pass_is_upgraded() {
    let world = World::before(echo().address, "");
    let refused = Wire::open(world.gateway.address).ask(upgrade("sk-unknown-0123456789"));
    assert_eq!((refused.status, refused.code().as_str()), (401, "invalid_key"));
    let mut wire = Wire::open(world.gateway.address);
    wire.send(upgrade(&world.secret));
    let head = wire.head().to_lowercase();
    assert!(head.starts_with("http/1.1 101"), "{head}");
    for field in ["upgrade: websocket", "connection: upgrade", "x-upstream: yes", "x-request-id: "] {
        assert!(head.contains(field), "{field}: {head}");
    }
}

#[test]
fn a_tunnel_may_be_silent_for_longer_than_an_answer_and_carry_more_than_a_body() {
    let config = format!(
        "[upstreams.api]\ntargets = [\"{}\"]\nresponse_timeout = \"100ms\"\n\
         [[routes]]\npath = \"/v1\"\nupstream = \"api\"\nmax_request_body = \"10\"\n",
        echo().address
    );
    let world = World::new(&config);
    let mut wire = Wire::open(world.gateway.address);
    wire.send(upgrade(&world.secret));
    wire.head();
    thread::sleep(Duration::from_millis(250));
    for _ in 0..3 {
        wire.send("more than ten bytes");
        assert_eq!(wire.exactly(19), b"more than ten bytes");
    }
}

#[test]
fn a_tunnel_holds_one_place_until_either_side_ends_it() {
    let world = World::before(echo().address, "");
    let edit = json!({"max_concurrent": 1});
    assert_eq!(world.gateway.admin.patch(&format!("/api/v1/keys/{}", world.id), &edit).status, 200);
    for round in 1..=3 {
        let mut wire = Wire::open(world.gateway.address);
        wire.send(upgrade(&world.secret));
        assert!(wire.head().starts_with("HTTP/1.1 101"), "round {round}");
        wire.send("x");
        wire.exactly(1);
        let second = Wire::open(world.gateway.address).ask(upgrade(&world.secret));
        assert_eq!(second.code(), "too_many_concurrent");
        assert_eq!(world.usage(), (round - 1, round), "a tunnel counts when it ends");
        drop(wire);
        eventually("it is counted", || world.usage() == (round, round));
    }
}

#[test]
fn asking_for_another_upgrade_does_not_lift_the_response_timeout() {
    let upstream = crate::support::Upstream::start();
    let world = World::before(upstream.address, "response_timeout = \"100ms\"");
    for fields in ["upgrade: h2c", "connection: upgrade\r\nupgrade: anything", "upgrade: websocket2"] {
        let request = get("/v1/hang", &world.secret).replace("\r\n\r\n", &format!("\r\n{fields}\r\n\r\n"));
        let answer = Wire::open(world.gateway.address).ask(&request);
        assert_eq!(answer.code(), "upstream_timeout", "{fields}");
    }
}

#[test]
fn what_is_no_request_for_a_websocket_is_not_upgraded_though_the_upstream_would() {
    let eager = Script::start(|mut stream| {
        head_of(&mut stream);
        stream.write_all(ACCEPTED.as_bytes()).unwrap();
        let _ = stream.read(&mut [0; 64]);
    });
    let world = World::before(eager.address, "");
    let asked = upgrade(&world.secret);
    let with = |from: &str, to: &str| asked.replacen(from, to, 1);
    for request in [
        with("connection: Upgrade\r\n", ""),
        with("connection: Upgrade", "connection: keep-alive"),
        with("GET ", "POST "),
        with("connection: Upgrade", "connection: upgrade\r\ncontent-length: 3"),
        with("connection: Upgrade", "connection: upgrade\r\ntransfer-encoding: chunked"),
        with("upgrade: websocket", "upgrade: websocket\r\nupgrade: other"),
        with("HTTP/1.1", "HTTP/1.0"),
    ] {
        let mut wire = Wire::open(world.gateway.address);
        wire.send(&request);
        wire.send_some(if request.contains("chunked") { "3\r\nabc\r\n0\r\n\r\n" } else { "abc" });
        let answer = wire.answer();
        assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_failed"), "{request}");
    }
}

#[test]
fn an_upgrade_to_something_else_than_was_asked_for_is_a_failure_of_the_upstream() {
    for fields in ["upgrade: other\r\nconnection: upgrade\r\n", "connection: upgrade\r\n", ""] {
        let script = Script::start(move |mut stream| {
            head_of(&mut stream);
            write!(stream, "HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n").unwrap();
            let _ = stream.read(&mut [0; 64]);
        });
        let world = World::before(script.address, "");
        let answer = Wire::open(world.gateway.address).ask(upgrade(&world.secret));
        assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_failed"), "{fields:?}");
    }
}

#[test]
fn an_upgrade_that_the_upstream_refuses_is_an_answer_like_any_other() {
    let upstream = crate::support::Upstream::start();
    let world = World::before(upstream.address, "");
    let mut wire = Wire::open(world.gateway.address);
    for _ in 0..3 {
        let answer = wire.ask(upgrade(&world.secret));
        assert_eq!((answer.status, &answer.body[..], answer.closed), (200, &b"hello"[..], false));
    }
}
