//! What the targets need of a gateway: its routes, and its service for changes over an empty store.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use portcullis::app::Core;
use portcullis::clock::{ManualClock, Timestamp};
use portcullis::config::file;
use portcullis::proxy::routing::Routing;

/// A route for each place of a credential, for all of them at once, and for what becomes of the path and the secret.
const ROUTES: &str = r#"
[upstreams.u]
targets = ["127.0.0.1:1"]
[[routes]]
path = "/bearer"
upstream = "u"
[[routes]]
path = "/header"
upstream = "u"
credential = ["header:x-api-key"]
[[routes]]
path = "/query"
upstream = "u"
credential = ["query:api_key"]
[[routes]]
path = "/all"
upstream = "u"
strip_path = true
credential = ["bearer", "header:x-api-key", "header:x-key", "query:api_key", "query:k"]
[[routes]]
path = "/forward"
upstream = "u"
forward_credential = true
credential = ["bearer", "header:x-api-key", "query:api_key"]
"#;

/// Made once. Its files have lost their names: they go with the process.
pub struct World {
    pub core: Core,
    pub routing: Routing,
}

/// The moment at which everything happens: 2026-11-21T12:00:00Z.
pub const NOW: Timestamp = Timestamp::from_secs(1_795_262_400);

pub static WORLD: LazyLock<World> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let config = file::parse(ROUTES, folder.path(), Path::new("p.toml"), &|_| None).unwrap();
    let core = Core::open(&config, Arc::new(ManualClock::at(NOW))).unwrap();
    let routing = Routing::new(&config, None, core.store.as_ref(), &core.metrics).unwrap();
    World { core, routing }
});
