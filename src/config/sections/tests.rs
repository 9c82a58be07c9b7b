//! Each rule of the tables, through the same door as a file.

use std::num::{NonZeroU32, NonZeroU64};
use std::path::Path;

use super::*;
use crate::config::Config;
use crate::config::bounds::ClientBounds;
use crate::config::file::parse;
use crate::config::http2::{Cleartext, Http2};
use crate::config::listen::{Listen, Place};
use crate::config::log::{AccessLog, Log, LogFormat, Ratio, Sampling};
use crate::key::due::RotateAfter;

const EACH: Sampling = Sampling { good: Ratio::ALL, failed: Ratio::ALL };

const REST: &str =
    "\n[upstreams.api]\ntargets = [\"127.0.0.1:9000\"]\n[[routes]]\npath = \"/\"\nupstream = \"api\"\n";

fn read(text: &str) -> Result<Config, String> {
    let variables = |name: &str| match name {
        "LONG" => Some("0123456789abcdef".into()),
        "SHORT" => Some("0123456789abcde".into()),
        _ => None,
    };
    parse(&format!("{text}{REST}"), Path::new("/folder"), Path::new("f"), &variables)
        .map_err(|e| e.to_string())
}

fn good(text: &str) -> Config {
    read(text).unwrap()
}

/// Each text has one fault, which starts with the path and detail given.
fn assert_faults(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        let error = read(text).unwrap_err();
        assert_eq!(error.lines().count(), 1, "{text}: {error}");
        let (_, fault) = error.split_once(": ").unwrap();
        assert!(fault.starts_with(expected), "{text}: {error}");
    }
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let config = good("");
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let gateway = Gateway {
        tls: Vec::new(),
        http2: Http2 {
            cleartext: Cleartext::Off,
            max_streams: 100,
            max_resets: 100,
            max_control_frames: 1000,
        },
        listen: Listen {
            direct: vec![Place::Tcp("0.0.0.0:8080".parse().unwrap())],
            proxied: vec![],
            unix_mode: 0o600,
        },
        threads: cores,
        trusted_proxies: vec![],
        max_request_header: 32 << 10,
        max_request_body: None,
        header_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_mins(1),
        max_connections: 20_000,
        bounds: ClientBounds {
            headers: 128,
            body_timeout: Duration::from_mins(1),
            body_rate: NonZeroU64::new(512),
            body_grace: Duration::from_secs(10),
            requests: NonZeroU32::new(100_000),
            connections_per_address: NonZeroU32::new(1_000),
        },
        shutdown_grace: Duration::from_secs(30),
        core_dumps: CoreDumps::Off,
    };
    assert_eq!(config.gateway, gateway);
    let admin = Admin {
        listen: "127.0.0.1:9180".parse().unwrap(),
        hosts: Vec::new(),
        metrics: MetricsAccess::Open,
        tls: None,
    };
    assert_eq!(config.admin, admin);
    assert_eq!(config.store, Store::Redb { path: "/folder/data/portcullis.redb".into() });
    let rotate_after = RotateAfter::everywhere(Some(Duration::from_hours(90 * 24)));
    assert_eq!(config.keys, Keys { prefix: "pc".into(), rotate_after, pepper: None, master_key: None });
    assert_eq!(config.metrics, Metrics { top_keys: 100 });
    assert_eq!(
        config.log,
        Log { format: LogFormat::Text, level: tracing::Level::INFO, access: AccessLog::On, sampling: EACH }
    );
}

