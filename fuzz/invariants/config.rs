//! Any text is a configuration, the same one each time, or a list of faults that stand in the text; and what stands
//! where credentials do is in no fault and in no `Debug` output.

use std::path::Path;

use portcullis::config::file::{ConfigError, ConfigFault, parse};
use portcullis::config::{Config, HostPattern};
use portcullis::document::MAX_FAULTS;
use portcullis::routes::Table;
use toml::Value;

/// What the environment holds. None of it may be seen again.
const ENVIRONMENT: [(&str, &str); 3] = [
    ("API_KEY", "sk-0f6c0e5f-the-upstreams-own-credential"),
    ("PEPPER", "0f6c0e5f-the-pepper-of-all-the-secrets"),
    ("MASTER", "MGY2YzBlNWYtdGhlLW1hc3Rlci1rZXktMzItYnl0ZXM="),
];

/// What the credentials that stand in the text itself have, and none of the gateway's own words.
const MARK: &str = "hunter2";

/// Holds the reader of configurations to its promise.
pub fn hold(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let secrets = secrets(text);
    match read(text) {
        Ok(config) => {
            let shown = format!("{config:?}");
            sound(&config);
            let again = read(text).unwrap();
            assert_eq!(format!("{again:?}"), shown, "one text, one meaning");
            silent(&shown, &secrets);
        }
        Err(error) => {
            silent(&error.to_string(), &secrets);
            silent(&format!("{error:?}"), &secrets);
            let ConfigError::Invalid { faults, .. } = error else { panic!("{error}") };
            assert!(!faults.is_empty() && faults.len() <= MAX_FAULTS);
            for fault in &faults {
                in_its_place(fault, text);
            }
        }
    }
}

fn read(text: &str) -> Result<Config, ConfigError> {
    let environment =
        |name: &str| ENVIRONMENT.iter().find(|(one, _)| *one == name).map(|(_, value)| (*value).to_owned());
    // A folder that is not there: no file is read.
    parse(text, Path::new("/nowhere"), Path::new("p.toml"), &environment)
}

fn in_its_place(fault: &ConfigFault, text: &str) {
    assert!(!fault.detail.is_empty());
    assert!(fault.pointer.is_empty() || fault.pointer.starts_with('/'), "{fault:?}");
    assert!(fault.line.is_none_or(|line| (1..=text.lines().count() + 1).contains(&line)), "{fault:?}");
    // One fault is one line of the output, and says nothing to a terminal.
    assert!(!fault.to_string().contains(char::is_control), "{fault:?}");
}

/// What may be seen nowhere.
fn secrets(text: &str) -> Vec<String> {
    let Ok(Value::Table(document)) = text.parse::<toml::Table>().map(Value::Table) else {
        // What is no TOML has no places: no text of the environment was put in.
        return ENVIRONMENT
            .iter()
            .map(|(_, value)| (*value).to_owned())
            .filter(|v| !text.contains(v))
            .collect();
    };
    let mut headers = Vec::new();
    for upstream in
        document.get("upstreams").and_then(Value::as_table).into_iter().flat_map(toml::Table::values)
    {
        let set = upstream.get("set_headers").and_then(Value::as_table);
        headers.extend(set.into_iter().flat_map(toml::Table::values).filter_map(Value::as_str));
    }
    // A text that stands elsewhere too may be named for what it is there, and so may a variable.
    let once =
        |value: &&str| value.contains(MARK) && text.matches(*value).count() == 1 && !value.contains('$');
    let mut secrets: Vec<String> = headers.iter().copied().filter(once).map(str::to_owned).collect();
    for (name, value) in ENVIRONMENT {
        let named = format!("${{{name}}}");
        let in_headers: usize = headers.iter().map(|header| header.matches(&named).count()).sum();
        if text.matches("${").count() == in_headers && !text.contains(value) && !text.contains('\\') {
            secrets.push(value.to_owned());
        }
    }
    secrets
}

fn silent(said: &str, secrets: &[String]) {
    for secret in secrets {
        assert!(!said.contains(secret.as_str()), "{secret:?} is in {said}");
    }
}

/// Valid by construction: who holds one need not check it again.
fn sound(config: &Config) {
    let gateway = &config.gateway;
    assert!(gateway.threads > 0 && gateway.max_connections > 0 && !config.routes.is_empty());
    assert!(gateway.listen.places().count() + gateway.tls.len() > 0);
    for upstream in config.upstreams.values() {
        assert!(!upstream.targets.is_empty());
    }
    for route in &config.routes {
        assert!(config.upstreams.contains_key(&route.upstream));
        assert!(route.path == "/" || (route.path.starts_with('/') && !route.path.ends_with('/')));
        assert!(!route.credential.is_empty());
        assert!(!matches!(&route.host, HostPattern::Exact(name) if name.contains(char::is_uppercase)));
    }
    for (at, route) in config.routes.iter().enumerate() {
        let same = |other: &&portcullis::config::Route| {
            (&other.host, &other.path, &other.methods) == (&route.host, &route.path, &route.methods)
        };
        assert!(config.routes[..at].iter().find(same).is_none(), "two routes for the same requests");
    }
    let _ = Table::build(&config.routes);
}
