//! What travels with a request (W3C Trace Context, levels 1 and 2): `traceparent` and `tracestate`.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

/// Says which trace a request belongs to.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What those that take part wrote into the trace.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The length of a `traceparent` of version 00, with which those of later versions begin.
const PARENT_BYTES: usize = 55;
/// The longest `tracestate` that goes on.
const MAX_STATE_BYTES: usize = 512;
/// The most members of one.
const MAX_MEMBERS: usize = 32;
/// Members that are longer go first where there is too much.
const LONG_MEMBER: usize = 128;

/// A trace.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

/// A span of one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(u64);

/// What is said to all that take part in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flags(u8);

/// What a client says of its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remote {
    /// The trace.
    pub trace: TraceId,
    /// The client's span.
    pub parent: SpanId,
    /// Its flags.
    pub flags: Flags,
}

impl TraceId {
    /// A new one.
    pub fn random() -> Self {
        // It must not be zero.
        Self(rand::random::<u128>().max(1))
    }

    /// As it goes over the wire.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// What is drawn where only some of the traces are sampled: of the bits that are random in every trace.
    pub const fn lot(self) -> u32 {
        ((self.0 >> 32) & 0xffff_ffff) as u32
    }
}

impl SpanId {
    /// A new one.
    pub fn random() -> Self {
        Self(rand::random::<u64>().max(1))
    }

    /// As it goes over the wire.
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Flags {
    /// Nobody keeps the trace, as far as is known.
    pub const NONE: Self = Self(0);
    /// The trace is kept.
    pub const SAMPLED: Self = Self(1);
    /// Those that have a meaning: sampled, and that the trace's ID is random. All others must be zero.
    const KNOWN: u8 = 0b11;

    /// Whether the trace is kept.
    pub const fn is_sampled(self) -> bool {
        self.0 & Self::SAMPLED.0 != 0
    }

    /// As a number.
    pub const fn bits(self) -> u8 {
        self.0
    }
}

impl Remote {
    /// The client's `traceparent`, if it sent one, and one that is valid.
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let one = values.next()?;
        if values.next().is_some() { None } else { Self::parse(one.as_bytes()) }
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let (known, rest) = text.split_at_checked(PARENT_BYTES)?;
        let version = hex(&known[..2])?;
        let good_length = match version {
            0 => rest.is_empty(),
            0xff => false,
            // What later versions add comes after a dash.
            _ => rest.first().is_none_or(|&b| b == b'-'),
        };
        if !good_length || [2, 35, 52].iter().any(|&at| known[at] != b'-') {
            return None;
        }
        let trace = hex(&known[3..35])?;
        let parent = u64::try_from(hex(&known[36..52])?).ok()?;
        let flags = u8::try_from(hex(&known[53..])?).ok()?;
        let good = trace != 0 && parent != 0;
        good.then_some(Self {
            trace: TraceId(trace),
            parent: SpanId(parent),
            flags: Flags(flags & Flags::KNOWN),
        })
    }
}

