// SPDX-License-Identifier: Apache-2.0
//! Boot sectors of a few dozen bytes, in a real QEMU.

use std::path::Path;
use std::time::{Duration, Instant};

use regex::Regex;
use tempfile::TempDir;

use super::*;
use crate::inspect::facts::Firmware;

/// What a boot sector does after it printed its text.
enum Then {
    Hang,
    Reset,
    PowerOff,
    Echo,
}

/// A disk whose boot sector prints `text` to `port` (0x3f8) or, with `None`, writes it to the top
/// row of the VGA text screen.
fn disk(dir: &Path, port: Option<u16>, text: &str, then: &Then) -> Drive {
    let mut code = vec![
        0xfa, 0xfc, 0x31, 0xc0, 0x8e, 0xd8, // cli; cld; ds = 0
        0xb8, 0x00, 0xb8, 0x8e, 0xc0, 0x31, 0xff, // es:di = b800:0
        0xbe, 0x00, 0x7d, // si = 0x7d00, the text
        0xac, 0x84, 0xc0, 0x74, 0, // next: lodsb; test al, al; jz done
    ];
    match port {
        // A transmitter that is not waited for loses bytes.
        Some(port) => {
            let [low, high] = port.to_le_bytes();
            let status = port + 5;
            let [status_low, status_high] = status.to_le_bytes();
            code.extend([0x88, 0xc4]); // mov ah, al
            code.extend([0xba, status_low, status_high, 0xec, 0xa8, 0x20, 0x74, 0xfb]);
            code.extend([0x88, 0xe0, 0xba, low, high, 0xee]); // mov al, ah; out dx, al
        }
        None => code.extend([0xb4, 0x07, 0xab]), // mov ah, 7; stosw
    }
    let back = 16_i32 - (code.len() as i32 + 2);
    code.extend([0xeb, back as u8]);
    code[20] = (code.len() - 21) as u8;
    code.extend(match then {
        Then::Hang => vec![0xf4, 0xeb, 0xfd],
        Then::Reset => vec![0xb0, 0xfe, 0xe6, 0x64, 0xf4],
        // ICH9's power management is set up by SeaBIOS at 0x600: PM1a_CNT = S5.
        Then::PowerOff => vec![0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, 0xf4],
        // Each byte that comes in goes out.
        Then::Echo => vec![
            0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xfb, 0xba, 0xf8, 0x03, 0xec, 0xee, 0xeb,
            0xf1,
        ],
    });
    code.resize(0x100, 0);
    code.extend(text.bytes());
    code.resize(510, 0);
    code.extend([0x55, 0xaa]);
    code.resize(1 << 20, 0);
    let path = dir.join("disk.img");
    std::fs::write(&path, code).unwrap();
    Drive::raw(path)
}

fn machine(dir: &Path, disk: Drive) -> Machine {
    let mut machine = Machine::new(Firmware::Bios, Controller::Virtio, vec![disk]);
    machine.memory_mib = 64;
    machine.scratch = Some(dir.to_owned());
    machine
}

fn no_qemu() -> bool {
    qemu::find(Arch::X86_64).is_err()
}

fn boot(port: Option<u16>, text: &str, then: &Then, seconds: u64) -> BootReport {
    let dir = TempDir::new().unwrap();
    let machine = machine(dir.path(), disk(dir.path(), port, text, then));
    let before = std::fs::read(&machine.disks[0].path).unwrap();
    let watch = Watch {
        timeout: Duration::from_secs(seconds),
        screenshot: None,
        passphrases: Vec::new(),
    };
    let mut session = Session::start_with(&machine, Accel::Tcg).unwrap();
    let report = super::watch(&mut session, &watch, &mut |_| {}).unwrap();
    drop(session);
    assert_eq!(std::fs::read(&machine.disks[0].path).unwrap(), before);
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().flatten().collect();
    assert_eq!(left.len(), 1, "only the disk is left: {left:?}");
    report
}

const COM1: Option<u16> = Some(0x3f8);

#[test]
fn a_login_prompt_on_the_serial_port_is_a_boot() {
    if no_qemu() {
        return;
    }
    let report = boot(COM1, "\r\nhello\r\ntest login: ", &Then::Hang, 60);
    assert_eq!(report.result, BootResult::Booted, "{report:#?}");
    assert_eq!(report.evidence.as_deref(), Some("test login:"));
    assert_eq!((report.reason, report.exit_code()), (None, 0));
    assert!(
        report.console_tail.iter().any(|line| line == "hello"),
        "{report:#?}"
    );
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["schema"], "guestfix.io/boot/v1");
    assert_eq!(json["result"], "booted");
    assert_eq!(serde_json::from_value::<BootReport>(json).unwrap(), report);
}

#[test]
fn a_panic_is_a_failure_with_its_line() {
    if no_qemu() {
        return;
    }
    let report = boot(
        COM1,
        "\r\n[ 1.0] Kernel panic - not syncing: x\r\n",
        &Then::Hang,
        60,
    );
    assert_eq!(
        (report.result, report.reason),
        (BootResult::Failed, Some(Reason::Panic))
    );
    assert_eq!(
        report.evidence.as_deref(),
        Some("[ 1.0] Kernel panic - not syncing: x")
    );
    assert_eq!(report.exit_code(), 1);
}

