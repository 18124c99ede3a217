// SPDX-License-Identifier: Apache-2.0
//! Running a guest's program so that it can hurt the guest's own files and nothing else.
//!
//! The program gets its own mount, PID, network, IPC, UTS and cgroup namespaces with the guest's
//! root as `/`, few capabilities, a system call filter and limits. Process 1 of its PID namespace
//! is ours; when the program ends, or its time is over, the namespace ends with everything in it,
//! so no daemon survives. A started init script is thereby harmless, and no `policy-rc.d` is
//! written to the guest's disk.
//!
//! A control group bounds the memory and the number of all its processes together, where this
//! machine lets us make one; else the container's own must.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use rustix::mount::OpenTreeFlags;
use rustix::process::Resource;
use rustix::thread::CapabilitySet;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::cgroup::{self, Cgroup};
use super::fanotify::Watch;
use super::namespace::{die_with_parent, fork_into_namespaces, leave, pipe};
use super::sandbox_wait::{Tail, collect, drain};
use super::scratch::Scratch;
use super::{capability, confine, sandbox_root, seccomp};
use crate::error::{Error, Result};

/// What all processes of a program may use up together. The memory holds `/tmp` too, which takes
/// the larger part when an initramfs is made.
const LIMITS: cgroup::Limits = cgroup::Limits {
    memory: 4 << 30,
    pids: 1024,
};

/// What a package tool needs. Device nodes that it makes cannot be opened: every filesystem that
/// it may write is mounted `nodev`.
const KEEP: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SYS_CHROOT);

/// The program's whole environment. The last two tell maintainer scripts that no init system
/// is there to be asked.
const ENVIRONMENT: &[&std::ffi::CStr] = &[
    c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    c"HOME=/root",
    c"TERM=dumb",
    c"LC_ALL=C",
    c"DEBIAN_FRONTEND=noninteractive",
    c"SYSTEMD_OFFLINE=1",
    c"RUNLEVEL=1",
];

/// See proc_pid_oom_score_adj(5).
const OOM_SCORE: &str = "/proc/self/oom_score_adj";

/// A program to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program {
    /// Program (absolute) and arguments.
    pub(super) argv: Vec<String>,
    /// Seconds until it is killed.
    pub(super) timeout_s: u32,
}

/// How a guest program ended, and the last 64 KiB that it wrote to stdout and stderr.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// How.
    pub end: End,
    /// The end of its output; not necessarily UTF-8.
    pub output: ByteBuf,
    /// Bytes of output that came before and are lost.
    pub dropped: u64,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// By itself, with this code; 0 is success.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Killed when its time was over.
    TimedOut,
    /// Something of it was killed because its memory was used up: as many bytes as it may have.
    OutOfMemory(u64),
}

impl Exit {
    /// True when the program says that all went well.
    pub fn success(&self) -> bool {
        self.end == End::Code(0)
    }
}

/// Runs a program with `tree` as its root, which is built at `dir`, and waits for its end.
///
/// # Errors
/// `Host` when the sandbox cannot be made. A program that cannot be started ends with code 127,
/// as in a shell.
pub(super) fn run(
    tree: BorrowedFd<'_>,
    dir: &Path,
    program: &Program,
    scratch: &Scratch,
    watch: &mut Watch,
) -> Result<Exit> {
    if !program
        .argv
        .first()
        .is_some_and(|path| path.starts_with('/'))
    {
        return Err(Error::internal("a guest program without an absolute path"));
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_EMPTY_PATH;
    let root = rustix::mount::open_tree(tree, c"", flags)
        .map_err(|e| Error::io("copying the guest's tree of mounts", e))?;
    sandbox_root::allow_programs(&root)?;
    let cgroup = Cgroup::create(LIMITS);
    let (output, output_end) = pipe()?;
    let (verdict, verdict_end) = pipe()?;
    let child = match fork_into_namespaces()? {
        Some(child) => child,
        None => {
            let entered = cgroup.as_ref().map_or(Ok(()), Cgroup::enter);
            let tmp = scratch.mount().try_clone();
            let tmp = tmp.map_err(|e| Error::io("duplicating a descriptor", e));
            match entered.and(tmp) {
                Ok(tmp) => process_1((root, tmp, dir), program, output_end, verdict_end),
                Err(e) => tell(verdict_end, &Err(e)),
            }
        }
    };
    drop((root, output_end, verdict_end));
    let mut tail = Tail::default();
    let deadline = Instant::now() + Duration::from_secs(u64::from(program.timeout_s));
    let in_time = collect(&output, &verdict, deadline, &mut tail, watch);
    let _ = nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL);
    // Process 1 is reaped only when everything in its namespace is gone.
    while matches!(waitpid(child, None), Err(nix::errno::Errno::EINTR)) {}
    let in_time = in_time?;
    drain(&output, &mut tail)?;
    let end = ended(verdict, in_time)?;
    let starved = end != End::Code(0) && cgroup.is_some_and(|group| group.out_of_memory());
    Ok(tail.exit(match starved {
        true => End::OutOfMemory(LIMITS.memory),
        false => end,
    }))
}

