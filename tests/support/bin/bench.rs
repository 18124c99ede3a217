// SPDX-License-Identifier: Apache-2.0
//! Times guestfix on real guests, beside its peer where that is installed, and prints a table.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use tests::guest::Guest;

const RUNS: usize = 5;

struct Row {
    what: String,
    seconds: Vec<f64>,
    rss_mib: f64,
    note: String,
}

impl Row {
    fn median(&self) -> f64 {
        let mut sorted = self.seconds.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }
}

fn guestfix(args: &[&str]) -> (f64, serde_json::Value) {
    let start = Instant::now();
    let output = Command::new(tests::cli::binary())
        .args(args)
        .args(["--format", "json"])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let seconds = start.elapsed().as_secs_f64();
    assert!(
        output.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&output.stdout)
    );
    (seconds, serde_json::from_slice(&output.stdout).unwrap())
}

/// The verb on a fresh copy each time; the copy may be grown to a sparse disk of `len` bytes.
fn measure(what: &str, verb: &[&str], image: &Guest, len: Option<u64>) -> Row {
    let mut row = Row {
        what: what.into(),
        seconds: vec![],
        rss_mib: 0.0,
        note: String::new(),
    };
    for _ in 0..RUNS {
        let dir = tempfile::tempdir().unwrap();
        let disk = image.fresh_copy(dir.path());
        if let Some(len) = len {
            std::fs::File::options()
                .write(true)
                .open(&disk)
                .unwrap()
                .set_len(len)
                .unwrap();
        }
        // Else the commit's fsync would pay for the copy.
        std::fs::File::open(&disk).unwrap().sync_all().unwrap();
        let state = dir.path().join("state");
        let mut args = verb.to_vec();
        args.extend([
            disk.to_str().unwrap(),
            "--state-dir",
            state.to_str().unwrap(),
        ]);
        let (seconds, document) = guestfix(&args);
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

/// One run of a program; largest resident set of any process of its tree, by sampling.
fn peer(what: &str, program: &str, args: &[&str]) -> Row {
    let start = Instant::now();
    let mut child = Command::new(program)
        .args(args)
        .env("LIBGUESTFS_BACKEND", "direct")
        .env("LIBGUESTFS_BACKEND_SETTINGS", "force_tcg")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut peak = 0;
    let status = loop {
        peak = peak.max(tree_rss_kib(child.id()));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    };
    Row {
        what: what.into(),
        seconds: vec![start.elapsed().as_secs_f64()],
        rss_mib: f64::from(u32::try_from(peak).unwrap_or(u32::MAX)) / 1024.0,
        note: format!("{status}, TCG, one run"),
    }
}

fn tree_rss_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let own = status
        .lines()
        .find_map(|l| l.strip_prefix("VmRSS:"))
        .and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok())
        .unwrap_or(0);
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    own + children
        .split_whitespace()
        .filter_map(|p| p.parse().ok())
        .map(tree_rss_kib)
        .sum::<u64>()
}

fn installed(program: &str) -> bool {
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|dir| dir.join(program).is_file())
}

fn peers(image: &Guest, ours: &Row, rows: &mut Vec<Row>) {
    if !installed("virt-v2v-in-place") {
        println!("virt-v2v-in-place is not installed: no peer in this table.");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let disk: PathBuf = image.fresh_copy(dir.path());
    let start = peer(
        "libguestfs appliance start",
        "guestfish",
        &["-a", "/dev/null", "run"],
    );
    let mut theirs = peer(
        "virt-v2v-in-place, guest (a)",
        "virt-v2v-in-place",
        &["-i", "disk", disk.to_str().unwrap()],
    );
    let whole = theirs.median() / ours.median();
    let without = (theirs.median() - start.median()).max(0.0) / ours.median();
    theirs.note = format!(
        "{}; {whole:.0}x ours, {without:.0}x without its appliance's start",
        theirs.note
    );
    rows.push(start);
    rows.push(theirs);
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("--hive") => tests::hive_bench::table(args.get(1).map(String::as_str)),
        Some("--hive-child") => tests::hive_bench::child(&args[1..]),
        Some("--hive-make") => tests::hive_bench::make(&args[1]),
        _ => guests(),
    }
}

fn guests() {
    let image = Guest::get("bookworm-bios-ext4");
    let mut rows = vec![
        measure("inspect, guest (a)", &["inspect"], &image, None),
        measure("convert (splice), guest (a)", &["convert"], &image, None),
        measure(
            "convert --no-guest-code, guest (a)",
            &["convert", "--no-guest-code"],
            &image,
            None,
        ),
        measure(
            "inspect, guest (a) on 10 TiB",
            &["inspect"],
            &image,
            Some(10 << 40),
        ),
        measure(
            "convert (splice), guest (a) on 10 TiB",
            &["convert"],
            &image,
            Some(10 << 40),
        ),
    ];
    let ours = rows.remove(1);
    if std::env::args().any(|arg| arg == "--peers") {
        peers(&image, &ours, &mut rows);
    }
    rows.insert(1, ours);
    println!("| what | median s | min | max | peak RSS MiB | note |");
    println!("|---|---|---|---|---|---|");
    for row in &rows {
        let min = row.seconds.iter().copied().fold(f64::MAX, f64::min);
        let max = row.seconds.iter().copied().fold(0.0, f64::max);
        let rss = if row.rss_mib > 0.0 {
            format!("{:.0}", row.rss_mib)
        } else {
            String::new()
        };
        println!(
            "| {} | {:.3} | {min:.3} | {max:.3} | {rss} | {} |",
            row.what,
            row.median(),
            row.note
        );
    }
}
