//! The source holds to its own rules: who may import whom, which crate is named where, how long a file may be.
//!
//! A rule that stands in the way is changed here, in the same commit as the code, and so on purpose.

mod source;

use std::collections::{BTreeMap, BTreeSet};

use source::{Source, first_word, is_test, sources};

/// Which of our modules a module may import. Down only, but for the pairs that are named below.
const MAY_IMPORT: &[(&str, &str)] = &[
    // The vocabulary.
    ("clock", ""),
    ("outcome", ""),
    ("key", "clock"),
    // Reading what comes from outside.
    ("quantity", "document"),
    ("document", "key quantity"),
    ("head", ""),
    ("request_id", "clock key"),
    ("config", "document key quantity tls"),
    ("routes", "config head"),
    ("metrics", "key outcome"),
    ("telemetry", "config"),
    ("seal", ""),
    ("tls", ""),
    ("stall", ""),
    ("demo", ""),
    // What the decision reads and charges.
    ("limit", "clock key"),
    ("lines", "key"),
    ("snapshot", "clock key limit"),
    ("store", "clock key outcome"),
    ("usage", "admission clock key limit outcome snapshot store"),
    ("traces", "clock config metrics"),
    // The decision, and the changes.
    ("admission", "clock config key limit outcome snapshot usage"),
    ("manage", "clock document key lines outcome quantity seal snapshot store usage"),
    // The listeners. They never import each other.
    (
        "proxy",
        "admission clock config head key limit lines metrics outcome request_id routes snapshot stall store tls traces usage",
    ),
    ("admin", "admission clock config document key manage metrics outcome request_id snapshot stall store"),
    // Where the parts meet.
    (
        "app",
        "admin admission clock config document key lines manage metrics proxy routes snapshot store tls traces usage",
    ),
    ("cli", "app clock config demo document key manage quantity store telemetry"),
    ("main", "cli"),
    ("lib", ""),
];

/// Which crate is named where, by the start of a file's path.
const NAMED_IN: &[(&str, &[&str])] = &[
    ("redb", &["store/embedded"]),
    ("xxhash_rust", &["store/embedded"]),
    ("governor", &["limit"]),
    ("dashmap", &["snapshot"]),
    ("pingora", &["proxy", "app"]),
    ("memmap2", &["usage/map.rs"]),
    ("prometheus", &["metrics"]),
    ("ring", &["seal"]),
    ("axum", &["admin", "demo"]),
    ("h2", &["proxy/http2"]),
    ("hyper", &["admin/server.rs", "admin/backup.rs"]),
    ("rustls", &["admin/tls.rs", "config/trust.rs", "tls"]),
    ("x509_parser", &["config/trust.rs"]),
    ("clap", &["cli"]),
    ("serde_saphyr", &["cli/keys/convert"]),
    ("ureq", &["cli/client", "traces/otlp/client.rs"]),
    ("opentelemetry", &["traces/otlp"]),
    ("opentelemetry_sdk", &["traces/otlp"]),
    ("opentelemetry_otlp", &["traces/otlp"]),
    ("tracing_subscriber", &["telemetry"]),
    ("hickory_resolver", &["proxy/upstream/names.rs"]),
    ("postcard", &["store/record"]),
];

/// The longest file, in lines.
const MAX_LINES: usize = 400;

