//! Each permission against each operation, from the OpenAPI document: who has it gets through, who has every other one
//! does not, and a token of one owner stays with what is that owner's.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Admin, Fixture, Gateway, PERMISSIONS};

/// What each operation needs. The document must say the same, and the gateway must do it.
const NEEDED: [(&str, &str); 33] = [
    ("listKeys", "api.key.view"),
    ("createKey", "api.key.create"),
    ("importKeys", "api.key.create"),
    ("getKey", "api.key.view"),
    ("editKey", "api.key.update"),
    ("deleteKey", "api.key.delete"),
    ("enableKey", "api.key.update"),
    ("disableKey", "api.key.update"),
    ("rotateKey", "api.key.update"),
    ("revokeKey", "api.key.delete"),
    ("checkKey", "api.key.view"),
    ("getRotation", "api.key.view"),
    ("revealKey", "api.key.reveal"),
    ("makeBackup", "api.admin"),
    ("reloadConfiguration", "api.admin"),
    ("listUpstreams", "api.admin"),
    ("listRoles", "api.role.view"),
    ("createRole", "api.role.create"),
    ("getRole", "api.role.view"),
    ("editRole", "api.role.update"),
    ("deleteRole", "api.role.delete"),
    ("listOwners", "api.owner.view"),
    ("createOwner", "api.owner.create"),
    ("getOwner", "api.owner.view"),
    ("editOwner", "api.owner.update"),
    ("deleteOwner", "api.owner.delete"),
    ("listAdminTokens", "api.admin"),
    ("createAdminToken", "api.admin"),
    ("getAdminToken", "api.admin"),
    ("revokeAdminToken", "api.admin"),
    ("getUsage", "api.usage.view"),
    ("listAudit", "api.audit.view"),
    ("verifyAudit", "api.audit.view"),
];

/// An operation that needs a permission.
struct Operation {
    id: String,
    method: String,
    path: String,
    permission: String,
    all_owners: bool,
    /// The example of its body.
    body: String,
}

fn operations(gateway: &Gateway) -> Vec<Operation> {
    let document = gateway.admin.get("/api/v1/openapi.json").json();
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let Some(permission) = operation["x-permission"].as_str() else { continue };
            let contents = operation["requestBody"]["content"].as_object();
            let example = contents.and_then(|kinds| kinds.values().next()).map(|media| &media["example"]);
            found.push(Operation {
                id: operation["operationId"].as_str().unwrap().to_owned(),
                method: method.to_uppercase(),
                path: path.clone(),
                permission: permission.to_owned(),
                all_owners: operation["x-all-owners"].as_bool().unwrap(),
                body: match example {
                    None => String::new(),
                    Some(Value::String(lines)) => lines.clone(),
                    Some(document) => document.to_string(),
                },
            });
        }
    }
    found
}

/// The operation's path, over something that was made for it.
fn target(gateway: &Gateway, operation: &Operation, owner: &str) -> String {
    if operation.path.starts_with("/api/v1/admin-tokens/") {
        return operation
            .path
            .replace("{id}", &gateway.admin.token(&json!({"permissions": ["api.key.view"]})).0);
    }
    if operation.path.contains("{name}") {
        let list = operation.path.replace("/{name}", "");
        gateway.admin.post(&list, &json!({"name": "it"}));
        return operation.path.replace("{name}", "it");
    }
    if operation.path.contains("{id}") {
        return operation.path.replace("{id}", &gateway.admin.key(&json!({"owner": owner})).0);
    }
    operation.path.clone()
}

#[test]
fn each_operation_is_open_to_its_permission_and_to_no_other() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    // A file that can be reloaded.
    gateway.app().configured_by(&crate::support::config_file(&fixture), Box::new(|_| {}));
    let operations = operations(&gateway);
    let said: BTreeMap<&str, &str> =
        operations.iter().map(|one| (one.id.as_str(), one.permission.as_str())).collect();
    assert_eq!(said, BTreeMap::from(NEEDED));
    let tokens: Vec<(&str, Admin)> = PERMISSIONS
        .into_iter()
        .map(|permission| (permission, gateway.admin.token(&json!({"permissions": [permission]})).1))
        .collect();
    for operation in &operations {
        let path = target(&gateway, operation, "acme");
        let call = |admin: &Admin, path: &str| admin.call(&operation.method, path, &[], &operation.body);
        let holds = |permission: &str| permission == operation.permission;
        for (permission, admin) in tokens.iter().filter(|(one, _)| !holds(one) && *one != "api.admin") {
            let answer = call(admin, &path);
            let place = format!("{permission}: {} {path}", operation.method);
            assert_eq!((answer.status, answer.code().as_str()), (403, "permission_denied"), "{place}");
        }
        for (permission, admin) in tokens.iter().filter(|(one, _)| holds(one)) {
            let answer = call(admin, &path);
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            // Secrets are not recoverable here, which is said to those alone who might read them.
            let good = matches!(answer.status, 200 | 201 | 204)
                || (operation.id == "revealKey" && text.contains("keys.recoverable is false"));
            assert!(good, "{permission}: {}: {text}", operation.id);
        }
        let (_, master) = tokens.iter().find(|(permission, _)| *permission == "api.admin").unwrap();
        let answer = call(master, &target(&gateway, operation, "acme"));
        // What was made a moment ago under this name cannot be made again.
        let good = matches!(answer.status, 200 | 201 | 204 | 409) || operation.id == "revealKey";
        assert!(good, "{}: {}", operation.id, answer.status);
    }
}

#[test]
fn a_token_without_a_permission_opens_the_document_alone() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    let (_, reveal) = gateway.admin.token(&json!({"permissions": ["api.key.reveal"]}));
    assert_eq!(reveal.get("/api/v1/openapi.json").status, 200);
    assert_eq!(reveal.get("/api/v1/keys").status, 403);
}

#[test]
fn for_a_token_of_one_owner_nothing_of_another_exists() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    let (_, acme) = gateway.admin.token(&json!({"permissions": ["api.admin"], "owner": "acme"}));
    gateway.admin.post("/api/v1/owners", &json!({"name": "acme"}));
    for operation in operations(&gateway) {
        let path = target(&gateway, &operation, "umbrella");
        let body = operation.body.replace("\"acme\"", "\"umbrella\"");
        let answer = acme.call(&operation.method, &path, &[], &body);
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let place = format!("{}: {}: {text}", operation.id, answer.status);
        assert!(!text.contains("umbrella") || operation.id == "createKey", "{place}");
        let foreign = operation.path.starts_with("/api/v1/keys/{id}") || operation.id == "getOwner";
        match answer.status {
            403 => assert!(operation.all_owners || operation.id == "createKey", "{place}"),
            404 => assert!(foreign, "{place}"),
            200 if operation.id == "importKeys" => assert_eq!(answer.json()["imported"], 0, "{place}"),
            200 => assert!(!foreign && !operation.all_owners, "{place}"),
            _ => panic!("{place}"),
        }
    }
    assert_eq!(acme.get("/api/v1/keys").json()["total"], 0);
    assert_eq!(acme.get("/api/v1/owners").json()["items"][0]["name"], "acme");
    assert_eq!(acme.get("/api/v1/owners").json()["total"], 1);
    let (own, _) = acme.key(&json!({}));
    assert_eq!(acme.show(&own)["owner"], "acme");
}
