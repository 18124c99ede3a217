// SPDX-License-Identifier: Apache-2.0
//! Batch files under Wine, whose cmd.exe knows labels, `for /f`, `call` and the rest. Wine has no
//! `pnputil` and a `netsh` that does nothing: what is shown is the files' own logic.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A Windows of Wine's, removed when dropped.
#[derive(Debug)]
pub struct Wine {
    program: &'static str,
    prefix: tempfile::TempDir,
}

impl Wine {
    /// `None`, said aloud, where there is no Wine; on CI that is a failure.
    pub fn start() -> Option<Self> {
        let runs = |program: &&&str| {
            let version = Command::new(program)
                .arg("--version")
                .stderr(Stdio::null())
                .output();
            version.is_ok_and(|output| output.status.success())
        };
        let programs = ["wine", "wine-stable", "/usr/lib/wine/wine64"];
        let Some(program) = programs.iter().find(runs) else {
            assert!(
                std::env::var_os("CI").is_none(),
                "there is no Wine; does `tests/setup` pass?"
            );
            println!("there is no Wine: this test did not run");
            return None;
        };
        let prefix = tempfile::tempdir().unwrap();
        let wine = Self { program, prefix };
        wine.run(&["cmd", "/c", "ver"]);
        Some(wine)
    }

    /// A directory below `C:\windows`.
    pub fn windows(&self, below: &str) -> PathBuf {
        let path = self.prefix.path().join("drive_c/windows").join(below);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    /// Writes a file into such a directory.
    pub fn write(&self, below: &str, name: &str, content: &str) {
        std::fs::write(self.windows(below).join(name), content).unwrap();
    }

    /// Runs a program and returns what it printed.
    pub fn run(&self, args: &[&str]) -> String {
        let output = self.command(self.program, args).output().unwrap();
        String::from_utf8_lossy(&output.stdout).replace('\r', "")
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(args)
            .env("WINEPREFIX", self.prefix.path())
            .env("WINEDEBUG", "-all")
            .env("WINEARCH", "win64")
            .env("WINEDLLOVERRIDES", "mscoree,mshtml=")
            .stdin(Stdio::null());
        command
    }

    /// A file's text, `None` where it is not there.
    pub fn read(&self, below: &str) -> Option<String> {
        let path = self.prefix.path().join("drive_c/windows").join(below);
        let bytes = std::fs::read(Path::new(&path)).ok()?;
        Some(String::from_utf8_lossy(&bytes).replace('\r', ""))
    }
}

impl Drop for Wine {
    fn drop(&mut self) {
        // Ends this prefix' own server and nothing else.
        for server in [
            "wineserver",
            "wineserver-stable",
            "/usr/lib/wine/wineserver64",
        ] {
            if self.command(server, &["-k"]).status().is_ok() {
                return;
            }
        }
    }
}
