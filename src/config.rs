//! The configuration, valid by construction: whoever holds a [`Config`] need not check it again.
//!
//! `file.rs` reads the TOML text into these types and names every fault with its dotted path and line; nothing else
//! makes a `Config`. Defaults come from `config/default.toml`, which is part of the binary.

pub mod bounds;
pub mod cors;
mod credential;
mod expand;
pub mod file;
mod headers;
pub mod health;
mod hosts;
pub mod http2;
pub mod listen;
pub mod log;
mod master_key;
mod matching;
mod rotation;
mod route;
mod sections;
mod tls;
pub mod traces;
mod tree;
pub mod trust;
mod upstream;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

pub use health::{Ejection, Health};
pub use log::{AccessLog, Log, LogFormat};
pub use master_key::MasterKey;
pub use trust::{Identity, Trust, Verification};

use crate::key::RateSpec;
use crate::key::due::RotateAfter;
use crate::key::scope::Scope;
use crate::tls::Terms;

/// Everything one configuration file says.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[gateway]`
    pub gateway: Gateway,
    /// `[admin]`
    pub admin: Admin,
    /// `[store]`
    pub store: Store,
    /// `[keys]`
    pub keys: Keys,
    /// `[metrics]`
    pub metrics: Metrics,
    /// `[log]`
    pub log: Log,
    /// `[traces]`; `None`: the gateway takes no part in traces
    pub traces: Option<traces::Traces>,
    /// `[upstreams.NAME]`, by name
    pub upstreams: BTreeMap<String, Upstream>,
    /// `[[routes]]`, in the file's order
    pub routes: Vec<Route>,
}

/// `[gateway]`: the listeners that clients reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// Plain HTTP listeners. At least one, unless there are TLS listeners.
    pub listen: listen::Listen,
    /// `[[gateway.tls]]`: TLS listeners, one for each address.
    pub tls: Vec<TlsListener>,
    /// Worker threads; never 0 here (0 in the file is one per core).
    pub threads: usize,
    /// HTTP/2, and its bounds.
    pub http2: http2::Http2,
    /// Whose `X-Forwarded-*` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The largest request head, in bytes.
    pub max_request_header: usize,
    /// The largest request body in bytes; `None`: no limit.
    pub max_request_body: Option<NonZeroU64>,
    /// From a connection's or a request's first moment to its last header byte.
    pub header_timeout: Duration,
    /// How long a kept connection may wait for its next request.
    pub idle_timeout: Duration,
    /// Connections at once; one more is closed.
    pub max_connections: usize,
    /// What clients may do once they are connected.
    pub bounds: bounds::ClientBounds,
    /// How long a stop waits for running requests.
    pub shutdown_grace: Duration,
    /// Whether the process's memory may be looked at from outside.
    pub core_dumps: CoreDumps,
}

/// Whether the system may write the process's memory to disk when it crashes, and debuggers may attach to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CoreDumps {
    /// Yes. What clients and operators send is in there.
    Allowed,
    /// No.
    Off,
}

/// The entries of `[[gateway.tls]]` that have one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsListener {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Whether its connections begin with a PROXY protocol header.
    pub preamble: Preamble,
    /// Its certificates, and what it asks of clients.
    pub terms: Terms,
}

/// What a connection begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preamble {
    /// What its client says.
    None,
    /// A PROXY protocol header.
    Proxy,
}

/// `[admin]`: the listener that operators reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The names that it answers to beside its own; empty: on loopback none, elsewhere any.
    pub hosts: Vec<HostPattern>,
    /// Who may read `/metrics`.
    pub metrics: MetricsAccess,
    /// Its certificate, or plain HTTP.
    pub tls: Option<AdminTls>,
}

/// Who may read `/metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsAccess {
    /// Anybody who reaches the listener.
    Open,
    /// Whoever has an admin token.
    Token,
}

/// `[admin.tls]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminTls {
    /// PEM, leaf first.
    pub certificate: PathBuf,
    /// PEM.
    pub private_key: PathBuf,
}

/// `[store]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// The embedded store, a file of its own.
    Redb {
        /// The file; the usage counters stand beside it.
        path: PathBuf,
    },
}

/// `[keys]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// What secrets start with.
    pub prefix: String,
    /// After how long `rotation_due` turns true, by environment.
    pub rotate_after: RotateAfter,
    /// The pepper, read from the variable that `pepper_env` names; digests are then HMAC-SHA-256.
    pub pepper: Option<Pepper>,
    /// Where secrets are recoverable: the key that they are sealed with, from the variable that `master_key_env` names.
    pub master_key: Option<MasterKey>,
}

/// A secret that the operator keeps outside the store. It has no readable `Debug` and is wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Pepper(zeroize::Zeroizing<Vec<u8>>);

