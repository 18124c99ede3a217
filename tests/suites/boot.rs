// SPDX-License-Identifier: Apache-2.0
//! The proof: real guests in QEMU, wired as KubeVirt wires them. Each guest fails before by evidence,
//! boots on VMware's own hardware as the control, and boots after.
//!
//! Before-halves follow from the guest alone, so they are run once for each built guest and kept
//! beside it. `GUESTFIX_FULL` runs every mode on every bus; otherwise modes and buses are paired.

use std::path::{Path, PathBuf};
use std::time::Duration;

use guestfix::boot::{
    self, BootReport, BootResult, Controller, Drive, Machine, Network, Nic, NicModel, Session,
    Watch,
};
use guestfix::inspect::facts::Firmware;
use tests::cli::Cli;
use tests::digest::sha256_of_file;
use tests::disk::FIRST_PARTITION;
use tests::guest::Guest;
use tests::tool::Mounted;

const VMWARE: &str = "bookworm-bios-ext4";
const CLOUD: &str = "bookworm-cloud";
const TIMEOUT: Duration = Duration::from_secs(420);

fn full() -> bool {
    std::env::var("GUESTFIX_FULL").is_ok_and(|full| !full.is_empty())
}

fn machine(disk: &Path, controller: Controller, model: NicModel, mac: &str) -> Machine {
    let mut machine = Machine::new(Firmware::Bios, controller, vec![Drive::raw(disk)]);
    machine.nics = vec![Nic {
        model,
        mac: Some(mac.to_owned()),
    }];
    machine.network = Network::None;
    machine
}

fn watch() -> Watch {
    Watch {
        timeout: TIMEOUT,
        screenshot: None,
    }
}

