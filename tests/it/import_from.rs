//! Keys from other gateways, in the forms that those export: their clients go on with the secrets that they have.

use std::fs;
use std::process::{Command, Output};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{Client, Fixture, Gateway, TOKEN, config_file};

/// What an import said.
struct Said {
    status: i32,
    report: Value,
    all: String,
}

fn command(fixture: &Fixture, from: &str, name: &str, export: &str) -> Command {
    fs::write(fixture.folder.path().join(name), export).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(["keys", "import", "--output", "json", "--from", from, name]);
    command.current_dir(fixture.folder.path()).env_remove("RUST_LOG").env("PORTCULLIS_ADMIN_TOKEN", TOKEN);
    command
}

fn said(output: &Output) -> Said {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let all = format!("{out}{err}");
    assert!(!all.contains("panic"), "{all}");
    let report = serde_json::from_str(&out).unwrap_or(Value::Null);
    Said { status: output.status.code().unwrap(), report, all }
}

fn import(fixture: &Fixture, gateway: &Gateway, from: &str, name: &str, export: &str) -> Said {
    let mut command = command(fixture, from, name, export);
    command.env("PORTCULLIS_ADMIN_URL", format!("http://{}", gateway.admin.address));
    said(&command.output().unwrap())
}

impl Said {
    fn counts(&self) -> (u64, u64) {
        let count = |name: &str| self.report[name].as_u64().unwrap_or_else(|| panic!("{}", self.all));
        (count("imported"), count("refused_count"))
    }

    fn refused(&self, place: &Value) -> &str {
        let all = self.report["refused"].as_array().unwrap();
        let one = all.iter().find(|one| one["record"] == *place || one["line"] == *place);
        one.unwrap_or_else(|| panic!("{place}: {}", self.all))["detail"].as_str().unwrap()
    }

    fn notes(&self, what: &str) -> u64 {
        let noted = self.report["noted"].as_array().unwrap();
        noted
            .iter()
            .filter(|one| one["what"].as_str().unwrap().contains(what))
            .map(|one| one["count"].as_u64().unwrap())
            .sum()
    }
}

fn status(gateway: &Gateway, secret: &str) -> u16 {
    Client::new(gateway.address).get("/v1/x", secret).status
}

/// The key of this name.
fn key(gateway: &Gateway, name: &str) -> Value {
    let items = gateway.admin.get("/api/v1/keys?limit=200").json()["items"].clone();
    let found: Vec<&Value> = items.as_array().unwrap().iter().filter(|key| key["name"] == name).collect();
    assert_eq!(found.len(), 1, "{name}: {items}");
    found[0].clone()
}

const DECK: &str = r#"
_format_version: "3.0"
_info:
  select_tags:
  - public
consumers:
- custom_id: mobile-client-001
  username: Mobile App
  tags:
  - mobile
  acls:
  - group: partners
  keyauth_credentials:
  - key: kong-mobile-0123456789abcdef
    tags:
    - primary
    - mobile
    ttl: 86400
  - key: tooshort
  plugins:
  - name: rate-limiting
    config:
      minute: 3
      hour: null
      month: 1000
      policy: local
  - name: ip-restriction
    config:
      allow:
      - 127.0.0.0/8
  - name: request-transformer
    config: {}
- username: elsewhere
  keyauth_credentials:
  - key: kong-elsewhere-0123456789
  plugins:
  - name: ip-restriction
    config: { allow: [203.0.113.0/24] }
- username: by-number
  keyauth_credentials:
  - key: 123456789012345678901234567890
- username: web-app
  jwt_secrets:
  - algorithm: HS256
    key: web-app-key
services:
- name: billing
  host: billing.internal
"#;

#[test]
fn keys_of_a_deck_dump_work_with_their_rates_and_addresses() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    let said = import(&fixture, &gateway, "kong", "kong.yaml", DECK);
    assert_eq!((said.status, said.counts()), (1, (2, 2)), "{}", said.all);
    assert!(said.refused(&json!("consumers[0].keyauth_credentials[1]")).contains("20 to 512"));
    assert!(said.refused(&json!("consumers[2].keyauth_credentials[0]")).contains("quote"));
    for secret in ["kong-mobile-0123456789abcdef", "tooshort", "12345678901234", "web-app-key"] {
        assert!(!said.all.contains(secret), "a secret was printed: {}", said.all);
    }
    assert_eq!(
        (said.notes("request-transformer"), said.notes("group:NAME"), said.notes("jwt_secrets")),
        (2, 2, 1)
    );

    let found = key(&gateway, "Mobile App");
    assert_eq!(found["owner"], "mobile-app");
    assert_eq!(found["tags"], json!(["mobile", "primary", "group:partners"]));
    assert_eq!(found["metadata"]["kong_custom_id"], "mobile-client-001");
    assert_eq!(found["quotas"], json!([{"name": "month", "requests": 1000, "window": "month"}]));
    assert!(found["expires_at"].is_string(), "{found}");
    let answers: Vec<u16> = (0..4).map(|_| status(&gateway, "kong-mobile-0123456789abcdef")).collect();
    assert_eq!(answers, [200, 200, 200, 429]);
    assert_eq!(status(&gateway, "kong-elsewhere-0123456789"), 403);
}

