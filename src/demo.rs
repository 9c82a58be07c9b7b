//! The demo upstream of quickstart: it answers each request with what it received, so one sees what a gateway forwards.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use axum::Json;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

/// The largest body that is echoed, in bytes.
const MAX_BODY_BYTES: usize = 1 << 20;

/// The upstream, until it is dropped.
#[derive(Debug)]
pub struct Demo {
    address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Demo {
    /// Starts it on a free port of the loopback.
    ///
    /// # Errors
    /// There is no free port, or no thread.
    pub fn start() -> io::Result<Self> {
        let runtime =
            Builder::new_multi_thread().worker_threads(1).thread_name("demo").enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        runtime.spawn(async move {
            if let Err(error) = axum::serve(listener, Router::new().fallback(echo)).await {
                tracing::error!(%error, "the demo upstream ended");
            }
        });
        Ok(Self { address, runtime: Some(runtime) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn echo(request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY_BYTES).await else {
        let detail = format!("the demo upstream takes bodies of at most {MAX_BODY_BYTES} bytes");
        return (StatusCode::PAYLOAD_TOO_LARGE, Json(json!({"detail": detail}))).into_response();
    };
    let answer = json!({
        "from": "the demo upstream of portcullis; this is what it received",
        "method": parts.method.as_str(),
        "path": parts.uri.path(),
        "query": parts.uri.query(),
        "headers": headers(&parts.headers),
        "body": String::from_utf8_lossy(&body),
    });
    // Indented, and ended by a line's end: it is read in a terminal.
    ([(CONTENT_TYPE, "application/json")], format!("{answer:#}\n")).into_response()
}

/// A header that came once is a text, one that came more often a list.
fn headers(headers: &HeaderMap) -> Value {
    let mut out = Map::new();
    for name in headers.keys() {
        let texts =
            headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let mut texts: Vec<String> = texts.collect();
        let value = if texts.len() == 1 { texts.swap_remove(0).into() } else { texts.into() };
        out.insert(name.to_string(), value);
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[tokio::test]
    async fn it_echoes_what_it_received() {
        let mut request = Request::post("/a/b?c=d").body(Body::from("hello")).unwrap();
        for value in ["1", "2"] {
            request.headers_mut().append("x-many", HeaderValue::from_static(value));
        }
        let response = echo(request).await;
        let bytes = to_bytes(response.into_body(), MAX_BODY_BYTES).await.unwrap();
        let answer: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(answer["method"], "POST");
        assert_eq!((&answer["path"], &answer["query"]), (&json!("/a/b"), &json!("c=d")));
        assert_eq!(answer["headers"]["x-many"], json!(["1", "2"]));
        assert_eq!(answer["body"], "hello");
    }

    #[tokio::test]
    async fn a_body_over_the_bound_is_refused() {
        let request = Request::post("/").body(Body::from(vec![b'a'; MAX_BODY_BYTES + 1])).unwrap();
        assert_eq!(echo(request).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }
}
