//! The bounds of a connection: each ends it, is counted, and leaves others alone.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::json;
use tokio::time::sleep;

use super::fixture;
use crate::support::{
    Fixture, Frames, Gateway, H2, Script, Stopwatch, block, eventually, frame, head_of, whole,
};

const ENHANCE_YOUR_CALM: Option<u32> = Some(11);

fn counted(gateway: &Gateway, bound: &str) -> u64 {
    let text = gateway.admin.metrics();
    let series = format!("portcullis_bounds_hit_total{{bound=\"{bound}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&series)).map_or(0, |count| count.parse().unwrap())
}

fn fields(secret: &str, path: &str) -> Vec<u8> {
    let credential = format!("Bearer {secret}");
    Frames::fields(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a.test"),
        (":path", path),
        ("authorization", &credential),
    ])
}

#[test]
fn a_client_that_resets_what_it_asked_for_is_sent_away() {
    let fixture = fixture("http2_max_resets = 20");
    let gateway = fixture.start();
    let (id, secret) = gateway.admin.key(&json!({}));
    let mut client = Frames::connect(gateway.address);
    let mut sent = 0;
    for stream in (1..2001).step_by(2) {
        let request = frame(1, 0x5, stream, &fields(&secret, "/v1/hang"));
        let reset = frame(3, 0, stream, &8_u32.to_be_bytes());
        if client.stream.write_all(&[request, reset].concat()).is_err() {
            break;
        }
        sent += 1;
    }
    assert_eq!(client.goaway(), ENHANCE_YOUR_CALM, "after {sent}");
    let seen = fixture.upstream.seen().len();
    assert!(seen <= 40, "the upstream got {seen}");
    eventually("each that was judged is counted once", || {
        let usage = &gateway.admin.show(&id)["usage"];
        usage["requests"].as_u64().unwrap() >= seen as u64 && usage["requests"].as_u64().unwrap() <= 40
    });
}

#[test]
fn a_client_that_makes_the_gateway_reset_is_sent_away() {
    let fixture = fixture("http2_max_resets = 20");
    let gateway = fixture.start();
    let (_, secret) = gateway.admin.key(&json!({}));
    let mut client = Frames::connect(gateway.address);
    for stream in (1..2001).step_by(2) {
        let request = frame(1, 0x5, stream, &fields(&secret, "/v1/hang"));
        // A window that grows beyond its bound is an error of the stream (RFC 9113 section 6.9.1).
        let mistake = frame(8, 0, stream, &[0x7f, 0xff, 0xff, 0xff]);
        if client.stream.write_all(&[request, mistake].concat()).is_err() {
            break;
        }
    }
    assert_eq!(client.goaway(), ENHANCE_YOUR_CALM);
    assert!(fixture.upstream.seen().len() <= 40);
    eventually("it is counted", || counted(&gateway, "http2_resets") == 1);
}

#[test]
fn floods_of_frames_that_carry_nothing_are_cut() {
    let fixture = fixture("http2_max_control_frames = 100");
    let gateway = fixture.start();
    let (_, secret) = gateway.admin.key(&json!({}));
    let open = frame(1, 0, 1, &fields(&secret, "/v1/x"));
    let floods = [
        (vec![], frame(6, 0, 0, &[0; 8])),
        (vec![], frame(4, 0, 0, &[0, 3, 0, 0, 0, 100])),
        (vec![], frame(2, 0, 1, &[0, 0, 0, 3, 16])),
        (vec![], frame(99, 0, 0, b"x")),
        (open, frame(9, 0, 1, &[])),
        (frame(1, 0x4, 1, &fields(&secret, "/v1/x")), frame(0, 0, 1, &[])),
    ];
    for (number, (first, flood)) in floods.iter().enumerate() {
        let mut client = Frames::connect(gateway.address);
        client.write(first);
        let mut bytes = flood.repeat(2000);
        bytes.truncate(64 << 10);
        // It may be cut off in the middle.
        let _ = client.stream.write_all(&bytes);
        // A reset may overtake the reason.
        let code = client.goaway();
        assert!(code.is_none() || code == ENHANCE_YOUR_CALM, "{flood:?}: {code:?}");
        eventually("it is counted", || counted(&gateway, "http2_control_frames") == number as u64 + 1);
    }
    assert!(fixture.upstream.seen().iter().all(|seen| seen.body.is_empty()));
}

