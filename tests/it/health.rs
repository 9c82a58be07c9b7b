//! Targets that are sick: who finds out, who gets their requests, and how they come back.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Client, DeadPort, Fixture, Gateway, Script, Stopwatch, Wire, eventually, head_of};

/// A target that answers its checks and its requests with what it is told to, one request a connection.
struct Sick {
    script: Script,
    check: Arc<AtomicU16>,
    status: Arc<AtomicU16>,
    served: Arc<AtomicUsize>,
    checked: Arc<AtomicUsize>,
}

/// A status that stands for breaking off.
const BREAKS_OFF: u16 = 0;

impl Sick {
    fn start() -> Self {
        let [check, status] = [200, 200].map(|code| Arc::new(AtomicU16::new(code)));
        let [served, checked] = [0, 0].map(|count| Arc::new(AtomicUsize::new(count)));
        let (asked, answers, counted, looked) =
            (Arc::clone(&check), Arc::clone(&status), Arc::clone(&served), Arc::clone(&checked));
        let script = Script::start(move |mut stream| {
            let head = head_of(&mut stream);
            if head.is_empty() {
                return;
            }
            let code = if head.starts_with("GET /healthz") {
                looked.fetch_add(1, Ordering::SeqCst);
                asked.load(Ordering::SeqCst)
            } else {
                counted.fetch_add(1, Ordering::SeqCst);
                answers.load(Ordering::SeqCst)
            };
            if code != BREAKS_OFF {
                let answer = format!("HTTP/1.1 {code} X\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Self { script, check, status, served, checked }
    }

    fn address(&self) -> SocketAddr {
        self.script.address
    }

    fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }
}

fn gateway(targets: &[SocketAddr], settings: &str) -> (Fixture, Gateway) {
    let targets: Vec<_> = targets.iter().map(|target| format!("\"{target}\"")).collect();
    let fixture = Fixture::with(&format!(
        "[upstreams.api]\ntargets = [{}]\n{settings}\n[[routes]]\npath = \"/v1\"\nupstream = \"api\"\naccess = \"public\"\n",
        targets.join(", ")
    ));
    let gateway = fixture.start();
    (fixture, gateway)
}

const CHECKS: &str = "health = { path = \"/healthz\", interval = \"100ms\", timeout = \"100ms\" }";

fn statuses(gateway: &Gateway, count: usize) -> Vec<u16> {
    let mut client = Client::new(gateway.address);
    (0..count).map(|_| client.get("/v1/x", "").status).collect()
}

/// The series of one target.
fn metric(gateway: &Gateway, target: SocketAddr) -> Option<u8> {
    let text = gateway.admin.metrics();
    let series = format!("portcullis_upstream_target_healthy{{target=\"{target}\",upstream=\"api\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok())
}

/// How the API says that a target stands.
fn standing(gateway: &Gateway, target: SocketAddr) -> Value {
    let body = gateway.admin.get("/api/v1/upstreams").json();
    let targets = body["upstreams"][0]["targets"].as_array().unwrap().clone();
    let found = targets.into_iter().find(|one| one["address"] == target.to_string()).unwrap();
    found["addresses"][0]["standing"].clone()
}

#[test]
fn a_target_whose_checks_fail_gets_no_requests_until_they_pass() {
    let (sick, well) = (Sick::start(), Sick::start());
    let settings = format!("{CHECKS}\nejection = {{ failures = 0 }}");
    let (_fixture, gateway) = gateway(&[sick.address(), well.address()], &settings);
    assert_eq!(statuses(&gateway, 10), [200; 10]);
    assert_eq!((sick.served(), well.served()), (5, 5));
    assert_eq!(metric(&gateway, sick.address()), Some(1));
    for bad in [503, 404, BREAKS_OFF] {
        sick.check.store(bad, Ordering::SeqCst);
        eventually("it is found sick", || metric(&gateway, sick.address()) == Some(0));
        assert_eq!(standing(&gateway, sick.address()), "unhealthy");
        let before = sick.served();
        assert_eq!(statuses(&gateway, 10), [200; 10]);
        assert_eq!(sick.served(), before, "a sick target got a request");
        sick.check.store(204, Ordering::SeqCst);
        eventually("it is found well", || metric(&gateway, sick.address()) == Some(1));
        assert_eq!(standing(&gateway, sick.address()), "healthy");
        assert_eq!(statuses(&gateway, 10), [200; 10]);
        assert_eq!(sick.served(), before + 5);
    }
    assert_eq!(gateway.admin.get("/readyz").json()["status"], "ready", "an upstream is not the gateway");
}

#[test]
fn with_no_healthy_target_the_answer_is_503_and_says_when_to_come_back() {
    let (one, dead) = (Sick::start(), DeadPort::new());
    one.check.store(500, Ordering::SeqCst);
    let (_fixture, gateway) = gateway(&[one.address(), dead.address], CHECKS);
    eventually("both are found sick", || {
        metric(&gateway, one.address()) == Some(0) && metric(&gateway, dead.address) == Some(0)
    });
    let answer = Client::new(gateway.address).get("/v1/x", "");
    assert_eq!((answer.status, answer.code().as_str()), (503, "no_healthy_upstream"));
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds));
    assert_eq!(one.served(), 0);
    let ready = gateway.admin.get("/readyz");
    assert_eq!((ready.status, &ready.json()["status"]), (200, &json!("ready")));
    assert!(ready.json()["degraded"].to_string().contains("api"), "{}", ready.json());
    one.check.store(200, Ordering::SeqCst);
    eventually("it serves again", || Client::new(gateway.address).get("/v1/x", "").status == 200);
    assert_eq!(gateway.admin.get("/readyz").json().get("degraded"), None);
}

#[test]
fn requests_that_fail_in_a_row_eject_a_target_and_it_comes_back_slowly() {
    let (sick, well) = (Sick::start(), Sick::start());
    let settings = "ejection = { failures = 3, time = \"1s\", slow_return = \"2s\" }";
    let (_fixture, gateway) = gateway(&[sick.address(), well.address()], settings);
    for code in [502, BREAKS_OFF] {
        sick.status.store(code, Ordering::SeqCst);
        let before = sick.served();
        let answers = statuses(&gateway, 20);
        assert_eq!(sick.served() - before, 3, "{answers:?}");
        assert_eq!(answers.iter().filter(|status| **status == 502).count(), 3, "{answers:?}");
        assert_eq!(metric(&gateway, sick.address()), Some(0));
        assert_eq!(standing(&gateway, sick.address()), "ejected");
        sick.status.store(200, Ordering::SeqCst);
        eventually("it returns", || standing(&gateway, sick.address()) == "returning");
        let (before, others) = (sick.served(), well.served());
        assert_eq!(statuses(&gateway, 40), [200; 40]);
        let (few, most) = (sick.served() - before, well.served() - others);
        assert!(few < most / 2, "{few} of {most} at once after its return");
        eventually("it is back", || standing(&gateway, sick.address()) == "healthy");
        let before = sick.served();
        statuses(&gateway, 20);
        assert_eq!(sick.served() - before, 10);
    }
}

/// Whatever a target does in the place of an answer, it is soon left alone, and only what it got is lost.
#[test]
fn targets_that_hang_answer_rubbish_or_die_in_the_middle_are_ejected() {
    let forms: [(&str, &[u8], u16); 4] = [
        ("hangs", b"", 504),
        ("rubbish", b"this is not HTTP\r\n\r\n", 502),
        ("dies in the middle", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", 0),
        ("dies between chunks", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n", 0),
    ];
    for (form, bytes, expected) in forms {
        let served = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&served);
        let sick = Script::start(move |mut stream| {
            if head_of(&mut stream).is_empty() {
                return;
            }
            counted.fetch_add(1, Ordering::SeqCst);
            stream.write_all(bytes).unwrap();
            if bytes.is_empty() {
                std::thread::sleep(Duration::from_secs(2));
            }
        });
        let well = Sick::start();
        let settings = "response_timeout = \"100ms\"\nejection = { failures = 3, time = \"1h\" }";
        let (_fixture, gateway) = gateway(&[sick.address, well.address()], settings);
        let mut bad = Vec::new();
        for _ in 0..20 {
            let mut wire = Wire::open(gateway.address);
            wire.send("GET /v1/x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
            let all = String::from_utf8_lossy(&wire.rest()).into_owned();
            if !all.ends_with("ok") {
                bad.push(all[9..12].parse::<u16>().unwrap());
            }
        }
        assert_eq!((bad.len(), served.load(Ordering::SeqCst)), (3, 3), "{form}: {bad:?}");
        let expected = if expected == 0 { 200 } else { expected };
        assert_eq!(bad, [expected; 3], "{form}: what began is cut, and the rest has its code");
        assert_eq!(standing(&gateway, sick.address), "ejected", "{form}");
    }
}

#[test]
fn failures_alone_never_eject_the_last_target() {
    let sick = Sick::start();
    sick.status.store(BREAKS_OFF, Ordering::SeqCst);
    let settings = "ejection = { failures = 1, time = \"1h\" }";
    let (_fixture, gateway) = gateway(&[sick.address()], settings);
    assert_eq!(statuses(&gateway, 10), [502; 10]);
    sick.status.store(200, Ordering::SeqCst);
    assert_eq!(statuses(&gateway, 10), [200; 10]);
    assert_eq!(metric(&gateway, sick.address()), Some(1));
}

#[test]
fn a_dead_target_costs_no_request_and_is_soon_left_alone() {
    let (dead, well) = (DeadPort::new(), Sick::start());
    let (_fixture, gateway) = gateway(&[dead.address, well.address()], "");
    assert_eq!(statuses(&gateway, 40), [200; 40], "each is tried at the other target");
    assert_eq!(standing(&gateway, dead.address), "ejected");
    assert_eq!(well.served(), 40);
}

#[test]
fn each_address_of_a_name_gets_its_share() {
    let sick = Sick::start();
    // Both families of the machine's own name, of which only one listens: no request is lost on the other.
    let text = format!(
        "[upstreams.api]\ntargets = [\"localhost:{}\"]\n[[routes]]\npath = \"/v1\"\nupstream = \"api\"\naccess = \"public\"\n",
        sick.address().port()
    );
    let gateway = Fixture::with(&text).start();
    assert_eq!(statuses(&gateway, 20), [200; 20]);
    assert_eq!(sick.served(), 20);
}

#[test]
fn checks_go_on_at_their_pace_and_end_with_the_gateway() {
    let one = Sick::start();
    let watch = Stopwatch::start();
    let (_fixture, gateway) = gateway(&[one.address()], CHECKS);
    eventually("it is checked", || one.checked.load(Ordering::SeqCst) >= 5);
    assert!(watch.elapsed() >= Duration::from_millis(300), "five checks came at once");
    gateway.stop();
    let after = one.checked.load(Ordering::SeqCst);
    std::thread::sleep(Duration::from_millis(400));
    assert!(one.checked.load(Ordering::SeqCst) <= after + 1);
}
