//! The whole way from a text to a configuration or to its faults.

use std::time::Duration;

use super::*;
use crate::config::listen::Place;
use crate::config::{Access, HostPattern, MetricsAccess};

/// The least that a file must say.
const MINIMAL: &str = r#"
[upstreams.api]
targets = ["127.0.0.1:9000"]
[[routes]]
path = "/v1"
upstream = "api"
"#;

fn variables(name: &str) -> Option<String> {
    match name {
        "API_KEY" => Some("hunter2-hunter2-hunter2".into()),
        "MULTILINE" => Some("hunter2\nx".into()),
        "PORT" => Some("8081".into()),
        _ => None,
    }
}

fn read(text: &str) -> Result<Config, ConfigError> {
    parse(text, Path::new("/etc/portcullis"), Path::new("p.toml"), &variables)
}

/// The faults, each as it is printed.
fn faults(text: &str) -> Vec<String> {
    match read(text) {
        Ok(_) => Vec::new(),
        Err(error) => error.to_string().lines().map(str::to_owned).collect(),
    }
}

#[test]
fn a_minimal_file_gets_the_defaults() {
    let config = read(MINIMAL).unwrap();
    assert_eq!(config.gateway.listen.direct, [Place::Tcp("0.0.0.0:8080".parse().unwrap())]);
    assert_eq!(config.gateway.max_connections, 20_000);
    assert_eq!(config.admin.metrics, MetricsAccess::Open);
    assert_eq!(config.routes[0].host, HostPattern::Any);
    assert_eq!(config.routes[0].access, Access::Key);
    assert_eq!(config.upstreams["api"].connect_timeout, Duration::from_secs(2));
}

#[test]
fn the_files_own_fields_win_one_by_one() {
    let config = read(&format!("[gateway]\nthreads = 3\n{MINIMAL}")).unwrap();
    assert_eq!(config.gateway.threads, 3);
    assert_eq!(config.gateway.header_timeout, Duration::from_secs(10));
}

#[test]
fn every_fault_is_named_with_its_path_and_line() {
    let text = r#"[gateway]
listen = ["0.0.0.0"]
header_timeout = "10 s"
colour = "red"

[upstreams.api]
targets = ["127.0.0.1:9000"]
[upstreams."b.c"]
targets = []

[[routes]]
path = "/v1"
upstream = "api"
[[routes]]
path = "v2"
upstream = "nowhere"
scopes = ["a:b", "A"]
[[routes]]
upstream = "api"

[typo]
"#;
    let expected = [
        "p.toml:2: gateway.listen[0]: must be an IP address and a port, such as \"0.0.0.0:8080\" or \"[::1]:8080\"",
        "p.toml:3: gateway.header_timeout: must be a duration: a whole number and one of ms, s, m, h, d, w, such as \
         \"10s\" or \"90d\"",
        "p.toml:4: gateway.colour: unknown field",
        "p.toml:8: upstreams.\"b.c\": no route uses it",
        "p.toml:9: upstreams.\"b.c\".targets: at least one target is needed",
        "p.toml:15: routes[1].path: must start with `/`",
        "p.toml:16: routes[1].upstream: no upstream has this name",
        "p.toml:17: routes[1].scopes[1]: must be a scope, such as \"models:read\"",
        "p.toml:18: routes[2].path: is required",
        "p.toml:21: typo: unknown field",
    ];
    assert_eq!(faults(text), expected);
}

#[test]
fn what_a_file_lacks_altogether_has_no_line() {
    assert_eq!(faults(""), ["p.toml: routes: at least one route is needed"]);
    assert_eq!(
        faults("gateway = 3\n").first().unwrap(),
        "p.toml:1: gateway: must be an object, not a number"
    );
}

#[test]
fn syntax_errors_have_their_line_and_no_path() {
    let lines = faults(&format!("{MINIMAL}\nset = \"hunter2"));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("p.toml:8: "), "{lines:?}");
    assert!(!lines[0].contains("hunter2"));
}

#[test]
fn upstream_names_are_slugs_and_all_are_used() {
    let text = MINIMAL.replace("api", "API");
    assert!(
        faults(&text)[0].starts_with("p.toml:2: upstreams.API: the name must be 1 to 64"),
        "{:?}",
        faults(&text)
    );
    let text = format!("{MINIMAL}[upstreams.spare]\ntargets = [\"a:1\"]\n");
    assert_eq!(faults(&text), ["p.toml:7: upstreams.spare: no route uses it"]);
}

#[test]
fn routes_for_the_same_requests_are_named_by_both() {
    let text = format!("{MINIMAL}[[routes]]\npath = \"/v1/\"\nupstream = \"api\"\n");
    assert_eq!(faults(&text), ["p.toml:7: routes[1]: has the same host, path and methods as routes[0]"]);
}

#[test]
fn variables_are_put_in_everywhere() {
    let text = MINIMAL.replace("path = \"/v1\"", "path = \"/${PORT}\"");
    let text = format!(
        "[gateway]\nlisten = [\"0.0.0.0:${{PORT}}\"]\n{text}\n[upstreams.api.set_headers]\na = \"Bearer ${{API_KEY}}\"\n"
    );
    let config = read(&text).unwrap();
    assert!(config.gateway.listen.has("0.0.0.0:8081".parse().unwrap()));
    assert_eq!(config.routes[0].path, "/8081");
    assert_eq!(config.upstreams["api"].set_headers[0].value, "Bearer hunter2-hunter2-hunter2");
}

