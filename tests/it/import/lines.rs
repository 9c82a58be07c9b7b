//! Line by line: what is refused, why, and what becomes of the lines beside it.

use serde_json::json;

use super::{hash, import, passes, report};
use crate::support::Fixture;

fn line(name: &str, secret: &str) -> String {
    json!({"name": name, "secret": secret}).to_string()
}

#[test]
fn a_bad_line_is_refused_by_its_number_and_the_others_are_imported() {
    let gateway = Fixture::new().start();
    let good = |n: usize| line("good", &format!("sk-good-secret-{n:010}"));
    let bad = [
        "{".to_owned(),
        "[]".to_owned(),
        "null".to_owned(),
        r#""a""#.to_owned(),
        "{} trailing".to_owned(),
        json!({"secret": "sk-without-a-name-0123456789"}).to_string(),
        json!({"name": "no secret"}).to_string(),
        json!({"name": "a", "secret": "sk-0123456789-0123456789", "secret_sha256": hash("x")}).to_string(),
        json!({"name": "a", "secret": "sk-0123456789-0123456789", "secret_sha256": null}).to_string(),
        json!({"name": "a", "secret": "sk-0123456789-0123456789", "colour": "red"}).to_string(),
        json!({"name": "a", "secret": "sk-0123456789-0123456789", "role": "ghost"}).to_string(),
        json!({"name": "a", "secret": "sk-0123456789-0123456789", "scopes": ["Bad"]}).to_string(),
        json!({"name": "a", "secret": "sk-0123456789-0123456789", "id": "key_x"}).to_string(),
        json!({"name": "a", "secret": "sk-0123456789-0123456789", "created_at": "once"}).to_string(),
        json!({"name": "a", "secret": "sk-0123456789-0123456789", "status": "gone"}).to_string(),
        json!({"name": "a", "secret": "sk-0123456789-0123456789", "status": "expired"}).to_string(),
        json!({"name": "a", "secret": "sk-0123456789-0123456789", "status": "expired", "expires_at": "2100-01-01T00:00:00Z"})
            .to_string(),
        json!({"name": "a", "secret": 5}).to_string(),
        json!({"name": "a", "secret_sha256": "abc"}).to_string(),
        json!({"name": "a", "secret_sha256": "z".repeat(64)}).to_string(),
    ];
    let text: String = bad.iter().enumerate().map(|(n, bad)| format!("{}\n{bad}\n", good(n))).collect();
    let expected: Vec<u64> = (1..=bad.len() as u64).map(|n| 2 * n).collect();
    let answer = import(&gateway.admin, &text);
    let body = answer.json();
    let refused: Vec<u64> =
        body["refused"].as_array().unwrap().iter().map(|one| one["line"].as_u64().unwrap()).collect();
    assert_eq!((&body["imported"], refused), (&json!(bad.len()), expected), "{body:#}");
    for n in 0..bad.len() {
        assert!(passes(&gateway, &format!("sk-good-secret-{n:010}")), "{n}");
    }
    assert!(!passes(&gateway, "sk-0123456789-0123456789"), "a refused line opened something");
    assert_eq!(gateway.admin.get("/api/v1/keys").json()["total"], bad.len());
}

#[test]
fn all_that_is_wrong_with_a_line_is_said_at_once_and_its_secret_is_not() {
    let gateway = Fixture::new().start();
    let secret = "short-SECRET";
    let line = json!({"name": "", "secret": secret, "scopes": ["Bad"], "colour": 1}).to_string();
    let answer = import(&gateway.admin, &line);
    let detail = answer.json()["refused"][0]["detail"].as_str().unwrap().to_owned();
    for pointer in ["/name", "/secret", "/scopes/0", "/colour"] {
        assert!(detail.contains(&format!("{pointer}: ")), "{pointer} in {detail}");
    }
    assert!(!String::from_utf8_lossy(&answer.body).contains("SECRET"), "{detail}");
    let cut = format!("{{\"name\": \"a\", \"secret\": \"{secret}");
    assert!(!String::from_utf8_lossy(&import(&gateway.admin, &cut).body).contains("SECRET"));
}

