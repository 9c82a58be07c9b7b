//! Where a credential may be, how it may be written, and what is said of one that is unknown.

use serde_json::json;

use crate::support::{Fixture, Gateway, get, send};

const ROUTES: &str = r#"
    [[routes]]
    path = "/bearer"
    upstream = "api"
    [[routes]]
    path = "/header"
    upstream = "api"
    credential = ["header:X-Api-Key"]
    [[routes]]
    path = "/query"
    upstream = "api"
    credential = ["query:api_key"]
    [[routes]]
    path = "/any"
    upstream = "api"
    credential = ["bearer", "header:x-api-key", "query:api_key"]
"#;

/// The target and the header fields of a request. `{k}` stands for the secret.
type Sent = (&'static str, &'static str);

/// A gateway with a key, and its secret.
fn start() -> (Fixture, Gateway, String) {
    let fixture = Fixture::with(ROUTES);
    let gateway = fixture.start();
    let (_, secret) = gateway.admin.key(&json!({}));
    (fixture, gateway, secret)
}

/// `200`, or the problem's code.
fn outcome(gateway: &Gateway, (target, fields): Sent, secret: &str) -> String {
    // A preflight opens nothing: it is a request like others.
    let method = if fields.contains("access-control") { "OPTIONS" } else { "GET" };
    let request = format!("{method} {target} HTTP/1.1\r\nhost: it\r\n{fields}\r\n").replace("{k}", secret);
    let answer = send(gateway.address, request);
    if answer.status == 200 { "200".to_owned() } else { answer.code() }
}

fn check(cases: &[(&str, Sent)]) {
    let (fixture, gateway, secret) = start();
    for (expected, sent) in cases {
        let before = fixture.upstream.count();
        assert_eq!(outcome(&gateway, *sent, &secret), *expected, "{sent:?}");
        let forwarded = fixture.upstream.count() - before;
        assert_eq!(forwarded, usize::from(*expected == "200"), "{sent:?}");
    }
}

#[test]
fn a_bearer_token_is_read_as_rfc_9110_writes_it() {
    check(&[
        ("200", ("/bearer", "authorization: Bearer {k}\r\n")),
        ("200", ("/bearer", "AUTHORIZATION: bearer {k}\r\n")),
        ("200", ("/bearer", "Authorization:BEARER {k}\r\n")),
        ("200", ("/bearer", "authorization:  \t bEaReR    {k} \t \r\n")),
        ("missing_key", ("/bearer", "")),
        ("missing_key", ("/bearer", "authorization:\r\n")),
        ("missing_key", ("/bearer", "authorization: Bearer\r\n")),
        ("missing_key", ("/bearer", "authorization: Bearer  \r\n")),
        ("missing_key", ("/bearer", "authorization: Bearer{k}\r\n")),
        ("missing_key", ("/bearer", "authorization: Bearer\t{k}\r\n")),
        ("missing_key", ("/bearer", "authorization: Bearer={k}\r\n")),
        ("missing_key", ("/bearer", "authorization: {k}\r\n")),
        ("missing_key", ("/bearer", "authorization: Token {k}\r\n")),
        ("missing_key", ("/bearer", "authorization: Basic {k}\r\n")),
        ("missing_key", ("/bearer", "authorization: Beare {k}\r\n")),
        ("missing_key", ("/bearer", "proxy-authorization: Bearer {k}\r\n")),
        ("missing_key", ("/bearer", "x-api-key: {k}\r\n")),
        ("missing_key", ("/bearer?api_key={k}", "")),
        ("missing_key", ("/bearer", "origin: http://a\r\naccess-control-request-method: GET\r\n")),
        ("invalid_key", ("/bearer", "authorization: Bearer Bearer {k}\r\n")),
        ("invalid_key", ("/bearer", "authorization: Bearer {k} {k}\r\n")),
        ("invalid_key", ("/bearer", "authorization: Bearer {k},{k}\r\n")),
        ("invalid_key", ("/bearer", "authorization: Bearer {k}, Bearer {k}\r\n")),
        ("invalid_key", ("/bearer", "authorization: Bearer \"{k}\"\r\n")),
        ("invalid_key", ("/bearer", "authorization: Bearer '{k}'\r\n")),
        ("invalid_key", ("/bearer", "authorization: Bearer {k}\\\r\n")),
        ("invalid_key", ("/bearer", "authorization: Bearer {k}x\r\n")),
        ("invalid_key", ("/bearer", "authorization: Bearer \u{e9}{k}\r\n")),
    ]);
}