/// The boot of an unconverted guest, from the cache where it was already seen.
fn remembered(
    guest: &Guest,
    controller: Controller,
    run: impl FnOnce() -> BootReport,
) -> BootReport {
    let name = serde_json::to_value(controller).unwrap();
    let kept = guest
        .path()
        .with_extension(format!("before-{}.json", name.as_str().unwrap()));
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

/// The control. Once its kernel has a graphics driver, a guest without a serial console shows its
/// login prompt as pixels only, so a copy is told to use one as well; nothing else is changed.
#[test]
fn the_vmware_guest_boots_on_vmwares_hardware() {
    let guest = Guest::get(VMWARE);
    let dir = tempfile::tempdir().unwrap();
    let report = remembered(&guest, Controller::Pvscsi, || {
        let disk = guest.fresh_copy(dir.path());
        let mounted = Mounted::new(&disk, FIRST_PARTITION, &dir.path().join("mnt"));
        let menu = mounted.path().join("boot/grub/grub.cfg");
        let text = std::fs::read_to_string(&menu).unwrap();
        let seen = text.replace("root=/dev/sda1 ro", "root=/dev/sda1 ro console=ttyS0");
        assert_ne!(text, seen);
        std::fs::write(&menu, seen).unwrap();
        drop(mounted);
        let machine = machine(
            &disk,
            Controller::Pvscsi,
            NicModel::Vmxnet3,
            &guest.facts()["mac"],
        );
        boot::run(&machine, &watch(), &mut |_| {}).unwrap()
    });
    assert_eq!(report.result, BootResult::Booted, "{report:#?}");
}

#[test]
fn the_vmware_guest_fails_on_virtio_before() {
    let guest = Guest::get(VMWARE);
    for controller in [Controller::Virtio, Controller::Scsi] {
        let report = remembered(&guest, controller, || {
            let mac = &guest.facts()["mac"];
            let machine = machine(guest.path(), controller, NicModel::Virtio, mac);
            boot::run(&machine, &watch(), &mut |_| {}).unwrap()
        });
        assert_eq!(
            report.result,
            BootResult::Failed,
            "{controller:?}: {report:#?}"
        );
        let reason = serde_json::to_value(report.reason).unwrap();
        assert!(
            reason == "no-root" || reason == "emergency-shell",
            "{controller:?}: {report:#?}"
        );
    }
}

struct Converted {
    _dir: tempfile::TempDir,
    disk: PathBuf,
    state: PathBuf,
    original: String,
}

fn convert(guest: &Guest, options: &[&str]) -> Converted {
    let dir = tempfile::tempdir().unwrap();
    let disk = guest.fresh_copy(dir.path());
    let state = dir.path().join("state");
    let original = sha256_of_file(&disk);
    Cli::new("convert", &[&disk], &state)
        .args(options)
        .run()
        .expect(0);
    Converted {
        _dir: dir,
        disk,
        state,
        original,
    }
}

/// What the guest says of itself over the serial console.
fn ask(session: &mut Session, commands: &[&str]) -> String {
    let patience = Duration::from_secs(120);
    session.log_in("root", "guestfix", patience).unwrap();
    let quiet = "export SYSTEMD_COLORS=0 SYSTEMD_PAGER=";
    session
        .command(&format!("{quiet}; {}", commands.join("; ")), patience)
        .unwrap()
        .1
}

fn boots_and_behaves(converted: &Converted, controller: Controller, mac: &str) {
    let before = sha256_of_file(&converted.disk);
    let machine = machine(&converted.disk, controller, NicModel::Virtio, mac);
    let mut session = Session::start(&machine).unwrap();
    let report = boot::watch(&mut session, &watch(), &mut |_| {}).unwrap();
    assert_eq!(
        report.result,
        BootResult::Booted,
        "{controller:?}: {report:#?}"
    );
    println!(
        "{controller:?}: booted in {:.0} s ({:?})",
        report.seconds, report.accel
    );
    let commands = [
        "ip -br addr",
        "systemctl --failed --no-legend",
        "findmnt -no SOURCE /",
        "swapon --show",
    ];
    let said = ask(&mut session, &commands);
    drop(session);
    assert!(
        said.contains("ens192"),
        "the interface kept its name:\n{said}"
    );
    assert!(said.contains("192.0.2.10/24"), "and its address:\n{said}");
    assert!(!said.contains("failed"), "no unit failed:\n{said}");
    let root = if controller == Controller::Virtio {
        "/dev/vda1"
    } else {
        "/dev/sda1"
    };
    assert!(said.contains(root), "the root is the virtio disk:\n{said}");
    let swap = root.replace('1', "5");
    assert!(said.contains(&swap), "swap is in use:\n{said}");
    assert_eq!(
        sha256_of_file(&converted.disk),
        before,
        "a boot proof writes nothing"
    );
}

#[test]
fn the_vmware_guest_boots_on_virtio_after_and_undo_is_exact() {
    let guest = Guest::get(VMWARE);
    let mac = &guest.facts()["mac"];
    let modes: &[&[&str]] = &[&["--initramfs", "splice"], &["--no-guest-code"]];
    let pairs: Vec<(&[&str], Controller)> = if full() {
        let buses = [Controller::Virtio, Controller::Scsi, Controller::Sata];
        modes
            .iter()
            .flat_map(|mode| buses.map(|bus| (*mode, bus)))
            .collect()
    } else {
        vec![(modes[0], Controller::Virtio), (modes[1], Controller::Scsi)]
    };
    for (mode, bus) in pairs {
        let converted = convert(&guest, mode);
        boots_and_behaves(&converted, bus, mac);
        Cli::new("undo", &[&converted.disk], &converted.state)
            .run()
            .expect(0);
        assert_eq!(
            sha256_of_file(&converted.disk),
            converted.original,
            "{mode:?}"
        );
    }
}

#[test]
fn the_cloud_guest_boots_with_the_initramfs_it_had() {
    let converted = convert(&Guest::get(CLOUD), &["--initramfs", "keep"]);
    let report = Cli::new("boot", &[&converted.disk], &converted.state)
        .run()
        .expect(0);
    assert_eq!(report["result"], "booted", "{report}");
}