#[test]
fn keys_of_a_kong_export_with_credentials_beside_their_consumers_work() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    let export = r#"
_format_version: "3.0"
consumers:
- id: 59d1ef15-24a5-4373-b957-e8192c15ff6e
  username: acme
  custom_id: ~
  created_at: 1734329240
keyauth_credentials:
- created_at: 1734329245.5
  key: 4174348a-9222-4e81-b33e-5d72d2fd7f1e
  tags: ~
  id: 6b9443ae-73f0-4db6-af00-4f1e3a415dbb
  consumer: 59d1ef15-24a5-4373-b957-e8192c15ff6e
  ttl: ~
acls:
- consumer: acme
  group: gold
"#;
    let said = import(&fixture, &gateway, "kong", "kong.yml", export);
    assert_eq!((said.status, said.counts()), (0, (1, 0)), "{}", said.all);
    let found = key(&gateway, "acme");
    assert_eq!((&found["tags"], &found["expires_at"]), (&json!(["group:gold"]), &Value::Null));
    assert_eq!(found["created_at"], "2024-12-16T06:07:25.5Z");
    assert_eq!(status(&gateway, "4174348a-9222-4e81-b33e-5d72d2fd7f1e"), 200);

    let answer = json!({"data": [
        {"id": "b2f34145-0343-41a4-9602-4c69dec2f269", "key": "IL1deIyHyQA40WpeLeA1bIUXuvTwlGjo", "ttl": null,
         "consumer": {"id": "876bf719-8f18-4ce5-cc9f-5b5af6c36007"}, "created_at": 1_734_329_245, "tags": null},
    ], "next": null});
    let said = import(&fixture, &gateway, "kong", "key-auths.json", &answer.to_string());
    assert_eq!((said.status, said.counts()), (0, (1, 0)), "{}", said.all);
    assert_eq!(status(&gateway, "IL1deIyHyQA40WpeLeA1bIUXuvTwlGjo"), 200);
    assert_eq!(
        key(&gateway, "876bf719-8f18-4ce5-cc9f-5b5af6c36007")["owner"],
        "876bf719-8f18-4ce5-cc9f-5b5af6c36007"
    );
}

#[test]
fn keys_of_apisix_work_and_encrypted_ones_are_refused() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    let entry = |path: &str, value: Value| json!({"key": path, "value": value, "modifiedIndex": 9, "createdIndex": 9});
    let answer = json!({"total": 5, "list": [
        entry("/apisix/consumers/jack", json!({
            "username": "jack", "desc": "new consumer", "labels": {"plan": "gold"}, "create_time": 1_734_329_245,
            "plugins": {
                "key-auth": {"key": "apisix-jack-0123456789"},
                "limit-count": {"count": 2, "time_window": 60, "rejected_code": 429},
                "proxy-rewrite": {"uri": "/x"},
            },
        })),
        entry("/apisix/consumers/rose", json!({"username": "rose", "plugins": {
            "key-auth": {"key": "csdt8UPw76/SG+WlHBoFeg=="},
        }})),
        entry("/apisix/consumers/jack/credentials/second", json!({"id": "second", "plugins": {
            "key-auth": {"key": "apisix-jack-second-0123456789"},
        }})),
        entry("/apisix/consumers/env", json!({"username": "env", "plugins": {
            "key-auth": {"key": "$secret://vault/1/jack/auth-key"},
        }})),
        entry("/apisix/consumers/basic", json!({"username": "basic", "plugins": {
            "basic-auth": {"username": "basic", "password": "apisix-password-0123456789"},
        }})),
    ]});
    let said = import(&fixture, &gateway, "apisix", "consumers.json", &answer.to_string());
    assert_eq!((said.status, said.counts()), (1, (2, 2)), "{}", said.all);
    assert!(said.refused(&json!("list[1]")).contains("encrypted"));
    assert!(said.refused(&json!("list[3]")).contains("reference"));
    assert_eq!((said.notes("basic-auth"), said.notes("proxy-rewrite")), (1, 2));
    assert!(!said.all.contains("csdt8UPw") && !said.all.contains("apisix-"), "{}", said.all);
    let answers: Vec<u16> = (0..3).map(|_| status(&gateway, "apisix-jack-0123456789")).collect();
    assert_eq!(answers, [200, 200, 429]);
    assert_eq!(status(&gateway, "apisix-jack-second-0123456789"), 200);

    // In a file keys are never encrypted, whatever they look like.
    let yaml = r"
