//! Names and addresses of hosts: where an upstream's targets are, and which hosts a route is for.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::Value;

use super::HostPattern;
use crate::document::string;

/// The longest DNS name, in bytes (RFC 1035).
const MAX_NAME_BYTES: usize = 253;
/// The longest label of a DNS name, in bytes.
const MAX_LABEL_BYTES: usize = 63;

/// `host:port`, the address of a target.
///
/// # Errors
/// A detail for a [`crate::document::Fault`].
pub fn address(value: &Value) -> Result<String, String> {
    let text = string(value)?.to_ascii_lowercase();
    match split_port(&text) {
        Some((host, Some(_))) if is_host(host) => Ok(text),
        _ => {
            Err("must be a host and a port from 1 to 65535, such as \"10.0.0.7:9000\" or \"[::1]:9000\""
                .into())
        }
    }
}

/// `host` or `host:port`, as a `Host` header has it.
///
/// # Errors
/// A detail for a [`crate::document::Fault`].
pub fn authority(value: &Value) -> Result<String, String> {
    let text = string(value)?.to_ascii_lowercase();
    match split_port(&text) {
        Some((host, _)) if is_host(host) => Ok(text),
        _ => Err("must be a host, such as \"api.example.com\", with or without a port".into()),
    }
}

/// The host of an authority, without port and brackets: the name that a certificate is checked against.
pub fn server_name(authority: &str) -> String {
    let host = split_port(authority).map_or(authority, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']').to_owned()
}

/// The hosts of a route: one name, or `*.` and the end of names.
///
/// # Errors
/// A detail for a [`crate::document::Fault`].
pub fn pattern(value: &Value) -> Result<HostPattern, String> {
    let text = string(value)?.to_ascii_lowercase();
    match text.strip_prefix('*') {
        Some(suffix) if suffix.strip_prefix('.').is_some_and(is_name) => {
            Ok(HostPattern::Suffix(suffix.to_owned()))
        }
        None if is_host(&text) => Ok(HostPattern::Exact(text)),
        _ => Err("must be a host without a port, such as \"api.example.com\" or \"*.example.com\"; \
                  leave the field out for every host"
            .into()),
    }
}

/// Host and port, the host still in its brackets. `None` where the port is none.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let after_brackets = text.rfind(']').map_or(0, |at| at + 1);
    match text[after_brackets..].rfind(':') {
        None => Some((text, None)),
        Some(colon) => {
            let (host, port) = text.split_at(after_brackets + colon);
            let digits = port[1..].bytes().all(|b| b.is_ascii_digit());
            let port = port[1..].parse().ok().filter(|&port| digits && port > 0)?;
            Some((host, Some(port)))
        }
    }
}

/// An IPv4 address, an IPv6 address in brackets, or a DNS name.
fn is_host(text: &str) -> bool {
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().is_ok();
    }
    text.parse::<Ipv4Addr>().is_ok() || is_name(text)
}

/// A DNS name in ASCII. Underscores are allowed, which container networks use; a last label of digits is not, since
/// that is an address with a mistake in it.
fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= MAX_LABEL_BYTES
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last_is_number =
        text.rsplit('.').next().is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit()));
    text.len() <= MAX_NAME_BYTES && text.split('.').all(is_label) && !last_is_number
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn addresses_have_a_host_and_a_port() {
        for good in ["127.0.0.1:9000", "[::1]:1", "api:80", "my_service.internal:65535", "a-b.c:9"] {
            assert_eq!(address(&json!(good)).as_deref(), Ok(good));
        }
        let bad = [
            "",
            "api",
            "api:",
            ":80",
            "api:0",
            "api:65536",
            "api:+80",
            "api:8o",
            "::1:80",
            "[::1]",
            "[::1:80",
            "[api]:80",
            "256.1.1.1:80",
            "-a:80",
            "a..b:80",
            "http://api:80",
            "api:80/x",
            "a b:80",
            "ä:80",
            "user@api:80",
            "]:80",
        ];
        for bad in bad {
            assert!(address(&json!(bad)).is_err(), "{bad}");
        }
        assert!(address(&json!(format!("{}:80", "a".repeat(64)))).is_err());
        assert!(address(&json!(format!("{}a:80", "a.".repeat(127)))).is_err());
    }

    #[test]
    fn authorities_may_have_a_port_and_name_the_server() {
        let cases = [
            ("api.example.com", "api.example.com"),
            ("API.example.com:8443", "api.example.com"),
            ("10.0.0.1:443", "10.0.0.1"),
            ("[fd00::1]:443", "fd00::1"),
            ("[fd00::1]", "fd00::1"),
        ];
        for (text, name) in cases {
            assert_eq!(server_name(&authority(&json!(text)).unwrap()), name);
        }
        for bad in ["", "a:b", "a/b", "fd00::1", "a.", ".a"] {
            assert!(authority(&json!(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns_are_a_name_or_its_end() {
        let exact = |text: &str| HostPattern::Exact(text.into());
        let cases = [
            ("API.Example.com", exact("api.example.com")),
            ("127.0.0.1", exact("127.0.0.1")),
            ("[::1]", exact("[::1]")),
            ("*.Example.com", HostPattern::Suffix(".example.com".into())),
        ];
        for (text, expected) in cases {
            assert_eq!(pattern(&json!(text)), Ok(expected));
        }
        for bad in [
            "",
            "*",
            "*.",
            "*example.com",
            "a.*.com",
            "*.*.com",
            "api.example.com:80",
            "api.example.com.",
            "*.1",
        ] {
            assert!(pattern(&json!(bad)).is_err(), "{bad}");
        }
    }
}