#[test]
fn a_secret_and_an_id_are_had_once() {
    let gateway = Fixture::new().start();
    let (id, made) = gateway.admin.key(&json!({}));
    let (one, two) = ("sk-the-first-one-0123456789", "sk-the-second-one-0123456789");
    let with_id = |secret: &str, id: &str| json!({"name": "a", "secret": secret, "id": id}).to_string();
    let new = "key_01k9m2c3d4e5f6g7h8j9k0m1n2";
    let lines = [
        line("one", one),
        line("again", one),
        json!({"name": "by its hash", "secret_sha256": hash(one)}).to_string(),
        line("of a key that was made", &made),
        with_id("sk-with-a-taken-id-0123456789", &id),
        with_id(two, new),
        with_id("sk-with-an-id-twice-0123456789", new),
    ];
    assert_eq!(report(&gateway.admin, &lines.join("\n")), (2, vec![2, 3, 4, 5, 7]));
    assert_eq!(report(&gateway.admin, &lines[..2].join("\n")), (0, vec![1, 2]), "nor in a later call");
    assert_eq!(gateway.admin.get("/api/v1/keys").json()["total"], 3);
    assert!(passes(&gateway, one) && passes(&gateway, two) && passes(&gateway, &made));
    let rotated = gateway.admin.post(&format!("/api/v1/keys/{id}/rotate"), &json!({}));
    assert_eq!(rotated.status, 200);
    assert_eq!(
        report(&gateway.admin, &line("retired", &made)),
        (0, vec![1]),
        "a retired secret is still had"
    );
}

#[test]
fn blank_lines_and_crlf_are_passed_over_and_counted() {
    let gateway = Fixture::new().start();
    let secret = |n: usize| format!("sk-among-blank-lines-{n:04}");
    let text = format!(
        "\r\n{}\r\n\r\n   \t\n{}\n\nnot json\r\n\n{}",
        line("a", &secret(1)),
        line("b", &secret(2)),
        line("c", &secret(3))
    );
    assert_eq!(report(&gateway.admin, &text), (3, vec![7]));
    assert!((1..=3).all(|n| passes(&gateway, &secret(n))));
    for empty in ["", "\n", "\r\n \n"] {
        assert_eq!(report(&gateway.admin, empty), (0, vec![]), "{empty:?}");
    }
}

#[test]
fn a_line_an_import_and_a_body_have_their_bounds() {
    let gateway = Fixture::new().start();
    let long =
        json!({"name": "a", "secret": "sk-on-a-long-line-0123456789", "metadata": {}, "description": "x"});
    let long = long.to_string().replace("\"x\"", &format!("\"x\"{}", " ".repeat(64 << 10)));
    let text = format!("{long}\n{}\n", line("b", "sk-after-a-long-line-0123456789"));
    assert_eq!(report(&gateway.admin, &text), (1, vec![1]));
    // Ten thousand lines, and over the bound that other calls have.
    let many: String = (0..10_001)
        .map(|n| format!("{}\n", line(&"a".repeat(150), &format!("sk-one-of-many-{n:010}"))))
        .collect();
    assert!(many.len() > 1 << 20);
    let answer = import(&gateway.admin, &many);
    assert_eq!((answer.status, answer.code().as_str()), (400, "bad_request"));
    let most = many.trim_end().rsplit_once('\n').unwrap().0;
    assert_eq!(report(&gateway.admin, most), (10_000, vec![]));
    let answer = import(&gateway.admin, &"\n".repeat((16 << 20) + 1));
    assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"));
    let bytes = [b"{\"name\": \"".as_slice(), &[0xff, 0xfe], b"\"}"].concat();
    let head = format!(
        "POST /api/v1/keys/import HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n",
        crate::support::TOKEN,
        bytes.len()
    );
    let answer = crate::support::send(gateway.admin.address, [head.as_bytes(), &bytes].concat());
    assert_eq!((answer.status, answer.code().as_str()), (400, "bad_request"));
    assert_eq!(gateway.admin.get("/api/v1/keys").json()["total"], 10_001);
}