#[test]
fn heads_that_trickle_have_their_time() {
    let fixture = fixture("header_timeout = \"400ms\"");
    let gateway = fixture.start();
    let (_, secret) = gateway.admin.key(&json!({}));
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let settings = frame(4, 0, 0, &[]);
    let head = frame(1, 0x5, 1, &fields(&secret, "/v1/x"));
    // What is sent at once, and what then comes byte by byte.
    let cases = [
        (vec![], preface.clone()),
        (preface.clone(), [settings.clone(), vec![0; 100]].concat()),
        ([preface.clone(), settings.clone()].concat(), head.clone()),
        ([preface, settings, frame(1, 0, 1, &head[9..])].concat(), frame(9, 0, 1, &[]).repeat(10)),
    ];
    for (at_once, trickle) in cases {
        let watch = Stopwatch::start();
        let mut stream = TcpStream::connect(gateway.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(&at_once).unwrap();
        let mut writer = stream.try_clone().unwrap();
        thread::spawn(move || {
            for byte in trickle.iter().cycle().take(400) {
                thread::sleep(Duration::from_millis(50));
                if writer.write_all(&[*byte]).is_err() {
                    break;
                }
            }
        });
        // Closed or reset.
        let _ = stream.read_to_end(&mut Vec::new());
        let took = watch.elapsed();
        assert!(took >= Duration::from_millis(350) && took < Duration::from_secs(4), "{took:?}");
    }
    assert!(fixture.upstream.seen().is_empty());
    assert!(counted(&gateway, "header_timeout") >= 2);
}

#[test]
fn an_idle_connection_ends_and_pings_do_not_keep_it() {
    let fixture = fixture("idle_timeout = \"1s\"");
    let gateway = fixture.start();
    let mut client = Frames::connect(gateway.address);
    let mut pinging = client.stream.try_clone().unwrap();
    thread::spawn(move || {
        while pinging.write_all(&frame(6, 0, 0, &[7; 8])).is_ok() {
            thread::sleep(Duration::from_millis(100));
        }
    });
    let watch = Stopwatch::start();
    assert_eq!(client.goaway(), Some(0), "a goodbye without an error");
    while client.next().is_some() {}
    assert!(watch.elapsed() < Duration::from_secs(4));
}

#[test]
fn a_head_that_is_too_large_is_431_and_too_many_fields_are_too() {
    let fixture = fixture("max_request_header = \"4KiB\"");
    let gateway = fixture.start();
    let (_, secret) = gateway.admin.key(&json!({}));
    let value = "x".repeat(100);
    let names: Vec<String> = (0..130).map(|number| format!("x-{number}")).collect();
    for (count, text) in [(60, value.as_str()), (130, "")] {
        let mut client = Frames::connect(gateway.address);
        let more: Vec<(&str, &str)> = names.iter().take(count).map(|name| (name.as_str(), text)).collect();
        client.write(&frame(1, 0x5, 1, &[fields(&secret, "/v1/x"), Frames::fields(&more)].concat()));
        let head =
            std::iter::from_fn(|| client.next()).find(|(kind, _, stream, _)| (*kind, *stream) == (1, 1));
        let (_, _, _, block) = head.unwrap();
        // 431 is in no table of the codec: it is written out, as digits or in Huffman's code (RFC 7541 appendix B).
        let plain = block.windows(3).any(|part| part == b"431");
        let coded = block.windows(3).any(|part| part == [0x68, 0x13, 0x7f] || part[..2] == [0x68, 0x0c]);
        assert!(plain || coded || block.first() == Some(&0x48), "{block:x?}");
    }
    assert!(fixture.upstream.seen().is_empty());
}

#[test]
fn no_more_streams_run_at_once_than_may() {
    let fixture = fixture("http2_max_streams = 5");
    let gateway = fixture.start();
    let (_, secret) = gateway.admin.key(&json!({}));
    let mut client = Frames::connect(gateway.address);
    for stream in (1..=41).step_by(2) {
        client.write(&frame(1, 0x5, stream, &fields(&secret, "/v1/hang")));
    }
    // REFUSED_STREAM: the client may send it again elsewhere.
    assert_eq!(client.outcome(41), Err(Some(7)));
    thread::sleep(Duration::from_millis(300));
    assert!(fixture.upstream.seen().len() <= 5, "{}", fixture.upstream.seen().len());
}

/// The credential and the content type of a `POST`.
fn post_fields<'a>(credential: &'a str, content: &'a str) -> [(&'a str, &'a str); 2] {
    [("authorization", credential), ("content-type", content)]
}

#[test]
fn a_body_that_stops_is_reset_and_counted() {
    let fixture = fixture("body_timeout = \"1s\"");
    let gateway = fixture.start();
    let (id, secret) = gateway.admin.key(&json!({}));
    let credential = format!("Bearer {secret}");
    block(async {
        let mut client = H2::connect(gateway.address).await;
        for start in ["", "some"] {
            let fields = post_fields(&credential, "text/plain");
            let (answer, mut body) = client.begin(Method::POST, "/v1/x", &fields, false).await.unwrap();
            body.send_data(start.into(), false).unwrap();
            assert!(answer.await.unwrap_err().is_reset(), "{start:?}");
        }
        // The connection stays, and who has sent all may wait for the answer.
        let waited = client.send(Method::POST, "/v1/slow/2000", &secret, b"whole").await.unwrap();
        assert_eq!(waited.status, 200);
    });
    assert_eq!(counted(&gateway, "body_timeout"), 2);
    let usage = &gateway.admin.show(&id)["usage"];
    assert_eq!((&usage["requests"], &usage["denied"]), (&json!(1), &json!(2)));
}

