// SPDX-License-Identifier: Apache-2.0
//! Does the initramfs of after the conversion hold all that the one of before held, less what only
//! the old machine needed? A guest's tool that ran in the sandbox may have left something out
//! without a word.

use std::collections::BTreeSet;

use crate::inspect::Facts;
use crate::inspect::facts::InitramfsListing;
use crate::linux::kernel;
use crate::verify::{Outcome, Severity, Verdict};

/// The verdict's name.
pub const NAME: &str = "initramfs-complete";

/// Without these the guest does not reach a root that it reached before.
const PROGRAMS: [&str; 13] = [
    "btrfs",
    "cryptsetup",
    "dmsetup",
    "fsck",
    "iscsistart",
    "kmod",
    "lvm",
    "mdadm",
    "modprobe",
    "mount",
    "multipath",
    "systemd-cryptsetup",
    "zpool",
];
pub(super) const FILES: [&str; 4] = [
    "cryptroot/crypttab",
    "etc/crypttab",
    "etc/mdadm.conf",
    "etc/mdadm/mdadm.conf",
];
/// Modules between a disk and its files.
const MODULES: [&str; 4] = [
    "kernel/drivers/md/",
    "kernel/drivers/virtio/",
    "updates/",
    "extra/",
];

/// What a member of an initramfs is to this comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort<'a> {
    /// A program, by its name alone: `/bin` and `/usr/sbin` are one directory in many guests.
    Program(&'a str),
    /// Configuration or a hook, by its path.
    File(&'a str),
}

/// Tells what a member is; `None` for all that is not compared.
pub fn sort(name: &str) -> Option<Sort<'_>> {
    let name = name.strip_prefix("usr/").unwrap_or(name);
    if let Some(program) = ["bin/", "sbin/"]
        .iter()
        .find_map(|dir| name.strip_prefix(*dir))
    {
        return Some(Sort::Program(program));
    }
    const COMPARED: [&str; 5] = [
        "etc/",
        "conf/",
        "cryptroot/",
        "scripts/",
        "lib/dracut/hooks/",
    ];
    // What belongs to the old machine, to the moment of making, or to a library's version.
    // Or what dracut takes along for one machine only, and no root hangs on: names, limits, modules for later.
    const LEFT: [&str; 15] = [
        // Debian's installer: for which machine the initramfs was made.
        "conf/conf.d/driver-policy",
        "etc/hostname",
        "etc/hosts",
        "etc/modules",
        "etc/nsswitch.conf",
        "etc/sysctl.",
        "etc/udev/udev.conf",
        "etc/cmdline.d/",
        "etc/conf.d/",
        "etc/ld.so.",
        "etc/systemd/",
        "etc/udev/hwdb",
        "etc/alternatives/",
        "etc/machine-id",
        "etc/modprobe.d/",
    ];
    let starts = |list: &[&str]| list.iter().any(|dir| name.starts_with(dir));
    let device = name.contains("/devexists-") || name.ends_with(".device");
    (starts(&COMPARED) && !starts(&LEFT) && !device).then_some(Sort::File(name))
}

/// What one initramfs lost.
#[derive(Debug, Default, PartialEq, Eq)]
struct Lost {
    needed: Vec<String>,
    other: Vec<String>,
    machine: Vec<String>,
}

fn lost(before: &InitramfsListing, after: &InitramfsListing, root: &BTreeSet<String>) -> Lost {
    let mut lost = Lost::default();
    for (name, path) in &before.modules {
        if after.modules.contains_key(name) {
            continue;
        }
        let needed = root.contains(name) || MODULES.iter().any(|dir| path.starts_with(dir));
        let machine = path.starts_with("kernel/drivers/") || path.starts_with("kernel/arch/");
        let list = match (needed, machine) {
            (true, _) => &mut lost.needed,
            (false, true) => &mut lost.machine,
            (false, false) => &mut lost.other,
        };
        list.push(name.clone());
    }
    let mut compare = |before: &BTreeSet<String>, after: &BTreeSet<String>, needed: &[&str]| {
        for name in before.difference(after) {
            let kind = name.split('.').next().unwrap_or(name);
            match needed.contains(&name.as_str()) || needed.contains(&kind) {
                true => lost.needed.push(name.clone()),
                false => lost.other.push(name.clone()),
            }
        }
    };
    compare(&before.programs, &after.programs, &PROGRAMS);
    compare(&before.files, &after.files, &FILES);
    compare(&before.dracut, &after.dracut, &super::rebuild::STACK);
    lost
}

