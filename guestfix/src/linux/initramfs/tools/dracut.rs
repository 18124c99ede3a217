// SPDX-License-Identifier: Apache-2.0
//! dracut: dracut(8), dracut.conf(5). Which option is of which release:
//! `NEWS.md` of <https://github.com/dracut-ng/dracut-ng>.

use super::{Call, Keep, Order, Tool};
use crate::inspect::Facts;
use crate::linux::initramfs::devices;
use crate::linux::initramfs::locked::locked;

/// Where dracut says which it is.
pub const VERSION: &str = "/usr/lib/dracut/dracut-version.sh";
/// Where its modules lie; before release 14 in the second place.
pub const MODULES: [&str; 2] = ["/usr/lib/dracut/modules.d", "/usr/share/dracut/modules.d"];
const DROP_IN: &str = "/etc/dracut.conf.d/50-guestfix-virtio.conf";

/// This generator.
pub const TOOL: Tool = Tool {
    name: "dracut",
    programs: &["/usr/bin/dracut", "/usr/sbin/dracut", "/sbin/dracut"],
    configuration: &["/etc/dracut.conf", "/etc/dracut.conf.d", VERSION],
    marks: &["/usr/lib/dracut", "/usr/share/dracut"],
    is_used: |facts| {
        let has = |path| facts.sources.has(path);
        has("/usr/lib/dracut") || has("/usr/share/dracut")
    },
    keep,
    rebuild,
};

fn keep(facts: &Facts, drivers: &[&str]) -> Keep {
    let list = drivers.join(" ");
    let text =
        format!("# guestfix: the disks are on virtio, SCSI or SATA\nadd_drivers+=\" {list} \"\n");
    let mut keep = Keep::file(DROP_IN, text);
    let files = facts.sources.files.iter();
    for (path, file) in files.filter(|(path, _)| path.starts_with("/etc/dracut.conf")) {
        // kernel_cmdline, add_device and the like: sh, which is not rewritten.
        let text = String::from_utf8_lossy(&file.content);
        if let Some(device) = devices::in_text(&text).first() {
            let what = format!("its {device} is of the old machine: name it by UUID");
            keep.concerns.extend(Keep::by_hand(path, &what).concerns);
        }
    }
    keep
}

/// dracut's modules between a disk and its files: those of the old initramfs are asked for by name.
pub const STACK: [&str; 11] = [
    "btrfs",
    "crypt",
    "dm",
    "dmraid",
    "iscsi",
    "lvm",
    "lvmmerge",
    "mdraid",
    "multipath",
    "nfs",
    "systemd-cryptsetup",
];

/// A version of dracut, from its version file.
pub fn parse(text: &str) -> Option<u32> {
    let version = text
        .lines()
        .find_map(|line| line.strip_prefix("DRACUT_VERSION="))?;
    let digits = version.trim_matches(['"', '\'']);
    let end = digits.find(|c: char| !c.is_ascii_digit());
    digits.get(..end.unwrap_or(digits.len()))?.parse().ok()
}

/// The version; where no file tells, the directory does: Red Hat's release 6 has 004.
fn version(facts: &Facts) -> u32 {
    let told = facts.sources.text(VERSION).and_then(parse);
    let oldest = if facts.sources.has("/usr/lib/dracut") {
        21
    } else {
        4
    };
    told.unwrap_or(oldest)
}

fn rebuild(order: &Order<'_>) -> Call {
    let version = version(order.facts);
    let mut call = Call::new(&[order.program, "--force"]);
    let mut add = |args: &[&str]| call.argv.extend(args.iter().map(|arg| (*arg).to_owned()));
    for (since, option) in [
        (18, "--no-hostonly"),
        (37, "--no-hostonly-cmdline"),
        (48, "--no-hostonly-default-device"),
    ] {
        if version >= since {
            add(&[option]);
        }
    }
    if !order.drivers.is_empty() {
        add(&["--add-drivers", &order.drivers.join(" ")]);
    }
    let stack = stack(order);
    if !stack.is_empty() {
        add(&["--add", &stack.join(" ")]);
    }
    // Without a word on the command line dracut opens none.
    let opened = opened(order.facts);
    if !opened.is_empty() && version >= 18 {
        add(&["--kernel-cmdline", &opened.join(" ")]);
    }
    if version >= 18 {
        add(&["--tmpdir", "/tmp"]);
    }
    let release = &order.kernel.version;
    match version >= 21 {
        true => add(&["--kver", release, order.product]),
        false => add(&[order.product, release]),
    }
    call
}

