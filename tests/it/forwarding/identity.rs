//! The credential does not reach the upstream, nor does an identity that the client made up.

use serde_json::json;

use super::{KEYED, World, lines};
use crate::support::{Fixture, get, send};

#[test]
fn no_spelling_of_our_own_headers_passes() {
    let world = World::new(KEYED);
    let plain = world.fields("x-request-id: r\r\n");
    let names = ["Key-Id", "Key-Name", "Owner", "Environment", "Scopes", "Request-Id", "Anything", ""];
    for name in names {
        for (prefix, separator) in [
            ("X-Portcullis-", "-"),
            ("x-portcullis-", "_"),
            ("X_PORTCULLIS_", "_"),
            ("x_Portcullis-", "."),
            ("X.Portcullis~", "+"),
        ] {
            let spelled = format!("{prefix}{}", name.replace('-', separator));
            let fields =
                format!("x-request-id: r\r\n{spelled}: forged\r\n{}: forged\r\n", spelled.to_uppercase());
            assert_eq!(world.fields(&fields), plain, "{fields}");
        }
    }
}

#[test]
fn no_header_that_reads_as_one_of_the_gateways_passes_beside_it() {
    let world = World::new(
        r#"
        [upstreams.api]
        targets = ["{upstream}"]
        set_headers = { x-tenant = "good", x_group = "ours" }
        [[routes]]
        path = "/v1"
        upstream = "api"
        credential = ["header:x-api-key"]
        "#,
    );
    let secret = &world.secret;
    let request = format!(
        "GET /v1/x HTTP/1.1\r\nhost: a\r\nx-api-key: {secret}\r\nX_Api_Key: {secret}\r\nx_tenant: evil\r\nX-Group: evil\r\n\
         X_Request-Id: forged\r\nx_other: 1\r\n\r\n"
    );
    assert_eq!(send(world.gateway.address, request).status, 200);
    let seen = world.fixture.upstream.last();
    let reads_as = |wanted: &str| -> Vec<String> {
        let of = |line: &String| line.split(':').next().unwrap().to_lowercase().replace('_', "-") == wanted;
        lines(&seen).into_iter().filter(of).collect()
    };
    assert_eq!(reads_as("x-tenant"), ["x-tenant: good"]);
    assert_eq!(reads_as("x-group"), ["x_group: ours"]);
    assert_eq!(reads_as("x-api-key"), [""; 0]);
    assert_eq!(reads_as("x-request-id"), [""; 0]);
    assert_eq!(reads_as("x-other"), ["x_other: 1"]);
}

#[test]
fn a_header_that_only_resembles_ours_passes() {
    let world = World::new(KEYED);
    let fields = world.fields("x-portcullisx: 1\r\nxportcullis-key-id: 2\r\nmy-x-portcullis-key-id: 3\r\n");
    for field in ["x-portcullisx: 1", "xportcullis-key-id: 2", "my-x-portcullis-key-id: 3"] {
        assert!(fields.iter().any(|line| line == field), "{field}: {fields:?}");
    }
}

#[test]
fn a_keys_name_owner_and_scopes_can_be_read_back() {
    let fixture = Fixture::with(KEYED);
    let gateway = fixture.start();
    for (fields, name, owner, scopes) in [
        (json!({"name": "CI bot #7, \"main\""}), "CI bot #7, \"main\"", None, ""),
        (json!({"name": "50% Größe", "owner": "acme-1"}), "50%25 Gr%C3%B6%C3%9Fe", Some("acme-1"), ""),
        (json!({"name": "鍵", "scopes": ["a", "b:c"]}), "%E9%8D%B5", None, "a b:c"),
    ] {
        let (id, secret) = gateway.admin.key(&fields);
        assert_eq!(send(gateway.address, get("/v1/x", &secret)).status, 200);
        let seen = fixture.upstream.last();
        assert_eq!(seen.header("x-portcullis-key-id"), Some(&*id));
        assert_eq!(seen.header("x-portcullis-key-name"), Some(name));
        assert_eq!(seen.header("x-portcullis-owner"), owner);
        assert_eq!(seen.header("x-portcullis-scopes"), Some(scopes));
    }
}

#[test]
fn an_edit_is_seen_by_the_upstream_on_the_next_request() {
    let world = World::new(KEYED);
    let edit = json!({"name": "renamed", "owner": "acme", "scopes": ["z"]});
    assert_eq!(world.gateway.admin.patch(&format!("/api/v1/keys/{}", world.id), &edit).status, 200);
    let fields = world.fields("");
    for line in ["x-portcullis-key-name: renamed", "x-portcullis-owner: acme", "x-portcullis-scopes: z"] {
        assert!(fields.iter().any(|field| field == line), "{line}: {fields:?}");
    }
}