#[test]
fn the_gateway_reads_every_field() {
    let gateway = good(
        "[gateway]\nlisten = [\"127.0.0.1:0\", \"127.0.0.1:0\", \"[::1]:80\", \"unix:/run/x.sock\"]\nthreads = 1\n\
         unix_mode = \"0660\"\nproxy_protocol = [\"127.0.0.1:0\", \"unix:/p\"]\nmax_request_headers = 8\nbody_timeout = \"1s\"\n\
         min_body_rate = \"0\"\nbody_grace = \"0s\"\nmax_requests_per_connection = 0\n\
         max_connections_per_address = 0\n\
         trusted_proxies = [\"10.1.2.3/8\", \"127.0.0.1\", \"fd00::/8\"]\nmax_request_header = \"1KiB\"\n\
         max_request_body = \"10MB\"\nheader_timeout = \"100ms\"\nidle_timeout = \"1h\"\nmax_connections = 1\n\
         shutdown_grace = \"0s\"\nh2c = false\n",
    )
    .gateway;
    let Listen { direct, proxied, unix_mode } = gateway.listen;
    assert_eq!((direct.len(), &direct[3]), (4, &Place::Unix("/run/x.sock".into())));
    assert_eq!((proxied.len(), &proxied[1]), (2, &Place::Unix("/p".into())));
    assert_eq!(unix_mode, 0o660);
    assert_eq!((gateway.bounds.headers, gateway.bounds.body_rate), (8, None));
    assert_eq!((gateway.bounds.requests, gateway.bounds.connections_per_address), (None, None));
    let proxies: Vec<_> = gateway.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(proxies, ["10.0.0.0/8", "127.0.0.1/32", "fd00::/8"]);
    assert_eq!(gateway.max_request_body, NonZeroU64::new(10_000_000));
    assert_eq!(gateway.shutdown_grace, Duration::ZERO);
}

#[test]
fn each_rule_of_the_gateway_is_checked() {
    assert_faults(&[
        ("[gateway]\nlisten = []", "gateway.listen: must have at least one"),
        ("[gateway]\nlisten = \"0.0.0.0:80\"", "gateway.listen: must be an array"),
        ("[gateway]\nlisten = [\"localhost:80\"]", "gateway.listen[0]: must be an IP address"),
        ("[gateway]\nlisten = [\"0.0.0.0:80\", \"0.0.0.0:80\"]", "gateway.listen[1]: is listed twice"),
        ("[gateway]\nlisten = [\"unix:x.sock\"]", "gateway.listen[0]: must be an absolute path"),
        ("[gateway]\nlisten = [\"unix:/a\", \"unix:/a\"]", "gateway.listen[1]: is listed twice"),
        ("[gateway]\nunix_mode = \"0777\"", "gateway.unix_mode: must be"),
        ("[gateway]\nproxy_protocol = [\"0.0.0.0:81\"]", "gateway.proxy_protocol: needs trusted_proxies"),
        (
            "[gateway]\ntrusted_proxies = [\"10.0.0.0/8\"]\nproxy_protocol = [\"0.0.0.0:8080\"]",
            "gateway.proxy_protocol[0]: is listed twice",
        ),
        (
            "[gateway]\nlisten = [\"unix:/a\"]\ntrusted_proxies = [\"10.0.0.0/8\"]\nproxy_protocol = [\"unix:/a\"]",
            "gateway.proxy_protocol[0]: is listed twice",
        ),
        (
            "[gateway]\ntrusted_proxies = [\"10.0.0.0/8\"]\nproxy_protocol = [\"unix:/a\"]",
            "gateway.proxy_protocol: needs 127.0.0.1 in trusted_proxies",
        ),
        ("[gateway]\nmax_request_headers = 251", "gateway.max_request_headers: must be from 8 to 250"),
        ("[gateway]\nbody_timeout = \"2h\"", "gateway.body_timeout: must be from 100ms to 1h"),
        ("[gateway]\nmin_body_rate = \"1GiB\"", "gateway.min_body_rate: must be from 0 to 1MiB"),
        ("[gateway]\nthreads = -1", "gateway.threads: must be a whole number"),
        ("[gateway]\nthreads = 1025", "gateway.threads: must be from 0 to 1024"),
        ("[gateway]\ntrusted_proxies = [\"10.0.0.0/33\"]", "gateway.trusted_proxies[0]: must be a network"),
        (
            "[gateway]\nmax_request_header = \"1023\"",
            "gateway.max_request_header: must be from 1KiB to 512KiB",
        ),
        ("[gateway]\nmax_request_header = \"513KiB\"", "gateway.max_request_header: must be from"),
        ("[gateway]\nmax_request_body = 0", "gateway.max_request_body: must be a string"),
        ("[gateway]\nheader_timeout = \"99ms\"", "gateway.header_timeout: must be from 100ms to 10m"),
        ("[gateway]\nidle_timeout = \"61m\"", "gateway.idle_timeout: must be from 1s to 1h"),
        ("[gateway]\nmax_connections = 0", "gateway.max_connections: must be from 1 to 1000000"),
        ("[gateway]\nshutdown_grace = \"2h\"", "gateway.shutdown_grace: must be from 0s to 1h"),
        ("[gateway]\ncore_dumps = 1", "gateway.core_dumps: must be true or false"),
        ("[gateway]\nhttp2_max_streams = 0", "gateway.http2_max_streams: must be from 1 to 10000"),
        ("[gateway]\nhttp2_max_resets = 0", "gateway.http2_max_resets: must be from 1"),
        ("[gateway]\nhttp2_max_control_frames = 9", "gateway.http2_max_control_frames: must be from 10"),
        ("[gateway]\nh2c = 1", "gateway.h2c: must be true or false"),
        ("[gateway]\nlisten_on = 1", "gateway.listen_on: unknown field"),
    ]);
}

