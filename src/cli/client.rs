//! The admin API as a client: where it is, who asks, one call, and what a refusal means.

mod connection;
mod faults;

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use anyhow::Context;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, ETAG, IF_MATCH};
use http::{HeaderValue, Method, Request};
use serde_json::Value;
use ureq::tls::TlsConfig;
use ureq::{Agent, Body};

pub(super) use connection::Connection;

/// Until a connection stands.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// One call from beginning to end.
const CALL_TIMEOUT: Duration = Duration::from_mins(1);
/// One call of an import.
const IMPORT_TIMEOUT: Duration = Duration::from_mins(5);
/// A backup from beginning to end.
const BACKUP_TIMEOUT: Duration = Duration::from_hours(12);
/// The largest answer, in bytes.
const MAX_ANSWER_BYTES: u64 = 64 << 20;

/// The admin API. It has no `Debug`: it holds the token.
pub(super) struct Client {
    agent: Agent,
    url: String,
    authorization: Option<HeaderValue>,
}

/// A good answer.
pub(super) struct Answer {
    /// Its body; null where there is none.
    pub(super) body: Value,
    /// Its `ETag`.
    pub(super) etag: Option<String>,
}

/// What is attached to a change.
#[derive(Debug, Default)]
pub(super) struct Conditions<'a> {
    /// The `ETag` that the thing must still have.
    pub(super) if_match: Option<&'a str>,
    /// The `Idempotency-Key`.
    pub(super) once: Option<&'a str>,
}

/// Items on a page: the most that the API gives.
const PAGE: usize = 200;

/// The parameters of a call, in order. Those without a value are left out.
pub(super) type Query<'a> = Vec<(&'a str, Option<String>)>;

