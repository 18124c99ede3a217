// SPDX-License-Identifier: Apache-2.0
//! The control plane's programs: where they are, and one that runs.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The program `name`: of `KUBEBUILDER_ASSETS` where that has it, else of the cache, which is filled
/// first where it is empty (tens of minutes).
///
/// # Panics
/// When it cannot be built: without a control plane there is no test.
pub fn find(name: &str) -> PathBuf {
    let given = std::env::var_os("KUBEBUILDER_ASSETS").filter(|dir| !dir.is_empty());
    given
        .map(|dir| Path::new(&dir).join(name))
        .filter(|path| path.exists())
        .unwrap_or_else(|| built().join(name))
}

fn built() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let script = crate::workspace().join("tests/cluster/build");
        let out = Command::new(&script)
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(out.status.success(), "{} failed", script.display());
        PathBuf::from(String::from_utf8(out.stdout).unwrap().trim_end())
    })
}

/// A program that runs until dropped; what it says is in a file.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
    grace: Duration,
}

impl Process {
    /// Starts it; it has its name from `log`, which it writes.
    pub fn start(command: &mut Command, log: PathBuf) -> Self {
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self {
            child,
            log,
            grace: Duration::from_secs(10),
        }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it said so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The most memory that it has used so far, MiB.
    pub fn peak_mib(&self) -> u64 {
        crate::tool::peak_rss_mib(self.id())
    }

    /// The processor time that it has used so far, seconds.
    pub fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap();
        // After the name: proc_pid_stat(5), fields 14 and 15 of which the third comes first here.
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        let ticks: f64 = [11, 12]
            .iter()
            .map(|at| fields[*at].parse::<f64>().unwrap())
            .sum();
        ticks / 100.0
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let id = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        let _ = nix::sys::signal::kill(id, signal);
    }

    /// Waits for its end; `None` when it has not ended by then.
    pub fn wait(&mut self, most: Duration) -> Option<std::process::ExitStatus> {
        let end = Instant::now() + most;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            if Instant::now() > end {
                return None;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(nix::sys::signal::Signal::SIGTERM);
        if self.wait(self.grace).is_none() {
            self.kill();
        }
    }
}
