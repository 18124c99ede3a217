// SPDX-License-Identifier: Apache-2.0
//! Locking the worker in: it keeps the descriptors that it was given and the processor, nothing
//! else.
#![allow(unsafe_code)]

use nix::sys::signal::{SigHandler, Signal};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::process::{Resource, Rlimit};
use rustix::thread::{CapabilitySet, UnshareFlags};
use serde::{Deserialize, Serialize};

use super::{capability, seccomp};
use crate::error::{Error, Result};

/// "nobody" on every distribution.
pub(super) const NOBODY: u32 = 65534;

/// What a worker may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Largest file that it may write, bytes: the overlay's delta.
    pub file_size: u64,
    /// Processor time, seconds.
    pub cpu_s: u64,
    /// Address space, bytes.
    pub memory: u64,
    /// Open descriptors.
    pub open_files: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_size: u64::MAX,
            cpu_s: 900,
            memory: 4 << 30,
            open_files: 256,
        }
    }
}

/// How far [`confine_worker`] got. As root everything or an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// No network, no filesystem, no IPC: own namespaces with an empty root. Without root it
    /// takes user namespaces, which some machines forbid; the system call filter then stands
    /// alone.
    pub namespaces: bool,
    /// Memory reclaim on behalf of this process never waits for its own FUSE server.
    pub io_flusher: bool,
}

/// Gives up everything that a worker does not need, for good. To be called first thing by the
/// worker's main thread, before any other thread exists.
///
/// # Errors
/// `Host`/`confinement` or `Host`/`no-seccomp` when the kernel refuses: the worker must end then.
pub fn confine_worker(limits: &Limits) -> Result<Confinement> {
    let root = rustix::process::geteuid().is_root();
    let io_flusher = rustix::process::configure_io_flusher_behavior(true).is_ok();
    few_arenas();
    ignore_signals()?;
    let namespaces = match own_namespaces(root) {
        Ok(()) => true,
        Err(e) if root => return Err(e),
        Err(_) => false,
    };
    set_limits(limits)?;
    give_up_root(root)?;
    // A change of user forgets these two.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let _ = nix::sys::prctl::set_dumpable(false);
    seccomp::install_worker()?;
    Ok(Confinement {
        namespaces,
        io_flusher,
    })
}

fn refused(doing: &'static str) -> impl Fn(rustix::io::Errno) -> Error {
    move |e| {
        Error::host("confinement", format!("confining the worker: {doing}"))
            .because(e)
            .hint("run as root, in a container: privileged")
    }
}

/// Each arena of glibc reserves 64 MiB of the address space that is limited here.
fn few_arenas() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes two integers; no other thread exists yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}

/// A write past a limit or to a dead peer shall fail, not kill.
fn ignore_signals() -> Result<()> {
    for signal in [Signal::SIGXFSZ, Signal::SIGPIPE] {
        // SAFETY: ignoring a signal installs no handler.
        unsafe { nix::sys::signal::signal(signal, SigHandler::SigIgn) }
            .map_err(|e| Error::io("ignoring signals", e))?;
    }
    Ok(())
}

fn own_namespaces(root: bool) -> Result<()> {
    let flags =
        UnshareFlags::NEWNS | UnshareFlags::NEWNET | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    if root {
        unshare(flags)?;
    } else {
        let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
        unshare(flags | UnshareFlags::NEWUSER)?;
        let map = |file: &str, text: String| {
            std::fs::write(format!("/proc/self/{file}"), text)
                .map_err(|e| Error::io("mapping users", e))
        };
        map("setgroups", "deny".to_owned())?;
        map("uid_map", format!("0 {} 1", uid.as_raw()))?;
        map("gid_map", format!("0 {} 1", gid.as_raw()))?;
    }
    empty_root()
}

fn unshare(flags: UnshareFlags) -> Result<()> {
    // SAFETY: the flags do not include FILES, the one whose unsharing can dangle descriptors
    // that other threads own.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(refused("making namespaces"))
}

