// SPDX-License-Identifier: Apache-2.0
//! What guestfix is compared with: virt-v2v-in-place, and the guest's own tool run alone in a chroot.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tests::disk;
use tests::guest::Guest;
use tests::tool::Mounted;

use crate::ours::{guestfix, settle};
use crate::row::Row;

/// One run of a program under emulation; see [`sampled`].
fn program(what: &str, program: &str, args: &[&str]) -> Row {
    let mut command = Command::new(program);
    command
        .args(args)
        .env("LIBGUESTFS_BACKEND", "direct")
        .env("LIBGUESTFS_BACKEND_SETTINGS", "force_tcg");
    let mut row = sampled(what, &mut command, Duration::from_millis(200));
    row.note = format!("{}, TCG, one run", row.note);
    row
}

/// One run; the largest resident set of all processes of its tree together, seen that often. Pages
/// that processes share are counted for each.
pub fn sampled(what: &str, command: &mut Command, every: Duration) -> Row {
    let start = Instant::now();
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut peak = 0;
    let status = loop {
        peak = peak.max(tree_rss_kib(child.id()));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(every);
    };
    Row {
        what: what.to_owned(),
        seconds: vec![start.elapsed().as_secs_f64()],
        rss_mib: f64::from(u32::try_from(peak).unwrap_or(u32::MAX)) / 1024.0,
        note: status.to_string(),
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

/// How long its appliance takes to start, which every one of its runs includes.
pub fn appliance_start() -> Row {
    program(
        "libguestfs appliance start",
        "guestfish",
        &["-a", "/dev/null", "run"],
    )
}

/// The peer on the same guest, whether the result boots, and how it compares with `ours`.
pub fn virt_v2v(label: &str, image: &Guest, ours: &Row, start: &Row) -> Row {
    let dir = tempfile::tempdir().unwrap();
    let disk = image.fresh_copy(dir.path());
    settle(&disk);
    let path = disk.to_str().unwrap();
    let what = format!("virt-v2v-in-place, guest {label}");
    let mut theirs = program(&what, "virt-v2v-in-place", &["-i", "disk", path]);
    let state = dir.path().join("state");
    let boot = ["boot", path, "--state-dir", state.to_str().unwrap()];
    let (_, boot) = guestfix(&boot);
    theirs.note = format!(
        "{}; {}; then on virtio: {}",
        theirs.note,
        beside(&theirs, ours, start),
        [&boot["result"], &boot["reason"]]
            .map(|word| word.as_str().unwrap_or_default())
            .join(" ")
    );
    theirs
}

/// How many times as long as ours a peer's row took, with its appliance's start and without.
pub fn beside(theirs: &Row, ours: &Row, start: &Row) -> String {
    let (whole, ours) = (theirs.median(), ours.median());
    let without = (whole - start.median()).max(0.0);
    format!(
        "{:.0}x ours, {:.0}x without its appliance's start",
        whole / ours,
        without / ours
    )
}

/// The guest's own dracut alone, in a chroot on a loop mount of the guest, asked for what guestfix asks for.
pub fn dracut_alone(label: &str, image: &Guest, partition: u32, runs: usize) -> Row {
    let mut row = Row::new(&format!("dracut alone in a chroot, guest {label}"));
    let kernel = image.facts()["kernel"].clone();
    for _ in 0..runs {
        let dir = tempfile::tempdir().unwrap();
        let disk = image.fresh_copy(dir.path());
        settle(&disk);
        let point = dir.path().join("mnt");
        let mounted = Mounted::with(&disk, disk::partition(&disk, partition).0, "nouuid", &point);
        let script = format!(
            "mount --bind /dev '{0}/dev' && mount -t proc proc '{0}/proc' && mount -t sysfs -o ro sysfs '{0}/sys' && \
             exec chroot '{0}' dracut --force --quiet --no-hostonly --no-hostonly-cmdline \
             --no-hostonly-default-device --add-drivers 'ahci sd_mod virtio_blk virtio_scsi xfs' \
             --kver {kernel} /boot/initrd.img-{kernel}",
            mounted.path().display()
        );
        let start = Instant::now();
        let status = Command::new("unshare")
            .args(["--mount", "sh", "-c", &script])
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "{script}: {status}");
        sync(mounted.path());
        row.seconds.push(start.elapsed().as_secs_f64());
    }
    row
}

fn sync(point: &Path) {
    let status = Command::new("sync").arg("-f").arg(point).status().unwrap();
    assert!(status.success());
}