impl Pepper {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(zeroize::Zeroizing::new(bytes))
    }

    /// The bytes, for the MAC's key alone.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Pepper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pepper(…)")
    }
}

/// `[metrics]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// How many keys get a series of their own.
    pub top_keys: usize,
}

/// `[upstreams.NAME]`
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// Where requests go. At least one.
    pub targets: Vec<Target>,
    /// How a target is chosen.
    pub balance: Balance,
    /// TLS to the targets, verified, with this name as SNI; the `host` of the file.
    pub tls: Option<String>,
    /// What is spoken with the targets.
    pub protocol: Protocol,
    /// Replaces the client's `Host`; the `host` of the file.
    pub host: Option<String>,
    /// Until the connection stands, TLS included.
    pub connect_timeout: Duration,
    /// Until the response's first byte, and between its pieces.
    pub response_timeout: Duration,
    /// How long an upgraded connection (a WebSocket) may be silent.
    pub websocket_idle: Duration,
    /// Whom TLS trusts, and as whom it speaks.
    pub trust: Trust,
    /// Idle connections that are kept to each address of a target.
    pub keepalive: u32,
    /// How long what a look-up of a target's name found is used at most; `None`: as long as it says.
    pub resolve_every: Option<Duration>,
    /// Which name servers are asked; empty: the system's.
    pub dns_servers: Arc<[SocketAddr]>,
    /// How targets are asked whether they are well; `None`: not at all.
    pub health: Option<Health>,
    /// When a target at which requests fail is left alone; `None`: never.
    pub ejection: Option<Ejection>,
    /// Set on each forwarded request: the upstream's own credential, for one.
    pub set_headers: Vec<SetHeader>,
}

/// What is spoken with the targets of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1
    Http1,
    /// HTTP/2: asked for by ALPN over TLS, with prior knowledge without.
    Http2,
}

/// One target of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `host:port`, a name or an address; or `unix:` and a path.
    pub address: String,
    /// Its share, 1 to 100.
    pub weight: NonZeroU32,
}

/// How a target is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// In turn, by weight.
    RoundRobin,
    /// The one with the fewest running requests for its weight.
    LeastConnections,
}

/// A header set on each forwarded request. The value may be a credential: it has no readable `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct SetHeader {
    /// The header's name.
    pub name: http::HeaderName,
    /// Its value, marked sensitive.
    pub value: http::HeaderValue,
}

impl std::fmt::Debug for SetHeader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SetHeader({}: …)", self.name)
    }
}

/// `[[routes]]`
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Which hosts.
    pub host: HostPattern,
    /// A prefix by whole segments, starting with `/`; no trailing slash but for `/` itself.
    pub path: String,
    /// Which methods; empty: any.
    pub methods: Vec<http::Method>,
    /// The upstream's name. It exists.
    pub upstream: String,
    /// Who may pass.
    pub access: Access,
    /// Needed, all of them.
    pub scopes: Vec<Scope>,
    /// Which environments' keys may pass; empty: any.
    pub environments: Vec<String>,
    /// Whether `path` is cut off before forwarding.
    pub path_rewrite: PathRewrite,
    /// For each key that sets none of its own.
    pub limits: Vec<RateSpec>,
    /// Where the credential may be. At least one.
    pub credential: Vec<CredentialPlace>,
    /// What the upstream sees of the credential.
    pub credential_forwarding: CredentialForwarding,
    /// How errors are written.
    pub error_format: ErrorFormat,
    /// Which web pages may call it; `None`: none.
    pub cors: Option<cors::Cors>,
    /// The largest request body: the route's own, else the gateway's; `None`: no limit.
    pub max_request_body: Option<NonZeroU64>,
}

/// Which hosts a route is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// Every host.
    Any,
    /// This one, lower case, without a port.
    Exact(String),
    /// Each name that ends with this, which starts with a dot (`*.example.com` → `.example.com`).
    Suffix(String),
}

/// Who may pass a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Whoever has a valid key.
    Key,
    /// Anybody.
    Public,
}

/// What happens to a route's path before forwarding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathRewrite {
    /// Forwarded as it came.
    Keep,
    /// The route's path is cut off.
    Strip,
}

/// A place where a credential may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialPlace {
    /// `Authorization: Bearer …` (RFC 6750)
    Bearer,
    /// A header's whole value.
    Header(http::HeaderName),
    /// A query parameter's value.
    Query(String),
}

/// What the upstream sees of the credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialForwarding {
    /// Nothing.
    Strip,
    /// What the client sent.
    Forward,
}

/// How errors are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorFormat {
    /// RFC 9457 `application/problem+json`.
    Problem,
    /// `{"error":{"message","type","code"}}`, as OpenAI's clients expect.
    OpenAi,
}