#[test]
fn a_guest_without_a_serial_console_is_read_from_the_screen() {
    if no_qemu() {
        return;
    }
    let report = boot(
        None,
        "ALERT!  /dev/sda1 does not exist.  Dropping to a shell!",
        &Then::Hang,
        60,
    );
    assert_eq!(
        (report.result, report.reason),
        (BootResult::Failed, Some(Reason::NoRoot))
    );
}

#[test]
fn a_disk_that_nothing_boots_from_is_seen_through_the_firmware() {
    if no_qemu() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("blank.img");
    std::fs::write(&path, vec![0; 1 << 20]).unwrap();
    for controller in [
        Controller::Virtio,
        Controller::Scsi,
        Controller::Sata,
        Controller::Pvscsi,
    ] {
        let mut machine = machine(dir.path(), Drive::raw(&path));
        machine.controller = controller;
        let mut session = Session::start_with(&machine, Accel::Tcg).unwrap();
        let watch = Watch {
            timeout: Duration::from_secs(60),
            screenshot: None,
            passphrases: Vec::new(),
        };
        let report = super::watch(&mut session, &watch, &mut |_| {}).unwrap();
        assert_eq!(report.reason, Some(Reason::NoBootloader), "{report:#?}");
    }
}

#[test]
fn a_guest_that_resets_again_and_again_has_failed() {
    if no_qemu() {
        return;
    }
    let report = boot(COM1, "x\r\n", &Then::Reset, 60);
    assert_eq!(report.reason, Some(Reason::ResetLoop), "{report:#?}");
    assert_eq!(
        report.evidence.as_deref(),
        Some("the guest reset the machine 3 times")
    );
}

#[test]
fn a_guest_that_switches_itself_off_has_failed() {
    if no_qemu() {
        return;
    }
    let report = boot(COM1, "x\r\n", &Then::PowerOff, 60);
    assert_eq!(report.reason, Some(Reason::PoweredOff), "{report:#?}");
    assert_eq!(report.result, BootResult::Failed);
}

#[test]
fn silence_is_inconclusive() {
    if no_qemu() {
        return;
    }
    let report = boot(COM1, "\r\nerror: no such device: x.\r\n", &Then::Hang, 3);
    assert_eq!(
        (report.result, report.exit_code()),
        (BootResult::Inconclusive, 7)
    );
    assert_eq!(report.reason, Some(Reason::Timeout));
    assert_eq!(
        report.evidence.as_deref(),
        Some("error: no such device: x.")
    );
}

#[test]
fn a_session_talks_with_the_guest_and_takes_its_picture() {
    if no_qemu() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let machine = machine(dir.path(), disk(dir.path(), COM1, "speak: ", &Then::Echo));
    let mut session = Session::start_with(&machine, Accel::Tcg).unwrap();
    let limit = Duration::from_secs(30);
    session
        .expect(&Regex::new("speak: $").unwrap(), limit)
        .unwrap();
    session.send("hello guest").unwrap();
    let said = session
        .expect(&Regex::new("guest").unwrap(), limit)
        .unwrap();
    assert_eq!(said, "hello guest");
    let error = session.expect(&Regex::new("hello").unwrap(), Duration::from_millis(50));
    assert_eq!(error.unwrap_err().code, "expect-timeout");
    let png = dir.path().join("shot.png");
    session.screenshot(&png).unwrap();
    assert!(std::fs::read(&png).unwrap().starts_with(b"\x89PNG"));
}

#[test]
fn the_uefi_firmware_says_that_it_found_nothing() {
    if no_qemu() || machine::efi_files(Arch::X86_64).is_err() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let mut machine = machine(dir.path(), disk(dir.path(), COM1, "x", &Then::Hang));
    machine.firmware = Firmware::Efi;
    machine.memory_mib = 256;
    let mut session = Session::start_with(&machine, Accel::Tcg).unwrap();
    let watch = Watch {
        timeout: Duration::from_secs(120),
        screenshot: None,
        passphrases: Vec::new(),
    };
    let report = super::watch(&mut session, &watch, &mut |_| {}).unwrap();
    assert_eq!(report.reason, Some(Reason::NoBootloader), "{report:#?}");
}

#[test]
fn a_missing_disk_is_named() {
    if no_qemu() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let error = Session::start_with(
        &machine(dir.path(), Drive::raw("/nowhere/x.img")),
        Accel::Tcg,
    );
    let error = error.unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.disk.as_deref()),
        ("io", Some("/nowhere/x.img"))
    );
}

#[test]
fn a_disk_that_a_running_machine_writes_is_refused() {
    if no_qemu() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let drive = disk(dir.path(), COM1, "x", &Then::Hang);
    let mut other = std::process::Command::new(qemu::find(Arch::X86_64).unwrap())
        .args([
            "-accel",
            "tcg",
            "-m",
            "16",
            "-display",
            "none",
            "-nodefaults",
            "-S",
            "-drive",
        ])
        .arg(format!(
            "if=none,id=d,format=raw,file={}",
            drive.path.display()
        ))
        .args(["-device", "virtio-blk-pci,drive=d"])
        .spawn()
        .unwrap();
    let started = Instant::now();
    let outcome = loop {
        match Session::start_with(&machine(dir.path(), drive.clone()), Accel::Tcg) {
            Ok(_) if started.elapsed() < Duration::from_secs(120) => {}
            outcome => break outcome.map(|_| ()),
        }
    };
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(outcome.unwrap_err().code, "in-use");
}