/// A number in lower-case hexadecimal, of up to 32 digits.
fn hex(text: &[u8]) -> Option<u128> {
    text.iter().try_fold(0_u128, |number, &byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

/// The `traceparent` that a span sends on.
pub fn parent(trace: TraceId, span: SpanId, flags: Flags) -> HeaderValue {
    let text = format!("00-{trace}-{span}-{:02x}", flags.bits());
    // Hexadecimal and dashes are always a value.
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// The `tracestate` that goes on: the client's, within its bounds. Where there is too much, long members go first, then
/// the last ones.
pub fn state(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut members = Vec::new();
    for value in headers.get_all(TRACESTATE) {
        for member in value.as_bytes().split(|&b| b == b',').map(<[u8]>::trim_ascii) {
            if member.is_empty() {
                continue;
            }
            let printable = member.iter().all(|&b| b == b' ' || b.is_ascii_graphic());
            if !printable || !member.contains(&b'=') || members.len() == MAX_MEMBERS {
                // What cannot be read must not go on in pieces.
                return None;
            }
            members.push(member);
        }
    }
    let length = |members: &[&[u8]]| members.iter().map(|one| one.len() + 1).sum::<usize>();
    if length(&members) > MAX_STATE_BYTES + 1 {
        members.retain(|one| one.len() <= LONG_MEMBER);
    }
    while length(&members) > MAX_STATE_BYTES + 1 {
        members.pop();
    }
    if members.is_empty() { None } else { HeaderValue::from_bytes(&members.join(&b',')).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(name: &HeaderName, values: &[&str]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for value in values {
            map.append(name.clone(), HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn read(values: &[&str]) -> Option<Remote> {
        Remote::read(&headers(&TRACEPARENT, values))
    }

    #[test]
    fn a_valid_parent_is_read_and_written_as_it_was() {
        let remote = read(&[GOOD]).unwrap();
        assert!(remote.flags.is_sampled());
        assert_eq!(parent(remote.trace, remote.parent, remote.flags), GOOD);
        let quiet = read(&[&GOOD.replace("-01", "-00")]).unwrap();
        assert!(!quiet.flags.is_sampled());
        let odd = read(&[&GOOD.replace("-01", "-ff")]).unwrap();
        assert!(parent(odd.trace, odd.parent, odd.flags).to_str().unwrap().ends_with("-03"));
    }

    #[test]
    fn later_versions_are_read_as_far_as_they_are_known() {
        for good in [GOOD.replacen("00", "cc", 1), format!("{}-what-comes", GOOD.replacen("00", "01", 1))] {
            assert_eq!(read(&[&good]), read(&[GOOD]), "{good}");
        }
        for bad in [format!("{}.", GOOD.replacen("00", "01", 1)), format!("{GOOD}-x")] {
            assert_eq!(read(&[&bad]), None, "{bad}");
        }
    }

    #[test]
    fn what_is_not_valid_is_none() {
        let cases = [
            String::new(),
            GOOD.replacen("00", "ff", 1),
            GOOD.to_uppercase(),
            GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            GOOD[..54].to_owned(),
            format!("{GOOD}0"),
            GOOD.replace('-', "_"),
            GOOD.replace("4b", "+b"),
            GOOD.replace("-01", "-0g"),
            format!("{GOOD}, {GOOD}"),
        ];
        for bad in cases {
            assert_eq!(read(&[&bad]), None, "{bad}");
        }
        assert_eq!(read(&[GOOD, GOOD]), None, "two of them");
        assert_eq!(read(&[]), None);
    }

    #[test]
    fn a_state_goes_on_within_its_bounds() {
        let of = |values: &[&str]| {
            state(&headers(&TRACESTATE, values)).map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(of(&["a=1, b=2 ,,", "c=3"]).as_deref(), Some("a=1,b=2,c=3"));
        assert_eq!(of(&[""]), None);
        assert_eq!(of(&["a=1,nonsense"]), None);
        let members = |count: usize| (0..count).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        assert_eq!(of(&[&members(32)]), Some(members(32)));
        assert_eq!(of(&[&members(33)]), None);
        let long = format!("long={}", "x".repeat(200));
        assert_eq!(of(&[&long]).as_deref(), Some(long.as_str()), "there is room for it");
        let full = format!("a={},{long}", "y".repeat(120));
        assert_eq!(of(&[&full, &long, "z=1"]).as_deref(), Some(&*format!("a={},z=1", "y".repeat(120))));
        let many: Vec<String> = (0..10).map(|n| format!("k{n}={}", "v".repeat(97))).collect();
        let kept = of(&[&many.join(",")]).unwrap();
        assert_eq!(kept, many[..5].join(","), "the first ones that fit");
        assert!(kept.len() <= 512);
    }

    #[test]
    fn new_ids_are_never_zero_and_never_the_same() {
        assert_ne!(TraceId::random(), TraceId::random());
        assert_ne!(SpanId::random(), SpanId::random());
        assert_eq!(TraceId::random().to_string().len(), 32);
    }
}