#[test]
fn a_missing_variable_is_the_one_fault_of_its_place() {
    let text = format!("[gateway]\nlisten = [\"${{NO}}\"]\nmax_request_body = \"${{NEITHER}}\"\n{MINIMAL}");
    let text = text.replace("upstream = \"api\"", "upstream = \"${NOR}\"");
    let expected = [
        "p.toml:2: gateway.listen[0]: the environment variable `NO` is not set",
        "p.toml:3: gateway.max_request_body: the environment variable `NEITHER` is not set",
        "p.toml:9: routes[0].upstream: the environment variable `NOR` is not set",
    ];
    assert_eq!(faults(&text), expected);
}

#[test]
fn secrets_are_in_no_output() {
    let with =
        |headers: &str, keys: &str| format!("{keys}{MINIMAL}\n[upstreams.api.set_headers]\n{headers}\n");
    let pepper = "[keys]\npepper_env = \"API_KEY\"\n";
    let good = read(&with("authorization = \"Bearer ${API_KEY}\"", pepper)).unwrap();
    assert_eq!(good.keys.pepper.as_ref().unwrap().expose(), b"hunter2-hunter2-hunter2");
    assert!(!format!("{good:?}").contains("hunter2"));
    let bad = [
        with("authorization = \"hunter2 \"", ""),
        with("authorization = \"${MULTILINE}\"", ""),
        with("host = \"${API_KEY}\"", "[keys]\nprefix = \"hunter2-\"\n"),
        with("a = [\"hunter2\"]", "[store]\nkind = \"${API_KEY}\"\npath = \"${MULTILINE}\"\n"),
        format!(
            "{MINIMAL}access = \"hunter2\"\nmethods = [\"hunter2\"]\nlimits = \"hunter2\"\nhost = \"hunter2/\"\n"
        ),
        format!("[admin]\nlisten = \"hunter2\"\n[log]\nlevel = \"hunter2\"\n{MINIMAL}"),
    ];
    for text in bad {
        let error = read(&text).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}

#[test]
fn faults_are_bounded() {
    let text = format!("{MINIMAL}{}", "[[routes]]\n".repeat(5_000));
    assert!(faults(&text).len() <= crate::document::MAX_FAULTS);
}

#[test]
fn files_are_loaded_with_their_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("portcullis.toml");
    let unreadable = load(&path).unwrap_err();
    assert!(
        unreadable.to_string().starts_with(&format!("{}: cannot be read: ", path.display())),
        "{unreadable}"
    );
    std::fs::write(&path, MINIMAL).unwrap();
    let crate::config::Store::Redb { path: store } = load(&path).unwrap().store;
    assert_eq!(store, folder.path().join("data/portcullis.redb"));
    std::fs::write(&path, b"\xff").unwrap();
    assert!(load(&path).unwrap_err().to_string().ends_with("it is not UTF-8"));
    let size = usize::try_from(MAX_FILE_BYTES).unwrap() + 1;
    std::fs::write(&path, vec![b'#'; size]).unwrap();
    assert!(load(&path).unwrap_err().to_string().contains("larger than"));
}

/// The lines of the defaults that start with one of `marks`, without the mark. An example takes the place of the
/// default before it that is of the same field.
fn examples(marks: &[&str]) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for line in DEFAULTS.lines() {
        let Some(line) = marks.iter().find_map(|mark| line.strip_prefix(mark)) else { continue };
        if let Some((field, _)) = line.split_once(" = ")
            && lines.last().is_some_and(|last| last.split_once(" = ").is_some_and(|(name, _)| name == field))
        {
            lines.pop();
        }
        lines.push(line);
    }
    lines.join("\n")
}

/// Found by fuzzing: a fault that named a path with a line break in it was two lines.
#[test]
fn a_fault_is_one_line_whatever_the_file_says() {
    let tls = "[[gateway.tls]]\nlisten = \"0.0.0.0:1\"\ncertificate = \"a\\nb\"\nprivate_key = \"a\\tb\"\n";
    let expected =
        ["certificate", "private_key"].map(|name| format!("{name}: must not contain control characters"));
    let faults = faults(&format!("{tls}{MINIMAL}"));
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults.iter().zip(&expected).all(|(fault, end)| fault.ends_with(end.as_str())), "{faults:?}");
}

#[test]
fn the_commented_defaults_are_those_of_the_code() {
    let written = read(&examples(&["#: "])).unwrap();
    let left_out = read(MINIMAL).unwrap();
    assert_eq!(written.upstreams, left_out.upstreams);
    assert_eq!(written.routes, left_out.routes);
    assert!(examples(&["#: "]).lines().count() >= 15, "the marks are still there");
}

#[test]
fn the_commented_examples_are_good() {
    let config = read(&examples(&["#: ", "#+ "])).unwrap();
    assert_eq!(config.upstreams["api"].targets[1].weight.get(), 2);
    assert_eq!(config.upstreams["api"].set_headers.len(), 1);
    assert_eq!(config.routes[0].scopes.len(), 1);
    assert_eq!(config.routes[0].credential.len(), 3);
}

#[test]
fn the_commented_tables_name_fields_that_there_are() {
    let pepper = DEFAULTS.replace("# pepper_env = \"PORTCULLIS_PEPPER\"", "pepper_env = \"API_KEY\"");
    assert!(read(&format!("{pepper}{MINIMAL}")).unwrap().keys.pepper.is_some());
    let tls = [
        "[admin.tls]",
        "[[gateway.tls]]",
        "listen = ",
        "certificate = ",
        "private_key = ",
        "client_ca = ",
        "proxy_protocol = ",
        "client_certificate = \"required\"",
    ];
    let tls = tls.iter().fold(DEFAULTS.to_owned(), |text, line| text.replace(&format!("# {line}"), line));
    let faults = faults(&format!("{tls}{MINIMAL}"));
    assert_eq!(faults.len(), 5, "{faults:?}");
    assert!(faults.iter().all(|fault| fault.contains("there is no file /etc/portcullis/")), "{faults:?}");
}
