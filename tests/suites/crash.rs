// SPDX-License-Identifier: Apache-2.0
//! kill -9 at any moment: the disk is the old one or the new one, and nothing is left behind.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::time::Duration;

use tests::case::{gone_within, left_behind};
use tests::cli::Cli;
use tests::digest::content_digest;
use tests::guest::Guest;

struct Bench {
    _dir: tempfile::TempDir,
    disk: PathBuf,
    state: PathBuf,
    old: String,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = Guest::get("bookworm-bios-ext4").fresh_copy(dir.path());
        let state = dir.path().join("state");
        let old = content_digest(&disk);
        Self {
            _dir: dir,
            disk,
            state,
            old,
        }
    }

    fn verb(&self, verb: &str) -> Cli {
        Cli::new(verb, &[&self.disk], &self.state)
    }

    /// A conversion that has been running for that long.
    fn converting_for(&self, time: Duration) -> std::process::Child {
        let child = self
            .verb("convert")
            .command()
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(time);
        child
    }

    fn sha256(&self) -> String {
        content_digest(&self.disk)
    }
}

/// Kills the supervisor at every crash point of a commit; afterwards `recover` makes it one or the
/// other, and the same conversion still works.
#[test]
fn a_commit_killed_at_any_point_ends_old_or_new() {
    const POINTS: &[(&str, u64)] = &[
        ("commit.reserved", 0),
        ("commit.undo-synced", 0),
        ("commit.journal-synced", 0),
        ("commit.journaled", 0),
        ("commit.apply", 0),
        ("commit.apply", 3),
        ("commit.applied", 0),
        ("commit.reread", 0),
        ("commit.undo-kept", 0),
        ("commit.done", 0),
    ];
    let mut ends = BTreeSet::new();
    for (point, hit) in POINTS {
        let bench = Bench::new();
        let run = bench
            .verb("convert")
            .env("GUESTFIX_FAULT", format!("{point}:{hit}"))
            .run();
        assert_eq!(
            run.signal,
            Some(9),
            "{point}:{hit} was not reached: {}",
            run.stderr
        );
        let recovered = bench.verb("recover").run().expect(0);
        let after = bench.sha256();
        let verify = bench.verb("verify").run();
        let end = if after == bench.old {
            assert_eq!(verify.code, Some(1), "{point}: the old guest is not ready");
            "old"
        } else {
            verify.expect(0);
            bench.verb("undo").run().expect(0);
            assert_eq!(bench.sha256(), bench.old, "{point}: undo after recover");
            "new"
        };
        println!("{point}:{hit} -> {} -> {end}", recovered["outcome"]);
        ends.insert(end);
    }
    assert_eq!(
        ends.len(),
        2,
        "the points lie on both sides of the point of no return"
    );
}

#[test]
fn a_pending_journal_is_read_through_and_rolled_forward_by_the_next_convert() {
    let bench = Bench::new();
    let run = bench
        .verb("convert")
        .env("GUESTFIX_FAULT", "commit.apply:1")
        .run();
    assert_eq!(run.signal, Some(9));
    let facts = bench.verb("inspect").run().expect(0);
    assert_eq!(
        facts["kernels"][0]["drivers"]["virtio_blk"], "initramfs",
        "read through it"
    );
    let boot = bench.verb("boot").run();
    assert_eq!(boot.expect(3)["code"], "pending-journal");
    let again = bench.verb("convert").run().expect(0);
    assert_eq!(
        again["committed"], false,
        "recovered, and then nothing is left to do"
    );
    bench.verb("undo").run().expect(0);
    assert_eq!(bench.sha256(), bench.old);
}

#[test]
fn a_disk_replaced_while_a_journal_is_pending_is_refused() {
    let bench = Bench::new();
    let run = bench
        .verb("convert")
        .env("GUESTFIX_FAULT", "commit.apply:1")
        .run();
    assert_eq!(run.signal, Some(9));
    let other = Guest::get("bookworm-cloud");
    tests::guest::sparse_copy(other.path(), &bench.disk);
    let before = bench.sha256();
    for verb in ["recover", "convert", "undo"] {
        assert_eq!(
            bench.verb(verb).run().expect(3)["code"],
            "disk-replaced",
            "{verb}"
        );
    }
    assert_eq!(bench.sha256(), before, "the other disk was not touched");
}

/// Kills each of the three processes at many moments of a conversion.
#[test]
fn any_process_killed_at_any_time_leaves_nothing_behind() {
    let before = left_behind();
    let mut late = 0;
    for victim in ["supervisor", "__worker", "__mounter"] {
        for delay_ms in [40, 120, 250, 400, 600, 900] {
            let bench = Bench::new();
            let mut child = bench.converting_for(Duration::from_millis(delay_ms));
            let pids = match victim {
                "supervisor" => vec![child.id()],
                role => descendants(child.id(), role),
            };
            for pid in &pids {
                let pid = nix::unistd::Pid::from_raw(i32::try_from(*pid).unwrap());
                let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
            }
            let status = child.wait().unwrap();
            gone_within(Duration::from_secs(5), &before);
            bench.verb("recover").run().expect(0);
            if bench.sha256() == bench.old {
                assert!(!status.success());
            } else {
                late += 1;
                bench.verb("verify").run().expect(0);
            }
        }
    }
    assert!(late < 18, "every kill came too late to hit anything");
}

/// Ctrl-C and `kill` end a conversion with the shell's exit code and an untouched disk; a commit
/// that has begun is finished.
#[test]
fn a_cancelled_conversion_leaves_the_disk_as_it_was() {
    use nix::sys::signal::Signal;
    let before = left_behind();
    let mut cancelled = 0;
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        for delay_ms in [20, 60, 120, 200] {
            let bench = Bench::new();
            let mut child = bench.converting_for(Duration::from_millis(delay_ms));
            let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
            nix::sys::signal::kill(pid, signal).unwrap();
            let status = child.wait().unwrap();
            gone_within(Duration::from_secs(5), &before);
            if status.code() == Some(code) {
                cancelled += 1;
                assert_eq!(bench.sha256(), bench.old);
            } else {
                assert!(status.success() || status.signal().is_some(), "{status:?}");
            }
        }
    }
    assert!(
        cancelled >= 4,
        "only {cancelled} of 8 were cancelled in time"
    );
}

fn descendants(pid: u32, role: &str) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    children
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|child| child.parse().ok())
        .filter(|child| {
            let line = std::fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(role)
        })
        .collect()
}
