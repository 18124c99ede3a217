// SPDX-License-Identifier: Apache-2.0
//! NTFS, written through ntfs-3g: a process of its own between a mount and the exported volume.
//!
//! It holds `/dev/fuse` and the mounter holds the mount, so each can be killed without the other
//! one: with its server gone every use of the mount fails at once. It parses guest bytes in C, so it
//! keeps no capability but what mounting takes, no network, and bounded memory and time.
#![allow(unsafe_code)]

use std::io::{PipeReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sched::CloneFlags;
use rustix::process::Resource;
use rustix::thread::CapabilitySet;

use super::{capability, confine, fsck, namespace};
use crate::error::{Error, Result};

/// How it mounts. `norecover`: a volume whose log is to be replayed is refused, for only Windows
/// can replay it. `windows_names`: no name that Windows cannot open is made. `permissions` and
/// `inherit`: what is made gets the access rights that Windows would give it in that directory,
/// instead of everything for everybody; without a mapping of users `inherit` does nothing
/// (ntfs-3g(8)), so there is one, which it reads from its standard input.
pub const OPTIONS: &str = "no_detach,norecover,windows_names,permissions,inherit,noatime,\
                           usermapping=/proc/self/fd/0";
/// A pattern for users that nothing here is made as: root is the administrators' group.
const MAPPING: &str = "::S-1-5-21-3141592653-589793238-462643383-10000\n";

/// How long mounting may take: it reads the whole $LogFile and cluster bitmap.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of address space, and seconds of processor time.
const MEMORY: u64 = 1 << 30;
const CPU_S: u64 = 600;
/// Bytes of what it says that are kept.
const MAX_SAID: u64 = 16 << 10;

/// A running ntfs-3g. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Ntfs3g {
    child: Child,
    said: PipeReader,
}

impl Ntfs3g {
    /// Mounts a volume's file at a directory, and returns when it is mounted for writing.
    ///
    /// # Errors
    /// `Host`/`no-ntfs-3g`; `Refused`/`hibernated` and `ntfs-log`; `Corrupt`/`ntfs`;
    /// `Corrupt`/`mounted-read-only`.
    pub(super) fn mount(volume: &Path, at: &Path) -> Result<Self> {
        let program = fsck::find("ntfs-3g").ok_or_else(|| {
            Error::host("no-ntfs-3g", "ntfs-3g is not installed, and it writes NTFS")
                .hint("install the package ntfs-3g on this machine, or into the container's image")
        })?;
        let started = |e| Error::io("starting ntfs-3g", e);
        // The table of mounts knows no symlinks.
        let at = &std::fs::canonicalize(at).map_err(started)?;
        let (said, ends) = std::io::pipe().map_err(started)?;
        // Shorter than what a pipe holds.
        let (mapping, mut written) = std::io::pipe().map_err(started)?;
        written.write_all(MAPPING.as_bytes()).map_err(started)?;
        drop(written);
        let mut command = Command::new(program);
        command
            .args(["-o", OPTIONS])
            .args([volume, at.as_path()])
            .current_dir("/")
            .env_clear()
            .env("LC_ALL", "C.UTF-8")
            .stdin(mapping)
            .stdout(ends.try_clone().map_err(started)?)
            .stderr(ends);
        // SAFETY: the mounter has a single thread, so its child may do anything between fork and
        // exec.
        unsafe { command.pre_exec(|| confined().map_err(std::io::Error::other)) };
        let child = command.spawn().map_err(started)?;
        // The command keeps the pipe's other end.
        drop(command);
        let mut own = Self { child, said };
        own.wait_until_mounted(at)?;
        Ok(own)
    }

