//! What the service manager is told: sd_notify's datagrams, in the order of a service's life.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{Fixture, Process, START, config_file, serve};

/// The next message that is no sign of life.
fn next(socket: &UnixDatagram) -> String {
    let mut bytes = [0; 512];
    loop {
        let length = socket.recv(&mut bytes).expect("a message");
        let message = String::from_utf8(bytes[..length].to_vec()).unwrap();
        if message != "WATCHDOG=1" {
            return message;
        }
    }
}

#[test]
fn ready_reloading_alive_and_stopping_are_told() {
    let fixture = Fixture::new();
    let config = config_file(&fixture);
    let path = fixture.folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(START)).unwrap();
    let mut command = serve(&config);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "100000");
    let mut server = Process::start(&mut command).serving();
    let ready = format!("MAINPID={}\nREADY=1\n", server.process.pid().as_raw_nonzero());
    assert!(next(&socket).starts_with(&ready));
    let mut bytes = [0; 512];
    for _ in 0..4 {
        let length = socket.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..length], b"WATCHDOG=1");
    }
    server.process.signal(Signal::HUP);
    let reloading = next(&socket);
    let micros =
        reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap_or_else(|| panic!("{reloading}"));
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    let told: f64 = micros.parse().unwrap();
    assert!(told > 0.0 && told / 1e6 <= uptime + 1.0, "{told} of {uptime}");
    assert!(next(&socket).starts_with("READY=1\n"), "a reload ends with that, and does not say who serves");
    server.process.signal(Signal::TERM);
    assert!(next(&socket).starts_with("STOPPING=1\n"));
    assert_eq!(server.process.wait(Duration::from_secs(5)).code(), Some(0));
}
