//! `POST /api/v1/reload` and `GET /api/v1/upstreams`: the gateway's configuration and what is behind it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::AdminState;
use super::document::NoParams;
use super::problem::Problem;
use crate::manage::{Actor, ManageError};

/// What a reload came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// The routes in force.
    pub routes: usize,
    /// The upstreams in force.
    pub upstreams: usize,
    /// What the file says otherwise than the gateway was started with, and what a restart alone changes.
    pub needs_restart: Vec<&'static str>,
}

/// Puts the configuration file in force once more.
pub trait Reload: Send + Sync + std::fmt::Debug {
    /// Reads the file and puts it in force, all of it or nothing.
    ///
    /// # Errors
    /// The old one stays in force.
    fn reload(&self, actor: &Actor) -> Result<Reloaded, ManageError>;
}

/// An upstream as it stands.
#[derive(Debug, Clone)]
pub struct UpstreamState {
    /// Its name.
    pub name: String,
    /// Its targets.
    pub targets: Vec<TargetState>,
}

/// A target as it stands.
#[derive(Debug, Clone)]
pub struct TargetState {
    /// What the configuration calls it.
    pub address: String,
    /// Its share.
    pub weight: u32,
    /// Requests that run there.
    pub running: u32,
    /// The addresses that it has.
    pub addresses: Vec<AddressState>,
}

/// One address of a target.
#[derive(Debug, Clone)]
pub struct AddressState {
    /// Where.
    pub address: String,
    /// `healthy`, `returning`, `ejected` or `unhealthy`.
    pub standing: &'static str,
    /// Requests that failed there in a row.
    pub failures: u32,
}

/// Tells of what is behind the gateway.
pub trait Upstreams: Send + Sync + std::fmt::Debug {
    /// Every upstream, by name.
    fn upstreams(&self) -> Vec<UpstreamState>;
}

pub(super) async fn reload(
    State(state): State<AdminState>,
    actor: Actor,
    _: NoParams,
) -> Result<Response, Problem> {
    let control = Arc::clone(&state.reload);
    let done = tokio::task::spawn_blocking(move || control.reload(&actor)).await;
    let done = done.map_err(|_| Problem::internal("the reload broke off"))??;
    let body = json!({
        "routes": done.routes, "upstreams": done.upstreams, "needs_restart": done.needs_restart,
    });
    Ok(Json(body).into_response())
}

pub(super) async fn upstreams(
    State(state): State<AdminState>,
    actor: Actor,
    _: NoParams,
) -> Result<Response, Problem> {
    actor.needs(crate::manage::Permission::Admin)?;
    actor.needs_all_owners()?;
    let all: Vec<Value> = state.upstreams.upstreams().iter().map(upstream_json).collect();
    Ok(Json(json!({"upstreams": all})).into_response())
}

fn upstream_json(upstream: &UpstreamState) -> Value {
    let address = |one: &AddressState| json!({"address": one.address, "standing": one.standing, "failures": one.failures});
    let target = |one: &TargetState| {
        json!({
            "address": one.address, "weight": one.weight, "running": one.running,
            "addresses": one.addresses.iter().map(address).collect::<Vec<_>>(),
        })
    };
    json!({"name": upstream.name, "targets": upstream.targets.iter().map(target).collect::<Vec<_>>()})
}