#[test]
fn the_admin_listener_is_open_to_others_only_where_that_was_said() {
    for (listen, more) in [
        ("127.0.0.1:1", ""),
        ("127.9.9.9:1", ""),
        ("[::1]:1", ""),
        ("[::ffff:127.0.0.1]:1", ""),
        ("0.0.0.0:1", "insecure = true\n"),
    ] {
        let text = format!("[admin]\nlisten = \"{listen}\"\nmetrics_open = false\n{more}");
        assert_eq!(good(&text).admin.metrics, MetricsAccess::Token);
    }
    let open = "admin.listen: is not a loopback address: it needs [admin.tls], or insecure = true";
    assert_faults(&[
        ("[admin]\nlisten = \"0.0.0.0:9180\"", open),
        ("[admin]\nlisten = \"[::]:9180\"\ninsecure = false", open),
        ("[gateway]\nlisten = [\"127.0.0.1:9180\"]", "admin.listen: is an address of gateway.listen as well"),
        ("[admin]\nlisten = \"9180\"", "admin.listen: must be an IP address"),
        ("[admin]\nhosts = [\"admin.example:80\"]", "admin.hosts[0]: must be a host without a port"),
        ("[admin]\nhosts = \"admin.example\"", "admin.hosts: must be an array"),
        ("[admin]\nmetrics_open = \"yes\"", "admin.metrics_open: must be true or false"),
        ("[admin]\ntoken = \"x\"", "admin.token: unknown field"),
    ]);
}

#[test]
fn the_admin_certificate_must_be_there() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, private_key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
    let text = format!(
        "[admin]\nlisten = \"0.0.0.0:1\"\n[admin.tls]\ncertificate = {certificate:?}\nprivate_key = {private_key:?}\n"
    );
    let error = read(&text).unwrap_err();
    assert!(error.starts_with("f:4: admin.tls.certificate: there is no file "), "{error}");
    assert!(
        error.lines().nth(1).unwrap().starts_with("f:5: admin.tls.private_key: there is no file "),
        "{error}"
    );
    std::fs::write(&certificate, "").unwrap();
    std::fs::write(&private_key, "").unwrap();
    assert_eq!(good(&text).admin.tls, Some(AdminTls { certificate, private_key }));
    assert_faults(&[
        ("[admin]\ntls = true", "admin.tls: must be an object"),
        (
            "[admin.tls]\nca = 1\ncertificate = \"/etc/passwd\"\nprivate_key = \"/etc/passwd\"",
            "admin.tls.ca: unknown",
        ),
    ]);
}

