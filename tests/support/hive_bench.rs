// SPDX-License-Identifier: Apache-2.0
//! The table of `tests/bench --hive [FILE]`: one large hive, read and edited by us and by others,
//! each run in a process of its own.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use guestfix::hive::{Dirty, Hive, ValueType};

const NOW: u64 = 0x1d2_9627_f1c8_a860;
const RUNS: usize = 7;

/// The work of one process: `walk FILE`, or `edit FILE COPY`.
///
/// # Panics
/// When it fails.
pub fn child(args: &[String]) {
    let bytes = std::fs::read(&args[1]).unwrap();
    let mut hive = Hive::open(bytes, &[], Dirty::Refuse).unwrap();
    if args[0] == "walk" {
        assert!(hive.check().unwrap().keys > 0);
        return;
    }
    let mut edit = hive.edit(NOW).unwrap();
    edit.set_value("", "guestfix", ValueType::SZ, b"x\0\0\0")
        .unwrap();
    assert!(edit.finish().unwrap().changed);
    // In place, as the program commits it.
    let file = std::fs::OpenOptions::new().write(true).open(&args[2]);
    file.unwrap().write_all(hive.bytes()).unwrap();
}

struct Row {
    what: &'static str,
    millis: Vec<f64>,
    cpu: f64,
    peak: u64,
}

fn measure(what: &'static str, runs: usize, mut command: impl FnMut() -> Command) -> Row {
    let (mut millis, mut cpu, mut peak) = (Vec::new(), Vec::new(), 0);
    for _ in 0..runs {
        let mut command = command();
        let before = children_cpu();
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let start = Instant::now();
        let (status, rss) = crate::cli::wait_measured(command.spawn().unwrap());
        millis.push(start.elapsed().as_secs_f64() * 1000.0);
        cpu.push(children_cpu() - before);
        assert!(status.success(), "{command:?}: {status}");
        peak = peak.max(rss);
    }
    millis.sort_by(f64::total_cmp);
    cpu.sort_by(f64::total_cmp);
    let cpu = cpu[runs / 2];
    Row {
        what,
        millis,
        cpu,
        peak,
    }
}

/// Milliseconds of processor that ended children have used: on a loaded machine nearer to the
/// truth than the clock.
fn children_cpu() -> f64 {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN);
    let usage = usage.unwrap();
    let millis = |time: nix::sys::time::TimeVal| {
        time.tv_sec() as f64 * 1000.0 + time.tv_usec() as f64 / 1000.0
    };
    millis(usage.user_time()) + millis(usage.system_time())
}

fn ours(work: &str, files: &[&Path]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--hive-child", work]).args(files);
    command
}

fn hivexsh(file: &Path, script: &Path) -> Command {
    let mut command = Command::new("hivexsh");
    command.arg("-w").arg("-f").arg(script).arg(file);
    command
}

fn reader(name: &str, file: &Path) -> Command {
    let python = if name == "hivex" {
        PathBuf::from("/usr/bin/python3")
    } else {
        crate::hive::venv()
    };
    let mut command = Command::new(python);
    let script = crate::workspace().join("tests/support/readers.py");
    command.arg(script).arg(name).arg(file);
    command
}

fn hivexml(file: &Path) -> Command {
    let mut command = Command::new("hivexml");
    command.arg(file);
    command
}

fn guestfix(verb: &[&str], file: &Path, more: &[&str], state: &Path) -> Command {
    let mut command = Command::new(crate::cli::binary());
    command.args(verb).arg(file).args(more);
    command.arg("--state-dir").arg(state);
    command
}

/// A hive of about 37 MB, for machines without a real one.
fn made(path: &Path) {
    let mut hive = Hive::create(5, NOW).unwrap();
    let mut edit = hive.edit(NOW).unwrap();
    for top in 0..300 {
        for sub in 0..200 {
            let key = format!("Classes\\{top:04}\\{sub:04}");
            edit.create_key(&key).unwrap();
            for value in 0..3 {
                let data = vec![value as u8; 60 + sub];
                edit.set_value(&key, &format!("v{value}"), ValueType::BINARY, &data)
                    .unwrap();
            }
        }
    }
    edit.finish().unwrap();
    std::fs::write(path, hive.bytes()).unwrap();
}

/// Prints the table for `file` (`.xz` is unpacked), or for a hive made here.
///
/// # Panics
/// When a reader fails or is not installed.
pub fn table(file: Option<&str>) {
    let dir = tempfile::tempdir().unwrap();
    let (hive, copy) = (dir.path().join("hive"), dir.path().join("copy"));
    match file {
        Some(file) if file.ends_with(".xz") => {
            let out = std::fs::File::create(&hive).unwrap();
            let mut command = Command::new("xz");
            let status = command.arg("-dc").arg(file).stdout(out).status();
            assert!(status.unwrap().success());
        }
        Some(file) => assert!(std::fs::copy(file, &hive).unwrap() > 0),
        None => {
            // In another process: what this one has in memory counts for its children.
            let status = Command::new(std::env::current_exe().unwrap())
                .arg("--hive-make")
                .arg(&hive)
                .status();
            assert!(status.unwrap().success());
        }
    }
    let script = dir.path().join("script");
    let text = "setval 1\nguestfix\nstring:x\ncommit\n";
    std::fs::write(&script, text).unwrap();
    let state = dir.path().join("state");
    let size = std::fs::metadata(&hive).unwrap().len();
    let fresh = || assert_eq!(std::fs::copy(&hive, &copy).unwrap(), size);
    let rows = [
        measure("guestfix: open + walk", RUNS, || ours("walk", &[&hive])),
        measure("hivexml: walk", 3, || hivexml(&hive)),
        measure("hivexsh's library in Python: walk", 1, || {
            reader("hivex", &hive)
        }),
        measure("regipy: walk", 1, || reader("regipy", &hive)),
        measure("guestfix: open + one edit + write", RUNS, || {
            fresh();
            ours("edit", &[&hive, &copy])
        }),
        measure("hivexsh: open + one edit + write", 3, || {
            fresh();
            hivexsh(&copy, &script)
        }),
        measure(
            "guestfix hive set: two walks, journal, fsync, undo",
            3,
            || {
                fresh();
                let _ = std::fs::remove_dir_all(&state);
                let more = ["", "guestfix", "sz:x"];
                guestfix(&["hive", "set"], &copy, &more, &state)
            },
        ),
    ];
    println!("| {size} bytes | median ms | min | max | CPU ms | peak RSS MiB | x the hive |");
    println!("|---|---|---|---|---|---|---|");
    for row in rows {
        let median = row.millis[row.millis.len() / 2];
        let (min, max) = (row.millis[0], row.millis[row.millis.len() - 1]);
        let mib = row.peak as f64 / f64::from(1 << 20);
        let times = row.peak as f64 / size as f64;
        let (what, cpu) = (row.what, row.cpu);
        println!(
            "| {what} | {median:.0} | {min:.0} | {max:.0} | {cpu:.0} | {mib:.0} | {times:.2} |"
        );
    }
}

/// Makes the hive that [`table`] measures where none is given.
pub fn make(path: &str) {
    made(Path::new(path));
}
