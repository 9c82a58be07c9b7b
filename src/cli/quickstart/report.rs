//! What quickstart says once it runs: what to paste, where things are, how to stop.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};

use super::Port;
use super::front::{Front, Kind};
use super::settings::Written;
use crate::cli::output::{self, Form};
use crate::manage::keys::Issued;

/// What there is to say.
pub(super) struct Report<'a> {
    pub(super) gateway: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) ports: [Port; 2],
    pub(super) token: Token,
    pub(super) issued: Issued,
    pub(super) front: Front,
    pub(super) dir: &'a Path,
    pub(super) written: Written,
}

/// What opens the admin API.
pub(super) enum Token {
    /// The operator's own, which is not shown.
    OfEnvironment,
    /// One of ours, shown this once.
    Made(String),
}

impl Report<'_> {
    /// Says it.
    ///
    /// # Errors
    /// Standard output takes nothing.
    pub(super) fn print(&self, form: Form) -> anyhow::Result<()> {
        match form {
            // One line, as the log lines that follow it are.
            Form::Json => output::line(&self.json().to_string()),
            Form::Table | Form::Csv => output::write(&self.text()),
        }
    }

    fn json(&self) -> Value {
        json!({
            "gateway": format!("http://{}", self.gateway),
            "admin": format!("http://{}", self.admin),
            "admin_token": match &self.token {
                Token::Made(token) => json!(token),
                Token::OfEnvironment => Value::Null,
            },
            "key": self.issued.view.to_json(),
            "secret": self.issued.secret.expose(),
            "config": self.written.path.display().to_string(),
            "data": self.dir.display().to_string(),
        })
    }

    fn text(&self) -> String {
        let Self { gateway, admin, .. } = self;
        let secret = self.issued.secret.expose();
        let (token, authorization) = match &self.token {
            Token::Made(token) => {
                (format!("{token} (shown this once)"), format!("'Authorization: Bearer {token}'"))
            }
            Token::OfEnvironment => (
                "the one in PORTCULLIS_ADMIN_TOKEN".to_owned(),
                "\"Authorization: Bearer $PORTCULLIS_ADMIN_TOKEN\"".to_owned(),
            ),
        };
        format!(
            "\n\
             Portcullis runs. Ctrl-C stops it.\n\
             {notes}\n\
             Send a request with the key that was made just now (its secret is shown this once):\n\n  \
             curl -H 'Authorization: Bearer {secret}' http://{gateway}/\n\n\
             Without a key it is refused:\n\n  \
             curl -i http://{gateway}/\n\n\
             Manage keys over the admin API, or with `portcullis keys`:\n\n  \
             curl -H {authorization} http://{admin}/api/v1/keys\n\n\
             Gateway      http://{gateway}, before {upstream}\n\
             Admin API    http://{admin}\n\
             Admin token  {token}\n\
             Data         {data}\n\
             Go on        {go_on}\n\
             \n",
            notes = self.notes(),
            upstream = self.upstream(),
            data = self.dir.display(),
            go_on = self.go_on(),
        )
    }

    /// What is not as usual.
    fn notes(&self) -> String {
        let moved = self
            .ports
            .iter()
            .zip(["the gateway", "the admin API"])
            .filter(|(port, _)| port.usual != port.chosen);
        let moved = moved
            .map(|(port, what)| format!("Port {} is taken: {what} is on {}.\n", port.usual, port.chosen));
        let edited = self.written.left_alone.iter().map(|path| {
            let (kept, used) = (path.display(), self.written.path.display());
            format!("{kept} was edited and stays as it is; this run's configuration is {used}.\n")
        });
        moved.chain(edited).collect()
    }

    fn upstream(&self) -> String {
        match &self.front.kind {
            Kind::Demo => format!("a demo API on {} that answers with what it received", self.front.target),
            Kind::Own { url, .. } => url.clone(),
        }
    }

    fn go_on(&self) -> String {
        let path = self.written.path.display();
        let serve = format!("portcullis serve --config {path}");
        match self.front.kind {
            Kind::Demo => format!("put your API's address into {path}, then {serve}"),
            Kind::Own { .. } => serve,
        }
    }
}
