//! `portcullis quickstart`: a gateway with everything in it, a key made, and a curl line to paste.

mod front;
mod report;
mod settings;

use std::fs::DirBuilder;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use serde_json::json;

use super::admin_token;
use super::output::Form;
use crate::app::{self, App};
use crate::config::{Config, LogFormat};
use crate::demo::Demo;
use crate::key::secret::NewSecret;
use crate::manage::keys::Issued;
use crate::manage::tokens::FirstToken;
use crate::manage::{Actor, Manage};
use crate::telemetry;
use front::Front;
use report::{Report, Token};
use settings::Settings;

/// Where the gateway listens, if that is free.
const GATEWAY_PORT: u16 = 8080;
/// Where the admin API listens, if that is free.
const ADMIN_PORT: u16 = 9180;
/// What the key, the admin token and the changes of this command are called.
const NAME: &str = "quickstart";

/// Try it: a gateway with a demo API behind it, a key, and a curl line to paste
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Run a gateway with everything in it: a store of its own, a key, and a demo API that answers with \
                  what it received, so that you see what the gateway forwards. With --upstream your own API is \
                  behind it instead. Prints a curl line to paste; Ctrl-C ends it. What it made stays in DIR, and \
                  `portcullis serve --config DIR/portcullis.toml` goes on with it.\n\n\
                  It listens on this machine alone: on 127.0.0.1:8080 and 127.0.0.1:9180, or on free ports, which it \
                  names, where those are taken.",
    after_help = "Examples:\n  portcullis quickstart\n  portcullis quickstart --upstream https://api.example.com\n  \
                  portcullis quickstart --dir /tmp/try --upstream http://127.0.0.1:3000\n\n\
                  Environment:\n  PORTCULLIS_ADMIN_TOKEN  the admin token; without it each run makes one"
)]
pub(super) struct Args {
    /// Where the store and the configuration are kept
    #[arg(long, value_name = "DIR", default_value = "./portcullis-data")]
    dir: PathBuf,
    /// The API to put behind the gateway, http(s)://HOST[:PORT], instead of the demo
    #[arg(long, value_name = "URL", value_parser = Front::parse)]
    upstream: Option<Front>,
}

/// Runs until a signal.
///
/// # Errors
/// It cannot start, or its last counts could not be kept.
pub(super) fn run(args: &Args, form: Form) -> anyhow::Result<ExitCode> {
    let dir = args.dir.as_path();
    make_folder(dir)?;
    let (front, demo) = if let Some(front) = &args.upstream {
        (front.clone(), None)
    } else {
        let demo = Demo::start().context("the demo upstream cannot start")?;
        (Front::demo(demo.address()), Some(demo))
    };
    let (gateway, admin) = (Port::choose(GATEWAY_PORT)?, Port::choose(ADMIN_PORT)?);
    let settings = Settings::new(dir, &front, gateway.address(), admin.address());
    let mut config = settings.config()?;
    let _log = telemetry::init(&quiet(&mut config, form).log);
    let given = admin_token();
    let app = app::build(&config, given.as_deref())?;
    // Only now: a store that is in use belongs to another run, and so does its configuration.
    let written = settings.write()?;
    let report = Report {
        token: admin_token_of(&app, given)?,
        issued: make_key(&app.core.manage)?,
        ports: [gateway, admin],
        gateway: app.gateway_addresses.first().copied().unwrap_or(gateway.address()),
        admin: app.admin_address,
        front,
        dir,
        written,
    };
    report.print(form)?;
    // Its log stays quiet, whatever the file says.
    app.configured_by(&report.written.path, Box::new(|_| {}));
    let ended = app.run_until_signal(app.hear(None)?)?;
    app.end(ended)?;
    drop(demo);
    Ok(ExitCode::SUCCESS)
}

fn make_folder(dir: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.with_context(|| format!("{}: the folder cannot be made", dir.display()))
}

/// Whoever tries things out wants to see requests and what is wrong, and no more. The file keeps the usual level.
fn quiet(config: &mut Config, form: Form) -> &Config {
    config.log.level = tracing::Level::WARN;
    if form == Form::Json {
        config.log.format = LogFormat::Json;
    }
    config
}

/// A port of the loopback: the usual one, or another where that is taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Port {
    usual: u16,
    chosen: u16,
}

impl Port {
    fn choose(usual: u16) -> anyhow::Result<Self> {
        let free =
            |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).and_then(|listener| listener.local_addr());
        let address = free(usual).or_else(|_| free(0)).context("no port of the loopback is free")?;
        Ok(Self { usual, chosen: address.port() })
    }

    fn address(self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.chosen).into()
    }
}

/// The operator's own token is not shown; one that was made is, this once.
fn admin_token_of(app: &App, given: Option<String>) -> anyhow::Result<Token> {
    let made = |token: &NewSecret| Token::Made(token.expose().to_owned());
    match (given, &app.first_token) {
        (Some(_), _) => Ok(Token::OfEnvironment),
        (None, FirstToken::Made(token)) => Ok(made(token)),
        (None, FirstToken::Existing) => Ok(made(&app.core.manage.make_token(NAME)?)),
    }
}

fn make_key(manage: &Manage) -> anyhow::Result<Issued> {
    let document = json!({
        "name": NAME,
        "description": "made by portcullis quickstart",
        "owner": "demo",
        "limits": [{"name": "minute", "requests": 600, "window": "1m"}],
    });
    manage.create_key(&Actor::local(NAME), &document).context("the key cannot be made")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_replaced_by_a_free_one() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let usual = taken.local_addr().unwrap().port();
        let port = Port::choose(usual).unwrap();
        assert_ne!(port.chosen, usual);
        drop(taken);
        assert_eq!(Port::choose(usual).unwrap().chosen, usual);
    }
}
