//! Whatever bytes a client sends: the upstream gets nothing, or exactly one request, whose target is the one that was
//! judged, in every way that a server may read it, and whose key may do this. Where the bytes are several requests, one
//! after the other, that is true of each.
//!
//! proptest makes the bytes: noise, and well-formed requests that are bent a little. What arrives is looked at byte by
//! byte, by rules of its own.

mod bytes;
mod recorder;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::iter;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};
use serde_json::json;

use crate::support::{Fixture, Stopwatch};
use bytes::{Secrets, anything};
use recorder::{Arrived, Recorder};

/// Byte strings, at most.
const CASES: u32 = 3_000;
/// No further one is begun after this.
const BUDGET: Duration = Duration::from_secs(20);
/// How long an answer is waited for before the client says that it has sent all.
const PATIENCE: Duration = Duration::from_millis(15);
/// Attempts to find a shorter one that fails.
const SHRINKS: u32 = 300;

/// The host that most of the requests name.
const HOST: &str = "it";
/// The identity headers there are.
const OURS: [&str; 6] = ["key-id", "key-name", "owner", "environment", "scopes", "request-id"];

/// What is true of the gateway under test.
struct World {
    address: SocketAddr,
    recorder: Recorder,
    secrets: Secrets,
    /// The key for `/a`, and the one for `/c`.
    ids: [String; 2],
}

impl World {
    /// Sends the bytes, waits for the connection's end, and looks at what arrived at the upstream.
    fn try_with(&self, sent: &[u8]) -> Result<Option<Arrived>, String> {
        let mut stream = TcpStream::connect(self.address).unwrap();
        // It may be closed before all is sent.
        let _ = stream.write_all(sent);
        // What is whole is answered; for what is not there is no need to wait.
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = vec![0; 4096];
        let _ = stream.read(&mut answer);
        let _ = stream.shutdown(Shutdown::Write);
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let _ = stream.read_to_end(&mut answer);
        let arrived = self.recorder.take();
        // Each is another one of those that were sent; the others were refused. The recorder's order is not theirs.
        let mut left: Vec<&[u8]> = iter::successors(Some(sent), |rest| after_request(rest)).collect();
        for one in &arrived {
            let mut faults = vec![format!("{} requests arrived", arrived.len())];
            let found = left.iter().position(|sent| match self.judge(sent, one) {
                Ok(()) => true,
                Err(why) => {
                    faults.push(format!("{why}: {one:?}"));
                    false
                }
            });
            left.remove(found.ok_or_else(|| faults.join("\n"))?);
        }
        Ok(arrived.into_iter().next())
    }

    fn judge(&self, sent: &[u8], arrived: &Arrived) -> Result<(), String> {
        let head = arrived.head()?;
        if arrived.leftover > 0 {
            return Err(format!("{} bytes follow the request", arrived.leftover));
        }
        let absolute = ["http://", "https://"].map(|scheme| format!("{scheme}{HOST}{}", head.target));
        let is_own_host =
            |target: &[u8]| absolute.iter().any(|one| target.eq_ignore_ascii_case(one.as_bytes()));
        let sent_target = sent_target(sent);
        if Some(head.target.as_bytes()) != sent_target && !sent_target.is_some_and(is_own_host) {
            return Err("the target is not the one that was sent".into());
        }
        let readings = readings(&head.target);
        let route = readings.first().cloned().unwrap_or_default();
        if readings.len() != 1 {
            return Err(format!("the target can be read as {readings:?}"));
        }
        let identity: Vec<_> =
            head.fields.iter().filter_map(|(name, value)| Some((identity(name)?, value))).collect();
        for (name, _) in &identity {
            if !OURS.contains(&name.as_str())
                || identity.iter().filter(|(other, _)| other == name).count() > 1
            {
                return Err(format!("a forged identity: {name}"));
            }
        }
        let key = identity.iter().find(|(name, _)| name == "key-id").map(|(_, id)| id.as_str());
        let allowed = match route.as_str() {
            "a" => key == Some(&self.ids[0]) && contains(sent, self.secrets.a.as_bytes()),
            "c" => key == Some(&self.ids[1]) && contains(sent, self.secrets.c.as_bytes()),
            "open" => key.is_none(),
            _ => false,
        };
        let credentials = head.fields.iter().filter(|(name, _)| name == "authorization").count();
        if credentials > 1 && route != "open" {
            return Err("two credentials arrived".into());
        }
        if !allowed {
            return Err(format!("key {key:?} on the route {route:?}"));
        }
        let told = self.secrets.all().into_iter().any(|secret| contains(&arrived.raw, secret.as_bytes()));
        if told && route != "open" { Err("the upstream was told the secret".into()) } else { Ok(()) }
    }
}

