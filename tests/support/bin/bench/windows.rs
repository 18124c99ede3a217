// SPDX-License-Identifier: Apache-2.0
//! A Windows guest with large hives: real ones where `GUESTFIX_HIVES` names them, else as large ones
//! that are made here.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tests::virtio_win::{self, Infs};
use tests::windows::{Windows, peer as v2v};

use crate::ours::measure_on;
use crate::peer::{beside, sampled};
use crate::row::Row;

/// virt-v2v converts nothing with less than 100 MiB free.
const MIB: u64 = 512;

/// Bytes of the hives that the limits were set for.
const HIVES: [(&str, usize); 2] = [("SYSTEM", 16 << 20), ("SOFTWARE", 36 << 20)];

fn windows() -> Windows {
    HIVES
        .iter()
        .fold(Windows::windows_7().sized(MIB), |windows, (name, size)| {
            windows.grown_to(name, *size)
        })
}

/// Time by the clock, memory by sampling every process of the tree, ntfs-3g among them.
pub fn rows(runs: usize, start: Option<&Row>) -> Vec<Row> {
    let windows = windows();
    let bundle = virtio_win::tree(Infs::Own);
    let bundle = bundle.to_str().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("made");
    std::fs::create_dir(&own).unwrap();
    let made = windows.build(&own, |_| {});
    let fresh = |dir: &Path| {
        let disk = dir.join("windows.img");
        tests::guest::sparse_copy(&made, &disk);
        disk
    };
    let what = "convert, Windows 7 with 36 MiB SOFTWARE and 16 MiB SYSTEM";
    let verb = ["convert", "--drivers", bundle];
    let mut row = measure_on(what, &verb, runs, fresh);
    let largest = windows.largest_hive() as f64 / f64::from(1 << 20);
    row.rss_mib = memory(&verb, &fresh(dir.path()), dir.path());
    row.note = format!(
        "with ntfs-3g, limit {:.1} MiB; {}",
        2.2 * largest + 64.0,
        row.note
    );
    let mut rows = vec![
        measure_on("inspect, the same", &["inspect"], runs, fresh),
        row,
    ];
    if let Some(start) = start {
        let disk = fresh(dir.path());
        let mut command = v2v::command(&disk, Path::new(bundle), dir.path());
        let what = "virt-v2v-in-place, the same";
        let mut theirs = sampled(what, &mut command, Duration::from_millis(200));
        theirs.note = format!(
            "{}, TCG, one run; {}",
            theirs.note,
            beside(&theirs, &rows[1], start)
        );
        rows.push(theirs);
    }
    rows
}

fn memory(verb: &[&str], disk: &Path, dir: &Path) -> f64 {
    let mut command = Command::new(tests::cli::binary());
    command
        .args(verb)
        .arg(disk)
        .arg("--state-dir")
        .arg(dir.join("sampled"));
    let row = sampled("", &mut command, Duration::from_millis(1));
    assert!(row.note.ends_with("status: 0"), "{}", row.note);
    row.rss_mib
}
