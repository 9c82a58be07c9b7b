//! The first admin token: given by the environment, or made and shown once.

use crate::support::{Admin, Fixture, Process, Server, config_file, serve};

/// Starts without a token in the environment.
fn start_without(config: &std::path::Path) -> Server {
    Process::start(serve(config).env_remove("PORTCULLIS_ADMIN_TOKEN")).serving()
}

fn opens(server: &Server, token: &str) -> bool {
    match Admin::new(server.admin.address, token).get("/api/v1/keys").status {
        200 => true,
        401 => false,
        other => panic!("{other}"),
    }
}

#[test]
fn the_first_token_is_made_and_shown_once_at_the_first_start_alone() {
    let fixture = Fixture::new();
    let config = config_file(&fixture);
    let server = start_without(&config);
    let shown = server.process.stderr();
    assert_eq!(shown.lines().count(), 1, "{shown}");
    let token = shown.trim().rsplit(' ').next().unwrap().to_owned();
    assert!(token.starts_with("pca_admin_") && opens(&server, &token), "{shown}");
    assert!(!server.process.stdout().contains(&token), "the log shows it");
    drop(server);
    let server = start_without(&config);
    assert!(opens(&server, &token));
    assert_eq!(server.process.stderr(), "", "a later start shows nothing");
}

#[test]
fn a_token_of_the_environment_is_used_and_never_shown_and_a_newer_one_takes_its_place() {
    let fixture = Fixture::new();
    let config = config_file(&fixture);
    let start = |token: &str| Process::start(serve(&config).env("PORTCULLIS_ADMIN_TOKEN", token)).serving();
    let (first, second) = ("first-token-of-the-environment", "second-token-of-the-environment");
    let server = start(first);
    assert!(opens(&server, first) && !opens(&server, second));
    assert_eq!(server.process.stderr(), "");
    assert!(!server.process.stdout().contains(first));
    drop(server);
    let server = start(second);
    assert!(!opens(&server, first) && opens(&server, second), "the newer one replaces the older");
    drop(server);
    let server = start_without(&config);
    assert!(opens(&server, second), "it stays where the environment names none");
    assert_eq!(server.process.stderr(), "", "so none is made");
}

#[test]
fn a_token_that_cannot_be_sent_is_refused_at_start_without_being_repeated() {
    let fixture = Fixture::new();
    let config = config_file(&fixture);
    for token in ["two words", "a,b", "quo\"te", "naïve"] {
        let mut process = Process::start(serve(&config).env("PORTCULLIS_ADMIN_TOKEN", token));
        let status = process.wait(crate::support::START);
        let said = process.stderr();
        assert_eq!((status.code(), said.lines().count()), (Some(1), 1), "{token}: {said}");
        assert!(said.contains("admin token") && !said.contains(token), "{said}");
    }
}
