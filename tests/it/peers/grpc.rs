//! grpcio on both sides: calls of every kind, trailers, and refusals as its clients read them.

use std::fs;

use serde_json::json;

use super::{Talker, python};
use crate::support::{Authority, Fixture, eventually};

#[test]
fn calls_of_every_kind_and_every_refusal() {
    let mut talker = Talker::start(python("grpc_calls.py"));
    let authority = Authority::new();
    let fixture = Fixture::with(&format!(
        "[gateway]\nlisten = [\"127.0.0.1:0\"]\nh2c = true\n[[gateway.tls]]\nlisten = \"127.0.0.1:0\"\n\
         certificate = \"site.pem\"\nprivate_key = \"site.key\"\n[upstreams.api]\ntargets = [\"{}\"]\nhttp2 = true\n\
         [[routes]]\npath = \"/it.Calls\"\nupstream = \"api\"\n\
         [[routes]]\npath = \"/it.Scoped\"\nupstream = \"api\"\nscopes = [\"calls:make\"]\n",
        talker.upstream()
    ));
    authority.write(fixture.folder.path(), "site", &["localhost"]);
    let trusted = fixture.folder.path().join("ca.pem");
    fs::write(&trusted, &authority.pem).unwrap();
    let gateway = fixture.start();
    let (id, secret) = gateway.admin.key(&json!({}));
    let (_, spent) = gateway.admin.key(&json!({"limits": [{"name": "day", "requests": 1, "window": "1d"}]}));
    let answers = talker.ask(&json!({
        "plain": gateway.address.to_string(),
        "secured": format!("localhost:{}", gateway.app().tls_addresses[0].port()),
        "authority": trusted,
        "secret": secret,
        "spent": spent,
    }));
    for channel in ["plain", "secured"] {
        let answer = &answers[channel];
        assert_eq!(answer["unary"], json!({"answer": "unary:x", "trailer": "1", "credential": null}));
        assert_eq!(answer["big"], 3_000_006);
        assert_eq!(answer["down"], json!(["0", "1", "2", "3", "4"]));
        assert_eq!(answer["up"], "a+b+c");
        assert_eq!(answer["both"], json!(["e:a", "e:b", "e:c"]));
        assert_eq!(answer["in_turn"], true, "each message is answered before the next is sent");
        for (call, code) in [
            ("aborted", "NOT_FOUND"),
            ("without_key", "UNAUTHENTICATED"),
            ("unknown_key", "UNAUTHENTICATED"),
            ("without_scope", "PERMISSION_DENIED"),
            ("without_route", "UNIMPLEMENTED"),
            ("spent", "RESOURCE_EXHAUSTED"),
            ("stream_without_key", "UNAUTHENTICATED"),
            ("too_late", "DEADLINE_EXCEEDED"),
        ] {
            assert_eq!(answer[call]["code"], code, "{channel} {call}: {}", answer[call]);
        }
        assert_eq!(answer["aborted"]["details"], "nö such");
        assert_eq!(answer["many"], 200);
    }
    // Those refused for the scope are not among what was let through.
    eventually("each call is counted", || {
        let usage = &gateway.admin.show(&id)["usage"];
        (&usage["requests"], &usage["denied"]) == (&json!(2 * 208), &json!(2))
    });
}