/// Replaces the filesystem by an empty, read-only one.
fn empty_root() -> Result<()> {
    rustix::mount::mount_change(
        "/",
        MountPropagationFlags::REC | MountPropagationFlags::PRIVATE,
    )
    .map_err(refused("making mounts private"))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let options = c"size=4k,nr_inodes=4,mode=0555";
    let at = ["/tmp", "/run", "/var", "/proc", "/dev"]
        .into_iter()
        .find(|at| rustix::mount::mount("none", *at, "tmpfs", flags, options).is_ok())
        .ok_or(rustix::io::Errno::PERM)
        .map_err(refused("mounting an empty root"))?;
    enter(at).map_err(refused("entering an empty root"))?;
    rustix::mount::mount_remount("/", flags | MountFlags::RDONLY, c"")
        .map_err(refused("making the root read-only"))
}

/// Makes a mount point the root of this mount namespace and lets go of the old root.
pub(super) fn enter(at: &str) -> rustix::io::Result<()> {
    rustix::process::chdir(at)?;
    rustix::process::pivot_root(".", ".")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")
}

fn set_limits(limits: &Limits) -> Result<()> {
    for (resource, value) in [
        (Resource::Core, 0),
        (Resource::Nofile, limits.open_files),
        (Resource::Cpu, limits.cpu_s),
        (Resource::Fsize, limits.file_size),
        (Resource::As, limits.memory),
    ] {
        limit(resource, value)?;
    }
    Ok(())
}

/// Lowers a limit; never above the limit that already stands.
pub(super) fn limit(resource: Resource, value: u64) -> Result<()> {
    let stands = rustix::process::getrlimit(resource).maximum;
    let value = (value != u64::MAX).then_some(value);
    let value = match (stands, value) {
        (Some(stands), Some(value)) => Some(value.min(stands)),
        (stands, value) => value.or(stands),
    };
    let limit = Rlimit {
        current: value,
        maximum: value,
    };
    rustix::process::setrlimit(resource, limit).map_err(|e| Error::io("setting a limit", e))
}

pub(super) fn give_up_root(root: bool) -> Result<()> {
    if root {
        capability::keep_only(CapabilitySet::SETUID | CapabilitySet::SETGID)?;
        let (uid, gid) = (NOBODY.into(), NOBODY.into());
        nix::unistd::setgroups(&[])
            .and_then(|()| nix::unistd::setresgid(gid, gid, gid))
            .and_then(|()| nix::unistd::setresuid(uid, uid, uid))
            .map_err(|e| Error::io("giving up root", e))?;
    }
    capability::keep_only(CapabilitySet::empty())
}

#[cfg(test)]
mod tests {
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};

    use super::*;

    /// Runs `body` in a process with a single thread; true when it returned true.
    fn in_child(body: impl FnOnce() -> bool) -> bool {
        // SAFETY: the child runs `body` and ends; glibc makes its allocator usable after fork.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let code = i32::from(!body());
                // SAFETY: ends the process at once, so that it never returns into the test runner.
                unsafe { libc::_exit(code) }
            }
            ForkResult::Parent { child } => {
                waitpid(child, None).unwrap() == WaitStatus::Exited(child, 0)
            }
        }
    }

    fn is_confined() -> bool {
        std::fs::File::open("/etc/passwd").is_err()
            && std::fs::read("/proc/self/status").is_err()
            && std::net::UdpSocket::bind("127.0.0.1:0").is_err()
            && rustix::mount::mount_bind("/", "/").is_err()
            && rustix::thread::set_thread_uid(rustix::process::Uid::ROOT).is_err()
    }

    #[test]
    fn a_confined_process_reaches_nothing() {
        assert!(in_child(|| {
            confine_worker(&Limits::default()).is_ok() && is_confined()
        }));
    }

    #[test]
    fn a_user_without_root_is_confined_too() {
        assert!(in_child(|| {
            if rustix::process::geteuid().is_root() {
                let nobody = NOBODY.into();
                nix::unistd::setresuid(nobody, nobody, nobody).unwrap();
                nix::sys::prctl::set_dumpable(true).unwrap();
            }
            confine_worker(&Limits::default()).is_ok() && is_confined()
        }));
    }

    #[test]
    fn a_limit_is_never_raised_and_a_write_beyond_it_fails() {
        let mut file = tempfile::tempfile().unwrap();
        assert!(in_child(|| {
            use std::io::Write;
            let limits = Limits {
                file_size: 4096,
                ..Limits::default()
            };
            limit(Resource::Fsize, 1 << 20).unwrap();
            confine_worker(&limits).is_ok()
                && limit(Resource::Fsize, 1 << 20).is_err()
                && file.write_all(&[0; 4096]).is_ok()
                && file.write_all(&[0]).is_err()
        }));
    }
}