const PLACES: &str = r#"
    [[routes]]
    path = "/strip"
    upstream = "api"
    credential = ["bearer", "header:x-api-key", "query:api_key"]
    [[routes]]
    path = "/forward"
    upstream = "api"
    credential = ["bearer", "header:x-api-key", "query:api_key"]
    forward_credential = true
    [[routes]]
    path = "/public"
    upstream = "api"
    access = "public"
    credential = ["bearer", "header:x-api-key", "query:api_key"]
"#;

/// The target, and the fields among those that may hold a credential, that the upstream gets.
fn credentials_of(world: &World, target: &str, fields: &str) -> (String, Vec<String>) {
    let seen = world.forwards(&format!("GET {target} HTTP/1.1\r\nhost: a\r\n{fields}\r\n"));
    let kept = |line: &String| line.starts_with("authorization:") || line.starts_with("x-api-key:");
    let whole = format!("{seen:?}");
    let expects_none = !target.starts_with("/forward");
    assert!(!(expects_none && whole.contains(&world.secret)), "the secret reached the upstream: {whole}");
    (seen.target().to_owned(), lines(&seen).into_iter().filter(kept).collect())
}

#[test]
fn the_credential_is_taken_out_of_wherever_it_was() {
    let world = World::new(PLACES);
    for (target, fields, forwarded, kept) in [
        ("/strip", "authorization: bearer {k}\r\n", "/strip", &[][..]),
        ("/strip", "x-api-key: {k}\r\nX-Api-Key:\r\n", "/strip", &[]),
        ("/strip", "x-api-key: {k}\r\nauthorization: Bearer\r\n", "/strip", &[]),
        (
            "/strip",
            "x-api-key: {k}\r\nauthorization: Basic eA==\r\n",
            "/strip",
            &["authorization: Basic eA=="],
        ),
        ("/strip?api_key={k}", "", "/strip", &[]),
        ("/strip/?api_key={k}", "", "/strip/", &[]),
        ("/strip?a=1&api_key={k}&b=%20&&c", "", "/strip?a=1&b=%20&&c", &[]),
        ("/strip?api%5Fkey={k}&x=api_key", "", "/strip?x=api_key", &[]),
        ("/strip?a=1&api_key=&b=2&api_key={k}&api_key", "", "/strip?a=1&b=2", &[]),
        ("/strip?a=1&b=2", "x-api-key: {k}\r\n", "/strip?a=1&b=2", &[]),
    ] {
        let (target_seen, fields_seen) = credentials_of(&world, target, fields);
        assert_eq!((target_seen.as_str(), fields_seen), (forwarded, owned(kept)), "{target} {fields}");
    }
}

#[test]
fn the_credential_is_forwarded_where_the_route_says_so() {
    let world = World::new(PLACES);
    let secret = &world.secret;
    let bearer = format!("authorization: Bearer {secret}");
    let header = format!("x-api-key: {secret}");
    let query = format!("/forward?a=1&api_key={secret}");
    for (target, fields, forwarded, kept) in [
        ("/forward", "authorization: Bearer {k}\r\n", "/forward", vec![bearer]),
        ("/forward", "x-api-key: {k}\r\n", "/forward", vec![header]),
        ("/forward?a=1&api_key={k}", "", &query, vec![]),
    ] {
        assert_eq!(credentials_of(&world, target, fields), (forwarded.to_owned(), kept), "{target} {fields}");
    }
}

#[test]
fn a_key_that_is_sent_to_a_public_route_is_not_forwarded_nor_is_its_identity() {
    let world = World::new(PLACES);
    for (target, fields, forwarded, kept) in [
        ("/public?a", "", "/public?a", &[][..]),
        ("/public", "authorization: Bearer {k}\r\n", "/public", &[]),
        ("/public", "authorization: Basic eA==\r\n", "/public", &["authorization: Basic eA=="]),
        ("/public", "authorization: Basic eA==\r\nauthorization: Bearer {k}\r\n", "/public", &[]),
        ("/public", "x-api-key: {k}\r\nx-api-key: {k}\r\n", "/public", &[]),
        ("/public?api_key={k}&b&api%5fkey={k}", "x-api-key: {k}\r\n", "/public?b", &[]),
    ] {
        let (target_seen, fields_seen) = credentials_of(&world, target, fields);
        assert_eq!((target_seen.as_str(), fields_seen), (forwarded, owned(kept)), "{target} {fields}");
        let seen = world.fixture.upstream.last();
        let ours: Vec<_> =
            lines(&seen).into_iter().filter(|line| line.starts_with("x-portcullis-")).collect();
        assert!(matches!(&ours[..], [id] if id.starts_with("x-portcullis-request-id: ")), "{ours:?}");
    }
    let usage = &world.gateway.admin.show(&world.id)["usage"];
    assert_eq!(
        (&usage["requests"], &usage["denied"]),
        (&json!(0), &json!(0)),
        "a public route knows no keys"
    );
}

fn owned(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|&line| line.to_owned()).collect()
}
