//! The admin API as a caller sees it.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::raw::{self, Answer};

/// Every permission of an admin token.
pub const PERMISSIONS: [&str; 16] = [
    "api.key.create",
    "api.key.update",
    "api.key.delete",
    "api.key.view",
    "api.key.reveal",
    "api.role.create",
    "api.role.update",
    "api.role.delete",
    "api.role.view",
    "api.owner.create",
    "api.owner.update",
    "api.owner.delete",
    "api.owner.view",
    "api.usage.view",
    "api.audit.view",
    "api.admin",
];

/// An admin caller.
#[derive(Debug, Clone)]
pub struct Admin {
    pub address: SocketAddr,
    token: String,
}

impl Admin {
    pub fn new(address: SocketAddr, token: &str) -> Self {
        Self { address, token: token.to_owned() }
    }

    /// A call with any headers and body.
    pub fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let extra: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        raw::send(
            self.address,
            format!(
                "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {}\r\n{extra}content-length: {}\r\nconnection: close\r\n\r\n{body}",
                self.token,
                body.len()
            ),
        )
    }

    pub fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], "")
    }

    /// What Prometheus would read.
    pub fn metrics(&self) -> String {
        String::from_utf8(self.get("/metrics").body).unwrap()
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path, &[], &body.to_string())
    }

    pub fn patch(&self, path: &str, body: &Value) -> Answer {
        self.call("PATCH", path, &[], &body.to_string())
    }

    /// A new key: its ID and its secret.
    pub fn key(&self, fields: &Value) -> (String, String) {
        let mut body = json!({"name": "test"});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let answer = self.post("/api/v1/keys", &body);
        assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
        let body = answer.json();
        (body["key"]["id"].as_str().unwrap().to_owned(), body["secret"].as_str().unwrap().to_owned())
    }

    /// A new admin token with these terms, else one that may do everything: its ID and a caller that uses it.
    pub fn token(&self, terms: &Value) -> (String, Self) {
        let mut body = json!({"name": "test", "permissions": ["api.admin"]});
        body.as_object_mut().unwrap().extend(terms.as_object().unwrap().clone());
        let made = self.post("/api/v1/admin-tokens", &body);
        assert_eq!(made.status, 201, "{}", String::from_utf8_lossy(&made.body));
        let made = made.json();
        let admin = Self::new(self.address, made["secret"].as_str().unwrap());
        (made["admin_token"]["id"].as_str().unwrap().to_owned(), admin)
    }

    /// The key as it is now.
    pub fn show(&self, id: &str) -> Value {
        self.get(&format!("/api/v1/keys/{id}")).json()
    }
}
