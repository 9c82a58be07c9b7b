//! CORS: what lets the scripts of web pages call a route and read its answers, our own refusals included.
//!
//! A preflight is answered here, without a key: a browser sends none with it. What it is told is the route's alone;
//! the upstream is not asked, and what it says of CORS itself is replaced.

use http::header::{
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName, HeaderValue, ORIGIN,
};
use http::{Method, StatusCode};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use super::context::Context;
use super::reply::{Field, Reply};
use super::{KeyedProxy, request};
use crate::admission::denial::Connection;
use crate::config::cors::{Cors, Credentials, Origins};
use crate::routes::target::CheckedTarget;

/// What the gateway itself says, for pages to read.
const OUR_FIELDS: &str =
    "RateLimit, RateLimit-Policy, Retry-After, X-Request-Id, WWW-Authenticate, Deprecation, Sunset";
/// What an answer to a preflight depends on.
const PREFLIGHT_VARY: &str = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
/// Headers that a preflight is granted for the asking, at most.
const MAX_ASKED_HEADERS: usize = 64;

const ALLOW_ORIGIN: &str = "Access-Control-Allow-Origin";
const ALLOW_CREDENTIALS: &str = "Access-Control-Allow-Credentials";
const VARY: &str = "Vary";

impl KeyedProxy {
    /// The answer to a preflight, where this is one for a route that has `cors`.
    pub(super) fn preflight(&self, session: &Session, ctx: &mut Context) -> Option<Reply> {
        let head = session.req_header();
        if head.method != Method::OPTIONS {
            return None;
        }
        let asked =
            Method::from_bytes(only(&head.headers, &ACCESS_CONTROL_REQUEST_METHOD)?.as_bytes()).ok()?;
        let target = CheckedTarget::parse(head.raw_path()).ok()?;
        // The route is that of the request that would follow.
        let routing = self.0.routing.load();
        let found = routing.find(&head.headers, &target, &asked, request::peer(session)).ok()?;
        let reply = answer(found.route.cors.as_ref()?, &head.headers, &ctx.request_id);
        ctx.note_path(target.path());
        ctx.note_route(&found);
        Some(reply)
    }
}

/// What an answer of our own says, where its route has `cors`.
pub(super) fn fields_of(headers: &HeaderMap, ctx: &Context) -> Vec<Field> {
    let cors = ctx.route.as_ref().and_then(|route| route.cors.as_ref());
    cors.map_or_else(Vec::new, |cors| answer_fields(cors, headers))
}

/// Puts the route's word in place of the upstream's.
pub(super) fn apply(session: &Session, response: &mut ResponseHeader, ctx: &Context) -> Result<()> {
    let Some(cors) = ctx.route.as_ref().and_then(|route| route.cors.as_ref()) else { return Ok(()) };
    let names = response.headers.keys().filter(|name| name.as_str().starts_with("access-control-"));
    let names: Vec<HeaderName> = names.cloned().collect();
    for name in names {
        response.remove_header(&name);
    }
    for (name, value) in answer_fields(cors, &session.req_header().headers) {
        response.append_header(name, value)?;
    }
    Ok(())
}

/// 204 with what the route grants; with nothing granted where it grants nothing to this origin.
fn answer(cors: &Cors, headers: &HeaderMap, request_id: &str) -> Reply {
    let mut fields: Vec<Field> = vec![(VARY, HeaderValue::from_static(PREFLIGHT_VARY))];
    let mut add = |name: &'static str, value: String| {
        fields.extend(HeaderValue::try_from(value).ok().map(|value| (name, value)));
    };
    add("X-Request-Id", request_id.to_owned());
    if let Some(origin) = allowed_origin(cors, headers) {
        add("Access-Control-Allow-Methods", joined(cors.methods.iter().map(Method::as_str)));
        add("Access-Control-Max-Age", cors.max_age.as_secs().to_string());
        let names = match &cors.headers {
            Some(names) => joined(names.iter().map(HeaderName::as_str)),
            None => joined(asked_headers(headers).iter().map(HeaderName::as_str)),
        };
        if !names.is_empty() {
            add("Access-Control-Allow-Headers", names);
        }
        fields.extend(allowing(cors, origin));
    }
    Reply {
        status: StatusCode::NO_CONTENT,
        headers: fields,
        body: bytes::Bytes::new(),
        connection: Connection::Keep,
    }
}

/// What each other answer says.
fn answer_fields(cors: &Cors, headers: &HeaderMap) -> Vec<Field> {
    let mut fields = Vec::with_capacity(4);
    if cors.origins != Origins::Any {
        // A cache must not give one page's answer to another, nor an answer to none to a page.
        fields.push((VARY, HeaderValue::from_static("Origin")));
    }
    if let Some(origin) = allowed_origin(cors, headers) {
        fields.extend(allowing(cors, origin));
        let more = cors.expose.iter().map(HeaderName::as_str);
        let exposed = joined(std::iter::once(OUR_FIELDS).chain(more));
        fields.extend(HeaderValue::try_from(exposed).ok().map(|v| ("Access-Control-Expose-Headers", v)));
    }
    fields
}

fn allowing(cors: &Cors, origin: HeaderValue) -> Vec<Field> {
    let credentials = (cors.credentials == Credentials::Included)
        .then(|| (ALLOW_CREDENTIALS, HeaderValue::from_static("true")));
    std::iter::once((ALLOW_ORIGIN, origin)).chain(credentials).collect()
}

/// What stands for the page's origin in the answer, if it may have one.
fn allowed_origin(cors: &Cors, headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = only(headers, &ORIGIN)?;
    match &cors.origins {
        Origins::Any => Some(HeaderValue::from_static("*")),
        Origins::Listed(origins) => {
            let text = origin.to_str().ok()?;
            origins.iter().any(|one| one.matches(text)).then(|| origin.clone())
        }
    }
}

/// The names that a preflight asks for. What is none is left out, which browsers take for a no.
fn asked_headers(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter();
    let names = values.flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    let names = names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok());
    names.take(MAX_ASKED_HEADERS).collect()
}

/// The field's value where it is there once.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then_some(first)
}

fn joined<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}
