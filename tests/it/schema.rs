//! schemathesis against a real gateway: it makes requests from the OpenAPI document, good ones and bad ones, and holds
//! each answer to what the document says.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use portcullis::clock::{Clock, Monotonic, SystemClock, Timestamp};
use serde_json::json;

use crate::support::{Admin, Fixture, Gateway, within};

/// How long a run may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(10);
/// Requests made at random for each operation, beside those that are made from its schema in a fixed order.
const EXAMPLES: &str = "15";
/// It may end the token that the run itself uses, so it has a run of its own.
const LAST: &str = "revokeAdminToken";

/// The machine's clock, with a monotonic time that runs so fast that wrong tokens are soon forgotten: each operation is
/// tried with one.
#[derive(Debug, Default)]
struct Hurried(SystemClock);

impl Clock for Hurried {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic::from_nanos(self.0.monotonic().as_nanos().saturating_mul(10_000))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The tool, where `make setup` puts it.
fn tool() -> PathBuf {
    let tool = root().join("target/schemathesis/bin/schemathesis");
    assert!(tool.exists(), "{} is missing: run `make setup`", tool.display());
    tool
}

/// Runs it over some operations; what it says.
fn run(gateway: &Gateway, folder: &Path, token: &str, options: &[&str]) -> String {
    let ours = root().join("tests/schemathesis");
    let output = folder.join("output.txt");
    let mut command = Command::new(tool());
    command
        .arg("--config-file")
        .arg(ours.join("schemathesis.toml"))
        .args(["run", &format!("http://{}/api/v1/openapi.json", gateway.admin.address)])
        .args(["-H", &format!("Authorization: Bearer {token}")])
        .args(["--generation-deterministic", "--generation-with-security-parameters", "false"])
        .args(["--max-examples", EXAMPLES, "--continue-on-failure", "--no-color"])
        .args(options)
        .env("PYTHONPATH", &ours)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("SCHEMATHESIS_HOOKS", "hooks")
        // Whatever it may leave behind goes away with the test's folder.
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(File::create(&output).unwrap())
        .stderr(File::create(folder.join("errors.txt")).unwrap());
    let mut child = command.spawn().unwrap();
    let status = within(PATIENCE, "schemathesis ends", || child.try_wait().unwrap());
    let text = std::fs::read_to_string(&output).unwrap();
    let errors = std::fs::read_to_string(folder.join("errors.txt")).unwrap();
    assert!(status.success(), "{status}\n{text}\n{errors}");
    text
}

#[test]
fn every_answer_is_as_the_document_says() {
    let fixture = Fixture::new().clock(Arc::new(Hurried::default()));
    let gateway = fixture.start();
    let folder = tempfile::tempdir().unwrap();
    let made = gateway.admin.post(
        "/api/v1/admin-tokens",
        &json!({"name": "run", "permissions": ["api.admin"], "expires_at": "2099-01-01T00:00:00Z"}),
    );
    let token = made.json()["secret"].as_str().unwrap().to_owned();
    let text = run(&gateway, folder.path(), &token, &["--exclude-operation-id", LAST]);
    let document = gateway.admin.get("/api/v1/openapi.json").json();
    let methods = |path: &serde_json::Value| path.as_object().unwrap().len();
    let all: usize = document["paths"].as_object().unwrap().values().map(methods).sum();
    // The document itself is fetched, and not tried.
    let (known, tried) = (all - 1, all - 2);
    assert!(text.contains(&format!("Selected: {tried}/{known}")), "{text}");
    assert!(text.contains(&format!("Tested: {tried}")), "{text}");
    // Refused for its token, an operation would pass without having been tried.
    assert!(!text.contains("only 401/403"), "{text}");
    assert_eq!(Admin::new(gateway.admin.address, &token).get("/api/v1/keys").status, 200);
    run(&gateway, folder.path(), &token, &["--include-operation-id", LAST]);
    let audit = gateway.admin.get("/api/v1/audit/verify");
    assert!(audit.status == 401 || audit.json()["intact"] == true, "{}", audit.status);
}