/// Fails with every violation there is.
fn none(violations: &[String]) {
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

#[test]
fn modules_import_only_what_lies_below_them() {
    let allowed: BTreeMap<&str, &str> = MAY_IMPORT.iter().copied().collect();
    let mut violations = Vec::new();
    for source in sources() {
        let module = source.module();
        let Some(allowed) = allowed.get(module) else {
            violations
                .push(format!("{}: the module {module} has no place among the others yet", source.path));
            continue;
        };
        let imported: BTreeSet<&str> = source.imports().into_iter().map(first_word).collect();
        for other in imported {
            if other != module && !allowed.split(' ').any(|one| one == other) {
                violations.push(format!("{}: imports {other}", source.path));
            }
        }
    }
    none(&violations);
}

#[test]
fn of_two_modules_that_import_each_other_one_takes_only_values() {
    let mut violations = Vec::new();
    for source in sources() {
        for import in source.imports() {
            let allowed = match (source.module(), first_word(import)) {
                // A quota says no in the words of the decision, which asks it.
                ("usage", "admission") => import.starts_with("admission::denial::"),
                // A size is read from a document's text; a document's limits have durations.
                ("quantity", "document") => import.starts_with("document::string"),
                _ => true,
            };
            if !allowed {
                violations.push(format!("{}: imports {import}", source.path));
            }
        }
    }
    none(&violations);
}

#[test]
fn each_crate_is_named_where_it_belongs() {
    let mut violations = Vec::new();
    for source in sources() {
        for (name, places) in NAMED_IN {
            if source.names(name) && !places.iter().any(|place| source.path.starts_with(place)) {
                violations.push(format!("{}: names {name}, which belongs in {places:?}", source.path));
            }
        }
    }
    none(&violations);
    for (name, places) in NAMED_IN {
        assert!(
            sources().iter().any(|source| source.names(name)),
            "{name} is named nowhere, not even in {places:?}"
        );
    }
}

#[test]
fn clocks_are_read_in_one_file() {
    let mut violations = Vec::new();
    for source in sources().iter().filter(|source| source.path != "clock.rs") {
        let from_std = |line: &str, name: &str| line.contains("std::time::") && line.contains(name);
        for line in &source.code {
            let reads = line.contains("SystemTime::now")
                || line.contains("Timestamp::now()")
                || line.contains("Zoned::now()")
                || from_std(line, "Instant")
                || from_std(line, "SystemTime");
            if reads {
                violations.push(format!("{}: {}", source.path, line.trim()));
            }
        }
    }
    none(&violations);
}

#[test]
fn the_domain_knows_nothing_of_its_forms_on_the_wire_and_on_the_disk() {
    let domain = ["key", "clock", "outcome", "admission", "limit", "snapshot"];
    let mut violations = Vec::new();
    for source in sources().iter().filter(|source| domain.contains(&source.module())) {
        for line in source.code.iter().filter(|line| line.contains("serde") || line.contains("Serialize")) {
            violations.push(format!("{}: {}", source.path, line.trim()));
        }
    }
    none(&violations);
}

#[test]
fn unsafe_code_is_in_three_files() {
    let holds = |source: &Source| {
        source.code.iter().any(|line| line.contains("unsafe {") || line.contains("unsafe fn"))
    };
    let with: Vec<String> = sources().into_iter().filter(holds).map(|source| source.path).collect();
    assert_eq!(with, ["app/activation.rs", "proxy/outgoing.rs", "usage/map.rs"]);
}

#[test]
fn no_file_is_longer_than_four_hundred_lines() {
    let length = |source: &Source| source.text.lines().count();
    let long = sources()
        .iter()
        .filter(|source| length(source) > MAX_LINES)
        .map(|s| format!("{}: {} lines", s.path, length(s)))
        .collect::<Vec<_>>();
    none(&long);
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent = |source: &Source| !is_test(&source.path) && !source.text.starts_with("//! ");
    let silent: Vec<String> = sources().into_iter().filter(silent).map(|source| source.path).collect();
    none(&silent);
}

#[test]
fn every_module_is_on_the_map() {
    let sources = sources();
    let lib = sources.iter().find(|source| source.path == "lib.rs").unwrap();
    let map: String = lib.text.lines().filter(|line| line.starts_with("//! |")).collect();
    let module = |line: &str| Some(line.strip_prefix("pub mod ")?.strip_suffix(';')?.to_owned());
    let modules: Vec<String> = lib.text.lines().filter_map(module).collect();
    assert!(modules.len() > 15);
    let missing: Vec<String> =
        modules.into_iter().filter(|module| !map.contains(&format!("[`{module}`]"))).collect();
    none(&missing);
}
