//! What a request did: its own span, and one for each try at an upstream.

use std::time::Duration;

use super::Joined;
use super::context::SpanId;
use crate::clock::{Monotonic, Timestamp};

/// The spans of one request.
#[derive(Debug)]
pub struct Spans {
    /// Its place in its trace.
    pub joined: Joined,
    /// When it began, on the wall.
    pub received: Timestamp,
    /// The same moment, for what is measured.
    pub started: Monotonic,
    /// The request itself.
    pub server: Span,
    /// Its tries at upstreams.
    pub tries: Vec<(SpanId, Span)>,
}

/// One span.
#[derive(Debug)]
pub struct Span {
    /// What it is called.
    pub name: String,
    /// When it began.
    pub began: Monotonic,
    /// When it ended.
    pub ended: Monotonic,
    /// What is known of it.
    pub attributes: Vec<(&'static str, Value)>,
    /// What it failed with.
    pub error: Option<String>,
}

/// What is known.
#[derive(Debug)]
pub enum Value {
    /// Text.
    Text(String),
    /// Text of ours.
    Word(&'static str),
    /// A number.
    Number(i64),
}

impl Span {
    /// IDs, times and what is around them.
    const REST: usize = 96;

    fn bytes(&self) -> usize {
        let value = |value: &Value| match value {
            Value::Text(text) => text.len(),
            Value::Word(word) => word.len(),
            Value::Number(_) => size_of::<i64>(),
        };
        let attributes = self.attributes.iter().map(|(name, of)| name.len() + value(of) + 8);
        Self::REST + self.name.len() + attributes.sum::<usize>()
    }
}

impl Spans {
    /// How many there are.
    pub fn count(&self) -> u64 {
        1 + self.tries.len() as u64
    }

    /// How many bytes they are when they are sent, about.
    pub fn bytes(&self) -> usize {
        let tries = self.tries.iter().map(|(_, one)| one);
        std::iter::once(&self.server).chain(tries).map(Span::bytes).sum()
    }

    /// A moment, from the request's first one.
    pub const fn after(&self, moment: Monotonic) -> Duration {
        moment.since(self.started)
    }
}
