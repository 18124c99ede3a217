// SPDX-License-Identifier: Apache-2.0
//! guestfix itself.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use tests::guest::Guest;

use crate::row::Row;

/// Runs the program; its wall time and its document.
pub fn guestfix(args: &[&str]) -> (f64, serde_json::Value) {
    let start = Instant::now();
    let output = Command::new(tests::cli::binary())
        .args(args)
        .args(["--format", "json"])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let seconds = start.elapsed().as_secs_f64();
    let said = String::from_utf8_lossy(&output.stdout);
    let document = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{args:?}: {said}"));
    (seconds, document)
}

/// The verb on a fresh copy each time; the copy may be grown to a sparse disk of `len` bytes.
pub fn measure(what: &str, verb: &[&str], image: &Guest, len: Option<u64>, runs: usize) -> Row {
    measure_on(what, verb, runs, |dir| {
        let disk = image.fresh_copy(dir);
        if let Some(len) = len {
            let file = std::fs::File::options().write(true).open(&disk);
            file.unwrap().set_len(len).unwrap();
        }
        disk
    })
}

/// The verb on a disk that `fresh` makes each time.
pub fn measure_on(what: &str, verb: &[&str], runs: usize, fresh: impl Fn(&Path) -> PathBuf) -> Row {
    let mut row = Row::new(what);
    for _ in 0..runs {
        let dir = tempfile::tempdir().unwrap();
        let disk = fresh(dir.path());
        settle(&disk);
        let state = dir.path().join("state");
        let mut args = verb.to_vec();
        args.extend([
            disk.to_str().unwrap(),
            "--state-dir",
            state.to_str().unwrap(),
        ]);
        let (seconds, document) = guestfix(&args);
        assert_eq!(document["code"], serde_json::Value::Null, "{document}");
        assert_ne!(document["readiness"], "NotReady", "{document}");
        row.seconds.push(seconds);
        if let Some(rss) = document["peak_rss_bytes"].as_f64() {
            row.rss_mib = row.rss_mib.max(rss / f64::from(1 << 20));
            let t = &document["timings_ms"];
            row.note = format!(
                "inspect {} plan {} apply {} verify {} commit {} ms",
                t["inspect"], t["plan"], t["apply"], t["verify"], t["commit"]
            );
        }
    }
    row
}

/// Else the commit's fsync would pay for the copy.
pub fn settle(disk: &Path) {
    std::fs::File::open(disk).unwrap().sync_all().unwrap();
}
