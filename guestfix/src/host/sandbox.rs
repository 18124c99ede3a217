// SPDX-License-Identifier: Apache-2.0
//! Running a guest's program so that it can hurt the guest's own files and nothing else.
//!
//! The program gets its own mount, PID, network, IPC, UTS and cgroup namespaces with the guest's
//! root as `/`, few capabilities, a system call filter and limits. Process 1 of its PID namespace
//! is ours; when the program ends, or its time is over, the namespace ends with everything in it,
//! so no daemon survives. A started init script is thereby harmless, and no `policy-rc.d` is
//! written to the guest's disk.
//!
//! What no limit here bounds is the memory of all processes together and their number while the
//! time lasts: the container's cgroup does.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use rustix::mount::OpenTreeFlags;
use rustix::process::Resource;
use rustix::thread::CapabilitySet;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::namespace::{die_with_parent, fork_into_namespaces, leave, pipe};
use super::{capability, confine, sandbox_root, seccomp};
use crate::error::{Error, Result};

/// Bytes of output that are kept: the last ones.
const TAIL: usize = 64 << 10;

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
    /// By this signal. 31, SIGSYS, is also how every program of a foreign architecture ends (a
    /// 32-bit one on a 64-bit machine): the system call filter knows only the machine's own.
    Signal(i32),
    /// Killed when its time was over.
    TimedOut,
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
pub(super) fn run(tree: BorrowedFd<'_>, dir: &Path, program: &Program) -> Result<Exit> {
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
    let (output, output_end) = pipe()?;
    let (verdict, verdict_end) = pipe()?;
    let child = match fork_into_namespaces()? {
        Some(child) => child,
        None => process_1(root, dir, program, output_end, verdict_end),
    };
    drop((root, output_end, verdict_end));
    let mut tail = Tail::default();
    let deadline = Instant::now() + Duration::from_secs(u64::from(program.timeout_s));
    let in_time = collect(&output, &verdict, deadline, &mut tail);
    let _ = nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL);
    // Process 1 is reaped only when everything in its namespace is gone.
    while matches!(waitpid(child, None), Err(nix::errno::Errno::EINTR)) {}
    let in_time = in_time?;
    drain(&output, &mut tail)?;
    let end = ended(verdict, in_time)?;
    Ok(tail.exit(end))
}

/// The sandbox's process 1: builds the root, starts the program, reaps orphans, and tells how the
/// program ended.
fn process_1(root: OwnedFd, dir: &Path, program: &Program, output: OwnedFd, verdict: OwnedFd) -> ! {
    die_with_parent();
    let _ = nix::sys::prctl::set_dumpable(false);
    close_all_but([&root, &output, &verdict]);
    let told = match sandbox_root::build(root, dir).and_then(|()| start(program, &output, &verdict))
    {
        Ok(child) => {
            drop(output);
            rmp_serde::to_vec(&Ok::<End, Error>(reap(child)))
        }
        Err(e) => rmp_serde::to_vec(&Err::<End, Error>(e)),
    };
    let _ = File::from(verdict).write_all(&told.unwrap_or_default());
    leave(0)
}

/// Closes what belongs to the mounter: its channel, its mounts, its devices. None of it is used
/// or dropped in this process, which never returns to its caller.
fn close_all_but(keep: [&OwnedFd; 3]) {
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

/// Takes output until process 1 has told its verdict; `false` when the time was over first.
fn collect(
    output: &OwnedFd,
    verdict: &OwnedFd,
    deadline: Instant,
    tail: &mut Tail,
) -> Result<bool> {
    rustix::io::ioctl_fionbio(output, true).map_err(|e| Error::io("reading output", e))?;
    let mut open = true;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let wanted = if open {
            PollFlags::POLLIN
        } else {
            PollFlags::empty()
        };
        let mut polled = [
            PollFd::new(verdict.as_fd(), PollFlags::POLLIN),
            PollFd::new(output.as_fd(), wanted),
        ];
        let polled_in = if open {
            &mut polled[..]
        } else {
            &mut polled[..1]
        };
        let millis = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match nix::poll::poll(polled_in, millis) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(e) => return Err(Error::io("waiting for a guest program", e)),
        }
        let [told, wrote] = polled.map(|fd| fd.any().unwrap_or(false));
        if open && wrote {
            open = drain(output, tail)?;
        }
        if told {
            return Ok(true);
        }
    }
}

/// Takes what is there; `false` once every writer is gone.
fn drain(output: &OwnedFd, tail: &mut Tail) -> Result<bool> {
    let mut part = vec![0; 1 << 16];
    loop {
        match rustix::io::read(output, &mut part) {
            Ok(0) => return Ok(false),
            Ok(len) => tail.push(part.get(..len).unwrap_or_default()),
            Err(rustix::io::Errno::AGAIN) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(Error::io("reading a guest program's output", e)),
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

/// The last bytes of an output of any length.
#[derive(Debug, Default)]
struct Tail {
    kept: Vec<u8>,
    dropped: u64,
}

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.kept.extend_from_slice(bytes);
        if self.kept.len() > 2 * TAIL {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let surplus = self.kept.len().saturating_sub(TAIL);
        self.kept.drain(..surplus);
        self.dropped = self.dropped.saturating_add(surplus as u64);
    }

    fn exit(mut self, end: End) -> Exit {
        self.cut();
        Exit {
            end,
            output: ByteBuf::from(self.kept),
            dropped: self.dropped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_a_long_output_is_kept() {
        let mut tail = Tail::default();
        for n in 0..40_000_u32 {
            tail.push(format!("{n:07}\n").as_bytes());
        }
        let exit = tail.exit(End::Code(0));
        assert_eq!(exit.output.len(), TAIL);
        assert!(exit.output.ends_with(b"0039999\n"));
        assert_eq!(exit.dropped + TAIL as u64, 320_000);
    }
}
