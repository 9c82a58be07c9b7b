//! Processes to measure: started on a core of their own, watched through `/proc`, and ended with the benchmark.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The gateway, as it was built with this benchmark; a variable names another one to measure.
const GATEWAY: &str = env!("CARGO_BIN_EXE_portcullis");
const GATEWAY_VARIABLE: &str = "PORTCULLIS_BIN";

/// How long a process has until it is ready.
const READY_WITHIN: Duration = Duration::from_mins(2);
/// How long a question to a process may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a process has to end, once it was asked to: in order, or before it is killed.
const END_WITHIN: Duration = Duration::from_mins(1);
const DROP_WITHIN: Duration = Duration::from_secs(5);
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

/// Imports the keys of a file into the store of a gateway that does not run.
pub fn import_keys(program: &Path, file: &Path, config: &Path) -> anyhow::Result<()> {
    let mut import = Command::new(program);
    let output = import.args(["keys", "import"]).arg(file).arg("--config").arg(config).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "the keys were not imported: {said}");
    Ok(())
}

/// Two cores: one for what is measured, one for all else. Where there is but one, nothing is pinned.
#[derive(Clone, Copy)]
pub struct Cores {
    pub measured: Option<usize>,
    pub other: Option<usize>,
}

impl Cores {
    /// Nothing is pinned: the system spreads all over the cores that there are.
    pub const FREE: Self = Self { measured: None, other: None };

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

    /// Asks it to end and waits until it has, so that it writes what it writes at its end.
    pub fn end(mut self) -> anyhow::Result<()> {
        anyhow::ensure!(self.ends_within(END_WITHIN), "the process did not end when it was asked to");
        Ok(())
    }

    fn ends_within(&mut self, bound: Duration) -> bool {
        let started = now();
        if let Some(id) = Pid::from_raw(self.0.id().cast_signed()) {
            // It may have ended by itself.
            let _ = kill_process(id, Signal::TERM);
        }
        while started.elapsed() < bound {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return true;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        false
    }

    /// The processor time that it and the processes that it started have used, in seconds: of all their threads.
    pub fn cpu(&self) -> anyhow::Result<f64> {
        self.family()?.iter().map(|id| used_cpu(&Path::new("/proc").join(id).join("stat"))).sum()
    }

    /// Its own number and those of its children.
    fn family(&self) -> anyhow::Result<Vec<String>> {
        let own = self.0.id().to_string();
        let mut family = vec![own.clone()];
        for entry in std::fs::read_dir("/proc")? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            // One may end while this looks.
            let Ok(stat) = std::fs::read_to_string(format!("/proc/{name}/stat")) else { continue };
            let parent = stat.rsplit_once(')').and_then(|(_, after)| after.split_whitespace().nth(1));
            if parent == Some(&own) && name.parse::<u32>().is_ok() {
                family.push(name);
            }
        }
        Ok(family)
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

    /// Its resident memory, in bytes. What it shares with its children counts once.
    pub fn resident_bytes(&self) -> anyhow::Result<f64> {
        let family = self.family()?;
        let (file, field) = if family.len() == 1 { ("status", "VmRSS:") } else { ("smaps_rollup", "Pss:") };
        let mut bytes = 0.0;
        for id in family {
            let text = std::fs::read_to_string(format!("/proc/{id}/{file}"))?;
            let line = text.lines().find_map(|line| line.strip_prefix(field)).context("no such line")?;
            bytes += line.trim().trim_end_matches("kB").trim().parse::<f64>()? * 1024.0;
        }
        Ok(bytes)
    }

    /// How many descriptors it has open.
    pub fn descriptors(&self) -> anyhow::Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.0.id()))?.count())
    }

    /// Waits until something answers 200 for `path` at this address, and says how long that took.
    pub fn wait_for(&mut self, address: SocketAddr, path: &str) -> anyhow::Result<Duration> {
        self.wait_for_start(address, path, b"HTTP/1.1 200")
    }

    /// The same, with any answer.
    pub fn wait_for_any(&mut self, address: SocketAddr, path: &str) -> anyhow::Result<Duration> {
        self.wait_for_start(address, path, b"HTTP/1.1 ")
    }

    fn wait_for_start(&mut self, address: SocketAddr, path: &str, wanted: &[u8]) -> anyhow::Result<Duration> {
        let started = now();
        while started.elapsed() < READY_WITHIN {
            if let Some(status) = self.0.try_wait()? {
                anyhow::bail!("the process ended with {status} before it was ready");
            }
            let mut start = vec![0; wanted.len()];
            let answered = ask(address, path).and_then(|mut stream| Ok(stream.read_exact(&mut start)?));
            if answered.is_ok() && start == wanted {
                return Ok(started.elapsed());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        anyhow::bail!("no answer from {address}{path} within {} s", READY_WITHIN.as_secs())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A process with children ends them only when it is asked to. It may have ended by itself.
        if !self.ends_within(DROP_WITHIN) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
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