consumers:
  - id: rose/credentials/542f7414-87f6-4793-a68e-99983dde9913
    name: rose
    plugins:
      key-auth:
        key: csdt8UPw76/SG+WlHBoFeg==
  - id: rose
    username: rose
    desc: From the file
  - username: adc
    credentials:
      - name: one
        type: key-auth
        config:
          key: apisix-adc-one-0123456789
routes:
  - uri: /hello
    plugins: { key-auth: ~ }
#END
";
    let said = import(&fixture, &gateway, "apisix", "apisix.yaml", yaml);
    assert_eq!((said.status, said.counts()), (0, (2, 0)), "{}", said.all);
    assert_eq!(status(&gateway, "csdt8UPw76/SG+WlHBoFeg=="), 200);
    assert_eq!(status(&gateway, "apisix-adc-one-0123456789"), 200);
    assert_eq!(key(&gateway, "rose")["description"], "From the file");
}

#[test]
fn keys_of_unkey_work_by_their_hashes() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    gateway.admin.post("/api/v1/roles", &json!({"name": "api_admin", "scopes": ["a:b"]}));
    let base64 = |secret: &str| STANDARD.encode(Sha256::digest(secret));
    let hex: String =
        Sha256::digest("unkey_by_hex_0123456789").iter().map(|byte| format!("{byte:02x}")).collect();
    let keys = json!({"migrationId": "m", "apiId": "api_1", "keys": [
        {
            "hash": base64("unkey_by_base64_0123456789"), "start": "unkey_by", "name": "Payment Service",
            "externalId": "user_1234abcd", "meta": {"plan": "enterprise"}, "roles": ["api_admin"],
            "permissions": ["documents.read", "documents.*"], "expires": 4_102_444_800_000_u64, "enabled": true,
            "ratelimits": [
                {"name": "requests", "limit": 2, "duration": 60000, "autoApply": true},
                {"name": "heavy", "limit": 1, "duration": 3_600_000, "autoApply": false},
            ],
            "credits": {"remaining": 7, "refill": {"interval": "monthly", "amount": 1000, "refillDay": 1}},
        },
        {"hash": {"value": hex, "variant": "sha256_hex"}, "name": "by hex", "ownerId": "Acme Corp"},
        {"plaintext": "unkey_by_itself_0123456789", "keyId": "key_2cGKbMxRyIzhCxo1Idjz8q", "remaining": 5},
        {"hash": base64("unkey_disabled_0123456789"), "name": "disabled", "enabled": false},
        {"hash": base64("unkey_expired_0123456789"), "name": "expired", "expires": 1_577_836_800_000_u64},
        {"hash": "your_already_hashed_key", "name": "foreign hash"},
        {"hash": base64("unkey_roleless_0123456789"), "name": "roleless", "roles": ["nobody-made-it"]},
        {"name": "nothing"},
    ]});
    let said = import(&fixture, &gateway, "unkey", "keys.json", &keys.to_string());
    assert_eq!((said.status, said.counts()), (1, (5, 3)), "{}", said.all);
    assert!(said.refused(&json!("keys[5]")).contains("SHA-256"));
    assert!(said.refused(&json!("keys[6]")).contains("no role"));
    assert!(said.refused(&json!("keys[7]")).contains("neither"));
    assert_eq!((said.notes("remaining uses"), said.notes("named it")), (1, 1));

    let found = key(&gateway, "Payment Service");
    assert_eq!((&found["owner"], &found["role"]), (&json!("user_1234abcd"), &json!("api_admin")));
    assert_eq!(
        (&found["scopes"], &found["fingerprint"]),
        (&json!(["documents:read", "documents:*"]), &json!("unkey_by…"))
    );
    assert_eq!(found["expires_at"], "2100-01-01T00:00:00Z");
    assert_eq!(found["quotas"], json!([{"name": "credits", "requests": 1000, "window": "month"}]));
    let answers: Vec<u16> = (0..3).map(|_| status(&gateway, "unkey_by_base64_0123456789")).collect();
    assert_eq!(answers, [200, 200, 429]);
    let statuses = [
        "unkey_by_hex_0123456789",
        "unkey_by_itself_0123456789",
        "unkey_disabled_0123456789",
        "unkey_expired_0123456789",
    ]
    .map(|secret| status(&gateway, secret));
    assert_eq!(statuses, [200, 200, 401, 401]);

    let lines = [
        json!({"hash": base64("unkey_line_one_0123456789"), "name": "line one"}),
        json!({"hash": base64("unkey_line_two_0123456789"), "name": "line two"}),
    ];
    let said =
        import(&fixture, &gateway, "unkey", "keys.jsonl", &lines.map(|line| line.to_string()).join("\n"));
    assert_eq!((said.status, said.counts()), (0, (2, 0)), "{}", said.all);
    assert_eq!(status(&gateway, "unkey_line_two_0123456789"), 200);
}

