//! Any sequence of admin operations leaves what a plain model of the contract says: in each answer, in every list, and
//! at the proxy for every secret that ever was; also after a restart and after `kill -9`.
//!
//! proptest chooses the sequences and, where one fails, shows the shortest that does.

mod operation;
mod plain;

use std::path::PathBuf;

use proptest::collection::vec;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Client, Fixture, START, Server, config_file};
use operation::{Call, Operation, operation};
use plain::Plain;

/// Sequences.
const CASES: u32 = 12;
/// Operations in a sequence, at most.
const LONGEST: usize = 40;
/// Attempts to find a shorter sequence that fails.
const SHRINKS: u32 = 200;

const ROUTES: &str = r#"
[[routes]]
path = "/v1"
upstream = "api"
[[routes]]
path = "/scoped"
upstream = "api"
scopes = ["models:read"]
"#;

/// The gateway, and what the model says of it.
struct Both {
    config: PathBuf,
    server: Server,
    plain: Plain,
    _fixture: Fixture,
}

impl Both {
    fn new() -> Self {
        let fixture = Fixture::with(ROUTES);
        let config = config_file(&fixture);
        Self { server: Server::start(&config), config, plain: Plain::default(), _fixture: fixture }
    }

    fn run(&mut self, operation: &Operation) -> Result<(), TestCaseError> {
        match operation {
            Operation::Restart => {
                self.server.process.signal(Signal::TERM);
                let status = self.server.process.wait(START);
                same("a stop's exit status", &status.code(), &Some(0))?;
                self.start_again()
            }
            Operation::Kill => {
                self.server.process.kill();
                self.start_again()
            }
            Operation::Call(call) => self.call(call),
        }
    }

    fn start_again(&mut self) -> Result<(), TestCaseError> {
        self.server = Server::start(&self.config);
        self.compare()
    }

    fn call(&mut self, call: &Call) -> Result<(), TestCaseError> {
        let Some(request) = self.plain.request(call) else { return Ok(()) };
        let answer = self.server.admin.call(request.method, &request.path, &[], &request.body());
        let body = if answer.body.is_empty() { Value::Null } else { answer.json() };
        let what = format!("{} {} {}", request.method, request.path, request.body());
        let expected = self.plain.apply(call, &body);
        let code = body["code"].as_str().unwrap_or_default();
        same(&what, &(answer.status, code), &(expected.status, expected.code))
    }

    /// Every list, every record, and every secret at the proxy.
    fn compare(&self) -> Result<(), TestCaseError> {
        same("keys", &self.all("keys", plain::key_facts), &self.plain.keys())?;
        same("roles", &self.all("roles", plain::role_facts), &self.plain.roles())?;
        same("owners", &self.all("owners", plain::owner_facts), &self.plain.owners())?;
        let mut client = Client::new(self.server.address);
        for (secret, expected) in self.plain.secrets() {
            let answers = ["/v1/x", "/scoped/x"].map(|path| {
                let answer = client.get(path, secret);
                if answer.status == 200 { String::new() } else { answer.code() }
            });
            same("what a secret is answered", &answers, &expected.map(str::to_owned))?;
        }
        Ok(())
    }

    /// The facts of everything in a list, page by page, in its order.
    fn all(&self, list: &str, facts: impl Fn(&Value) -> Value) -> Vec<Value> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.server.admin.get(&format!("/api/v1/{list}?limit=3{cursor}")).json();
            all.extend(page["items"].as_array().unwrap().iter().map(&facts));
            let Some(next) = page["next_cursor"].as_str() else {
                assert_eq!(page["total"], all.len(), "the total of {list}");
                return all;
            };
            cursor = format!("&cursor={next}");
        }
    }
}

fn same<T: std::fmt::Debug + PartialEq>(what: &str, found: &T, expected: &T) -> Result<(), TestCaseError> {
    if found == expected {
        return Ok(());
    }
    Err(TestCaseError::fail(format!("{what}\n   found {found:?}\nexpected {expected:?}")))
}

#[test]
fn any_sequence_of_operations_leaves_what_a_plain_model_says() {
    let config =
        Config { cases: CASES, max_shrink_iters: SHRINKS, failure_persistence: None, ..Config::default() };
    let sequences = vec(operation(), 1..=LONGEST);
    let tested = TestRunner::new(config).run(&sequences, |operations| {
        let mut both = Both::new();
        operations.iter().try_for_each(|operation| both.run(operation))?;
        both.compare()?;
        both.run(&Operation::Kill)
    });
    if let Err(failure) = tested {
        panic!("{failure}");
    }
}