#[test]
fn a_body_that_trickles_is_answered_and_one_that_hurries_is_not() {
    let fixture = fixture("min_body_rate = \"1000\"\nbody_grace = \"500ms\"");
    let gateway = fixture.start();
    let (_, secret) = gateway.admin.key(&json!({}));
    let credential = format!("Bearer {secret}");
    block(async {
        let mut client = H2::connect(gateway.address).await;
        // Saying that it is a gRPC call does not help where none are served.
        for content in ["text/plain", "application/grpc"] {
            let watch = Stopwatch::start();
            let fields = post_fields(&credential, content);
            let (answer, mut body) = client.begin(Method::POST, "/v1/x", &fields, false).await.unwrap();
            for _ in 0..20 {
                // The stream may be gone by now.
                let _ = body.send_data("x".into(), false);
                sleep(Duration::from_millis(50)).await;
            }
            let answer = whole(answer.await.unwrap()).await.unwrap();
            if content == "text/plain" {
                assert_eq!((answer.status, answer.code().as_str()), (408, "request_timeout"));
            } else {
                assert!(answer.header("grpc-status").is_some());
            }
            assert!(watch.elapsed() > Duration::from_millis(450), "the grace");
        }
        // As slow, and fast enough.
        let fields = post_fields(&credential, "text/plain");
        let (answer, mut body) = client.begin(Method::POST, "/v1/x", &fields, false).await.unwrap();
        for last in [false, false, false, false, false, false, false, false, false, true] {
            body.send_data(Bytes::from_static(&[b'x'; 1000]), last).unwrap();
            sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(answer.await.unwrap().status(), 200);
    });
    assert_eq!((counted(&gateway, "body_rate"), counted(&gateway, "body_timeout")), (2, 0));
}

#[test]
fn an_upstream_that_says_go_on_does_not_end_the_bounds() {
    let upstream = Script::start(|mut stream| {
        head_of(&mut stream);
        stream.write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n").unwrap();
        // It waits for a body that does not come.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let fixture = Fixture::with(&format!(
        "[gateway]\nlisten = [\"127.0.0.1:0\"]\nh2c = true\nbody_timeout = \"1s\"\n[upstreams.api]\n\
         targets = [\"{}\"]\n[[routes]]\npath = \"/\"\nupstream = \"api\"\naccess = \"public\"\n",
        upstream.address
    ));
    let gateway = fixture.start();
    block(async {
        let mut client = H2::connect(gateway.address).await;
        let (answer, _body) = client.begin(Method::POST, "/", &[], false).await.unwrap();
        assert!(answer.await.unwrap_err().is_reset());
    });
    assert_eq!(counted(&gateway, "body_timeout"), 1);
}

#[test]
fn a_client_that_does_not_hear_that_it_has_had_its_requests_is_cut() {
    let fixture = fixture("max_requests_per_connection = 5\nhttp2_max_streams = 8");
    let gateway = fixture.start();
    let (id, secret) = gateway.admin.key(&json!({}));
    let mut client = Frames::connect(gateway.address);
    // It answers no PING, so it is never told which of its streams was the last.
    let mut begun = 0;
    for stream in (1..801).step_by(2) {
        if client.stream.write_all(&frame(1, 0x5, stream, &fields(&secret, "/v1/x"))).is_err() {
            break;
        }
        begun += 1;
        thread::sleep(Duration::from_millis(2));
    }
    assert!(begun < 400, "the connection ends");
    let served = || gateway.admin.show(&id)["usage"]["requests"].as_u64().unwrap();
    eventually("they are counted", || served() >= 5);
    assert!(served() <= 5 + 8 + 1, "{}", served());
    assert_eq!(counted(&gateway, "requests_per_connection"), 1);
}

#[test]
fn a_client_that_takes_nothing_of_its_answer_is_let_go_and_counted() {
    let fixture = fixture("idle_timeout = \"1s\"");
    let gateway = fixture.start();
    let (id, secret) = gateway.admin.key(&json!({}));
    let mut client = Frames::connect(gateway.address);
    // A window of nothing (RFC 9113 section 6.5.2).
    client.write(&frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]));
    client.write(&frame(1, 0x5, 1, &fields(&secret, "/v1/x")));
    let watch = Stopwatch::start();
    eventually("it is let go", || counted(&gateway, "idle_timeout") == 1);
    assert!(watch.elapsed() >= Duration::from_millis(900), "{:?}", watch.elapsed());
    eventually("it is counted", || gateway.admin.show(&id)["usage"]["requests"] == 1);
}
