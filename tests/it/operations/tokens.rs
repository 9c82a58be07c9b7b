//! The first admin token: given by the environment, or made and shown once.

use std::path::Path;

use rustix::process::Signal;

use super::PROMPTLY;
use crate::support::{Admin, Fixture, Process, START, Server, config_file, eventually, serve};

/// Starts without a token in the environment.
fn start_without(config: &Path) -> Server {
    Process::start(serve(config).env_remove("PORTCULLIS_ADMIN_TOKEN")).serving()
}

fn opens(server: &Server, token: &str) -> bool {
    match Admin::new(server.admin.address, token).get("/api/v1/keys").status {
        200 => true,
        401 => false,
        other => panic!("{other}"),
    }
}

/// Stops it: all that it wrote to standard error, and that none of it is in its log.
fn said(mut server: Server, token: &str) -> String {
    server.process.signal(Signal::TERM);
    assert_eq!(server.process.wait(PROMPTLY).code(), Some(0));
    assert!(!server.process.stdout().contains(token), "the log shows the token");
    server.process.stderr()
}

#[test]
fn the_first_token_is_made_and_shown_once_at_the_first_start_alone() {
    let fixture = Fixture::new();
    let config = config_file(&fixture);
    let server = start_without(&config);
    eventually("the token is shown", || server.process.stderr().ends_with('\n'));
    let token = server.process.stderr().trim().rsplit(' ').next().unwrap().to_owned();
    assert!(token.starts_with("pca_admin_") && opens(&server, &token), "{token}");
    let shown = said(server, &token);
    assert_eq!((shown.lines().count(), shown.matches(&token).count()), (1, 1), "{shown}");
    let server = start_without(&config);
    assert!(opens(&server, &token));
    assert_eq!(said(server, &token), "", "a later start shows nothing");
}

#[test]
fn a_token_of_the_environment_is_used_and_never_shown_and_a_newer_one_takes_its_place() {
    let fixture = Fixture::new();
    let config = config_file(&fixture);
    let start = |token: &str| Process::start(serve(&config).env("PORTCULLIS_ADMIN_TOKEN", token)).serving();
    let (first, second) = ("first-token-of-the-environment", "second-token-of-the-environment");
    let server = start(first);
    assert!(opens(&server, first) && !opens(&server, second));
    assert_eq!(said(server, first), "");
    let server = start(second);
    assert!(!opens(&server, first) && opens(&server, second), "the newer one replaces the older");
    assert_eq!(said(server, second), "");
    let server = start_without(&config);
    assert!(opens(&server, second), "it stays where the environment names none");
    assert_eq!(said(server, second), "", "so none is made");
}

#[test]
fn a_token_that_cannot_be_sent_is_refused_at_start_without_being_repeated() {
    let fixture = Fixture::new();
    let config = config_file(&fixture);
    for token in ["two words", "a,b", "quo\"te", "naïve"] {
        let mut process = Process::start(serve(&config).env("PORTCULLIS_ADMIN_TOKEN", token));
        let status = process.wait(START);
        let said = process.stderr();
        assert_eq!((status.code(), said.lines().count()), (Some(1), 1), "{token}: {said}");
        assert!(said.contains("admin token") && !said.contains(token), "{said}");
    }
}
