// SPDX-License-Identifier: Apache-2.0
//! What the converted guest says of itself on KubeVirt's machine, and that undo gives every byte back.

use std::path::{Path, PathBuf};
use std::time::Duration;

use guestfix::boot::{self, BootResult, Controller, NicModel, Session};
use tests::cli::Cli;
use tests::digest::content_digest;
use tests::guest::Guest;

use crate::contents;
use crate::row::Row;
use crate::{machine, macs, watch};

/// How long a command in the guest may take: the slowest waits for the end of its start-up.
const PATIENCE: Duration = Duration::from_secs(240);

/// A converted copy of a guest.
#[derive(Debug)]
pub struct Converted {
    _dir: tempfile::TempDir,
    pub disks: Vec<PathBuf>,
    pub state: PathBuf,
    original: Vec<String>,
}

impl Converted {
    pub fn new(guest: &Guest, options: &[&str], passphrase: Option<&str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disks = guest.fresh_copies(dir.path());
        let state = dir.path().join("state");
        let original = sums(&disks);
        let macs = macs(guest);
        let mut convert = Cli::new("convert", &refs(&disks), &state).args(options);
        if let Some(passphrase) = passphrase {
            let key = dir.path().join("key");
            std::fs::write(&key, passphrase).unwrap();
            convert = convert.args(["--key", &format!("all=file:{}", key.display())]);
        }
        if macs.len() > 1 {
            let vmx = vmx(&macs, dir.path());
            convert = convert.args(["--vm", vmx.to_str().unwrap()]);
        }
        convert.run().expect(0);
        Self {
            _dir: dir,
            disks,
            state,
            original,
        }
    }

    /// Its disks, in their order.
    pub fn disks(&self) -> Vec<&Path> {
        refs(&self.disks)
    }

    fn undo(&self) {
        Cli::new("undo", &self.disks(), &self.state).run().expect(0);
        assert_eq!(sums(&self.disks), self.original);
    }
}

fn refs(disks: &[PathBuf]) -> Vec<&Path> {
    disks.iter().map(PathBuf::as_path).collect()
}

fn sums(disks: &[PathBuf]) -> Vec<String> {
    disks.iter().map(|disk| content_digest(disk)).collect()
}

/// What VMware keeps beside the disks of a guest with these cards.
fn vmx(macs: &[String], dir: &Path) -> PathBuf {
    let path = dir.join("guest.vmx");
    let cards = macs.iter().zip(0..).map(|(mac, n)| {
        format!(
            "ethernet{n}.present = \"TRUE\"\nethernet{n}.virtualDev = \"vmxnet3\"\n\
             ethernet{n}.addressType = \"static\"\nethernet{n}.address = \"{mac}\"\n\
             ethernet{n}.pciSlotNumber = \"{}\"\n",
            192 + 32 * n
        )
    });
    let head = "config.version = \"8\"\nvirtualHW.version = \"19\"\n".to_owned();
    std::fs::write(&path, head + &cards.collect::<String>()).unwrap();
    path
}

/// Every pair of `modes` and `buses` where `full`; otherwise each mode once, on alternating buses.
pub fn pairs<'a>(modes: &'a [&'a [&'a str]], full: bool) -> Vec<(&'a [&'a str], Controller)> {
    const BUSES: [Controller; 3] = [Controller::Virtio, Controller::Scsi, Controller::Sata];
    if full {
        let every = modes.iter().flat_map(|mode| BUSES.map(|bus| (*mode, bus)));
        return every.collect();
    }
    let buses = BUSES.iter().take(2).cycle();
    modes.iter().copied().zip(buses.copied()).collect()
}

/// Each pair of mode and bus: converted, booted, asked, undone.
pub fn boots_on_virtio_and_undo_is_exact(row: &Row) {
    let guest = Guest::get(row.name);
    let macs = macs(&guest);
    for (mode, bus) in pairs(row.modes, tests::full()) {
        println!("{}: {mode:?} on {bus:?}", row.name);
        let converted = Converted::new(&guest, mode, row.passphrase);
        boots_and_behaves(row, &converted.disks, bus, &macs);
        converted.undo();
    }
}

fn boots_and_behaves(row: &Row, disks: &[PathBuf], controller: Controller, macs: &[String]) {
    let before = sums(disks);
    let machine = machine(row, disks, controller, NicModel::Virtio, macs);
    let mut session = Session::start(&machine).unwrap();
    let report = boot::watch(&mut session, &watch(row), &mut |_| {}).unwrap();
    assert_eq!(
        report.result,
        BootResult::Booted,
        "{controller:?}: {report:#?}"
    );
    println!(
        "{controller:?}: booted in {:.0} s ({:?})",
        report.seconds, report.accel
    );
    behaves(row, &mut session, controller);
    if row.is_stack() {
        let kernel = ask(&mut session, &contents::question());
        let ours = contents::answer(row, disks);
        assert_eq!(kernel.split(' ').next(), Some(ours.as_str()));
    }
    drop(session);
    assert_eq!(sums(disks), before, "a boot proof writes nothing");
}

fn behaves(row: &Row, session: &mut Session, controller: Controller) {
    session.log_in("root", "guestfix", PATIENCE).unwrap();
    ask(session, "export SYSTEMD_COLORS=0 SYSTEMD_PAGER=");
    let state = ask(session, "systemctl is-system-running --wait");
    let failed = ask(session, "systemctl --failed --no-legend --plain");
    assert_eq!(failed, "", "no unit failed");
    assert_eq!(state, "running");
    for (interface, address) in row.addresses {
        has_address(session, interface, address);
    }
    let name = match controller {
        Controller::Virtio => "vda",
        _ => "sda",
    };
    for (point, source) in row.mounts {
        let mounted = ask(session, &format!("findmnt -no SOURCE {point}"));
        // An automount shows beside what it mounted.
        let last = mounted.lines().last().unwrap_or_default();
        assert_eq!(last, on(name, source), "{point}");
    }
    let swap = ask(session, "swapon --show=NAME --noheadings");
    assert_eq!(swap, on(name, row.swap), "swap is in use");
}

/// A row's source, where the first disk has that name.
fn on(disk: &str, source: &str) -> String {
    match source.starts_with('/') {
        true => source.to_owned(),
        false => format!("/dev/{disk}{source}"),
    }
}

/// The interface kept its name and its address. The start-up does not wait for it: systemd-networkd may set it a moment
/// later.
fn has_address(session: &mut Session, interface: &str, address: &str) {
    let show = format!("ip -br addr show dev {interface}");
    let wait =
        format!("for i in $(seq 60); do {show} | grep -qF {address} && break; sleep 1; done");
    ask(session, &wait);
    let shown = ask(session, &show);
    assert!(
        shown.contains(address),
        "{interface} has not {address}: {shown}\n{}",
        ask(session, "ip addr")
    );
}

/// What a command in the guest prints.
fn ask(session: &mut Session, command: &str) -> String {
    session.command(command, PATIENCE).unwrap().1
}
