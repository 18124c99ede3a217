// SPDX-License-Identifier: Apache-2.0
//! Processes in namespaces of their own: forks without exec, which only a process with a single
//! thread may make.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::OwnedFd;

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use rustix::mount::MountPropagationFlags;
use rustix::pipe::PipeFlags;
use rustix::thread::UnshareFlags;

use crate::error::{Error, Result};

/// Moves into new mount and PID namespaces and goes on there as process 1; the caller stays
/// behind only to pass on how that ended. `body` gets a pipe that closes when the caller dies.
pub(super) fn own_namespaces(body: impl FnOnce(File) -> Result<()>) -> Result<()> {
    // SAFETY: FILES is not among the flags; no other thread exists whose view would change.
    unsafe {
        rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::NEWPID).map_err(
            |e| {
                Error::io("making mount and PID namespaces", e)
                    .hint("run as root, in a container: privileged")
            },
        )?;
    }
    rustix::mount::mount_change(
        "/",
        MountPropagationFlags::REC | MountPropagationFlags::PRIVATE,
    )
    .map_err(|e| Error::io("making mounts private", e))?;
    let (alive, held) = pipe()?;
    // SAFETY: no other thread exists, so the child may go on as any process.
    match unsafe { fork() }.map_err(|e| Error::io("forking", e))? {
        ForkResult::Child => {
            drop(held);
            die_with_parent();
            body(alive.into())
        }
        ForkResult::Parent { child } => {
            drop((alive, body));
            pass_on(child)
        }
    }
}

fn pass_on(child: Pid) -> Result<()> {
    loop {
        match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, 0)) => return Ok(()),
            Ok(WaitStatus::Exited(_, code)) => {
                return Err(Error::internal(format!("process 1 ended with code {code}")));
            }
            Ok(WaitStatus::Signaled(_, signal, _)) => {
                return Err(Error::internal(format!("process 1 was killed by {signal}")));
            }
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(e) => return Err(Error::io("waiting for process 1", e)),
        }
    }
}

/// Asks the kernel to kill this process when its parent ends.
pub(super) fn die_with_parent() {
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
}

/// A pipe, its reading end first.
pub(super) fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|e| Error::io("making a pipe", e))
}

/// Forks the calling process into new namespaces; `None` in the child.
pub(super) fn fork_into_namespaces() -> Result<Option<Pid>> {
    let flags = libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP
        | libc::SIGCHLD;
    // SAFETY: without a stack of its own and without sharing memory this is a fork; the mounter
    // has no other thread, so the child finds every lock free.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags.cast_unsigned(), 0, 0, 0, 0) };
    match i32::try_from(pid) {
        Ok(0) => Ok(None),
        Ok(pid) if pid > 0 => Ok(Some(Pid::from_raw(pid))),
        _ => Err(Error::io(
            "making the sandbox's namespaces",
            std::io::Error::last_os_error(),
        )),
    }
}

/// Ends the process at once, without running what its parent registered for exit.
pub(super) fn leave(code: i32) -> ! {
    // SAFETY: takes a number and does not return.
    unsafe { libc::_exit(code) }
}