#[test]
fn each_rule_of_the_store_and_the_keys_is_checked() {
    assert_eq!(good("[store]\npath = \"/x.redb\"").store, Store::Redb { path: "/x.redb".into() });
    let keys =
        good("[keys]\nprefix = \"a1\"\nrotate_after = \"3650d\"\npepper_env = \"LONG\"\nrecoverable = false")
            .keys;
    assert_eq!(keys.pepper.unwrap().expose(), b"0123456789abcdef");
    let off = good("[keys]\nrecoverable = false\nmaster_key_env = \"NO\"").keys;
    assert_eq!(off.master_key, None, "its variable need not be there");
    assert_faults(&[
        ("[store]\nkind = \"postgres\"", "store.kind: not supported yet"),
        ("[store]\nkind = \"sqlite\"", "store.kind: must be \"redb\""),
        ("[store]\npath = \"\"", "store.path: must have 1 to 4096 characters"),
        ("[store]\nurl = \"\"", "store.url: unknown field"),
        ("[keys]\nprefix = \"\"", "keys.prefix: must be 1 to 16"),
        ("[keys]\nprefix = \"a_b\"", "keys.prefix: must be 1 to 16"),
        ("[keys]\nprefix = \"1a\"", "keys.prefix: must be 1 to 16"),
        ("[keys]\nprefix = \"abcdefghijklmnopq\"", "keys.prefix: must be 1 to 16"),
        ("[keys]\nrotate_after = \"23h\"", "keys.rotate_after: must be from 1d to 3650d"),
        ("[keys]\nrotate_after = \"3651d\"", "keys.rotate_after: must be from 1d to 3650d"),
        ("[keys]\nrotate_after = \"0s\"", "keys.rotate_after: must be from 1d to 3650d, or \"never\""),
        ("[keys]\nrotate_after = 90", "keys.rotate_after: must be a string"),
        ("[keys]\nrotate_after = { live = \"1h\" }", "keys.rotate_after.live: must be from 1d to 3650d"),
        ("[keys.rotate_after]\ndefault = \"soon\"", "keys.rotate_after.default: must be a duration"),
        (
            "[keys]\nrotate_after = { Live = \"30d\" }",
            "keys.rotate_after.Live: the environment must be 1 to 32",
        ),
        ("[keys]\npepper_env = \"NO\"", "keys.pepper_env: the environment variable `NO` is not set"),
        (
            "[keys]\npepper_env = \"SHORT\"",
            "keys.pepper_env: the environment variable `SHORT` must hold at least 16",
        ),
        ("[keys]\npepper_env = \"${LONG}\"", "keys.pepper_env: must be the name of an environment variable"),
        ("[keys]\nrecoverable = true", "keys.recoverable: needs master_key_env"),
        ("[keys]\nrecoverable = 1", "keys.recoverable: must be true or false"),
        (
            "[keys]\nmaster_key_env = \"a b\"",
            "keys.master_key_env: must be the name of an environment variable",
        ),
        (
            "[keys]\nrecoverable = true\nmaster_key_env = \"NO\"",
            "keys.master_key_env: the environment variable `NO` is not set",
        ),
        (
            "[keys]\nrecoverable = true\nmaster_key_env = \"SHORT\"",
            "keys.master_key_env: the environment variable `SHORT` must hold 32 bytes in base64",
        ),
    ]);
}

#[test]
fn a_rotation_is_due_after_one_time_or_one_for_each_environment() {
    let days = |days: u64| Some(Duration::from_hours(24 * days));
    let after = |text: &str| {
        let rule = good(&format!("[keys]\nrotate_after = {text}")).keys.rotate_after;
        ["live", "test", "sandbox"].map(|environment| rule.of(environment))
    };
    assert_eq!(after("\"7d\""), [days(7); 3]);
    assert_eq!(after("\"never\""), [None; 3]);
    assert_eq!(after("{}"), [days(90); 3]);
    assert_eq!(after("{ live = \"30d\" }"), [days(30), days(90), days(90)]);
    let table = "{ default = \"never\", live = \"30d\", test = \"365d\" }";
    assert_eq!(after(table), [days(30), days(365), None]);
}

#[test]
fn each_rule_of_metrics_and_log_is_checked() {
    assert_eq!(good("[metrics]\ntop_keys = 0").metrics.top_keys, 0);
    let log = good("[log]\nformat = \"json\"\nlevel = \"trace\"\naccess = false").log;
    let expected =
        Log { format: LogFormat::Json, level: tracing::Level::TRACE, access: AccessLog::Off, sampling: EACH };
    assert_eq!(log, expected);
    let sampling = good("[log]\naccess_sample = 0.25").log.sampling;
    assert!(sampling.good.takes(u32::MAX / 4) && !sampling.good.takes(u32::MAX / 4 + 1));
    assert_eq!(sampling.failed, Ratio::ALL);
    assert_faults(&[
        ("[metrics]\ntop_keys = 10001", "metrics.top_keys: must be from 0 to 10000"),
        ("[metrics]\nkeys = 1", "metrics.keys: unknown field"),
        ("[log]\nformat = \"xml\"", "log.format: must be"),
        ("[log]\nlevel = \"INFO\"", "log.level: must be"),
        ("[log]\naccess = \"on\"", "log.access: must be true or false"),
        ("[log]\naccess_sample = 1.5", "log.access_sample: must be from 0 to 1"),
        ("[log]\naccess_sample_failed = \"all\"", "log.access_sample_failed: must be a number"),
        ("[traces]\nsample = -1", "traces.sample: must be from 0 to 1"),
        ("[log]\nfile = \"x\"", "log.file: unknown field"),
    ]);
}
