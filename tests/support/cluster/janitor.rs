// SPDX-License-Identifier: Apache-2.0
//! Cleans up after a test process, however that ended: a shell that waits for the end of its input.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// Reads process ids; at the end of the input it ends those that still run, takes back what was
/// mounted or attached below the directory, and removes that.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
ids=
while read -r id; do ids="$ids $id"; done
for id in $ids; do kill -TERM "$id" 2>/dev/null; done
sleep 1
for id in $ids; do kill -KILL "$id" 2>/dev/null; done
for try in 1 2 3; do
    awk -v dir="$1/" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo | sort -r |
        while read -r point; do umount -l "$point" 2>/dev/null; done
done
losetup --list --noheadings --output NAME,BACK-FILE 2>/dev/null |
    awk -v dir="$1/" 'index($2, dir) == 1 { print $1 }' |
    while read -r device; do losetup --detach "$device"; done
rm -rf -- "$1"
"#;

/// The shell at the other end of a pipe that closes with this process.
#[derive(Debug)]
pub(super) struct Janitor(Mutex<std::process::ChildStdin>);

impl Janitor {
    /// One that will clean up `dir`.
    pub(super) fn new(dir: &Path) -> Self {
        let mut child = Command::new("setsid")
            .args(["sh", "-c", SCRIPT, "janitor"])
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        // Nobody waits for it: it outlives this process.
        std::mem::forget(child);
        Self(Mutex::new(stdin))
    }

    /// Also ends process `id`.
    pub(super) fn ends(&self, id: u32) {
        let mut pipe = self.0.lock().unwrap();
        writeln!(pipe, "{id}").unwrap();
    }
}
