// SPDX-License-Identifier: Apache-2.0
//! What the unconverted guest shows: on KubeVirt's machine, and on VMware's hardware as the control.
//!
//! This follows from the guest alone, so it is run once for each built guest and kept beside it.

use std::path::{Path, PathBuf};

use guestfix::boot::{self, BootReport, BootResult, Controller, NicModel};
use guestfix::inspect::facts::Firmware;
use tests::disk;
use tests::guest::Guest;
use tests::tool::{self, Mounted};

use crate::row::{Menu, Row};
use crate::{machine, macs, watch};

/// The boot of an unconverted guest, from the cache where it was already seen.
fn remembered(guest: &Guest, label: &str, run: impl FnOnce() -> BootReport) -> BootReport {
    let kept = guest.path().with_extension(format!("before-{label}.json"));
    if let Ok(text) = std::fs::read(&kept) {
        return serde_json::from_slice(&text).unwrap();
    }
    let report = run();
    // No evidence is nothing to remember: the next run looks again.
    if report.result != BootResult::Inconclusive {
        std::fs::write(kept, serde_json::to_vec_pretty(&report).unwrap()).unwrap();
    }
    report
}

fn boot_once(
    row: &Row,
    disks: &[PathBuf],
    controller: Controller,
    nic: NicModel,
    macs: &[String],
) -> BootReport {
    let machine = machine(row, disks, controller, nic, macs);
    boot::run(&machine, &watch(row), &mut |_| {}).unwrap()
}

/// The guest fails on both of KubeVirt's buses, by evidence.
pub fn fails_on_virtio(row: &Row) {
    let guest = Guest::get(row.name);
    let macs = &macs(&guest);
    for (controller, label) in row.fails_on {
        let report = remembered(&guest, label, || {
            let dir = tempfile::tempdir().unwrap();
            let disks = match row.menu {
                Menu::Grub { .. } | Menu::AsIs => guest.disks(),
                // dracut waits longer for its root than we do, unless it is told.
                Menu::Entry { .. } => startable_copy(row, &guest, dir.path()),
            };
            boot_once(row, &disks, *controller, NicModel::Virtio, macs)
        });
        let reason = report
            .reason
            .filter(|_| report.result == BootResult::Failed);
        assert!(
            reason.is_some_and(|reason| row.fails_by.contains(&reason)),
            "{label}: {report:#?}"
        );
    }
}

/// The control: the guest is well, it only misses what VMware's machine gave it.
pub fn boots_on_vmwares_hardware(row: &Row) {
    let guest = Guest::get(row.name);
    let label = match row.control {
        Controller::Pvscsi => "pvscsi",
        _ => "control",
    };
    let report = remembered(&guest, label, || {
        let dir = tempfile::tempdir().unwrap();
        let disks = startable_copy(row, &guest, dir.path());
        let macs = &macs(&guest);
        boot_once(row, &disks, row.control, NicModel::Vmxnet3, macs)
    });
    assert_eq!(report.result, BootResult::Booted, "{report:#?}");
}

/// With UEFI, a missing boot loader hides that the initramfs lacks the driver as well.
pub fn fails_on_virtio_for_want_of_a_driver(row: &Row) {
    let guest = Guest::get(row.name);
    let report = remembered(&guest, "virtio-with-loader", || {
        let dir = tempfile::tempdir().unwrap();
        let disks = startable_copy(row, &guest, dir.path());
        let macs = &macs(&guest);
        boot_once(row, &disks, Controller::Virtio, NicModel::Virtio, macs)
    });
    assert_eq!(report.result, BootResult::Failed, "{report:#?}");
    let reason = serde_json::to_value(report.reason).unwrap();
    assert!(
        reason == "no-root" || reason == "emergency-shell",
        "{report:#?}"
    );
}

/// A copy that can be started and watched without VMware. Two things differ from the guest, and the initramfs and the
/// root are not among them: a guest without a serial console shows its login prompt as pixels only, so the menu tells
/// the kernel to use one as well, and dracut to give up sooner; and VMware keeps the UEFI boot entry outside the disk, so the guest's own loader is put
/// where firmware looks without one.
fn startable_copy(row: &Row, guest: &Guest, dir: &Path) -> Vec<PathBuf> {
    let disks = guest.fresh_copies(dir);
    let disk = &disks[0];
    match row.menu {
        Menu::Grub {
            partition,
            options,
            path,
        } => {
            let offset = disk::partition(disk, partition).0;
            let mounted = Mounted::with(disk, offset, options, &dir.join("mnt"));
            let menu = mounted.path().join(path);
            let text = std::fs::read_to_string(&menu).unwrap();
            std::fs::write(&menu, with_serial_console(&text)).unwrap();
            drop(mounted);
            if row.firmware == Firmware::Efi {
                add_fallback_loader(disk, dir);
            }
        }
        Menu::Entry { esp } => edit_entry(disk, dir, &guest.facts()["entry"], esp),
        Menu::AsIs => {}
    }
    disks
}

/// systemd-boot puts itself where firmware looks, so the entry is all there is to change.
fn edit_entry(disk: &Path, dir: &Path, entry: &str, esp: &str) {
    let image = format!("{}@@{}", disk.display(), disk::partition(disk, 1).0);
    let inside = format!("::{}", entry.strip_prefix(esp).unwrap());
    let between = dir.join("entry.conf");
    let path = between.display().to_string();
    tool::run("mcopy", &["-i", &image, &inside, &path]);
    let text = std::fs::read_to_string(&between).unwrap();
    let seen = text.replace("options    ", "options    console=ttyS0 rd.retry=40 ");
    assert_ne!(seen, text, "{text}");
    std::fs::write(&between, seen).unwrap();
    tool::run("mcopy", &["-o", "-i", &image, &path, &inside]);
}

fn with_serial_console(menu: &str) -> String {
    let lines = menu.lines().map(|line| {
        let kernel = line.trim_start().starts_with("linux\t");
        match kernel {
            // dracut looks for a root for three minutes, of emulated time that is long.
            true => format!("{} console=ttyS0 rd.retry=40\n", line.replace(" quiet", "")),
            false => format!("{line}\n"),
        }
    });
    let seen: String = lines.collect();
    assert!(seen.contains("console=ttyS0"), "{menu}");
    seen
}

/// Copies the guest's shim and GRUB within its ESP, the disk's first partition. There may be no FAT driver here.
fn add_fallback_loader(disk: &Path, dir: &Path) {
    let esp = format!("{}@@{}", disk.display(), disk::partition(disk, 1).0);
    tool::run("mmd", &["-i", &esp, "::/EFI/BOOT"]);
    for (from, to) in [
        ("shimx64.efi", "BOOTX64.EFI"),
        ("grubx64.efi", "grubx64.efi"),
    ] {
        let between = dir.join(from).display().to_string();
        tool::run(
            "mcopy",
            &["-i", &esp, &format!("::/EFI/debian/{from}"), &between],
        );
        tool::run(
            "mcopy",
            &["-i", &esp, &between, &format!("::/EFI/BOOT/{to}")],
        );
    }
}
