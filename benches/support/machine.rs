//! Processes to measure: started on a core of their own, watched through `/proc`, and ended with the benchmark.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The gateway, as it was built with this benchmark; a variable names another one to measure.
const GATEWAY: &str = env!("CARGO_BIN_EXE_portcullis");
const GATEWAY_VARIABLE: &str = "PORTCULLIS_BIN";

/// How long a process has until it is ready.
const READY_WITHIN: Duration = Duration::from_mins(2);
/// How long a question to a process may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// How the answer of a process that is ready starts.
const OK: [u8; 12] = *b"HTTP/1.1 200";
/// How often it is asked whether it is.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// A tick of `/proc/PID/stat`, in seconds: 1/100 on every Linux that Rust runs on.
const TICK: f64 = 0.01;

/// What time it is, for durations.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
pub fn now() -> Instant {
    Instant::now()
}

/// Where the gateway's binary is.
pub fn gateway() -> PathBuf {
    std::env::var_os(GATEWAY_VARIABLE).map_or_else(|| GATEWAY.into(), PathBuf::from)
}

/// Two cores: one for what is measured, one for all else. Where there is but one, nothing is pinned.
#[derive(Clone, Copy)]
pub struct Cores {
    pub measured: Option<usize>,
    pub other: Option<usize>,
}

impl Cores {
    /// The first two that this process may run on; it moves to the second itself.
    pub fn take() -> anyhow::Result<Self> {
        let allowed = sched_getaffinity(None)?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core));
        let (measured, other) = (cores.next(), cores.next());
        let cores = Self { measured: measured.filter(|_| other.is_some()), other };
        pin_self(cores.other)?;
        Ok(cores)
    }
}

fn pin_self(core: Option<usize>) -> anyhow::Result<()> {
    let Some(core) = core else { return Ok(()) };
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).context("cannot choose a core")
}

/// A process that ends when this is dropped.
pub struct Process(Child);

impl Process {
    /// Starts it on the core that is measured.
    pub fn start_measured(command: &mut Command, cores: Cores) -> anyhow::Result<Self> {
        // A process starts on the core of the one that starts it.
        pin_self(cores.measured)?;
        let started = Self::start(command);
        pin_self(cores.other)?;
        started
    }

    /// Starts it on this process's core.
    pub fn start(command: &mut Command) -> anyhow::Result<Self> {
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = quiet.spawn().with_context(|| {
            format!("cannot start {}; `make bench` builds it", quiet.get_program().display())
        })?;
        Ok(Self(child))
    }

    /// Kills it, as `kill -9` does.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }

    /// The processor time that it has used, in seconds.
    pub fn cpu(&self) -> anyhow::Result<f64> {
        used_cpu(Path::new("/proc").join(self.0.id().to_string()).join("stat").as_path())
    }

    /// The processor time of its threads of this name.
    pub fn cpu_of_threads(&self, name: &str) -> anyhow::Result<f64> {
        let tasks = Path::new("/proc").join(self.0.id().to_string()).join("task");
        let mut used = 0.0;
        for task in std::fs::read_dir(tasks)? {
            let task = task?.path();
            if std::fs::read_to_string(task.join("comm"))?.trim() == name {
                used += used_cpu(&task.join("stat"))?;
            }
        }
        Ok(used)
    }

    /// Its resident memory, in bytes.
    pub fn resident_bytes(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib * 1024.0)
    }

    /// Waits until something answers 200 for `path` at this address, and says how long that took.
    pub fn wait_for(&mut self, address: SocketAddr, path: &str) -> anyhow::Result<Duration> {
        let started = now();
        while started.elapsed() < READY_WITHIN {
            if let Some(status) = self.0.try_wait()? {
                anyhow::bail!("the process ended with {status} before it was ready");
            }
            let mut start = [0; OK.len()];
            let answered = ask(address, path).and_then(|mut stream| Ok(stream.read_exact(&mut start)?));
            if answered.is_ok() && start == OK {
                return Ok(started.elapsed());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        anyhow::bail!("no answer from {address}{path} within {} s", READY_WITHIN.as_secs())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// User and system time of a `stat` file: its 14th and 15th fields. The second, the name, may have blanks in it.
fn used_cpu(stat: &Path) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(stat)?;
    let (_, after_name) = text.rsplit_once(')').context("a stat file without a name")?;
    let ticks = after_name.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? * TICK)
}

/// The whole answer to one GET.
pub fn get(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    let mut answer = Vec::new();
    ask(address, path)?.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Sends one GET on a connection of its own.
fn ask(address: SocketAddr, path: &str) -> anyhow::Result<TcpStream> {
    send(address, &format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"))
}

/// Sends these bytes on a connection of their own.
pub fn send(address: SocketAddr, bytes: &str) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&address, ASK_TIMEOUT)?;
    stream.set_read_timeout(Some(ASK_TIMEOUT))?;
    stream.write_all(bytes.as_bytes())?;
    Ok(stream)
}

/// A port that is free now.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// An example, built beside this benchmark.
pub fn example(name: &str) -> anyhow::Result<PathBuf> {
    let here = std::env::current_exe()?;
    let profile = here.parent().and_then(Path::parent).context("this benchmark is in no target folder")?;
    Ok(profile.join("examples").join(name))
}
