//! The OpenAPI document and the routes are one: what it names is served, what it does not name is not, and its examples
//! work.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use crate::support::{Fixture, Gateway, send};

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

fn document(gateway: &Gateway) -> Value {
    let answer = gateway.admin.get("/api/v1/openapi.json");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    answer.json()
}

/// Each operation: its method, its path, and what the document says of it.
fn operations(document: &Value) -> Vec<(String, String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of = |(path, methods): (&String, &'_ Value)| -> Vec<(String, String)> {
        let methods = methods.as_object().unwrap().keys();
        methods.map(|method| (method.clone(), path.clone())).collect()
    };
    let all: Vec<(String, String)> = paths.iter().flat_map(of).collect();
    all.into_iter()
        .map(|(method, path)| (method.to_uppercase(), path.clone(), &document["paths"][&path][&method]))
        .collect()
}

/// The path with things in it that are not there.
fn filled(path: &str) -> String {
    path.replace("{id}", "key_00000000000000000000000000").replace("{name}", "nobody")
}

/// Each value under `name`, wherever it stands.
fn each<'a>(value: &'a Value, name: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get(name));
            map.values().for_each(|inner| each(inner, name, found));
        }
        Value::Array(items) => items.iter().for_each(|inner| each(inner, name, found)),
        _ => {}
    }
}

#[test]
fn what_the_document_names_is_served_and_nothing_else_is() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    let document = document(&gateway);
    assert_eq!(document["openapi"], "3.1.0");
    for (path, methods) in document["paths"].as_object().unwrap() {
        let methods: HashSet<String> =
            methods.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
        for method in METHODS {
            let answer = gateway.admin.call(method, &filled(path), &[], "");
            if methods.contains(method) {
                let text = String::from_utf8_lossy(&answer.body).into_owned();
                assert!(answer.status != 405, "{method} {path}: {}", answer.status);
                assert!(!text.contains("Nothing is served at this path"), "{method} {path}");
                continue;
            }
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (405, "method_not_allowed"),
                "{method} {path}"
            );
            let allow = answer.header("allow").unwrap_or_default();
            let allowed: HashSet<String> =
                allow.split(',').map(|word| word.trim().to_owned()).filter(|word| word != "HEAD").collect();
            assert_eq!(allowed, methods, "Allow of {path}");
        }
    }
    for path in ["/api", "/api/v1", "/api/v1/nothing", "/api/v1/keys/", "/openapi.json"] {
        let answer = gateway.admin.get(path);
        assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"), "{path}");
    }
}

/// The table is the router's only source; a route beside it would be missing from the document.
#[test]
fn routes_are_registered_from_the_table_alone() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.join("admin")];
    let mut files = vec![root.join("admin.rs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    let registers = |text: &str| {
        [".route(", ".route_service(", ".nest(", "Router::new()"].iter().any(|call| text.contains(call))
    };
    files.retain(|file| registers(&std::fs::read_to_string(file).unwrap()));
    assert_eq!(files, [root.join("admin/operations.rs")]);
}

#[test]
fn every_operation_is_documented_whole() {
    let fixture = Fixture::new();
    let document = document(&fixture.start());
    let mut ids = HashSet::new();
    for (method, path, operation) in operations(&document) {
        let place = format!("{method} {path}");
        assert!(
            ids.insert(operation["operationId"].as_str().unwrap().to_owned()),
            "{place}: its ID is another's"
        );
        assert!(!operation["summary"].as_str().unwrap().is_empty(), "{place}");
        let tag = &operation["tags"][0];
        assert!(
            document["tags"].as_array().unwrap().iter().any(|known| known["name"] == *tag),
            "{place}: {tag}"
        );
        let answers: &Map<String, Value> = operation["responses"].as_object().unwrap();
        assert!(answers.keys().any(|status| status.starts_with('2')), "{place}");
        let has = |status: &str| answers.contains_key(status);
        let open = operation["security"] == json!([]);
        assert_eq!(open, ["/livez", "/readyz"].contains(&path.as_str()), "{place}");
        for status in ["400", "401", "421", "429"] {
            assert!(open || has(status), "{place}: {status}");
        }
        if operation["x-permission"].is_string() {
            for status in ["403", "422", "503"] {
                assert!(has(status), "{place}: {status}");
            }
        }
        assert!(!path.contains('{') || has("404"), "{place}");
        let body = &operation["requestBody"];
        assert_eq!(body.is_object(), has("413") && has("408"), "{place}");
        let matched = operation["parameters"].to_string().contains("/ifMatch");
        assert_eq!(matched, has("412"), "{place}");
        for media in body["content"].as_object().into_iter().flatten() {
            assert!(!media.1["example"].is_null(), "{place}: its body has no example");
        }
        for answer in answers.values() {
            for (kind, media) in answer["content"].as_object().into_iter().flatten() {
                let plain = media["schema"] == json!({"type": "object"})
                    || ["text/plain", "application/octet-stream"].contains(&kind.as_str());
                assert!(plain || !media["example"].is_null(), "{place}: an answer has no example");
            }
        }
    }
    let mut references = Vec::new();
    each(&document, "$ref", &mut references);
    assert!(references.len() > 100);
    for reference in references.iter().map(|reference| reference.as_str().unwrap()) {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        let mut objects = Vec::new();
        each(schema, "properties", &mut objects);
        let mut closed = Vec::new();
        each(schema, "additionalProperties", &mut closed);
        assert_eq!(objects.len(), closed.len(), "{name}: an object is open");
        assert!(closed.iter().all(|one| **one == json!(false)), "{name}");
        let reference = format!("#/components/schemas/{name}");
        let line = format!("`{reference}`");
        let used =
            references.iter().any(|one| **one == json!(reference)) || document.to_string().contains(&line);
        assert!(used, "{name} is used nowhere");
    }
}

#[test]
fn every_example_of_a_body_is_accepted_and_no_body_only_where_it_may_be_left_out() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    let document = document(&gateway);
    gateway.admin.post("/api/v1/roles", &json!({"name": "nobody"}));
    gateway.admin.post("/api/v1/owners", &json!({"name": "nobody"}));
    for (method, path, operation) in operations(&document) {
        for (kind, media) in operation["requestBody"]["content"].as_object().into_iter().flatten() {
            let (id, _) = gateway.admin.key(&json!({}));
            let path = path.replace("{id}", &id).replace("{name}", "nobody");
            let body = media["example"].as_str().map_or_else(|| media["example"].to_string(), str::to_owned);
            let answer = gateway.admin.call(&method, &path, &[("content-type", kind)], &body);
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(matches!(answer.status, 200 | 201), "{method} {path}: {text}");
            assert!(operation["responses"][answer.status.to_string()].is_object(), "{method} {path}");
            assert!(!text.contains("\"refused\":[{"), "{method} {path}: {text}");
            let without = gateway.admin.call(&method, &path, &[], "").status;
            let expected = if operation["requestBody"]["required"] == true { 400 } else { 200 };
            assert_eq!(without, expected, "{method} {path} without a body");
        }
    }
}

#[test]
fn the_document_needs_a_token_and_takes_no_parameters() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    let request = "GET /api/v1/openapi.json HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n";
    assert_eq!(send(gateway.admin.address, request).status, 401);
    assert_eq!(gateway.admin.get("/api/v1/openapi.json?x=1").status, 422);
}
