// SPDX-License-Identifier: Apache-2.0
//! Boot loaders: which kernels start with which arguments, and arguments that hold on the new
//! machine. GRUB 2 so far; a further loader is a further file here.

use std::collections::BTreeSet;

use super::devices;
use super::fstab::unparsable;
use super::gather::Gatherer;
use super::text;
use crate::error::Result;
use crate::inspect::Facts;
use crate::inspect::facts::{Concern, Sources};
use crate::plan::{Change, Policy, Proposal, Target};
use crate::verify::{Check, Finding, Severity};

pub mod cmdline;
pub mod defaults;
pub mod efi;
pub mod grub2;
pub mod grubenv;
mod pe;
pub mod script;

const TOPIC: &str = "bootloader";

/// Where GRUB 2 keeps its menu, by distribution.
const GRUB_DIRS: [&str; 2] = ["/boot/grub", "/boot/grub2"];
/// Where EFI guests may keep it.
const EFI_DIR: &str = "/boot/efi/EFI";
/// Links to kernels, which a menu may name.
const KERNEL_LINKS: [&str; 4] = [
    "/vmlinuz",
    "/vmlinuz.old",
    "/boot/vmlinuz",
    "/boot/vmlinuz.old",
];
const DEBCONF: &str = "/var/cache/debconf/config.dat";

/// Every menu of the guest that could be read, with its path.
pub fn parse(sources: &Sources) -> Vec<(&str, grub2::Menu)> {
    menus(sources)
        .filter_map(|(path, bytes)| Some((path, grub2::parse(bytes).ok()?)))
        .collect()
}

/// Stable device names and a serial console for every entry, now and after the next regeneration.
pub fn propose(facts: &Facts, _: &Target, _: &Policy) -> Proposal {
    let mut out = Proposal::default();
    let menus =
        menus(&facts.sources).map(|(path, bytes)| (path, bytes, grub2::edit(facts, path, bytes)));
    let blocks = environments(&facts.sources)
        .map(|(path, bytes)| (path, bytes, grubenv::edit(facts, path, bytes)));
    for (path, bytes, edited) in menus.chain(blocks) {
        match edited {
            Ok((new, concerns)) if !text::is_binary(bytes) => {
                out.concerns.extend(concerns);
                let why = "boot with device names that hold on KubeVirt, and with a serial console";
                out.changes
                    .extend(Change::edit(TOPIC, why, &facts.sources, path, new));
            }
            Ok(_) => out.concerns.push(unparsable(path)),
            Err(error) => out.concerns.push(Concern::warning(
                "unparsable-file",
                format!("{path} was left alone: {error}"),
            )),
        }
    }
    out.extend(defaults::propose(facts));
    out
}

/// The checks of this topic.
pub const CHECKS: &[Check] = &[
    Check {
        name: "boot-entries-stable",
        what: "every boot entry names its root and resume devices by what is on the disks",
        severity: Severity::Required,
        run: entries_stable,
    },
    Check {
        name: "boot-defaults-stable",
        what: "a boot menu that the guest regenerates will name its devices in a stable way",
        severity: Severity::Advised,
        run: |facts, _| match defaults::faults(facts) {
            faults if faults.is_empty() => Finding::pass("nothing unstable"),
            faults => Finding::fail(faults.join("; ")),
        },
    },
    Check {
        name: "console-serial",
        what: "every boot entry has a serial console, which virtctl console shows",
        severity: Severity::Advised,
        run: console_serial,
    },
];

/// Reads the boot loader's files.
///
/// # Errors
/// `Corrupt` when the filesystem is damaged.
pub fn gather(gather: &mut Gatherer<'_>) -> Result<()> {
    for dir in GRUB_DIRS {
        for name in ["grub.cfg", "custom.cfg", "grubenv"] {
            gather.file(&format!("{dir}/{name}"))?;
        }
    }
    for vendor in gather.dir(EFI_DIR)? {
        for name in ["grub.cfg", "grubenv"] {
            gather.file(&format!("{EFI_DIR}/{vendor}/{name}"))?;
        }
    }
    for link in KERNEL_LINKS {
        gather.link(link)?;
    }
    gather.file(defaults::MAIN)?;
    gather.files_in(defaults::DIR, |name| name.ends_with(".cfg"))?;
    gather.file(defaults::MKCONFIG)?;
    install_device(gather)
}

/// Marks the kernels that a menu starts, and the one it starts by itself, which comes first. With
/// no readable menu every kernel counts as one that may be started.
pub fn mark_kernels(facts: &mut Facts) {
    let mut named = BTreeSet::new();
    let mut default = None;
    for (path, menu) in parse(&facts.sources) {
        let node = menu.default_node(|name| environment(&facts.sources, path, name));
        for linux in menu.linux.iter().filter(|linux| linux.is_kernel()) {
            let image = image_path(facts, &linux.image);
            // custom.cfg is a part of grub.cfg and chooses nothing.
            if linux.node == node && default.is_none() && path.ends_with("/grub.cfg") {
                default = image.clone();
            }
            named.extend(image);
        }
    }
    let blind = named.is_empty();
    for kernel in &mut facts.kernels {
        kernel.in_boot_menu = blind || named.contains(&kernel.image);
        kernel.default = default.as_ref() == Some(&kernel.image);
    }
    facts.kernels.sort_by_key(|kernel| !kernel.default);
}

