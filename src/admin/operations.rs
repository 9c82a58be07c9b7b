//! The one table of operations. The router and the OpenAPI document are both made from it, so that neither can have
//! what the other has not.
//!
//! A new operation is an entry here, a schema and an example of each of its bodies in `openapi`, each new code in
//! `openapi/problems.rs`, and its permission in the table of `tests/it/permissions.rs`.

mod answer;
mod groups;
mod keys;
mod rest;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter, on};
use serde_json::Value;

pub(super) use answer::{Answer, Content};

use super::AdminState;
use crate::manage::Permission;

/// What a call must bring along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    /// No token.
    None,
    /// A token, but for `/metrics` where `admin.metrics_open` is true.
    UnlessOpen,
    /// Any token.
    Any,
    /// A token with this permission.
    With(Permission),
}

/// Whether a token that belongs to one owner may call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// It may, and sees what is that owner's.
    OwnerToo,
    /// It may not: the call concerns every owner.
    AllOwners,
}

/// A request's body.
#[derive(Debug)]
pub(super) struct Body {
    /// Its form.
    pub(super) content: Content,
    /// Whether it may be left out.
    pub(super) presence: Presence,
    /// Its largest size, in bytes.
    pub(super) most: usize,
}

/// Whether a body may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// It must be there.
    Required,
    /// It may be left out.
    Optional,
}

/// One method of one path: what serves it, and what it promises.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) id: &'static str,
    pub(super) tag: &'static str,
    pub(super) summary: &'static str,
    pub(super) description: String,
    pub(super) token: Token,
    pub(super) reach: Reach,
    pub(super) parameters: Vec<Value>,
    pub(super) body: Option<Body>,
    pub(super) answers: Vec<Answer>,
    /// The statuses of its errors, beside those that every call may answer with.
    pub(super) errors: Vec<u16>,
    route: MethodRouter<AdminState>,
}

impl Operation {
    /// An operation that `handler` serves. Its ID is what generated clients call it.
    fn new<H, T>(method: Method, path: &'static str, id: &'static str, handler: H) -> Self
    where
        H: Handler<T, AdminState>,
        T: 'static,
    {
        // The table holds the standard methods alone, each of which has a filter.
        let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
        Self {
            method,
            path,
            id,
            tag: "",
            summary: "",
            description: String::new(),
            token: Token::Any,
            reach: Reach::OwnerToo,
            parameters: Vec::new(),
            body: None,
            answers: Vec::new(),
            errors: Vec::new(),
            route: on(filter, handler),
        }
    }

    fn get<H: Handler<T, AdminState>, T: 'static>(path: &'static str, id: &'static str, handler: H) -> Self {
        Self::new(Method::GET, path, id, handler)
    }

    fn post<H: Handler<T, AdminState>, T: 'static>(path: &'static str, id: &'static str, handler: H) -> Self {
        Self::new(Method::POST, path, id, handler)
    }

    fn patch<H: Handler<T, AdminState>, T: 'static>(
        path: &'static str,
        id: &'static str,
        handler: H,
    ) -> Self {
        Self::new(Method::PATCH, path, id, handler)
    }

    fn delete<H: Handler<T, AdminState>, T: 'static>(
        path: &'static str,
        id: &'static str,
        handler: H,
    ) -> Self {
        Self::new(Method::DELETE, path, id, handler)
    }

    /// Its heading and its explanation.
    fn about(mut self, tag: &'static str, summary: &'static str, description: impl Into<String>) -> Self {
        (self.tag, self.summary, self.description) = (tag, summary, description.into());
        self
    }

    fn needs(mut self, permission: Permission) -> Self {
        self.token = Token::With(permission);
        self
    }

    fn token(mut self, token: Token) -> Self {
        self.token = token;
        self
    }

    /// Refused for tokens that belong to one owner.
    fn for_all_owners(mut self) -> Self {
        self.reach = Reach::AllOwners;
        self
    }

    fn with(mut self, parameters: impl IntoIterator<Item = Value>) -> Self {
        self.parameters.extend(parameters);
        self
    }

    fn takes(mut self, body: Body) -> Self {
        self.route = self.route.layer(DefaultBodyLimit::max(body.most));
        self.body = Some(body);
        self
    }

    fn answers(mut self, answer: Answer) -> Self {
        self.answers.push(answer);
        self
    }

    fn or(mut self, errors: &[u16]) -> Self {
        self.errors.extend(errors);
        self
    }
}

/// Every operation of the listener.
pub(super) fn table() -> Vec<Operation> {
    [keys::operations(), groups::operations(), rest::operations()].into_iter().flatten().collect()
}

/// The routes of the table.
pub(super) fn routes() -> Router<AdminState> {
    table().into_iter().fold(Router::new(), |router, operation| router.route(operation.path, operation.route))
}
