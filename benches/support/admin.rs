//! Calls to the admin API.

use std::io::Read as _;
use std::net::SocketAddr;

use anyhow::Context as _;
use serde_json::Value;

use super::machine::send;

/// The gateway's first admin token.
pub const TOKEN: &str = "bench-admin-token-of-more-than-32-characters";

/// One call: the status line and the body.
pub fn call(admin: SocketAddr, method: &str, path: &str, body: &str) -> anyhow::Result<(String, String)> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {admin}\r\nauthorization: Bearer {TOKEN}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut answer = String::new();
    send(admin, &head)?.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer without a head")?;
    Ok((head.lines().next().unwrap_or_default().to_owned(), body.to_owned()))
}

/// One call that must succeed: what it answered.
pub fn done(admin: SocketAddr, method: &str, path: &str, body: &str) -> anyhow::Result<Value> {
    let (status, answer) = call(admin, method, path, body)?;
    anyhow::ensure!(status.contains(" 20"), "{method} {path}: {status} {answer}");
    Ok(serde_json::from_str(&answer).unwrap_or(Value::Null))
}