/// The gathered kernel that a menu's path means. GRUB's path begins at the filesystem that holds
/// the image, so `/boot` may be missing before it, and a subvolume may stand before `/boot`.
fn image_path(facts: &Facts, image: &str) -> Option<String> {
    let spellings = [
        Some(image.to_owned()),
        Some(format!("/boot{image}")),
        image
            .find("/boot/")
            .and_then(|at| image.get(at..))
            .map(str::to_owned),
    ];
    let spelled = |path: &String| {
        facts
            .kernels
            .iter()
            .any(|kernel| kernel.image == *path)
            .then(|| path.clone())
    };
    spellings.iter().flatten().find_map(|path| {
        spelled(path).or_else(|| {
            let target = facts.sources.links.get(path.as_str())?;
            let dir = crate::fs::GuestPath::new(path).parent()?;
            let real = if target.starts_with('/') {
                crate::fs::GuestPath::new(target)
            } else {
                dir.join(target)
            };
            spelled(&real.display())
        })
    })
}

fn menus(sources: &Sources) -> impl Iterator<Item = (&str, &[u8])> {
    named(sources, &["/grub.cfg", "/custom.cfg"])
}

fn environments(sources: &Sources) -> impl Iterator<Item = (&str, &[u8])> {
    named(sources, &["/grubenv"])
}

/// Gathered files below /boot by the end of their names, each real file once.
fn named<'a>(sources: &'a Sources, ends: &'a [&str]) -> impl Iterator<Item = (&'a str, &'a [u8])> {
    let mut seen = BTreeSet::new();
    sources
        .files
        .iter()
        .filter(|(path, _)| {
            path.starts_with("/boot/") && ends.iter().any(|end| path.ends_with(end))
        })
        .filter(move |(_, file)| seen.insert(&file.real))
        .map(|(path, file)| (path.as_str(), file.content.as_slice()))
}

/// A variable of the environment block beside a menu.
fn environment(sources: &Sources, menu: &str, name: &str) -> Option<String> {
    let (dir, _) = menu.rsplit_once('/')?;
    let block = sources.bytes(&format!("{dir}/grubenv"))?;
    let variables = grubenv::parse(block).ok()?;
    variables
        .into_iter()
        .find(|v| v.name == name)
        .map(|v| v.value)
}

/// Debian remembers by which name GRUB was written to the disk; an update of GRUB asks again when
/// that name is gone. It boots all the same, so this is told and not changed.
fn install_device(gather: &mut Gatherer<'_>) -> Result<()> {
    let Some(bytes) = gather
        .tree()
        .read_up_to(&DEBCONF.into(), 16 << 20)
        .or_else(|error| {
            (error.code == "file-too-large")
                .then_some(None)
                .ok_or(error)
        })?
    else {
        return Ok(());
    };
    let mut ours = false;
    for line in text::lines(&bytes) {
        let line = line.text();
        if let Some(name) = line.strip_prefix("Name: ") {
            ours = name == "grub-pc/install_devices";
        }
        let device = line
            .strip_prefix("Value: ")
            .filter(|_| ours)
            .unwrap_or_default();
        if devices::is_unstable(device) {
            gather.concerns.push(Concern::information(
                "grub-install-device",
                format!("an update of the package grub-pc will ask where to install GRUB, because it remembers {device}; answer with the new disk, or run dpkg-reconfigure grub-pc"),
            ));
        }
    }
    Ok(())
}

fn entries_stable(facts: &Facts, _: &Target) -> Finding {
    let mut seen = 0_usize;
    let mut faults = Vec::new();
    for (path, bytes) in menus(&facts.sources) {
        let menu = match grub2::parse(bytes) {
            Ok(menu) => menu,
            Err(error) => {
                faults.push(format!("{path}: {error}"));
                continue;
            }
        };
        for linux in menu.linux.iter().filter(|linux| linux.is_kernel()) {
            seen = seen.saturating_add(1);
            let devices = linux
                .args
                .iter()
                .filter_map(|arg| cmdline::device_of(&arg.text));
            let bad = devices.filter_map(|device| devices::fault(facts, device));
            faults.extend(bad.map(|fault| format!("{}: {fault}", linux.image)));
        }
    }
    for (path, bytes) in environments(&facts.sources) {
        let options = grubenv::parse(bytes).unwrap_or_default();
        let options = options.iter().filter(|v| v.name == "kernelopts");
        let devices = options
            .flat_map(|v| v.value.split_whitespace())
            .filter_map(cmdline::device_of);
        let bad = devices.filter_map(|device| devices::fault(facts, device));
        faults.extend(bad.map(|fault| format!("{path}: {fault}")));
    }
    match (seen, faults.is_empty()) {
        (0, true) => Finding::fail("no boot menu that guestfix can read names a kernel"),
        (n, true) => Finding::pass(format!("{n} entries, all stable")),
        _ => Finding::fail(faults.join("; ")),
    }
}

