// SPDX-License-Identifier: Apache-2.0
//! A process of ours, started from our own executable, and ended when its guard goes.
#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::Channel;
use crate::error::{Error, Result};

/// How long a killed child may take to go. It takes that long only while it hangs in the kernel.
const GRACE: Duration = Duration::from_secs(5);

/// A child process; dropping it kills it.
#[derive(Debug)]
pub struct Child {
    role: String,
    process: std::process::Child,
}

impl Child {
    /// Starts this executable again as `__<role>`, with a new channel as its standard input.
    ///
    /// The kernel kills the child when the *thread* that called this ends: call it from the main
    /// thread, or from one that outlives the child.
    ///
    /// # Errors
    /// `Host`/`io` when the process cannot be made.
    pub fn spawn(role: &str) -> Result<(Self, Channel)> {
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0("guestfix")
            .arg(format!("__{role}"))
            .env_clear();
        for name in ["RUST_BACKTRACE", "RUST_LOG"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        Self::spawn_command(role, command)
    }

    /// Starts a prepared command as [`Child::spawn`] does; for tests, whose own executable has
    /// no roles.
    ///
    /// # Errors
    /// As [`Child::spawn`].
    pub fn spawn_command(role: &str, mut command: Command) -> Result<(Self, Channel)> {
        let (ours, theirs) = Channel::pair()?;
        command
            .stdin(theirs.into_fd())
            .stdout(Stdio::null())
            .process_group(0);
        let parent = std::process::id();
        // SAFETY: `prepare` only makes system calls and allocates nothing, as the time between
        // fork and exec demands.
        unsafe { command.pre_exec(move || prepare(parent)) };
        let process = command
            .spawn()
            .map_err(|e| Error::io(format!("starting the {role}"), e))?;
        let role = role.to_owned();
        Ok((Self { role, process }, ours))
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Looks whether the child still runs.
    ///
    /// # Errors
    /// What became of it, as [`Child::obituary`].
    pub fn check(&mut self) -> Result<()> {
        match self.process.try_wait() {
            Ok(Some(status)) => Err(died(&self.role, status)),
            Ok(None) | Err(_) => Ok(()),
        }
    }

    /// Turns the end of the channel into what happened to the child, for example "the worker was
    /// killed by signal 9". Waits a little for a child that is just going.
    pub fn obituary(&mut self) -> Error {
        match self.wait_until(Instant::now() + Duration::from_secs(2)) {
            Some(status) => died(&self.role, status),
            None => Error::internal(format!("the {} closed its channel", self.role)),
        }
    }

    /// Waits for the child to end by itself.
    ///
    /// # Errors
    /// When it ends in another way than with exit code 0, or not in time (`Internal`).
    pub fn finish(mut self, timeout: Duration) -> Result<()> {
        match self.wait_until(Instant::now() + timeout) {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(died(&self.role, status)),
            None => Err(Error::internal(format!("the {} did not end", self.role))),
        }
    }

    /// Kills the child. [`Drop`] waits for its end.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
    }

    fn wait_until(&mut self, deadline: Instant) -> Option<ExitStatus> {
        loop {
            match self.process.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(2)),
                Ok(None) | Err(_) => return None,
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
        if self.wait_until(Instant::now() + GRACE).is_none() {
            tracing::warn!(role = %self.role, pid = self.pid(), "a killed process has not gone yet");
        }
    }
}

/// In the child before exec: dies with its parent, inherits no descriptor but the first three.
fn prepare(parent: u32) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let now = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    if u32::try_from(now) != Ok(parent) {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    // SAFETY: the call only marks descriptors; it takes no pointer.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3_u32,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn died(role: &str, status: ExitStatus) -> Error {
    match (status.signal(), status.code()) {
        (Some(libc::SIGKILL), _) => {
            Error::host("process-died", format!("the {role} was killed by signal 9"))
                .hint("somebody ended it, or the machine or its container ran out of memory")
        }
        (Some(signal), _) => Error::internal(format!("the {role} was killed by signal {signal}")),
        (None, code) => Error::internal(format!(
            "the {role} ended with exit code {}",
            code.unwrap_or(-1)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> (Child, Channel) {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        Child::spawn_command("worker", command).unwrap()
    }

    #[test]
    fn a_dead_child_is_named_with_its_signal() {
        let (mut child, channel) = shell("kill -9 $$");
        assert!(channel.recv::<u8>().unwrap().is_none());
        let error = child.obituary();
        assert_eq!(error.message, "the worker was killed by signal 9");
        let (child, _channel) = shell("exit 3");
        let error = child.finish(Duration::from_secs(5)).unwrap_err();
        assert_eq!(error.message, "the worker ended with exit code 3");
    }

    #[test]
    fn dropping_the_guard_ends_the_child() {
        let (child, channel) = shell("exec sleep 1000");
        drop(child);
        assert!(channel.recv::<u8>().unwrap().is_none());
    }

    #[test]
    fn a_child_inherits_no_other_descriptor() {
        let leak = rustix::io::dup(std::io::stderr()).unwrap();
        let (child, _channel) =
            shell("for fd in 3 4 5 6 7 8 9; do [ -e /proc/$$/fd/$fd ] && exit 9; done; exit 0");
        child.finish(Duration::from_secs(5)).unwrap();
        drop(leak);
    }
}