/// The verdict on a conversion, from the facts of before and behind it.
pub fn verdict(before: &Facts, after: &Facts, reader: &str) -> Verdict {
    let mut all = Lost::default();
    let mut compared = 0_usize;
    let mut seen = BTreeSet::new();
    for kernel in kernel::bootable(after) {
        let Some(initramfs) = &kernel.initramfs else {
            continue;
        };
        let path = &initramfs.path;
        let old = before.sources.listings.get(path);
        let new = after.sources.listings.get(path);
        let (Some(old), Some(new), true) = (old, new, seen.insert(path)) else {
            continue;
        };
        compared = compared.saturating_add(1);
        let root = kernel::root_closure(before, path);
        let lost = lost(old, new, &root);
        let at =
            |names: Vec<String>| (!names.is_empty()).then(|| format!("{} ({path})", some(&names)));
        all.needed.extend(at(lost.needed));
        all.other.extend(at(lost.other));
        all.machine.extend(lost.machine);
    }
    let (severity, result, detail) = match compared {
        0 => (
            Severity::Advised,
            Outcome::Skip,
            "no kernel has an initramfs".to_owned(),
        ),
        count => judge(&all, count),
    };
    Verdict {
        check: NAME.to_owned(),
        severity,
        result,
        reader: reader.to_owned(),
        detail,
    }
}

fn judge(all: &Lost, count: usize) -> (Severity, Outcome, String) {
    if !all.needed.is_empty() {
        let detail = format!("lost, and the boot may need it: {}", all.needed.join("; "));
        return (Severity::Required, Outcome::Fail, detail);
    }
    if !all.other.is_empty() {
        let detail = format!("lost: {}", all.other.join("; "));
        return (Severity::Advised, Outcome::Fail, detail);
    }
    let detail = match all.machine.is_empty() {
        true => format!("{count} hold all that they held before"),
        false => format!(
            "{count} hold all that they held before, but {} drivers of the old machine: {}",
            all.machine.len(),
            some(&all.machine)
        ),
    };
    (Severity::Required, Outcome::Pass, detail)
}

fn some(names: &[String]) -> String {
    const MOST: usize = 40;
    let shown: Vec<&str> = names.iter().take(MOST).map(String::as_str).collect();
    match names.len().saturating_sub(MOST) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::kernel::tests::{gathered, vmware_only};

    fn without(facts: &Facts, forget: impl Fn(&mut InitramfsListing)) -> Verdict {
        let mut after = facts.clone();
        after.sources.listings.values_mut().for_each(forget);
        verdict(facts, &after, "x")
    }

    #[test]
    fn members_are_sorted_by_what_they_are() {
        for (name, want) in [
            ("usr/sbin/lvm", Some(Sort::Program("lvm"))),
            ("bin/lvm", Some(Sort::Program("lvm"))),
            (
                "usr/lib/dracut/hooks/cleanup/1.sh",
                Some(Sort::File("lib/dracut/hooks/cleanup/1.sh")),
            ),
            ("etc/crypttab", Some(Sort::File("etc/crypttab"))),
            ("etc/cmdline.d/95root.conf", None),
            ("etc/modules-load.d/modules.conf", None),
            ("etc/systemd/system.conf.d/limits.conf", None),
            (
                r"lib/dracut/hooks/initqueue/finished/devexists-\x2fdev\x2fsda1.sh",
                None,
            ),
            ("usr/lib/libc.so.6", None),
            ("init", None),
        ] {
            assert_eq!(sort(name), want, "{name}");
        }
    }

    #[test]
    fn what_only_the_old_machine_needed_may_go() {
        let (_, facts) = gathered(vmware_only());
        assert_eq!(without(&facts, |_| {}).result, Outcome::Pass);
        let verdict = without(&facts, |listing| {
            assert!(listing.modules.remove("vmw_pvscsi").is_some());
        });
        assert_eq!(verdict.result, Outcome::Pass);
        assert!(
            verdict
                .detail
                .ends_with("1 drivers of the old machine: vmw_pvscsi")
        );
    }

    #[test]
    fn what_the_boot_needs_fails_and_the_rest_warns() {
        let (_, mut facts) = gathered(vmware_only());
        let listing = facts.sources.listings.values_mut().next().unwrap();
        listing
            .programs
            .extend(["fsck.ext4", "fstype"].map(str::to_owned));
        listing.files.insert("cryptroot/crypttab".to_owned());
        let dm = "kernel/drivers/md/dm-mod.ko".to_owned();
        listing.modules.insert("dm_mod".to_owned(), dm);
        type Loss<'a> = (&'a dyn Fn(&mut InitramfsListing), Severity, &'a str);
        let cases: [Loss<'_>; 4] = [
            (
                &|l| {
                    l.programs.remove("fsck.ext4");
                },
                Severity::Required,
                "fsck.ext4 (",
            ),
            (
                &|l| {
                    l.programs.remove("fstype");
                },
                Severity::Advised,
                "fstype (",
            ),
            (
                &|l| l.files.clear(),
                Severity::Required,
                "cryptroot/crypttab (",
            ),
            (
                &|l| drop(l.modules.remove("dm_mod")),
                Severity::Required,
                "dm_mod (",
            ),
        ];
        for (forget, severity, named) in cases {
            let verdict = without(&facts, forget);
            assert_eq!(
                (verdict.result, verdict.severity),
                (Outcome::Fail, severity),
                "{named}"
            );
            assert!(verdict.detail.contains(named), "{}", verdict.detail);
        }
    }
}
