//! What is said where a call of the admin API does not succeed.

use std::io::ErrorKind;
use std::time::Duration;

use http::StatusCode;
use serde_json::Value;

use crate::cli::output::tame;
use crate::quantity::format_duration;

/// What only the gateway answers: it took the admin token for a key.
const KEY_CODES: [&str; 3] = ["missing_key", "invalid_key", "no_route"];

/// No answer came, or not a whole one.
pub(super) fn unreached(url: &str, within: Duration, error: &ureq::Error) -> anyhow::Error {
    let cause = match error {
        ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
            "no connection in time".to_owned()
        }
        ureq::Error::Timeout(_) => {
            let within = format_duration(within);
            return anyhow::anyhow!(
                "the admin API at {url} did not answer within {within}; whether it did what was asked is not known"
            );
        }
        ureq::Error::BodyExceedsLimit(most) => {
            return anyhow::anyhow!("the answer has over {} MiB; ask for less at once", most >> 20);
        }
        ureq::Error::HostNotFound => "there is no such host".to_owned(),
        ureq::Error::Io(error) if error.kind() == ErrorKind::ConnectionRefused => {
            "connection refused".to_owned()
        }
        ureq::Error::Io(error) => tame(&error.to_string()),
        other => tame(&other.to_string()),
    };
    anyhow::anyhow!(
        "cannot reach the admin API at {url}: {cause}; is the gateway running? set PORTCULLIS_ADMIN_URL"
    )
}

/// An answer that is a refusal: what the API says of it, and a line for each bad field.
pub(super) fn refused(url: &str, status: StatusCode, body: &[u8]) -> anyhow::Error {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    let (Some(detail), Some(code)) = (problem["detail"].as_str(), problem["code"].as_str()) else {
        return anyhow::anyhow!(
            "{url} answers {status}, and not as an admin API does; is PORTCULLIS_ADMIN_URL right?"
        );
    };
    let mut text = format!("{} ({code})", detail.trim_end_matches('.'));
    if KEY_CODES.contains(&code) {
        return anyhow::anyhow!(
            "{url} is where the gateway takes requests, not its admin API: set PORTCULLIS_ADMIN_URL"
        );
    }
    if status == StatusCode::UNAUTHORIZED {
        text.push_str("; set PORTCULLIS_ADMIN_TOKEN, or give --admin-token-file");
    }
    let mut text = tame(&text);
    for error in problem["errors"].as_array().into_iter().flatten() {
        let (pointer, detail) = (&error["pointer"], &error["detail"]);
        let line = format!("{}: {}", pointer.as_str().unwrap_or(""), detail.as_str().unwrap_or(""));
        text.push_str("\n  ");
        text.push_str(&tame(&line));
    }
    anyhow::Error::msg(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(status: u16, body: &str) -> String {
        refused("http://gateway", StatusCode::from_u16(status).unwrap(), body.as_bytes()).to_string()
    }

    #[test]
    fn a_refusal_names_its_code_and_each_field() {
        let errors =
            json!([{"pointer": "/name", "detail": "is required"}, {"pointer": "/a", "detail": "unknown"}]);
        let problem = json!({"detail": "2 fields.", "code": "validation_failed", "errors": errors});
        assert_eq!(
            said(422, &problem.to_string()),
            "2 fields (validation_failed)\n  /name: is required\n  /a: unknown"
        );
    }

    #[test]
    fn a_missing_token_says_where_it_goes() {
        let problem = json!({"detail": "Send a token.", "code": "missing_token"});
        assert!(said(401, &problem.to_string()).contains("(missing_token); set PORTCULLIS_ADMIN_TOKEN"));
    }

    #[test]
    fn the_gateway_is_told_from_its_admin_api() {
        let problem = json!({"detail": "No key has this secret.", "code": "invalid_key"});
        assert!(said(401, &problem.to_string()).contains("not its admin API: set PORTCULLIS_ADMIN_URL"));
    }

    #[test]
    fn a_stranger_is_told_from_an_admin_api() {
        assert!(
            said(404, "<html>")
                .contains("http://gateway answers 404 Not Found, and not as an admin API does")
        );
    }

    #[test]
    fn a_refused_connection_says_what_to_look_at() {
        let error = ureq::Error::Io(ErrorKind::ConnectionRefused.into());
        assert_eq!(
            unreached("http://gateway", Duration::from_mins(1), &error).to_string(),
            "cannot reach the admin API at http://gateway: connection refused; is the gateway running? set \
             PORTCULLIS_ADMIN_URL"
        );
    }
}