fn console_serial(facts: &Facts, _: &Target) -> Finding {
    if cmdline::serial_port(&facts.guest.arch).is_none() {
        return Finding::skip(format!("no serial port is known for {}", facts.guest.arch));
    }
    let menus = parse(&facts.sources);
    let kernels: Vec<_> = menus
        .iter()
        .flat_map(|(_, menu)| &menu.linux)
        .filter(|linux| linux.is_kernel())
        .collect();
    match kernels.iter().find(|linux| !linux.has_serial()) {
        None if kernels.is_empty() => Finding::skip("no boot entry was read"),
        None => Finding::pass(format!("{} entries", kernels.len())),
        Some(linux) => Finding::fail(format!("the entry of {} has none", linux.image)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{self, ROOT_UUID};
    use super::*;
    use crate::fs::MemoryFs;
    use crate::verify::Outcome;

    const MENU: &str = "set default=\"${saved_entry}\"\nmenuentry a --id a {\n linux /vmlinuz root=/dev/sda1\n initrd /initrd.img\n}\nmenuentry b --id b {\n linux /vmlinuz-6.1.0-1 root=/dev/sda1\n initrd /i\n}\n";

    fn env(entry: &str) -> Vec<u8> {
        let mut block = format!("# GRUB Environment Block\nsaved_entry={entry}\n").into_bytes();
        block.resize(grubenv::LEN, b'#');
        block
    }

    fn facts(fs: MemoryFs) -> Facts {
        let mut facts = fixture::gathered(fs);
        facts.guest.arch = "x86_64".to_owned();
        facts.kernels = ["6.1.0-1", "6.1.0-2", "6.1.0-3"]
            .map(fixture::kernel)
            .to_vec();
        facts
    }

    #[test]
    fn kernels_are_marked_through_links_and_a_separate_boot() {
        let fs = MemoryFs::new()
            .file("/boot/grub/grub.cfg", MENU)
            .file("/boot/grub/grubenv", env("a"))
            .symlink("/boot/vmlinuz", "vmlinuz-6.1.0-2");
        let mut facts = facts(fs);
        mark_kernels(&mut facts);
        let marks: Vec<_> = facts
            .kernels
            .iter()
            .map(|k| (k.version.as_str(), k.default, k.in_boot_menu))
            .collect();
        assert_eq!(
            marks,
            [
                ("6.1.0-2", true, true),
                ("6.1.0-1", false, true),
                ("6.1.0-3", false, false)
            ]
        );
    }

    #[test]
    fn without_a_menu_every_kernel_counts() {
        let mut facts = facts(MemoryFs::new());
        mark_kernels(&mut facts);
        assert!(facts.kernels.iter().all(|k| k.in_boot_menu && !k.default));
        assert_eq!(
            entries_stable(&facts, &fixture::target()).result,
            Outcome::Fail
        );
    }

    #[test]
    fn the_checks_fail_before_and_pass_after() {
        let fs = MemoryFs::new().file("/boot/grub/grub.cfg", MENU);
        let before = facts(fs.clone());
        let out = propose(&before, &fixture::target(), &Policy::default());
        let after = facts(fixture::applied(fs, &out.changes));
        for check in CHECKS.iter().filter(|c| c.name != "boot-defaults-stable") {
            let run = |facts| (check.run)(facts, &fixture::target()).result;
            assert_eq!(
                (run(&before), run(&after)),
                (Outcome::Fail, Outcome::Pass),
                "{}",
                check.name
            );
        }
        let text = fixture::written(&out.changes, "/boot/grub/grub.cfg").unwrap();
        assert!(text.contains(&format!("root=UUID={ROOT_UUID} console=tty0")));
    }

    #[test]
    fn a_broken_menu_is_left_alone_and_fails_the_check() {
        let facts = facts(MemoryFs::new().file("/boot/grub/grub.cfg", "menuentry 'x {\n"));
        let out = propose(&facts, &fixture::target(), &Policy::default());
        assert!(out.changes.is_empty());
        assert_eq!(out.concerns[0].id, "unparsable-file");
        assert_eq!(
            entries_stable(&facts, &fixture::target()).result,
            Outcome::Fail
        );
    }

    #[test]
    fn a_remembered_install_device_is_told() {
        let fs = MemoryFs::new().file(
            DEBCONF,
            "Name: grub-pc/install_devices\nTemplate: x\nValue: /dev/disk/by-id/ata-VMware_1\n\nName: other\nValue: /dev/sda\n",
        );
        let ids: Vec<_> = facts(fs).concerns.into_iter().map(|c| c.id).collect();
        assert_eq!(
            ids.iter().filter(|id| *id == "grub-install-device").count(),
            1
        );
    }
}