#[test]
fn a_header_is_a_credential_only_where_its_route_says_so() {
    check(&[
        ("200", ("/header", "x-api-key: {k}\r\n")),
        ("200", ("/header", "X-API-KEY:\t {k} \t\r\n")),
        ("200", ("/header", "x-api-key: {k}\r\nx-api-key:\r\n")),
        ("200", ("/header?api_key={k}", "x-api-key: {k}\r\nauthorization: Bearer unknown\r\n")),
        ("missing_key", ("/header", "x-api-key:\r\n")),
        ("missing_key", ("/header", "x_api_key: {k}\r\n")),
        ("missing_key", ("/header", "authorization: Bearer {k}\r\n")),
        ("missing_key", ("/header?x-api-key={k}", "cookie: x-api-key={k}\r\n")),
        ("invalid_key", ("/header", "x-api-key: Bearer {k}\r\n")),
        ("invalid_key", ("/header", "x-api-key: {k}, {k}\r\n")),
        ("ambiguous_credential", ("/header", "x-api-key: {k}\r\nX-Api-Key: {k}\r\n")),
        ("ambiguous_credential", ("/header", "x-api-key: {k}\r\nx-api-key: unknown\r\n")),
    ]);
}

#[test]
fn a_query_parameter_is_a_credential_however_its_name_is_encoded() {
    check(&[
        ("200", ("/query?api_key={k}", "")),
        ("200", ("/query?a=1&api_key={k}&b=2", "")),
        ("200", ("/query?api%5fkey={k}", "")),
        ("200", ("/query?%61%70%69%5F%6b%65%79={k}", "")),
        ("200", ("/query?api_key=&api_key={k}&api_key", "")),
        ("200", ("/query?&&api_key={k}&", "")),
        ("missing_key", ("/query", "")),
        ("missing_key", ("/query?", "")),
        ("missing_key", ("/query?api_key", "")),
        ("missing_key", ("/query?api_key=", "")),
        ("missing_key", ("/query?API_KEY={k}", "")),
        ("missing_key", ("/query?my_api_key={k}&api_key2={k}", "")),
        ("missing_key", ("/query?api%255fkey={k}", "")),
        ("missing_key", ("/query?api_key%3D{k}", "")),
        ("missing_key", ("/query?a=api_key={k}", "")),
        ("missing_key", ("/query/api_key={k}", "")),
        ("invalid_key", ("/query?api_key={k}%20", "")),
        ("invalid_key", ("/query?api_key=+{k}", "")),
        ("invalid_key", ("/query?api_key={k};a=1", "")),
        ("invalid_key", ("/query?api_key=={k}", "")),
        ("invalid_key", ("/query?api_key=%00{k}", "")),
        ("ambiguous_credential", ("/query?api_key={k}&api_key={k}", "")),
        ("ambiguous_credential", ("/query?api_key={k}&api%5Fkey=unknown", "")),
    ]);
}

#[test]
fn of_several_places_exactly_one_may_hold_a_credential() {
    check(&[
        ("200", ("/any", "authorization: Bearer {k}\r\n")),
        ("200", ("/any", "x-api-key: {k}\r\n")),
        ("200", ("/any?api_key={k}", "")),
        ("200", ("/any?api_key=", "x-api-key: {k}\r\nauthorization: Bearer\r\n")),
        ("200", ("/any", "x-api-key: {k}\r\nauthorization: Basic eA==\r\n")),
        ("missing_key", ("/any?api_key=", "x-api-key:\r\nauthorization: Bearer \r\n")),
        ("ambiguous_credential", ("/any", "authorization: Bearer {k}\r\nx-api-key: {k}\r\n")),
        ("ambiguous_credential", ("/any", "authorization: Bearer unknown\r\nx-api-key: {k}\r\n")),
        ("ambiguous_credential", ("/any?api_key={k}", "authorization: Bearer {k}\r\n")),
        ("ambiguous_credential", ("/any?api_key={k}", "x-api-key: unknown\r\n")),
        ("ambiguous_credential", ("/any?api_key=a&api_key=b", "x-api-key: {k}\r\n")),
    ]);
}

#[test]
fn two_authorization_fields_are_refused_wherever_the_credential_is() {
    check(&[
        ("ambiguous_credential", ("/bearer", "authorization: Bearer {k}\r\nauthorization: Bearer {k}\r\n")),
        ("ambiguous_credential", ("/bearer", "authorization: Bearer {k}\r\nAuthorization: Basic eA==\r\n")),
        ("ambiguous_credential", ("/bearer", "authorization: Basic eA==\r\nauthorization: Bearer {k}\r\n")),
        ("ambiguous_credential", ("/bearer", "authorization: Bearer {k}\r\nauthorization:\r\n")),
        ("ambiguous_credential", ("/bearer", "authorization: Basic a\r\nauthorization: Basic b\r\n")),
        ("ambiguous_credential", ("/header", "authorization: a\r\nauthorization: b\r\nx-api-key: {k}\r\n")),
        ("ambiguous_credential", ("/query?api_key={k}", "authorization: a\r\nauthorization: b\r\n")),
    ]);
}