    fn wait_until_mounted(&mut self, at: &Path) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.ended()? {
                return Err(self.refusal(status));
            }
            match mounted(at)? {
                Some(true) => return Ok(()),
                Some(false) => {
                    return Err(Error::corrupt(
                        "mounted-read-only",
                        "ntfs-3g does not write to this filesystem",
                    )
                    .hint("start the guest once and shut it down properly (shutdown /s /t 0)"));
                }
                None if Instant::now() >= deadline => {
                    return Err(Error::host(
                        "ntfs-3g",
                        format!("ntfs-3g did not mount within {} s", PATIENCE.as_secs()),
                    ));
                }
                None => sleep(Duration::from_millis(2)),
            }
        }
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .map_err(|e| Error::io("waiting for ntfs-3g", e))
    }

    /// What its exit code means (ntfs-3g(8), "Exit codes").
    fn refusal(&mut self, status: ExitStatus) -> Error {
        let hint = "start the guest once and shut it down properly (shutdown /s /t 0)";
        let error = match status.code() {
            Some(13) => Error::corrupt("ntfs", "the NTFS filesystem is damaged")
                .hint("run chkdsk /f in the guest, and shut it down properly"),
            Some(14) => Error::refused("hibernated", "Windows is hibernated").hint(hint),
            Some(15) => Error::refused(
                "ntfs-log",
                "the NTFS filesystem was not unmounted: its log is to be replayed by Windows",
            )
            .hint(hint),
            _ => Error::host("ntfs-3g", format!("ntfs-3g could not mount: {status}")),
        };
        let mut said = Vec::new();
        let _ = (&self.said).take(MAX_SAID).read_to_end(&mut said);
        String::from_utf8_lossy(&said)
            .lines()
            .filter(|line| !line.trim().is_empty())
            .take(6)
            .fold(error, Error::because)
    }

    /// Waits until it has written everything and ended, after its mount has gone.
    pub(super) fn finish(mut self, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        loop {
            match self.ended()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(self.refusal(status)),
                None if Instant::now() >= deadline => {
                    return Err(Error::host(
                        "still-busy",
                        "ntfs-3g did not end after its volume was unmounted",
                    ));
                }
                None => sleep(Duration::from_millis(1)),
            }
        }
    }
}

impl Drop for Ntfs3g {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Between fork and exec.
fn confined() -> Result<()> {
    namespace::die_with_parent();
    let apart = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC;
    nix::sched::unshare(apart).map_err(|e| Error::io("confining ntfs-3g", e))?;
    for (resource, value) in [
        (Resource::Core, 0),
        (Resource::Cpu, CPU_S),
        (Resource::As, MEMORY),
    ] {
        confine::limit(resource, value)?;
    }
    rustix::thread::set_no_new_privs(true).map_err(|e| Error::io("confining ntfs-3g", e))?;
    // It mounts, opens what belongs to root, and sets its groups, to those that it has.
    capability::keep_only(
        CapabilitySet::SYS_ADMIN
            | CapabilitySet::DAC_OVERRIDE
            | CapabilitySet::SETGID
            | CapabilitySet::SETUID,
    )
}

/// Whether something is mounted at a directory by now, and may be written. Asks the kernel's table
/// and not the mount, whose server may not answer yet.
fn mounted(at: &Path) -> Result<Option<bool>> {
    let table = std::fs::read_to_string("/proc/thread-self/mountinfo")
        .map_err(|e| Error::io("reading the table of mounts", e))?;
    Ok(table.lines().rev().find_map(|line| state(line, at)))
}

/// Mount point, fifth, with blanks as `\040`; options of the mount, sixth; those of the filesystem,
/// the last (proc_pid_mountinfo(5)).
fn state(line: &str, at: &Path) -> Option<bool> {
    let place = at.to_str()?.replace('\\', "\\134").replace(' ', "\\040");
    let mut fields = line.split(' ');
    if fields.nth(4)? != place {
        return None;
    }
    let writable = |options: &str| options.split(',').any(|option| option == "rw");
    let driver = line.split_once(" - ")?.1.split(' ').next()?;
    let (own, super_block) = (fields.next()?, line.rsplit(' ').next()?);
    driver
        .starts_with("fuse")
        .then(|| writable(own) && writable(super_block))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_is_mounted_and_how() {
        let at = Path::new("/a b/m");
        let line = |own: &str, last: &str| {
            format!("66 27 0:39 / /a\\040b/m {own} - fuse /x {last},user_id=0,allow_other")
        };
        assert_eq!(state(&line("rw,relatime", "rw"), at), Some(true));
        assert_eq!(state(&line("ro,relatime", "rw"), at), Some(false));
        assert_eq!(state(&line("rw", "ro"), at), Some(false));
        assert_eq!(state(&line("rw", "rw"), Path::new("/a b")), None);
        let other = line("rw", "rw").replace("fuse", "tmpfs");
        assert_eq!(state(&other, at), None);
    }
}
