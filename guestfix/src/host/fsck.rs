// SPDX-License-Identifier: Apache-2.0
//! The node's own checkers of filesystems, for reading only: a second opinion on what the kernel
//! wrote. They parse guest bytes, so they run as nobody, without capabilities, network and time to
//! waste, and see the volume and nothing else to write to.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{ErrorKind, PipeReader, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sched::CloneFlags;
use rustix::fs::{FileType, Mode};
use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::process::Resource;
use serde::{Deserialize, Serialize};

use super::loopdev::LoopDevice;
use super::{confine, seccomp};
use crate::error::{Error, Result};

/// Where the programs are looked for.
const DIRS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];
/// Where the volume is shown to the program, in a mount namespace of its own.
const PLACE: &str = "/tmp";
const NODE: &str = "/tmp/volume";
/// The last bytes that it prints are kept. There is no limit on the size of files: xfs_repair
/// insists on taking it off, and can write to nothing but a small filesystem in memory.
const MAX_OUTPUT: usize = 64 << 10;
/// Bytes of address space.
const MEMORY: u64 = 2 << 30;
/// The last lines that are told.
const LINES: usize = 12;
const LOOK_AROUND: Duration = Duration::from_millis(5);

/// What a checker says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Opinion {
    /// No fault was found.
    Sound,
    /// What it complained of.
    Faulty(String),
    /// It is not installed, or was not done in time.
    None(String),
}

/// The checker of a filesystem, as it is called; `None` for one that needs no second opinion here.
pub fn checker(fstype: &str) -> Option<&'static str> {
    command(fstype).map(|(_, shown)| shown)
}

fn command(fstype: &str) -> Option<(&'static [&'static str], &'static str)> {
    match fstype {
        "xfs" => Some((&["xfs_repair", "-n"], "xfs_repair -n")),
        "btrfs" => Some((&["btrfs", "check", "--readonly"], "btrfs check --readonly")),
        "vfat" => Some((&["fsck.vfat", "-n"], "fsck.vfat -n")),
        "ntfs" => Some((&["ntfsfix", "-n"], "ntfsfix -n")),
        _ => None,
    }
}

/// Runs the checker of `fstype` on a volume that is not mounted.
///
/// # Errors
/// `Host` when it cannot be started; what it finds is no error.
pub(super) fn check(volume: &File, dir: &Path, fstype: &str, timeout: Duration) -> Result<Opinion> {
    let Some((argv, _)) = command(fstype) else {
        return Ok(Opinion::None(format!("no checker is known for {fstype}")));
    };
    let (name, options) = argv.split_first().unwrap_or((&"", &[]));
    let Some(program) = find(name) else {
        return Ok(Opinion::None(format!("{name} is not installed")));
    };
    let device = LoopDevice::attach(volume.as_fd(), dir, true)?;
    let opinion = run(&program, options, device.path(), timeout);
    device.detach(Duration::from_secs(10))?;
    opinion
}

/// Where a program is installed.
pub fn find(name: &str) -> Option<PathBuf> {
    let mut paths = DIRS.iter().map(|dir| Path::new(dir).join(name));
    paths.find(|path| path.is_file())
}

fn run(program: &Path, options: &[&str], device: &Path, timeout: Duration) -> Result<Opinion> {
    let started = |e| Error::io(format!("starting {}", program.display()), e);
    let (output, ends) = std::io::pipe().map_err(started)?;
    rustix::io::ioctl_fionbio(&output, true).map_err(|e| started(e.into()))?;
    let number = device.metadata().map_err(started)?.rdev();
    let mut command = Command::new(program);
    command
        .args(options)
        .arg(NODE)
        .env_clear()
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(ends.try_clone().map_err(started)?)
        .stderr(ends);
    let cpu = timeout.as_secs().max(1);
    // SAFETY: the mounter has a single thread, so its child may do anything between fork and exec.
    unsafe { command.pre_exec(move || confined(number, cpu).map_err(std::io::Error::other)) };
    let mut child = command.spawn().map_err(started)?;
    // The command keeps the pipe's other end.
    drop(command);
    let mut said = Vec::new();
    let status = wait(&mut child, timeout, &output, &mut said).map_err(started)?;
    let said = last_lines(&said);
    Ok(match status {
        Some(status) if status.success() => Opinion::Sound,
        Some(status) if said.is_empty() => Opinion::Faulty(status.to_string()),
        Some(_) => Opinion::Faulty(said),
        None => Opinion::None(format!("it was not done after {} s", timeout.as_secs())),
    })
}

/// Between fork and exec: leaves everything behind but the volume.
fn confined(number: u64, cpu: u64) -> Result<()> {
    let io = |e: rustix::io::Errno| Error::io("confining a checker", e);
    let apart = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC;
    nix::sched::unshare(apart).map_err(|e| Error::io("confining a checker", e))?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).map_err(io)?;
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    rustix::mount::mount("none", PLACE, "tmpfs", flags, c"size=64m,mode=1777").map_err(io)?;
    let kind = FileType::BlockDevice;
    rustix::fs::mknodat(rustix::fs::CWD, NODE, kind, Mode::RUSR, number).map_err(io)?;
    std::os::unix::fs::chown(NODE, Some(confine::NOBODY), Some(confine::NOBODY))
        .map_err(|e| Error::io("confining a checker", e))?;
    for (resource, value) in [
        (Resource::Core, 0),
        (Resource::Cpu, cpu),
        (Resource::As, MEMORY),
    ] {
        confine::limit(resource, value)?;
    }
    confine::give_up_root(true)?;
    seccomp::install_guest()
}

/// Waits for the end, and keeps the last of what is printed meanwhile; `None` when time was up.
fn wait(
    child: &mut Child,
    timeout: Duration,
    output: &PipeReader,
    said: &mut Vec<u8>,
) -> std::io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + timeout;
    loop {
        let ended = child.try_wait()?;
        drain(output, said)?;
        if ended.is_some() {
            return Ok(ended);
        }
        if Instant::now() >= deadline {
            let _ = child.kill();
            child.wait()?;
            return Ok(None);
        }
        sleep(LOOK_AROUND);
    }
}

fn drain(mut output: &PipeReader, said: &mut Vec<u8>) -> std::io::Result<()> {
    let mut part = [0_u8; 4096];
    loop {
        match output.read(&mut part) {
            Ok(0) => return Ok(()),
            Ok(len) => said.extend_from_slice(part.get(..len).unwrap_or_default()),
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
        let surplus = said.len().saturating_sub(MAX_OUTPUT);
        said.drain(..surplus);
    }
}

fn last_lines(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let lines: Vec<&str> = said.lines().filter(|line| !line.is_empty()).collect();
    let from = lines.len().saturating_sub(LINES);
    lines.get(from..).unwrap_or_default().join("; ")
}
