//! The memory of a process that serves is its own: the system treats it as one that must not be dumped or traced.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;

use rustix::process::geteuid;

use crate::support::{Fixture, Process, Server, config_file, serve};

/// A user without rights.
const NOBODY: u32 = 65_534;

/// Who owns the files that the system shows of a process: root where it must not be dumped, its user otherwise.
fn owner(lines: &str) -> Option<(u32, u32)> {
    let fixture = Fixture::with(&format!(
        "[gateway]\nlisten = [\"127.0.0.1:0\"]\n{lines}\n[[routes]]\npath = \"/\"\nupstream = \"api\"\n"
    ));
    let config = config_file(&fixture);
    let mut command = serve(&config);
    let user = if geteuid().is_root() {
        // Root owns its files either way.
        for path in [fixture.folder.path(), config.as_path()] {
            chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        command.uid(NOBODY).gid(NOBODY);
        NOBODY
    } else {
        geteuid().as_raw()
    };
    // The program may lie where such a user cannot run it.
    let reachable = command.spawn().map(|mut child| (child.kill(), child.wait())).is_ok();
    if !reachable {
        return None;
    }
    let server: Server = Process::start(&mut command).serving();
    let shown = fs::metadata(format!("/proc/{}/maps", server.process.pid().as_raw_pid())).unwrap();
    Some((shown.uid(), user))
}

#[test]
fn it_cannot_be_dumped_unless_that_was_said() {
    let Some((owner_by_default, _)) = owner("") else { return };
    assert_eq!(owner_by_default, 0);
    let (owner, user) = owner("core_dumps = true").unwrap();
    assert_eq!(owner, user);
}