/// The sandbox's process 1: builds the root, starts the program, reaps orphans, and tells how the
/// program ended.
fn process_1(
    (root, tmp, dir): (OwnedFd, OwnedFd, &Path),
    program: &Program,
    output: OwnedFd,
    verdict: OwnedFd,
) -> ! {
    die_with_parent();
    // Out of memory, the kernel shall end the program and not the one who tells of it.
    let _ = std::fs::write(OOM_SCORE, "-1000");
    let _ = nix::sys::prctl::set_dumpable(false);
    close_all_but([&root, &tmp, &output, &verdict]);
    let built = sandbox_root::build(root, dir, tmp);
    let started = built.and_then(|()| start(program, &output, &verdict));
    drop(output);
    tell(verdict, &started.map(reap))
}

/// Process 1's last word.
fn tell(verdict: OwnedFd, how: &Result<End>) -> ! {
    let told = rmp_serde::to_vec(how).unwrap_or_default();
    let _ = File::from(verdict).write_all(&told);
    leave(0)
}

/// Closes what belongs to the mounter: its channel, its mounts, its devices. None of it is used
/// or dropped in this process, which never returns to its caller.
fn close_all_but(keep: [&OwnedFd; 4]) {
    let mut keep = keep.map(|fd| fd.as_raw_fd().cast_unsigned());
    keep.sort_unstable();
    let mut first = 3_u32;
    for last in keep.into_iter().chain([u32::MAX]) {
        let before = last.saturating_sub(1);
        if first <= before {
            // SAFETY: nothing in this process uses the descriptors of the gaps any more.
            unsafe { libc::syscall(libc::SYS_close_range, first, before, 0) };
        }
        first = last.saturating_add(1).max(first);
    }
}

fn start(program: &Program, output: &OwnedFd, verdict: &OwnedFd) -> Result<Pid> {
    let text = |arg: &String| {
        CString::new(arg.as_str()).map_err(|_| Error::internal("an argument holds a zero byte"))
    };
    let argv: Vec<CString> = program.argv.iter().map(text).collect::<Result<_>>()?;
    let path = argv
        .first()
        .ok_or_else(|| Error::internal("no program to run"))?;
    // SAFETY: this process has a single thread.
    match unsafe { fork() }.map_err(|e| Error::io("forking", e))? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let Err(e) = become_program(path, &argv, output);
            let told = rmp_serde::to_vec(&Err::<End, Error>(e.clone())).unwrap_or_default();
            if e.code == "not-started" {
                let _ = writeln!(
                    File::from(output.try_clone().unwrap_or_else(|_| leave(127))),
                    "{e}"
                );
                leave(127);
            }
            if let Ok(verdict) = verdict.try_clone() {
                let _ = File::from(verdict).write_all(&told);
            }
            leave(126)
        }
    }
}

fn become_program(
    path: &CString,
    argv: &[CString],
    output: &OwnedFd,
) -> Result<std::convert::Infallible> {
    let io = |e| Error::io("preparing a guest program", e);
    nix::unistd::setsid().map_err(io)?;
    let _ = std::fs::write(OOM_SCORE, "0");
    nix::unistd::dup2_stdout(output).map_err(io)?;
    nix::unistd::dup2_stderr(output).map_err(io)?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    for (resource, value) in [
        (Resource::Core, 0),
        (Resource::Nofile, 4096),
        (Resource::Nproc, 4096),
        (Resource::Fsize, 8 << 30),
        (Resource::As, 8 << 30),
    ] {
        confine::limit(resource, value)?;
    }
    capability::keep_only(KEEP)?;
    seccomp::install_guest()?;
    // SAFETY: only marks descriptors close-on-exec; takes no pointer.
    let marked = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3_u32,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if marked != 0 {
        return Err(Error::io(
            "closing descriptors",
            std::io::Error::last_os_error(),
        ));
    }
    nix::unistd::execve(path, argv, ENVIRONMENT).map_err(|e| {
        let path = path.to_string_lossy();
        Error::host("not-started", format!("cannot run {path}")).because(e)
    })
}

/// Waits for the program, and on the way for every orphan.
fn reap(program: Pid) -> End {
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) if pid == program => return End::Code(code),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == program => {
                return End::Signal(signal as i32);
            }
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return End::Signal(libc::SIGKILL),
        }
    }
}

fn ended(verdict: OwnedFd, in_time: bool) -> Result<End> {
    let mut told = Vec::new();
    File::from(verdict)
        .take(1 << 20)
        .read_to_end(&mut told)
        .map_err(|e| Error::io("reading how a guest program ended", e))?;
    if told.is_empty() {
        if in_time {
            return Ok(End::Signal(libc::SIGKILL));
        }
        return Ok(End::TimedOut);
    }
    let mut told = rmp_serde::Deserializer::from_read_ref(&told);
    Result::<End, Error>::deserialize(&mut told)
        .map_err(|e| Error::internal("reading how a guest program ended").because(e))?
}
