//! A collector of spans: OTLP over HTTP, decoded.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use super::script::{Script, head_of};
use super::wait::within;

/// A span as it came.
#[derive(Debug, Clone)]
pub struct Told {
    pub trace: String,
    pub id: String,
    /// Empty where there is none.
    pub parent: String,
    pub name: String,
    /// 2: of a server, 3: of a client.
    pub kind: i32,
    /// Numbers as text.
    pub attributes: HashMap<String, String>,
    pub failed: bool,
    pub nanos: (u64, u64),
    pub service: String,
}

/// What a collector does with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Takes,
    Refuses,
    Hangs,
}

#[derive(Debug, Default)]
struct Kept {
    spans: Vec<Told>,
    /// The bytes of all calls, their heads included.
    bytes: Vec<u8>,
    calls: usize,
}

/// A collector that runs until the process ends.
#[derive(Debug)]
pub struct Collector {
    pub address: SocketAddr,
    kept: Arc<Mutex<Kept>>,
    mood: Arc<Mutex<Mood>>,
}

impl Collector {
    pub fn start() -> Self {
        let (kept, mood) = (Arc::new(Mutex::new(Kept::default())), Arc::new(Mutex::new(Mood::Takes)));
        let (keeps, now) = (Arc::clone(&kept), Arc::clone(&mood));
        let script = Script::start(move |stream| serve(stream, &keeps, &now));
        Self { address: script.address, kept, mood }
    }

    /// The table of a configuration that sends spans here, with more lines of it.
    pub fn table(&self, more: &str) -> String {
        format!("\n[traces]\nenabled = true\nendpoint = \"http://{}/v1/traces\"\n{more}\n", self.address)
    }

    pub fn becomes(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    pub fn spans(&self) -> Vec<Told> {
        self.kept.lock().unwrap().spans.clone()
    }

    pub fn calls(&self) -> usize {
        self.kept.lock().unwrap().calls
    }

    /// Whether any call held this.
    pub fn holds(&self, part: &str) -> bool {
        self.kept.lock().unwrap().bytes.windows(part.len()).any(|bytes| bytes == part.as_bytes())
    }

    /// The spans of a server, once there are so many.
    pub fn served(&self, count: usize) -> Vec<Told> {
        within(Duration::from_secs(10), "the spans come", || {
            let spans: Vec<Told> = self.spans().into_iter().filter(|span| span.kind == 2).collect();
            assert!(spans.len() <= count, "more than {count}: {spans:?}");
            (spans.len() == count).then_some(spans)
        })
    }

    /// The tries below a span.
    pub fn below(&self, span: &Told) -> Vec<Told> {
        let below = |one: &Told| one.trace == span.trace && one.parent == span.id;
        self.spans().into_iter().filter(below).collect()
    }
}

fn serve(mut stream: TcpStream, kept: &Mutex<Kept>, mood: &Mutex<Mood>) {
    loop {
        let head = head_of(&mut stream);
        let field = |name: &str| {
            let line = head.lines().find(|line| line.to_lowercase().starts_with(&format!("{name}:")));
            line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
        };
        let Some(length) = field("content-length").and_then(|length| length.parse().ok()) else { return };
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        kept.lock().unwrap().calls += 1;
        let mood = *mood.lock().unwrap();
        let answer = match mood {
            Mood::Hangs => return std::thread::sleep(Duration::from_mins(1)),
            Mood::Refuses => "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n",
            Mood::Takes => {
                assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
                assert_eq!(field("content-type").as_deref(), Some("application/x-protobuf"));
                let mut kept = kept.lock().unwrap();
                kept.bytes.extend_from_slice(head.as_bytes());
                kept.bytes.extend_from_slice(&body);
                kept.spans.extend(decode(&body));
                "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
            }
        };
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn decode(body: &[u8]) -> Vec<Told> {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    let mut spans = Vec::new();
    for resource in request.resource_spans {
        let about = attributes(&resource.resource.unwrap().attributes);
        let service = about.get("service.name").cloned().unwrap_or_default();
        let all = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        spans.extend(all.map(|span| told(&span, &service)));
    }
    spans
}

fn told(span: &Span, service: &str) -> Told {
    Told {
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        name: span.name.clone(),
        kind: span.kind,
        attributes: attributes(&span.attributes),
        failed: span.status.as_ref().is_some_and(|status| status.code == 2),
        nanos: (span.start_time_unix_nano, span.end_time_unix_nano),
        service: service.to_owned(),
    }
}

fn attributes(of: &[KeyValue]) -> HashMap<String, String> {
    let text = |value: &Option<AnyValue>| match value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("{other:?}"),
    };
    of.iter().map(|one| (one.key.clone(), text(&one.value))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