/// Arguments for the encrypted volumes below the root (dracut.cmdline(7)).
fn opened(facts: &Facts) -> Vec<String> {
    let told = locked(facts).into_iter().flat_map(|volume| {
        let named = volume.plain_name();
        let named = named.map(|name| format!("rd.luks.name={}={name}", volume.uuid));
        [Some(format!("rd.luks.uuid={}", volume.uuid)), named]
    });
    told.flatten().collect()
}

/// What the old initramfs had of the stack, and the guest still has.
fn stack(order: &Order<'_>) -> Vec<&'static str> {
    let sources = &order.facts.sources;
    let old = sources.listings.get(&order.initramfs.path);
    let there = |name: &&&str| {
        let mut installed = MODULES.iter().flat_map(|dir| sources.dir(dir));
        installed.any(|dir| dir.trim_start_matches(|c: char| c.is_ascii_digit()) == **name)
    };
    let had = STACK
        .iter()
        .filter(|name| old.is_some_and(|old| old.dracut.contains(**name)));
    had.filter(there).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::super::{facts_with, kept};
    use super::*;
    use crate::inspect::facts::InitramfsFacts;

    #[test]
    fn versions_of_dracut_are_read() {
        assert_eq!(parse("DRACUT_VERSION=033-572.el7\n"), Some(33));
        assert_eq!(parse("#!/bin/sh\nDRACUT_VERSION='106-6'\n"), Some(106));
        assert_eq!(parse("DRACUT_VERSION=x"), None);
    }

    #[test]
    fn the_drop_in_serves_old_and_new_releases() {
        for dir in ["/usr/lib/dracut/x", "/usr/share/dracut/x"] {
            let text = kept(&TOOL, &[(dir, "")], DROP_IN);
            assert!(
                text.ends_with("add_drivers+=\" virtio_pci virtio_blk \"\n"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_device_of_the_old_machine_in_its_configuration_is_told() {
        let file = (
            "/etc/dracut.conf.d/a.conf",
            "kernel_cmdline+=\" root=/dev/sda1 \"\n",
        );
        let keep = keep(
            &facts_with(&[("/usr/lib/dracut/x", ""), file]),
            &["virtio_pci"],
        );
        assert!(keep.concerns[0].message.contains("/dev/sda1"), "{keep:?}");
    }

    #[test]
    fn old_releases_are_called_in_their_own_way() {
        let kernel = crate::linux::fixture::kernel("2.6.32-754.el6.x86_64");
        let initramfs = InitramfsFacts {
            path: "/boot/i".to_owned(),
            size: 0,
            generator: "dracut".to_owned(),
            archives: Vec::new(),
            damage: None,
            modules_dir: None,
            modules: std::collections::BTreeSet::new(),
            device_names: Vec::new(),
            lvm_filters: Vec::new(),
        };
        for (file, text, want) in [
            (
                "/usr/share/dracut/x",
                "",
                "/sbin/dracut --force --add-drivers virtio_blk /p 2.6.32-754.el6.x86_64",
            ),
            (
                VERSION,
                "DRACUT_VERSION=033-572.el7\n",
                "/sbin/dracut --force --no-hostonly --add-drivers virtio_blk --tmpdir /tmp --kver 2.6.32-754.el6.x86_64 /p",
            ),
        ] {
            let facts = facts_with(&[(file, text)]);
            let call = rebuild(&Order {
                facts: &facts,
                kernel: &kernel,
                initramfs: &initramfs,
                program: "/sbin/dracut",
                drivers: &["virtio_blk"],
                product: "/p",
            });
            assert_eq!(call.argv.join(" "), want);
        }
    }
}
