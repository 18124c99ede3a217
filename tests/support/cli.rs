// SPDX-License-Identifier: Apache-2.0
//! Runs the built `guestfix` command as a user would, and measures it.
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// One command line of `guestfix`, with `--format json` already given.
#[derive(Debug)]
pub struct Cli {
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    timeout: Duration,
}

/// What became of it.
#[derive(Debug)]
pub struct Run {
    /// The exit code; `None` when a signal ended the command.
    pub code: Option<i32>,
    /// The signal that ended it, if one did (9 after the time limit).
    pub signal: Option<i32>,
    /// Everything on standard output.
    pub stdout: Vec<u8>,
    /// Everything on standard error.
    pub stderr: String,
    /// From start to end.
    pub wall: Duration,
    /// The largest resident set of any one process of the tree, in bytes.
    pub peak_rss_bytes: u64,
}

impl Cli {
    /// `guestfix VERB DISK... --state-dir STATE --format json`.
    pub fn new<P: AsRef<Path>>(verb: &str, disks: &[P], state: &Path) -> Self {
        let mut arguments = vec![OsString::from(verb)];
        arguments.extend(disks.iter().map(|disk| disk.as_ref().into()));
        let cli = Self {
            arguments,
            environment: Vec::new(),
            timeout: Duration::from_secs(600),
        };
        cli.arg("--state-dir").arg(state).args(["--format", "json"])
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds several arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        let owned = arguments.into_iter().map(|one| one.as_ref().to_owned());
        self.arguments.extend(owned);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment
            .push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// The time after which the command is killed (600 s where this is not called).
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The command, for a test that wants to start or kill it itself.
    pub fn command(&self) -> Command {
        let mut command = Command::new(binary());
        command
            .args(&self.arguments)
            .envs(self.environment.iter().cloned());
        command
    }

    /// Runs it to its end.
    // It is waited for by `wait_measured`, which the lint does not see.
    #[allow(clippy::zombie_processes)]
    pub fn run(&self) -> Run {
        let mut command = self.command();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let start = Instant::now();
        let mut child = command.spawn().unwrap();
        let stdout = drain(child.stdout.take().unwrap());
        let stderr = drain(child.stderr.take().unwrap());
        let killer = kill_after(&child, self.timeout);
        let (status, peak_rss_bytes) = wait_measured(child);
        let wall = start.elapsed();
        drop(killer);
        Run {
            code: status.code(),
            signal: status.signal(),
            stdout: stdout.join().unwrap(),
            stderr: String::from_utf8_lossy(&stderr.join().unwrap()).into_owned(),
            wall,
            peak_rss_bytes,
        }
    }
}

impl Run {
    /// The one JSON document on standard output.
    ///
    /// # Panics
    /// When standard output is anything else.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| {
            let stdout = String::from_utf8_lossy(&self.stdout);
            panic!("{error}; exit {:?}\n{stdout}\n{}", self.code, self.stderr)
        })
    }

    /// The document, of a run that must have ended with `code`.
    pub fn expect(&self, code: i32) -> Value {
        let stdout = String::from_utf8_lossy(&self.stdout);
        assert_eq!(self.code, Some(code), "{stdout}\n{}", self.stderr);
        self.json()
    }
}

/// The command under test: `$GUESTFIX_BIN`, else the one in the target directory that this test was built into.
///
/// # Panics
/// When there is none.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("GUESTFIX_BIN") {
        return path.into();
    }
    let mut dir = std::env::current_exe().unwrap();
    dir.pop();
    if dir.ends_with("deps") {
        dir.pop();
    }
    let path = dir.join("guestfix");
    assert!(
        path.exists(),
        "{} is not built: run `cargo build -p guestfix`, or set GUESTFIX_BIN",
        path.display()
    );
    path
}

fn drain(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// Kills `child` after `timeout`, unless the returned sender is dropped before.
fn kill_after(child: &Child, timeout: Duration) -> mpsc::Sender<()> {
    let (sender, receiver) = mpsc::channel();
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    thread::spawn(move || {
        if receiver.recv_timeout(timeout) == Err(mpsc::RecvTimeoutError::Timeout) {
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
    });
    sender
}

/// Waits for `child` by wait4(2), which, unlike the standard library, tells what it and its children used: its status and
/// its peak resident bytes.
#[allow(unsafe_code)]
pub fn wait_measured(child: Child) -> (ExitStatus, u64) {
    let mut status = 0;
    let pid = child.id() as libc::pid_t;
    // SAFETY: `rusage` is plain integers, for which zero is a value; both pointers are to live locals of the right type;
    // nobody else waits for this child, because `Child` does so only when asked.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        while libc::wait4(pid, &raw mut status, 0, &raw mut usage) < 0 {
            let error = std::io::Error::last_os_error();
            assert_eq!(error.kind(), std::io::ErrorKind::Interrupted, "{error}");
        }
        usage
    };
    // Linux counts ru_maxrss in KiB.
    (ExitStatus::from_raw(status), usage.ru_maxrss as u64 * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measured_wait_reports_exit_code_and_memory() {
        let child = Command::new("sh").args(["-c", "exit 7"]).spawn().unwrap();
        let (status, rss) = wait_measured(child);
        assert_eq!(status.code(), Some(7));
        assert!(rss > 100 * 1024, "{rss}");
    }

    #[test]
    fn a_child_that_outstays_its_time_is_killed() {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let killer = kill_after(&child, Duration::from_millis(20));
        assert_eq!(wait_measured(child).0.signal(), Some(9));
        drop(killer);
    }
}