/// Secrets from elsewhere: the shortest, the longest, each character that there may be.
fn foreign_secrets() -> Vec<String> {
    let visible = (0x21..=0x7E_u8).map(char::from);
    vec![
        "sk-proj-0123456789abcdef".to_owned(),
        "a".repeat(20),
        "z".repeat(512),
        visible.filter(|c| !matches!(c, ',' | '"' | '\'')).collect(),
        "Bearer.looks/like+base64==".to_owned(),
        "pc_live_that_was_not_made_here".to_owned(),
    ]
}

#[test]
fn an_imported_secret_of_any_form_works_in_every_place() {
    let (_fixture, gateway, _) = start();
    let encode = |text: &str| text.bytes().fold(String::new(), |out, byte| out + &format!("%{byte:02x}"));
    for secret in foreign_secrets() {
        let line = json!({"name": "from elsewhere", "secret": secret}).to_string();
        let report = gateway.admin.call("POST", "/api/v1/keys/import", &[], &line);
        assert_eq!(report.json()["imported"], 1, "{secret}: {}", report.json());
        let encoded = format!("/any?api_key={}", encode(&secret));
        for (target, fields) in [
            ("/any", format!("authorization: Bearer {secret}\r\n")),
            ("/any", format!("x-api-key: {secret}\r\n")),
            (&encoded, String::new()),
        ] {
            let request = format!("GET {target} HTTP/1.1\r\nhost: it\r\n{fields}\r\n");
            assert_eq!(send(gateway.address, &request).status, 200, "{request}");
        }
    }
}

#[test]
fn an_unknown_secret_is_hinted_at_from_its_text_alone() {
    let (_fixture, gateway, _) = start();
    let (id, secret) = gateway.admin.key(&json!({}));
    let (deleted, gone) = gateway.admin.key(&json!({}));
    assert_eq!(gateway.admin.call("DELETE", &format!("/api/v1/keys/{deleted}"), &[], "").status, 204);
    let swapped = secret.replacen(&secret[10..11], if &secret[10..11] == "a" { "b" } else { "a" }, 1);
    let cases = [
        (gone.as_str(), "not_found"),
        (&swapped, "checksum_mismatch"),
        (&secret[..secret.len() - 1], "checksum_mismatch"),
        (&secret[..12], "checksum_mismatch"),
        (&secret.to_uppercase(), "checksum_mismatch"),
        (&format!("{secret}0"), "checksum_mismatch"),
        (&id, "key_id_used_as_secret"),
        (&deleted, "key_id_used_as_secret"),
        ("sk-proj-0123456789abcdef", "unknown_format"),
        (&secret[8..], "unknown_format"),
        ("x", "unknown_format"),
        (&"a".repeat(512), "unknown_format"),
        (&"a".repeat(513), "unknown_format"),
        (&"a".repeat(5_000), "unknown_format"),
        ("two words", "unknown_format"),
        ("one,two", "unknown_format"),
        ("\"quoted\"", "unknown_format"),
    ];
    for (text, hint) in cases {
        let answer = send(gateway.address, get("/bearer", text));
        assert_eq!((answer.status, answer.code().as_str()), (401, "invalid_key"), "{text}");
        assert_eq!(answer.json()["hint"], hint, "{text}");
        let body = String::from_utf8(answer.body).unwrap();
        assert!(text.len() < 5 || !body.contains(text), "the answer repeats what was sent: {body}");
    }
}

#[test]
fn a_deleted_key_is_answered_as_one_that_never_was() {
    let (_fixture, gateway, _) = start();
    let (deleted, gone) = gateway.admin.key(&json!({}));
    assert_eq!(send(gateway.address, get("/bearer", &gone)).status, 200);
    assert_eq!(gateway.admin.call("DELETE", &format!("/api/v1/keys/{deleted}"), &[], "").status, 204);
    let body = |secret: &str| {
        let mut body = send(gateway.address, get("/bearer", secret)).json();
        body["request_id"] = "same".into();
        body
    };
    let never = portcullis::key::secret::NewSecret::generate("pc", "live").unwrap();
    assert_eq!(body(&gone), body(never.expose()));
}
