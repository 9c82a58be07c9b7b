//! h2load: many requests at once, each of which is answered and counted.

use serde_json::json;

use super::{program, run};
use crate::support::{Authority, Fixture, eventually};

const REQUESTS: u64 = 1_000;

#[test]
fn every_one_of_many_requests_is_answered_and_counted() {
    let authority = Authority::new();
    let fixture = Fixture::with(
        "[gateway]\nlisten = [\"127.0.0.1:0\"]\nh2c = true\n[[gateway.tls]]\nlisten = \"127.0.0.1:0\"\n\
         certificate = \"site.pem\"\nprivate_key = \"site.key\"\n[[routes]]\npath = \"/v1\"\nupstream = \"api\"\n",
    );
    authority.write(fixture.folder.path(), "site", &["localhost"]);
    let gateway = fixture.start();
    let plain = format!("http://{}/v1/x", gateway.address);
    let secured = format!("https://{}/v1/x", gateway.app().tls_addresses[0]);
    for (url, options) in [(&plain, &["-m", "20"][..]), (&plain, &["--h1"]), (&secured, &["-m", "20"])] {
        let (id, secret) = gateway.admin.key(&json!({}));
        let bearer = format!("authorization: Bearer {secret}");
        let passed = load(url, options, &["-H", &bearer]);
        assert!(passed.contains(&format!("status codes: {REQUESTS} 2xx, 0 3xx, 0 4xx, 0 5xx")), "{passed}");
        eventually("each is counted", || gateway.admin.show(&id)["usage"]["requests"] == REQUESTS);
        let refused = load(url, options, &[]);
        assert!(refused.contains(&format!("status codes: 0 2xx, 0 3xx, {REQUESTS} 4xx, 0 5xx")), "{refused}");
    }
    assert_eq!(u64::try_from(fixture.upstream.count()).unwrap(), 3 * REQUESTS);
}

fn load(url: &str, options: &[&str], more: &[&str]) -> String {
    let mut command = program("h2load");
    command.args(["-n", &REQUESTS.to_string(), "-c", "4"]).args(options).args(more).arg(url);
    let said = run(&mut command).well();
    let whole = format!("requests: {REQUESTS} total, {REQUESTS} started, {REQUESTS} done, ");
    assert!(said.contains(&whole) && said.contains(" 0 errored, 0 timeout"), "{said}");
    said
}