impl Client {
    /// Reads the token; nothing is sent yet.
    ///
    /// # Errors
    /// A file cannot be read, or holds nothing of use.
    pub(super) fn new(connection: &Connection) -> anyhow::Result<Self> {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            // An admin token takes no way around, whatever HTTP_PROXY says.
            .proxy(None)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(CALL_TIMEOUT))
            .user_agent(concat!("portcullis/", env!("CARGO_PKG_VERSION")));
        if let Some(roots) = connection.roots()? {
            config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
        }
        let authorization = connection.authorization()?;
        Ok(Self { agent: config.build().into(), url: connection.url.clone(), authorization })
    }

    /// Reads something.
    ///
    /// # Errors
    /// One line that says what failed.
    pub(super) fn get(&self, path: &str, query: &Query<'_>) -> anyhow::Result<Answer> {
        let request = self.request(&Method::GET, path, query).header(ACCEPT, "application/json");
        self.answer(&self.fetch(request)?)
    }

    /// Reads every item of a list, page by page.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub(super) fn get_all(&self, path: &str, query: &Query<'_>) -> anyhow::Result<Vec<Value>> {
        let (mut items, mut cursor) = (Vec::new(), None);
        loop {
            let mut query = query.clone();
            query.extend([("limit", Some(PAGE.to_string())), ("cursor", cursor)]);
            let mut body = self.get(path, &query)?.body;
            if let Value::Array(page) = body["items"].take() {
                items.extend(page);
            }
            cursor = body["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                return Ok(items);
            }
        }
    }

    /// Reads something as a text of the media type `accept`.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub(super) fn get_text(&self, path: &str, query: &Query<'_>, accept: &str) -> anyhow::Result<String> {
        let request = self.request(&Method::GET, path, query).header(ACCEPT, accept);
        String::from_utf8(self.fetch(request)?.bytes).context("the answer is not UTF-8")
    }

    /// Changes something.
    ///
    /// # Errors
    /// As [`Client::get`]; nothing was changed, unless the answer was lost on the way.
    pub(super) fn change(
        &self,
        method: &Method,
        path: &str,
        if_match: Option<&str>,
        body: Option<&Value>,
    ) -> anyhow::Result<Answer> {
        self.change_once(method, path, &Conditions { if_match, once: None }, body)
    }

    /// Changes something; a call with the same `Idempotency-Key` is answered as the first one was.
    ///
    /// # Errors
    /// As [`Client::change`].
    pub(super) fn change_once(
        &self,
        method: &Method,
        path: &str,
        conditions: &Conditions<'_>,
        body: Option<&Value>,
    ) -> anyhow::Result<Answer> {
        let mut request = self.request(method, path, &Vec::new());
        if let Some(etag) = conditions.if_match {
            request = request.header(IF_MATCH, etag);
        }
        if let Some(key) = conditions.once {
            request = request.header("idempotency-key", key);
        }
        let fetched = match body {
            None if *method == Method::DELETE => self.fetch(request)?,
            body => {
                let text = body.map(Value::to_string).unwrap_or_default();
                self.send(request.header(CONTENT_TYPE, "application/json"), text.into_bytes(), CALL_TIMEOUT)?
            }
        };
        self.answer(&fetched)
    }

    /// Imports lines of JSON.
    ///
    /// # Errors
    /// As [`Client::change`].
    pub(super) fn import(&self, lines: String) -> anyhow::Result<Value> {
        let request = self.request(&Method::POST, "/keys/import", &Vec::new());
        let request = request.header(CONTENT_TYPE, "application/x-ndjson");
        let fetched = self.send(request, lines.into_bytes(), IMPORT_TIMEOUT)?;
        Ok(self.answer(&fetched)?.body)
    }

    /// Has the gateway make a backup, and hands it on as it comes.
    ///
    /// # Errors
    /// As [`Client::get`]; what was handed on until then is no backup.
    pub(super) fn backup(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        let request = self.request(&Method::POST, "/backup", &Vec::new());
        let request = request.body(Vec::new()).context("the call cannot be made")?;
        let request = self.agent.configure_request(request).timeout_global(Some(BACKUP_TIMEOUT)).build();
        let unreached = |error| faults::unreached(&self.url, BACKUP_TIMEOUT, &error);
        let (parts, body) = self.agent.run(request).map_err(unreached)?.into_parts();
        if !parts.status.is_success() {
            let bytes = body.into_with_config().limit(MAX_ANSWER_BYTES).read_to_vec().map_err(unreached)?;
            return Err(faults::refused(&self.url, parts.status, &bytes));
        }
        let copied = io::copy(&mut body.into_reader(), out).context("the backup broke off")?;
        if copied == 0 {
            anyhow::bail!("the backup broke off at its beginning")
        }
        Ok(())
    }

    fn request(&self, method: &Method, path: &str, query: &Query<'_>) -> http::request::Builder {
        let mut uri = format!("{}/api/v1{path}", self.url);
        let given = query.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?)));
        for (index, (name, value)) in given.enumerate() {
            let mark = if index == 0 { '?' } else { '&' };
            // Writing into a text does not fail.
            let _ = write!(uri, "{mark}{name}={}", percent_encoded(value));
        }
        let request = Request::builder().method(method).uri(uri);
        match &self.authorization {
            Some(value) => request.header(AUTHORIZATION, value),
            None => request,
        }
    }

    fn fetch(&self, request: http::request::Builder) -> anyhow::Result<Fetched> {
        let request = request.body(()).context("the call cannot be made")?;
        self.received(self.agent.run(request), CALL_TIMEOUT)
    }

    fn send(
        &self,
        request: http::request::Builder,
        body: Vec<u8>,
        within: Duration,
    ) -> anyhow::Result<Fetched> {
        let request = request.body(body).context("the call cannot be made")?;
        let request = self.agent.configure_request(request).timeout_global(Some(within)).build();
        self.received(self.agent.run(request), within)
    }

    /// Reads the whole answer, and makes an error of a refusal.
    fn received(
        &self,
        response: Result<http::Response<Body>, ureq::Error>,
        within: Duration,
    ) -> anyhow::Result<Fetched> {
        let unreached = |error| faults::unreached(&self.url, within, &error);
        let (parts, body) = response.map_err(unreached)?.into_parts();
        let bytes = body.into_with_config().limit(MAX_ANSWER_BYTES).read_to_vec().map_err(unreached)?;
        if !parts.status.is_success() {
            return Err(faults::refused(&self.url, parts.status, &bytes));
        }
        let etag = parts.headers.get(ETAG).and_then(|etag| etag.to_str().ok()).map(str::to_owned);
        Ok(Fetched { bytes, etag })
    }

    fn answer(&self, fetched: &Fetched) -> anyhow::Result<Answer> {
        let body = match &fetched.bytes[..] {
            [] => Value::Null,
            bytes => serde_json::from_slice(bytes)
                .with_context(|| format!("{} does not answer as an admin API does", self.url))?,
        };
        Ok(Answer { body, etag: fetched.etag.clone() })
    }
}

struct Fetched {
    bytes: Vec<u8>,
    etag: Option<String>,
}

/// Everything but unreserved characters as `%XX` (RFC 3986 section 2.1).
fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_encoded() {
        assert_eq!(percent_encoded("a b&c=ä/~"), "a%20b%26c%3D%C3%A4%2F~");
    }
}
