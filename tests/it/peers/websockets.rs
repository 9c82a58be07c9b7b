//! The websockets package on both sides: messages of every kind, refusals before the upgrade, silence.

use serde_json::json;

use super::{Talker, python};
use crate::support::{Fixture, eventually};

#[test]
fn messages_refusals_and_silence() {
    let mut talker = Talker::start(python("websocket.py"));
    let upstream = talker.upstream();
    let fixture = Fixture::with(&format!(
        "[upstreams.api]\ntargets = [\"{upstream}\"]\nresponse_timeout = \"3s\"\n\
         [upstreams.idle]\ntargets = [\"{upstream}\"]\nwebsocket_idle = \"1s\"\n\
         [[routes]]\npath = \"/v1\"\nupstream = \"api\"\n[[routes]]\npath = \"/idle\"\nupstream = \"idle\"\n"
    ));
    let gateway = fixture.start();
    let (id, secret) = gateway.admin.key(&json!({}));
    let answer = talker.ask(&json!({"gateway": gateway.address.to_string(), "secret": secret}));
    assert_eq!(answer["echoed"], true);
    assert_eq!(answer["path"], "/v1/ws?x=1", "the upstream saw it, and no credential");
    assert_eq!(answer["pinged"], true);
    assert_eq!(answer["without_key"], json!([401, "missing_key"]));
    assert_eq!(answer["unknown_key"], json!([401, "invalid_key"]));
    assert_eq!(answer["after_silence"], true, "longer than an answer may take");
    assert_eq!(answer["silent_too_long"], true, "it is closed");
    eventually("each is counted once", || {
        let usage = &gateway.admin.show(&id)["usage"];
        (&usage["requests"], &usage["denied"]) == (&json!(3), &json!(0))
    });
}