#[test]
fn keys_of_a_table_work_online_and_offline() {
    let fixture = Fixture::new();
    config_file(&fixture);
    let hash: String =
        Sha256::digest("csv-hashed-0123456789").iter().map(|byte| format!("{byte:02x}")).collect();
    let table = format!(
        "\u{feff}name,secret,secret_sha256,owner,scopes,tags,limits,expires_at,metadata\r\n\
         first,csv-first-0123456789,,acme,a:b c:*,one;two words,minute=2/1m,2100-01-01T00:00:00Z,\"{{\"\"k\"\": 1}}\"\r\n\
         hashed,,{hash},,,,,,\r\n\
         \"two\nlines\",csv-multi-0123456789,,,,,,,\r\n\
         short row,csv-short-0123456789\r\n\
         blank,csv blank secret 0123456789,,,,,,,\r\n\
         bad limit,csv-badlimit-0123456789,,,,,soon,,\r\n\
         no secret,,,,,,,,\r\n\
         first again,csv-first-0123456789,,,,,,,\r\n"
    );
    let mut offline = command(&fixture, "csv", "keys.csv", &table);
    let said = said(&offline.args(["--config", "portcullis.toml"]).output().unwrap());
    assert_eq!((said.status, said.counts()), (1, (3, 5)), "{}", said.all);
    for (line, why) in [(6, "cells"), (7, "20 to 512"), (8, "limits"), (9, "secret"), (10, "exists")] {
        let refused = said.refused(&json!(line));
        assert!(refused.contains(why), "line {line}: {refused}");
    }
    assert!(!said.all.contains("0123456789"), "a secret was printed: {}", said.all);

    let gateway = fixture.start();
    let found = key(&gateway, "first");
    assert_eq!((&found["tags"], &found["scopes"]), (&json!(["one", "two words"]), &json!(["a:b", "c:*"])));
    assert_eq!(found["metadata"], json!({"k": 1}));
    let answers: Vec<u16> = (0..3).map(|_| status(&gateway, "csv-first-0123456789")).collect();
    assert_eq!(answers, [200, 200, 429]);
    assert_eq!(
        [status(&gateway, "csv-hashed-0123456789"), status(&gateway, "csv-multi-0123456789")],
        [200, 200]
    );
    let online = import(&fixture, &gateway, "csv", "more.csv", "name,secret\nlater,csv-later-0123456789\n");
    assert_eq!((online.status, online.counts()), (0, (1, 0)), "{}", online.all);
    assert_eq!(status(&gateway, "csv-later-0123456789"), 200);
}

#[test]
fn a_file_that_is_no_such_export_is_refused_whole() {
    let fixture = Fixture::new();
    let gateway = fixture.start();
    let cases = [
        ("csv", "name,secret,colour\nx,secret-0123456789012345,red\n", "column"),
        ("csv", "name,secret,name\n", "twice"),
        ("csv", "name,owner\n", "secret"),
        ("csv", "x,secret-0123456789012345\n", "column"),
        ("kong", "{\"version\": 1, \"x\": \"secret-0123456789012345\"}", "neither"),
        ("kong", "consumers: [secret-0123456789012345", "YAML"),
        ("kong", "{\"consumers\": [secret-0123456789012345", "JSON"),
        ("apisix", "routes: []", "neither"),
        ("unkey", "{\"error\": \"secret-0123456789012345\"}", "no export"),
        ("unkey", "secret-0123456789012345", "JSON"),
    ];
    for (from, export, why) in cases {
        let said = import(&fixture, &gateway, from, "export", export);
        assert_eq!(said.status, 1, "{from}: {}", said.all);
        assert!(said.all.contains(why) && said.all.contains("export"), "{from}: {}", said.all);
        assert!(!said.all.contains("secret-0123456789"), "a secret was printed: {}", said.all);
    }
    assert_eq!(gateway.admin.get("/api/v1/keys").json()["total"], 0);
}

#[test]
fn a_byte_order_mark_costs_no_line_of_an_import_by_the_api() {
    let gateway = Fixture::new().start();
    let lines = format!("\u{feff}{}\n", json!({"name": "a", "secret": "marked-secret-0123456789"}));
    let answer = gateway.admin.call("POST", "/api/v1/keys/import", &[], &lines);
    assert_eq!(answer.json(), json!({"imported": 1, "refused": []}));
    assert_eq!(status(&gateway, "marked-secret-0123456789"), 200);
}