/// What follows a request whose body can be read in one way.
fn after_request(sent: &[u8]) -> Option<&[u8]> {
    let start = sent.iter().position(|b| !b"\r\n".contains(b))?;
    let (head, mut rest) = split(&sent[start..], b"\r\n\r\n")?;
    let head = head.to_ascii_lowercase();
    let value = |name: &[u8]| {
        let mut lines = head.split(|&b| b == b'\n');
        lines.find_map(|line| line.strip_prefix(name).map(<[u8]>::trim_ascii))
    };
    if value(b"transfer-encoding:").is_none() {
        let length =
            value(b"content-length:").map_or(Some(0), |text| std::str::from_utf8(text).ok()?.parse().ok());
        return rest.get(length?..);
    }
    loop {
        let (line, after) = split(rest, b"\r\n")?;
        let size = std::str::from_utf8(line.split(|&b| b == b';').next()?).ok()?;
        let size = usize::from_str_radix(size.trim_end(), 16).ok()?;
        if size == 0 {
            // The last line is empty, and those before it are trailers.
            return if after.starts_with(b"\r\n") {
                Some(&after[2..])
            } else {
                split(after, b"\r\n\r\n").map(|two| two.1)
            };
        }
        rest = after.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

/// What stands before and after the first of these ends.
fn split<'a>(bytes: &'a [u8], end: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(end.len()).position(|window| window == end)?;
    Some((&bytes[..at], &bytes[at + end.len()..]))
}

/// What follows the first word of the request line.
fn sent_target(sent: &[u8]) -> Option<&[u8]> {
    let line = sent.split(|&b| b == b'\n').find(|line| !line.trim_ascii().is_empty())?;
    line.split(|&b| b == b' ').nth(1)
}

/// What a header is called, as far as servers that know letters and digits alone can tell, if it is identity.
fn identity(name: &str) -> Option<String> {
    let plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    plain.strip_prefix("x-portcullis-").map(str::to_owned)
}

/// The first segments that servers may see, however they read a path.
fn readings(target: &str) -> BTreeSet<String> {
    let path = target.split('?').next().unwrap_or_default();
    let decoded = percent_decoded(path.as_bytes());
    let mut found = BTreeSet::new();
    for backslash in [b'\\', b'/'] {
        for parameters in [Some(b';'), None] {
            for dots in [true, false] {
                let bytes: Vec<u8> =
                    decoded.iter().map(|&b| if b == b'\\' { backslash } else { b }).collect();
                let text =
                    String::from_utf8_lossy(bytes.split(|&b| b == 0).next().unwrap_or_default()).into_owned();
                let mut segments: Vec<&str> = Vec::new();
                for segment in text.split('/').filter(|segment| !segment.is_empty()) {
                    let plain = parameters.map_or(segment, |_| segment.split(';').next().unwrap_or_default());
                    match plain {
                        ".." if dots => drop(segments.pop()),
                        "." | "" if dots => {}
                        plain => segments.push(plain),
                    }
                }
                found.insert(segments.first().copied().unwrap_or_default().to_owned());
            }
        }
    }
    found
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| text.get(at).and_then(|&b| char::from(b).to_digit(16));
    let (mut out, mut at) = (Vec::new(), 0);
    while let Some(&byte) = text.get(at) {
        if let (b'%', Some(high), Some(low)) = (byte, digit(at + 1), digit(at + 2)) {
            out.push(u8::try_from(high * 16 + low).unwrap());
            at += 3;
        } else {
            out.push(byte);
            at += 1;
        }
    }
    out
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

const ROUTES: &str = r#"
    [[routes]]
    path = "/a"
    upstream = "api"
    scopes = ["a:use"]
    [[routes]]
    path = "/c"
    upstream = "api"
    scopes = ["c:use"]
    credential = ["bearer", "header:x-api-key"]
    [[routes]]
    path = "/open"
    upstream = "api"
    access = "public"
"#;

#[test]
fn whatever_is_sent_nothing_unjudged_arrives() {
    let recorder = Recorder::start();
    let fixture = Fixture::with(&format!("[upstreams.api]\ntargets = [\"{}\"]\n{ROUTES}", recorder.address));
    let gateway = fixture.start();
    let (id_a, a) = gateway.admin.key(&json!({"scopes": ["a:use"]}));
    let (id_c, c) = gateway.admin.key(&json!({"scopes": ["c:use"]}));
    let (id_off, off) = gateway.admin.key(&json!({"scopes": ["a:use", "c:use"]}));
    assert_eq!(gateway.admin.post(&format!("/api/v1/keys/{id_off}/disable"), &json!({})).status, 200);
    let secrets = Secrets { a, c, off };
    let strategy = anything(&secrets);
    let world = World { address: gateway.address, recorder, secrets, ids: [id_a, id_c] };
    let config =
        Config { cases: CASES, max_shrink_iters: SHRINKS, failure_persistence: None, ..Config::default() };
    let (watch, tried) = (Stopwatch::start(), AtomicUsize::new(0));
    let [open, keyed, whole] = [(); 3].map(|()| AtomicUsize::new(0));
    let outcome = TestRunner::new(config).run(&strategy, |sent| {
        if watch.elapsed() > BUDGET {
            return Ok(());
        }
        tried.fetch_add(1, Ordering::Relaxed);
        match world.try_with(&sent) {
            Ok(None) => Ok(()),
            Ok(Some(one)) => {
                let has_key = contains(&one.raw, b"x-portcullis-key-id: ");
                let which = if has_key { &keyed } else { &open };
                which.fetch_add(1, Ordering::Relaxed);
                whole.fetch_add(usize::from(has_key && one.whole), Ordering::Relaxed);
                Ok(())
            }
            Err(fault) => Err(TestCaseError::fail(format!("{fault}\nsent: {}", sent.escape_ascii()))),
        }
    });
    if let Err(failure) = outcome {
        let (TestError::Fail(why, _) | TestError::Abort(why)) = failure;
        panic!("{why}");
    }
    // The test sees something: some pass with a key, some without, and many do not.
    let [open, keyed, whole, tried] = [open, keyed, whole, tried].map(AtomicUsize::into_inner);
    assert!(keyed > tried / 50 && open > tried / 50 && keyed + open < tried, "{keyed} and {open} of {tried}");
    // And what arrived whole with a key is counted on it.
    let counted: u64 =
        world.ids.iter().map(|id| gateway.admin.show(id)["usage"]["requests"].as_u64().unwrap()).sum();
    assert!(counted >= whole as u64, "{counted} counted, {whole} of {keyed} arrived whole");
}
