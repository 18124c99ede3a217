// SPDX-License-Identifier: Apache-2.0
//! One test's disk with a state directory of its own, and what all tests ask of a conversion.
use crate::cli::Cli;
use crate::digest::content_digest;
use crate::guest::Guest;
use crate::small::{Small, SmallDisk};
use crate::windows::Windows;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A disk to work on.
#[derive(Debug)]
pub struct Case {
    dir: tempfile::TempDir,
    disk: PathBuf,
}

impl Case {
    /// A copy of a real guest.
    pub fn guest(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = Guest::get(name).fresh_copy(dir.path());
        Self { dir, disk }
    }

    /// A small guest; `edit` changes its root's files before they are written.
    pub fn small(small: Small, edit: impl FnOnce(&Path)) -> (Self, SmallDisk) {
        let dir = tempfile::tempdir().unwrap();
        let made = small.build(dir.path(), edit);
        let disk = made.path.clone();
        (Self { dir, disk }, made)
    }

    /// A Windows guest; `edit` changes its mounted volume.
    pub fn windows(windows: &Windows, edit: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = windows.build(dir.path(), edit);
        Self { dir, disk }
    }

    /// The disk.
    pub fn disk(&self) -> &Path {
        &self.disk
    }

    /// Goes on with another disk.
    #[must_use]
    pub fn on(self, disk: &Path) -> Self {
        let disk = disk.to_path_buf();
        Self { disk, ..self }
    }

    /// A directory that goes with the test.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A command about the disk.
    pub fn verb(&self, verb: &str) -> Cli {
        Cli::new(verb, &[&self.disk], &self.dir.path().join("state"))
    }

    /// What is on the disk.
    pub fn sha256(&self) -> String {
        content_digest(&self.disk)
    }

    /// Converts; the report of a conversion that must have been committed.
    ///
    /// # Panics
    /// When it was not ready.
    pub fn converted(&self, args: &[&str]) -> Value {
        let report = self.verb("convert").args(args).run().expect(0);
        assert_eq!(report["committed"], true, "{report}");
        report
    }

    /// A run that must end with that code and leave disk and machine as they were.
    ///
    /// # Panics
    /// When it does not.
    pub fn unharmed(&self, verb: &str, args: &[&str], code: i32) -> Value {
        self.unharmed_by(self.verb(verb).args(args), code)
    }

    /// The same for a command that was made ready.
    ///
    /// # Panics
    /// When it does not.
    pub fn unharmed_by(&self, cli: Cli, code: i32) -> Value {
        let (before, running) = (self.sha256(), left_behind());
        let document = cli.run().expect(code);
        assert_eq!(self.sha256(), before, "it wrote to the disk: {document}");
        gone_within(Duration::from_secs(60), &running);
        document
    }

    /// The way back: every byte as in `original`.
    ///
    /// # Panics
    /// When one is not.
    pub fn undone_to(&self, original: &str) {
        let undo = self.verb("undo").run().expect(0);
        assert_eq!(undo["remaining"], 0, "{undo}");
        assert_eq!(self.sha256(), original, "undo is exact to the last bit");
    }
}

/// The identifiers of a document's concerns.
pub fn concerns(document: &Value) -> Vec<&str> {
    let all = document["concerns"].as_array().unwrap().iter();
    all.map(|concern| concern["id"].as_str().unwrap()).collect()
}

/// What is said about the concern `id`.
///
/// # Panics
/// When there is none.
pub fn concern<'a>(document: &'a Value, id: &str) -> &'a str {
    let mut all = document["concerns"].as_array().unwrap().iter();
    let found = all.find(|concern| concern["id"] == id);
    let found = found.unwrap_or_else(|| panic!("no {id}: {}", document["concerns"]));
    found["message"].as_str().unwrap()
}

/// The verdicts of the check `name`.
pub fn verdicts<'a>(report: &'a Value, name: &str) -> Vec<&'a Value> {
    let all = report["verdicts"].as_array().unwrap().iter();
    all.filter(|verdict| verdict["check"] == name).collect()
}

/// Kinds of the changes with that outcome, of guest programs' touches apart.
pub fn changes<'a>(report: &'a Value, outcome: &str) -> Vec<&'a str> {
    let all = report["changes"].as_array().unwrap().iter();
    let so = all.filter(|change| change["outcome"] == outcome && change["kind"] != "touched");
    so.map(|change| change["kind"].as_str().unwrap()).collect()
}

/// Loop devices and mounts, and processes of the command under test. (Another may be at work on
/// this machine at the same time; whose a loop device is cannot be seen.)
pub fn left_behind() -> BTreeSet<String> {
    let mut left = BTreeSet::new();
    for entry in std::fs::read_dir("/sys/block").unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let backing = format!("/sys/block/{name}/loop/backing_file");
        if let Ok(file) = std::fs::read_to_string(backing) {
            left.insert(format!("{name} {}", file.trim()));
        }
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let ours = mounts.lines().filter(|line| line.contains("guestfix"));
    left.extend(ours.map(str::to_owned));
    let binary = std::fs::canonicalize(crate::cli::binary()).unwrap();
    for (pid, command) in processes() {
        let ours = std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == binary);
        if ours && command.starts_with("guestfix __") {
            left.insert(format!("process {pid}"));
        }
    }
    left
}

/// Every process and its command line.
pub fn processes() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        all.push((entry.file_name().to_string_lossy().into_owned(), line));
    }
    all
}

/// Waits until nothing is left that was not there `before`.
///
/// # Panics
/// When something still is after `limit`.
pub fn gone_within(limit: Duration, before: &BTreeSet<String>) {
    let start = Instant::now();
    loop {
        let now = left_behind();
        let left: Vec<_> = now.difference(before).collect();
        if left.is_empty() {
            return;
        }
        assert!(
            start.elapsed() < limit,
            "left behind after {limit:?}: {left:#?}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}
