// SPDX-License-Identifier: Apache-2.0
//! What keeping names promises.

use super::super::super::fixture;
use super::super::propose;
use super::*;
use crate::fs::MemoryFs;
use crate::plan::Proposal;
use crate::plan::policy::NicChoice;
use crate::verify::Outcome;

const INTERFACES: &str = "/etc/network/interfaces";
const STATUS: &str = "/var/lib/dpkg/status";

/// A guest with these interfaces and this version of udev.
fn guest(names: &[&str], udev: &str) -> MemoryFs {
    let text: String = names
        .iter()
        .map(|n| format!("iface {n} inet dhcp\n"))
        .collect();
    MemoryFs::new().file(INTERFACES, text).file(
        STATUS,
        format!("Package: udev\nStatus: install ok installed\nVersion: {udev}\n"),
    )
}

fn run(fs: &MemoryFs, nics: &[(&str, &str)]) -> Proposal {
    let choice = |(name, mac): &(&str, &str)| NicChoice {
        name: (*name).to_owned(),
        mac: (*mac).to_owned(),
    };
    let policy = Policy {
        nics: nics.iter().map(choice).collect(),
        ..Policy::default()
    };
    propose(&fixture::gathered(fs.clone()), &fixture::target(), &policy)
}

fn link(out: &Proposal, name: &str) -> Option<String> {
    let path = format!("/etc/systemd/network/10-guestfix-{name}.link");
    fixture::written(&out.changes, &path)
}

fn result(fs: MemoryFs) -> Outcome {
    check(&fixture::gathered(fs), &fixture::target()).result
}

#[test]
fn one_card_is_pinned_by_its_driver() {
    let fs = guest(&["ens192"], "252.30-1~deb12u2");
    let out = run(&fs, &[]);
    assert_eq!(
        link(&out, "ens192").unwrap(),
        "# Written by guestfix: the network configuration uses the name ens192.\n[Match]\nDriver=virtio_net\n\n[Link]\nName=ens192\n"
    );
    assert_eq!(result(fs.clone()), Outcome::Fail);
    let after = fixture::applied(fs, &out.changes);
    assert_eq!(result(after.clone()), Outcome::Pass);
    assert!(run(&after, &[]).changes.is_empty());
}

#[test]
fn a_known_address_is_matched_as_the_systemd_at_hand_can() {
    let nics = [("ens192", "00:50:56:00:00:01")];
    let new = link(&run(&guest(&["ens192"], "252"), &nics), "ens192").unwrap();
    assert!(
        new.contains("[Match]\nPermanentMACAddress=00:50:56:00:00:01\n\n"),
        "{new}"
    );
    let old = link(&run(&guest(&["ens192"], "241-7~deb10u8"), &nics), "ens192").unwrap();
    assert!(
        old.contains("[Match]\nMACAddress=00:50:56:00:00:01\nDriver=virtio_net\nType=ether\n\n"),
        "{old}"
    );
}

#[test]
fn nothing_is_guessed_between_several_cards() {
    let fs = guest(&["ens192", "ens224"], "252");
    let out = run(&fs, &[("ens224", "00:50:56:00:00:02")]);
    assert_eq!(link(&out, "ens192"), None);
    assert!(link(&out, "ens224").is_some());
    assert_eq!(out.concerns.len(), 1);
    assert!(
        out.concerns[0]
            .message
            .contains("which is ens192; say so with --nic ens192=MAC")
    );
}

#[test]
fn kernel_names_are_left_to_the_kernel_where_it_gives_them() {
    let grub = "menuentry a {\n linux /vmlinuz root=UUID=x net.ifnames=0\n}\n";
    let one = guest(&["eth0"], "252").file("/boot/grub/grub.cfg", grub);
    assert!(run(&one, &[]).changes.is_empty());
    assert_eq!(result(one), Outcome::Pass);
    assert!(link(&run(&guest(&["eth0"], "252"), &[]), "eth0").is_some());
    let two = guest(&["eth0", "eth1"], "252").file("/boot/grub/grub.cfg", grub);
    let out = run(
        &two,
        &[("eth0", "00:50:56:00:00:01"), ("eth1", "00:50:56:00:00:02")],
    );
    assert!(out.changes.is_empty());
    assert_eq!(out.concerns[0].id, "nic-order");
}

#[test]
fn old_udev_gets_rules_and_rivals_are_silenced() {
    let rule = "SUBSYSTEM==\"net\", ACTION==\"add\", DRIVERS==\"?*\", ATTR{address}==\"00:50:56:00:00:01\", ATTR{dev_id}==\"0x0\", ATTR{type}==\"1\", KERNEL==\"eth*\", NAME=\"eth0\"\n";
    let fs = guest(&["eth0"], "175-7.2").file(rules::PATH, rule);
    let new = fixture::written(&run(&fs, &[]).changes, rules::PATH).unwrap();
    assert_eq!(
        new,
        format!(
            "{rule}SUBSYSTEM==\"net\", ACTION==\"add\", DRIVERS==\"virtio_net\", ATTR{{type}}==\"1\", KERNEL==\"eth*\", NAME=\"eth0\"\n"
        ),
        "a card with another address would be counted on to eth1"
    );
    let out = run(
        &fs,
        &[("lan0", "00:50:56:00:00:09"), ("eth0", "00:50:56:00:00:02")],
    );
    assert_eq!(
        fixture::written(&out.changes, rules::PATH).unwrap(),
        format!(
            "# guestfix: disabled, the card has another address now\n#{rule}SUBSYSTEM==\"net\", ACTION==\"add\", DRIVERS==\"?*\", ATTR{{address}}==\"00:50:56:00:00:02\", ATTR{{type}}==\"1\", KERNEL==\"eth*\", NAME=\"eth0\"\nSUBSYSTEM==\"net\", ACTION==\"add\", DRIVERS==\"?*\", ATTR{{address}}==\"00:50:56:00:00:09\", ATTR{{type}}==\"1\", KERNEL==\"eth*\", NAME=\"lan0\"\n"
        )
    );
    let after = fixture::applied(fs, &out.changes);
    assert!(
        run(
            &after,
            &[("lan0", "00:50:56:00:00:09"), ("eth0", "00:50:56:00:00:02")]
        )
        .changes
        .is_empty()
    );
}

#[test]
fn a_link_file_for_the_old_slot_does_not_count() {
    let fs = guest(&["lan"], "252").file(
        "/etc/systemd/network/10-lan.link",
        "[Match]\nPath=pci-0000:0b:00.0\n[Link]\nName=lan\n",
    );
    assert_eq!(result(fs.clone()), Outcome::Fail);
    assert!(link(&run(&fs, &[]), "lan").is_some());
}

#[test]
fn without_configured_names_nothing_is_done() {
    let fs = guest(&["lo"], "252");
    assert!(run(&fs, &[]).changes.is_empty());
    assert_eq!(result(fs), Outcome::Skip);
}
