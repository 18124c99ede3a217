// SPDX-License-Identifier: Apache-2.0
//! A `guestfix` that is held up at a point of its conversion until it is let go: what a drill does
//! meanwhile happens there, however fast or slow the machine is.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where.
#[derive(Debug, Clone, Copy)]
pub enum At {
    /// Before it reads anything.
    Begin,
    /// When everything is planned, applied and verified, and leave to write is to be asked for.
    Ask,
    /// When leave was given, before the first write.
    Write,
}

/// One.
#[derive(Debug)]
pub struct Held {
    dir: tempfile::TempDir,
}

impl Held {
    /// Held up there.
    pub fn at(at: At) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let body = match at {
            At::Begin => "hold; exec REAL \"$@\"",
            At::Ask => {
                "{ { REAL \"$@\" 2>&1 >&3 3>&-; echo $? >DIR/code.$$; } |\n\
                 while IFS= read -r line; do\n\
                 case $line in *commit-pending*) hold ;; esac\n\
                 printf '%s\\n' \"$line\" >&2\n\
                 done; } 3>&1\n\
                 exit \"$(cat DIR/code.$$)\""
            }
            At::Write => {
                "{ if IFS= read -r line; then hold; printf '%s\\n' \"$line\"; fi; } | REAL \"$@\""
            }
        };
        let script = format!(
            "#!/bin/sh\n\
             hold() {{ : >>DIR/held; while [ ! -e DIR/go ]; do sleep 0.1; done; }}\n\
             case \" $* \" in *\" convert \"*) ;; *) exec REAL \"$@\" ;; esac\n{body}\n"
        );
        let script = script
            .replace("DIR", dir.path().to_str().unwrap())
            .replace("REAL", tests::cli::binary().to_str().unwrap());
        let held = Self { dir };
        tests::tool::script(&held.program(), &script);
        held
    }

    /// The program to start.
    pub fn program(&self) -> PathBuf {
        self.dir.path().join("guestfix")
    }

    /// Waits until it is held up.
    pub fn wait(&self) {
        appears(&self.dir.path().join("held"));
    }

    /// From now on nothing is held up.
    pub fn let_go(&self) {
        std::fs::write(self.dir.path().join("go"), "").unwrap();
    }
}

/// Nobody waits for a drill that has failed.
impl Drop for Held {
    fn drop(&mut self) {
        let _ = std::fs::write(self.dir.path().join("go"), "");
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// Waits for a file.
pub fn appears(path: &Path) {
    let end = Instant::now() + Duration::from_secs(300);
    while !path.exists() {
        assert!(Instant::now() < end, "{} does not appear", path.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}
