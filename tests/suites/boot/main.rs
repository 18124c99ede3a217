// SPDX-License-Identifier: Apache-2.0
//! The proof: real guests in QEMU, wired as KubeVirt wires them. Each guest fails before by evidence,
//! boots on VMware's own hardware as the control, and boots after.
//!
//! `GUESTFIX_FULL` runs every mode on every bus, and the guests that only it builds; otherwise modes
//! and buses are paired.

mod after;
mod before;
mod contents;
mod row;

use std::path::PathBuf;
use std::time::Duration;

use guestfix::boot::{Controller, Drive, Machine, Network, Nic, NicModel, Passphrase, Watch};
use tests::cli::Cli;
use tests::guest::{Guest, ONLY_FULL};

use after::Converted;
use row::Row;

const CLOUD: &str = "bookworm-cloud";
const TIMEOUT: Duration = Duration::from_secs(600);

/// A guest that is for `--full` only is said to be left out otherwise.
fn wanted(row: &Row) -> bool {
    let wanted = tests::full() || !ONLY_FULL.contains(&row.name);
    if !wanted {
        println!("{}: with GUESTFIX_FULL only", row.name);
    }
    wanted
}

/// The hardware addresses of a guest's cards, in their order.
fn macs(guest: &Guest) -> Vec<String> {
    let facts = guest.facts();
    ["mac", "second_mac"]
        .iter()
        .filter_map(|key| facts.get(*key).cloned())
        .collect()
}

fn machine(
    row: &Row,
    disks: &[PathBuf],
    bus: Controller,
    model: NicModel,
    macs: &[String],
) -> Machine {
    let drives = disks.iter().map(Drive::raw).collect();
    let mut machine = Machine::new(row.firmware, bus, drives);
    machine.nics = macs
        .iter()
        .map(|mac| Nic {
            model,
            mac: Some(mac.clone()),
        })
        .collect();
    machine.network = Network::None;
    machine
}

fn watch(row: &Row) -> Watch {
    let key = row.passphrase.unwrap_or_default().as_bytes();
    Watch {
        timeout: TIMEOUT,
        screenshot: None,
        passphrases: Passphrase::of_key(key).into_iter().collect(),
    }
}

/// The three proofs of each row, in a module of its name.
macro_rules! proofs {
    ($($guest:ident: $row:ident),+ $(,)?) => {$(
        mod $guest {
            use crate::row::$row;
            use crate::{after, before};

            #[test]
            fn boots_on_vmwares_hardware() {
                if crate::wanted(&$row) {
                    before::boots_on_vmwares_hardware(&$row);
                }
            }

            #[test]
            fn fails_on_virtio_before() {
                if crate::wanted(&$row) {
                    before::fails_on_virtio(&$row);
                }
            }

            #[test]
            fn boots_on_virtio_after_and_undo_is_exact() {
                if crate::wanted(&$row) {
                    after::boots_on_virtio_and_undo_is_exact(&$row);
                }
            }
        }
    )+};
}

proofs! {
    bookworm_bios_ext4: BOOKWORM_BIOS_EXT4,
    bookworm_bond: BOOKWORM_BOND,
    bookworm_luks_lvm: BOOKWORM_LUKS_LVM,
    bookworm_lvm: BOOKWORM_LVM,
    bookworm_raid1: BOOKWORM_RAID1,
    bookworm_split: BOOKWORM_SPLIT,
    bullseye_btrfs: BULLSEYE_BTRFS,
    sid_systemd_boot: SID_SYSTEMD_BOOT,
    trixie_lvm_two_disks: TRIXIE_LVM_TWO_DISKS,
    trixie_uefi_xfs: TRIXIE_UEFI_XFS,
}

#[test]
fn a_boot_loader_alone_does_not_help_the_uefi_guest() {
    before::fails_on_virtio_for_want_of_a_driver(&row::TRIXIE_UEFI_XFS);
}

#[test]
fn the_cloud_guest_boots_with_the_initramfs_it_had() {
    let converted = Converted::new(&Guest::get(CLOUD), &["--initramfs", "keep"], None);
    let report = Cli::new("boot", &converted.disks(), &converted.state)
        .run()
        .expect(0);
    assert_eq!(report["result"], "booted", "{report}");
}
