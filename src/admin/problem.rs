//! Errors of the admin API: RFC 9457, with the request's ID, and a pointer for each bad field.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::AdminState;
use crate::document::Faults;
use crate::manage::ManageError;
use crate::request_id;
use crate::store::StoreError;

/// An error answer. Its request ID is added on the way out.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: String,
    errors: Vec<Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// The ID of an admin request.
#[derive(Debug, Clone)]
pub(super) struct RequestId(pub(super) String);

impl Problem {
    pub(super) fn new(
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self { status, code, title, detail: detail.into(), errors: Vec::new(), headers: Vec::new() }
    }

    /// What was sent is not even of the right form.
    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", "The request is malformed", detail)
    }

    /// There is no such thing.
    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "There is no such thing", detail)
    }

    /// A fault of ours.
    pub(super) fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "The gateway failed", detail)
    }

    /// Each fault, by its pointer.
    pub(super) fn invalid(faults: &Faults) -> Self {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        let detail = format!("{} field(s) are not valid: see errors.", faults.iter().count());
        let mut problem = Self::new(status, "validation_failed", "What was sent does not hold", detail);
        let error =
            |fault: &crate::document::Fault| json!({"pointer": fault.pointer, "detail": fault.detail});
        problem.errors = faults.iter().map(error).collect();
        problem
    }

    /// With another header field.
    pub(super) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    fn body(&self, request_id: &str) -> String {
        let mut body = json!({
            "type": format!("urn:portcullis:problem:{}", self.code),
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
            "code": self.code,
            "request_id": request_id,
        });
        if !self.errors.is_empty() {
            body["errors"] = Value::Array(self.errors.clone());
        }
        body.to_string()
    }
}

impl From<ManageError> for Problem {
    fn from(error: ManageError) -> Self {
        let (code, detail) = (error.code(), error.to_string());
        let (status, title) = match error {
            ManageError::Invalid(faults) => return Self::invalid(&faults),
            ManageError::Store(error) => return Self::from_store(&error),
            ManageError::Randomness(_) | ManageError::Seal(_) | ManageError::Unsealable(_) => {
                return Self::internal(detail);
            }
            ManageError::PreconditionFailed(etag) => return Self::precondition_failed(etag, detail),
            ManageError::NotFound { .. } | ManageError::NotRecoverable(_) => {
                (StatusCode::NOT_FOUND, "There is no such thing")
            }
            ManageError::Conflict(_) => (StatusCode::CONFLICT, "The present state does not allow it"),
            ManageError::KeyLimitReached { .. } => {
                (StatusCode::CONFLICT, "The owner has as many active keys as it may")
            }
            ManageError::IdempotencyKeyReused => {
                (StatusCode::UNPROCESSABLE_ENTITY, "The Idempotency-Key belongs to another call")
            }
            ManageError::IdempotencyInProgress => {
                let title = "The call with this Idempotency-Key is still running";
                let problem = Self::new(StatusCode::CONFLICT, code, title, detail);
                return problem.with_header(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            ManageError::TooManyReplays(_) => {
                let title = "No more answers can be kept for repeated calls";
                let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, code, title, detail);
                return problem.with_header(header::RETRY_AFTER, HeaderValue::from_static("60"));
            }
            ManageError::Forbidden(_) | ManageError::BoundToOwner(_) => {
                (StatusCode::FORBIDDEN, "The admin token may not do this")
            }
        };
        Self::new(status, code, title, detail)
    }
}

impl Problem {
    fn precondition_failed(etag: String, detail: String) -> Self {
        let title = "It changed since it was read";
        let problem = Self::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", title, detail);
        match HeaderValue::try_from(etag) {
            Ok(etag) => problem.with_header(header::ETAG, etag),
            Err(_) => problem,
        }
    }

    fn upgrade_in_progress(detail: String) -> Self {
        let (status, title) =
            (StatusCode::SERVICE_UNAVAILABLE, "A new process takes over; nothing was changed");
        let problem = Self::new(status, "upgrade_in_progress", title, detail);
        problem.with_header(header::RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// This process ends, and a new one has all of it.
    fn succeeded() -> Self {
        Self::upgrade_in_progress("a new process has taken over; send it again, on a new connection".into())
    }

    /// The store failed: nothing was changed, and another try may do.
    fn from_store(error: &StoreError) -> Self {
        let busy = StatusCode::SERVICE_UNAVAILABLE;
        if matches!(error, StoreError::HandedOver { .. }) {
            return Self::upgrade_in_progress(error.to_string());
        }
        tracing::error!(%error, "the store failed");
        let problem =
            Self::new(busy, "store_unavailable", "The store failed; nothing was changed", error.to_string());
        problem.with_header(header::RETRY_AFTER, HeaderValue::from_static("5"))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Gives each request its ID and each answer the headers that all have, and writes problems out.
pub(super) async fn finish(State(state): State<AdminState>, mut request: Request, next: Next) -> Response {
    let given = request_id::given(request.headers()).map(str::to_owned);
    let id = given.unwrap_or_else(|| request_id::new(state.manage.now()));
    request.extensions_mut().insert(RequestId(id.clone()));
    let succeeded = state.manage.is_succeeded();
    let mut response = if succeeded { Problem::succeeded().into_response() } else { next.run(request).await };
    let problem = response.extensions_mut().remove::<Problem>().or_else(|| of_router(&response));
    if let Some(problem) = problem {
        let mut headers = HeaderMap::new();
        if let Some(allow) = response.headers().get(header::ALLOW) {
            headers.insert(header::ALLOW, allow.clone());
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.extend(problem.headers.iter().cloned());
        response = (problem.status, headers, problem.body(&id)).into_response();
    }
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if succeeded {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if let Ok(id) = HeaderValue::try_from(id) {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
    response
}

/// The router's own refusals have no body that says why.
fn of_router(response: &Response) -> Option<Problem> {
    match response.status() {
        StatusCode::NOT_FOUND if !response.headers().contains_key(header::CONTENT_TYPE) => {
            let detail = "Nothing is served at this path; the API is under /api/v1.";
            Some(Problem::new(StatusCode::NOT_FOUND, "not_found", "There is no such thing", detail))
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            let detail = "The header Allow names the methods of this path.";
            let status = StatusCode::METHOD_NOT_ALLOWED;
            Some(Problem::new(status, "method_not_allowed", "The method is not allowed here", detail))
        }
        _ => None,
    }
}
