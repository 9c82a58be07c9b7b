//! Portcullis: a reverse proxy that lets a request through to an API only with a valid key, and the whole life of those
//! keys around it.
//!
//! # One request, walked through
//!
//! [`proxy::listener`] accepts the connection and [`proxy::connection`] serves it: `proxy::incoming` reads a request's
//! head, whole and within its time, and [`head`] refuses what is not one clear HTTP request, before Pingora sees a byte of
//! it. Of its body [`proxy::client`] lets pass what [`head::Body`] can read in one way, to its end and no further.
//! [`proxy`] gives the request to Pingora, whose hooks each do one step:
//!
//! 1. [`routes::target`] checks the target, the very bytes that are forwarded, and [`routes`] finds its route.
//! 2. [`admission`] decides, in memory and without I/O: [`admission::credential`] finds the one credential,
//!    [`snapshot`] the key by the digest of its secret, [`admission::authorize`] judges the key's standing, the client's
//!    address, the environment and the scopes, and [`limit`] and [`usage::quota`] the limits: all are looked at before
//!    any is charged. The result is a [`admission::Permit`] or a [`admission::Refusal`].
//! 3. A refusal is written by [`proxy::reply`]; to a connection that has shown no key yet, before Pingora is asked
//!    (`proxy::stranger`). With a permit, [`proxy::upstream`] chooses a target that
//!    is well ([`proxy::upstream::endpoint`]) and [`proxy::forward`] writes what it gets: no credential, no forged
//!    identity, our own headers. `proxy::failure` says what may be tried again.
//! 4. However it ends, [`proxy::context`] settles it once, with its final outcome: one atomic add in the mapped file of
//!    [`usage::slab`], which [`usage::ledger`] merges into the store each second.
//!
//! # One change, walked through
//!
//! [`admin`] has one table of operations, of which both its routes and its OpenAPI document are made; its gate looks at the
//! `Host` and the token before anything else. It (or [`cli`], offline) parses a call and hands it to [`manage`], the one service that changes anything:
//! permission, validation, one durable transaction of [`store`] (record, audit entry, revision), then the delta to
//! [`snapshot`], then the answer. Who has the answer knows that the change is on disk and holds for the next request.
//!
//! A revocation and a deletion then cut what the key has running: [`lines`] knows which connection serves which key.
//!
//! A reload ([`app::reload`]) makes a whole [`proxy::routing::Routing`] beside the one in force and swaps the two at once;
//! what runs keeps the one that it began with.
//!
//! An upgrade ([`app::upgrade`]) hands sockets and store to a new process; this one answers what it has, counts in its own
//! file ([`usage::predecessor`]) and applies the changes that it is told of ([`manage::Manage::follow`]).
//!
//! # Invariants
//!
//! - Nothing is forwarded without a [`admission::Passage`], and only [`admission::Judge::admit`] makes one.
//! - The route, the scopes and the bytes sent upstream come from one parsed target.
//! - There is no cache of keys: a key is in the snapshot or it is unknown.
//! - A plaintext secret is in no store, log, metric, error, audit entry or `Debug` output. What must be read again is
//!   sealed: an answer under what its caller sent, a recoverable secret under the operator's master key.
//! - A status is derived, never stored. A change is one transaction, or nothing.
//! - Rates run on monotonic time; expiries and calendar quotas on wall time. Clocks are read in [`clock`] alone.
//! - Whatever comes from outside has a named bound.
//!
//! # Modules, in reading order
//!
//! | module | what it holds |
//! |---|---|
//! | [`key`], [`outcome`], [`clock`] | the vocabulary: keys, secrets, scopes, quotas, outcomes, time |
//! | [`document`], [`quantity`] | reading documents from outside, with every fault named; durations and sizes |
//! | [`config`] | the configuration, valid by construction |
//! | [`head`], [`routes`], [`request_id`] | what is a request, where it goes, what it is called |
//! | [`admission`] | the decision |
//! | [`snapshot`], [`limit`], [`usage`] | what the decision reads and charges |
//! | [`seal`], [`tls`] | encryption: of what is kept and must be read again, and of connections |
//! | [`store`] | what outlives the process |
//! | [`traces`] | which trace a request belongs to, and the spans that it leaves |
//! | [`lines`] | the connections, each with the key that it serves: what a revocation cuts |
//! | [`manage`] | every change and every reading of keys |
//! | [`proxy`], [`admin`] | the two listeners; they never import each other |
//! | [`stall`] | how long the other end of a connection may take nothing |
//! | [`metrics`], [`telemetry`] | what on-call engineers read |
//! | [`app`] | the composition root |
//! | [`cli`], [`demo`] | the commands, and the upstream that quickstart brings along |

pub mod admin;
pub mod admission;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod document;
pub mod head;
pub mod key;
pub mod limit;
pub mod lines;
pub mod manage;
pub mod metrics;
pub mod outcome;
pub mod proxy;
pub mod quantity;
pub mod request_id;
pub mod routes;
pub mod seal;
pub mod snapshot;
pub mod stall;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod traces;
pub mod usage;
