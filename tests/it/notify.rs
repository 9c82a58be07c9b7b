//! What the service manager is told: sd_notify's datagrams, in the order of a service's life.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::{Fixture, Manager, Process, config_file, serve};

#[test]
fn ready_reloading_alive_and_stopping_are_told() {
    let fixture = Fixture::new();
    let config = config_file(&fixture);
    let (manager, mut command) = (Manager::beside(&fixture), serve(&config));
    command.env("WATCHDOG_USEC", "100000");
    let mut server = Process::start(manager.starts(&mut command)).serving();
    let ready = format!("MAINPID={}\nREADY=1\n", server.process.pid().as_raw_nonzero());
    assert!(manager.told().starts_with(&ready));
    (0..4).for_each(|_| manager.sees_life());
    server.process.signal(Signal::HUP);
    let reloading = manager.told();
    let micros =
        reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap_or_else(|| panic!("{reloading}"));
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    let told: f64 = micros.parse().unwrap();
    assert!(told > 0.0 && told / 1e6 <= uptime + 1.0, "{told} of {uptime}");
    assert!(manager.told().starts_with("READY=1\n"), "a reload ends with that, and does not say who serves");
    std::fs::write(&config, "no TOML").unwrap();
    server.process.signal(Signal::HUP);
    assert!(manager.told().starts_with("RELOADING=1\n"));
    let refused = manager.told();
    assert!(refused.starts_with("READY=1\nSTATUS=") && refused.contains("was refused"), "{refused}");
    server.process.signal(Signal::TERM);
    assert!(manager.told().starts_with("STOPPING=1\n"));
    assert_eq!(server.process.wait(Duration::from_secs(5)).code(), Some(0));
}
