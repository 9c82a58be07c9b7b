//! Where messages end when one side speaks HTTP/2 and the other HTTP/1.1: an empty frame ends them there, a chunk here.

use std::io::{Read, Write};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use serde_json::json;

use crate::support::{Fixture, Frames, Script, frame, head_of};

/// An upstream that tells each body's bytes as they stand on the wire, and answers once no more of them come.
fn telling() -> (Script, Receiver<String>) {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let script = Script::start(move |mut stream| {
        while !head_of(&mut stream).is_empty() {
            stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            let mut body = Vec::new();
            // It ends by the timeout, when there is no more.
            let _ = stream.read_to_end(&mut body);
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            tell.lock().unwrap().send(String::from_utf8(body).unwrap()).unwrap();
            if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").is_err() {
                return;
            }
        }
    });
    (script, told)
}

/// A frame of a body: its flags, and what is in it.
type DataFrame<'a> = (u8, &'a [u8]);

#[test]
fn a_body_that_ends_with_an_empty_frame_ends_once_for_the_upstream() {
    let (upstream, told) = telling();
    let fixture = Fixture::with(&format!(
        "[gateway]\nlisten = [\"127.0.0.1:0\"]\nh2c = true\n[upstreams.api]\ntargets = [\"{}\"]\n\
         [[routes]]\npath = \"/v1\"\nupstream = \"api\"\n",
        upstream.address
    ));
    let gateway = fixture.start();
    let (_, secret) = gateway.admin.key(&json!({}));
    let credential = format!("Bearer {secret}");
    let padded = [&[3][..], &[0; 3]].concat();
    let cases: [(&str, &[DataFrame<'_>], &str); 6] = [
        ("POST", &[(0, b"abc"), (1, b"")], "3\r\nabc\r\n0\r\n\r\n"),
        ("POST", &[(0, b"abc"), (0, b""), (1, b"de")], "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
        ("POST", &[(0, b"abc"), (9, &padded)], "3\r\nabc\r\n0\r\n\r\n"),
        ("POST", &[(1, b"")], "0\r\n\r\n"),
        ("GET", &[(1, b"")], "0\r\n\r\n"),
        ("POST", &[(0, b""), (0, b""), (1, b"")], "0\r\n\r\n"),
    ];
    for (method, frames, expected) in cases {
        let mut client = Frames::connect(gateway.address);
        let fields = [
            (":method", method),
            (":scheme", "http"),
            (":path", "/v1/x"),
            (":authority", "a"),
            ("authorization", &credential),
        ];
        client.write(&frame(1, 0x4, 1, &Frames::fields(&fields)));
        for (flags, bytes) in frames {
            client.write(&frame(0, *flags, 1, bytes));
        }
        assert_eq!(client.outcome(1), Ok(b"ok".to_vec()), "{method} {frames:?}");
        assert_eq!(told.recv().unwrap(), expected, "{method} {frames:?}");
    }
}
