// SPDX-License-Identifier: Apache-2.0
//! Kernel arguments, wherever they stand: device names and consoles.

use std::ops::Range;

use super::super::devices::{self, Device};
use super::script::Word;
use crate::inspect::Facts;
use crate::inspect::facts::Concern;
use crate::linux::text::{self, Edits};

/// Arguments whose whole value names a block device: the kernel's own (kernel-parameters), those of
/// dracut.cmdline(7) and systemd-gpt-auto-generator(8), Gentoo's `real_root` and `crypt_root`.
const DEVICE_ARGS: [&str; 8] = [
    "root",
    "resume",
    "boot",
    "real_root",
    "real_resume",
    "crypt_root",
    "mount.usr",
    "rd.luks.data",
];
/// Arguments whose value begins with a block device, up to a colon: mkinitcpio's `encrypt` hook.
const DEVICE_FIRST_ARGS: [&str; 2] = ["cryptdevice", "cryptkey"];
/// Arguments that keep the kernel or udev from loading modules.
const BLACKLISTS: [&str; 4] = [
    "modprobe.blacklist",
    "module_blacklist",
    "rd.driver.blacklist",
    "rdblacklist",
];

/// What is to become of one argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    /// It stays.
    Keep,
    /// The device in it gets another name.
    Rename {
        /// As written.
        from: String,
        /// Stable.
        to: String,
        /// The volume, when another one has its UUID.
        clone_of: Option<String>,
    },
    /// It names a device that nothing on the disks answers to.
    Unknown(String),
}

/// The device that an argument names.
pub fn device_of(arg: &str) -> Option<&str> {
    let (name, value) = arg.split_once('=')?;
    if DEVICE_ARGS.contains(&name) {
        return Some(value.trim_matches('"'));
    }
    if DEVICE_FIRST_ARGS.contains(&name) {
        return value.trim_matches('"').split(':').next();
    }
    // Debian's cryptsetup: cryptopts=target=root,source=/dev/sda5
    (name == "cryptopts")
        .then(|| {
            value
                .split(',')
                .find_map(|part| part.strip_prefix("source="))
        })
        .flatten()
}

/// The blank-separated arguments in a range of a file.
pub fn words_in(bytes: &[u8], at: Range<usize>) -> Vec<Word> {
    let raw = bytes.get(at.clone()).unwrap_or_default();
    let words = text::words(raw, at.start).into_iter();
    words
        .map(|(at, word)| Word {
            text: String::from_utf8_lossy(word).into_owned(),
            at,
        })
        .collect()
}

/// A run of arguments in a file that is to be edited.
#[derive(Debug)]
pub struct Run<'a> {
    /// The file, for concerns.
    pub file: &'a str,
    /// Its bytes.
    pub bytes: &'a [u8],
    /// The arguments.
    pub args: &'a [Word],
    /// Userspace reads the device names too: there is an initramfs.
    pub initramfs: bool,
    /// Where a console is to be added; `None` where another file brings it.
    pub end: Option<usize>,
}

impl Run<'_> {
    /// Stable device names and a serial console. A word in which the device is spelled in another
    /// way than it reads (with backslashes) stays and is told.
    pub fn edit(&self, facts: &Facts, edits: &mut Edits, concerns: &mut Vec<Concern>) {
        let mut tell = |concern: Concern| {
            if !concerns.contains(&concern) {
                concerns.push(concern);
            }
        };
        for arg in self.args {
            let verdict = judge(facts, &arg.text, self.initramfs);
            concern(self.file, &verdict).into_iter().for_each(&mut tell);
            blacklisted(self.file, &arg.text)
                .into_iter()
                .for_each(&mut tell);
            if let Argument::Rename { from, to, .. } = verdict {
                match place_of(self.bytes, &arg.at, &from) {
                    Some(at) => edits.replace(at, to),
                    None => tell(by_hand(self.file, &arg.text)),
                }
            }
        }
        let texts: Vec<&str> = self.args.iter().map(|arg| arg.text.as_str()).collect();
        if let Some(end) = self.end {
            for console in missing_consoles(&facts.guest.arch, &texts) {
                edits.insert(end, format!(" {console}"));
            }
        }
    }
}

/// Where `device` stands within a word, so that what is around it stays.
fn place_of(bytes: &[u8], word: &Range<usize>, device: &str) -> Option<Range<usize>> {
    let raw = bytes.get(word.clone())?;
    let at = raw
        .windows(device.len().max(1))
        .position(|window| window == device.as_bytes())?;
    let start = word.start.checked_add(at)?;
    Some(start..start.checked_add(device.len())?)
}

fn by_hand(file: &str, arg: &str) -> Concern {
    Concern::warning(
        "edit-by-hand",
        format!("{arg} in {file} is written in a way guestfix does not edit; change it by hand"),
    )
}

/// What to say of an argument that forbids a driver of the new machine.
fn blacklisted(file: &str, arg: &str) -> Option<Concern> {
    let (name, value) = arg.split_once('=')?;
    BLACKLISTS.contains(&name).then_some(())?;
    let mut names = value.split(',').map(|name| name.replace('-', "_"));
    let driver = names.find(|name| name.starts_with("virtio"))?;
    Some(Concern::warning(
        "driver-blacklisted",
        format!("{file} boots with {arg}, which keeps {driver} from being loaded"),
    ))
}

/// True for an argument that may stay where an initramfs reads it.
pub fn may_stay(facts: &Facts, arg: &str) -> bool {
    judge(facts, arg, true) == Argument::Keep
}

/// Judges one argument. Without an initramfs only the kernel reads it, and the kernel knows
/// partition UUIDs but no filesystem UUIDs (Documentation/admin-guide/kernel-parameters, `root=`).
pub fn judge(facts: &Facts, arg: &str, initramfs: bool) -> Argument {
    let Some(device) = device_of(arg) else {
        return Argument::Keep;
    };
    let to = match devices::judge(facts, device) {
        Device::Stable => return Argument::Keep,
        Device::Unknown => return Argument::Unknown(device.to_owned()),
        Device::Rename(to) => to,
    };
    let by_part = || devices::part_uuid_name(facts, facts.volume(&to.volume)?);
    let name = if initramfs {
        Some(to.name.clone())
    } else {
        by_part()
    };
    match name {
        Some(name) => Argument::Rename {
            from: device.to_owned(),
            to: name,
            clone_of: to.clone.then_some(to.volume),
        },
        None => Argument::Unknown(device.to_owned()),
    }
}

/// The serial port that `virtctl console` shows.
pub fn serial_port(arch: &str) -> Option<&'static str> {
    match arch {
        "x86_64" | "i386" => Some("ttyS0"),
        "aarch64" => Some("ttyAMA0"),
        _ => None,
    }
}

/// True when a serial console is among the arguments.
pub fn has_serial<'a>(mut args: impl Iterator<Item = &'a str>) -> bool {
    args.any(|arg| arg.starts_with("console=ttyS") || arg.starts_with("console=ttyAMA"))
}

/// The arguments to append so that kernel messages appear on screen and serial port and the serial
/// port, the last one, is `/dev/console`; empty when a serial console is there already.
pub fn missing_consoles(arch: &str, args: &[&str]) -> Vec<String> {
    let Some(port) = serial_port(arch).filter(|_| !has_serial(args.iter().copied())) else {
        return Vec::new();
    };
    let screen = args.iter().any(|arg| arg.starts_with("console=tty0"));
    let screen = (!screen).then(|| "console=tty0".to_owned());
    let speed = if port == "ttyS0" { ",115200n8" } else { "" };
    screen
        .into_iter()
        .chain([format!("console={port}{speed}")])
        .collect()
}

/// The concern that belongs to a judgement, if any.
pub fn concern(file: &str, argument: &Argument) -> Option<Concern> {
    match argument {
        Argument::Rename {
            to,
            clone_of: Some(volume),
            ..
        } => Some(super::super::fstab::clone_concern(volume, to)),
        Argument::Unknown(device) => Some(Concern::warning(
            "unknown-device",
            format!("{file} boots with {device}, but no volume of the disks answers to that name"),
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{self, ROOT_UUID};
    use super::*;

    #[test]
    fn consoles_are_added_once_and_serial_comes_last() {
        for (args, want) in [
            (
                vec!["quiet"],
                vec!["console=tty0", "console=ttyS0,115200n8"],
            ),
            (vec!["console=tty0"], vec!["console=ttyS0,115200n8"]),
            (vec!["console=ttyS1"], vec![]),
        ] {
            assert_eq!(missing_consoles("x86_64", &args), want, "{args:?}");
        }
        assert_eq!(
            missing_consoles("aarch64", &["console=tty0"]),
            ["console=ttyAMA0"]
        );
        assert!(missing_consoles("s390x", &[]).is_empty());
    }

    #[test]
    fn without_an_initramfs_only_partition_uuids_serve() {
        let facts = fixture::facts();
        let to = |initramfs| match judge(&facts, "root=/dev/sda1", initramfs) {
            Argument::Rename { to, .. } => to,
            other => panic!("{other:?}"),
        };
        assert_eq!(to(true), format!("UUID={ROOT_UUID}"));
        assert_eq!(to(false), "PARTUUID=1c2d3e4f-01");
    }

    #[test]
    fn other_arguments_stay() {
        let facts = fixture::facts();
        for arg in [
            "quiet",
            "root=LABEL=x",
            "root=$dev",
            "rootflags=/dev/sda1",
            "root=/dev/mapper/a-b",
        ] {
            assert_eq!(judge(&facts, arg, true), Argument::Keep, "{arg}");
        }
        assert_eq!(
            judge(&facts, "resume=/dev/sdz9", true),
            Argument::Unknown("/dev/sdz9".into())
        );
    }

    #[test]
    fn the_device_in_every_argument_is_found() {
        for (arg, want) in [
            ("root=/dev/sda1", Some("/dev/sda1")),
            (
                "cryptdevice=/dev/sda2:root:allow-discards",
                Some("/dev/sda2"),
            ),
            (
                "cryptopts=target=c,source=/dev/sda5,lvm=vg-root",
                Some("/dev/sda5"),
            ),
            ("mount.usr=\"/dev/sdb1\"", Some("/dev/sdb1")),
            ("rd.lvm.lv=vg/root", None),
            ("rd.luks.uuid=luks-1", None),
            ("rd.md.uuid=1:2", None),
            ("ro", None),
        ] {
            assert_eq!(device_of(arg), want, "{arg}");
        }
    }

    #[test]
    fn a_run_of_arguments_keeps_all_but_the_device() {
        let bytes = b"options  cryptdevice=/dev/sda1:r  \xff x=1 modprobe.blacklist=virtio-blk\r\n";
        let args = words_in(bytes, 7..bytes.len() - 2);
        let run = Run {
            file: "f",
            bytes,
            args: &args,
            initramfs: true,
            end: Some(bytes.len() - 2),
        };
        let mut facts = fixture::facts();
        facts.guest.arch = "aarch64".to_owned();
        let (mut edits, mut concerns) = (Edits::new(), Vec::new());
        run.edit(&facts, &mut edits, &mut concerns);
        let want = [
            b"options  cryptdevice=UUID=".as_slice(),
            ROOT_UUID.as_bytes(),
            b":r  \xff x=1 modprobe.blacklist=virtio-blk console=tty0 console=ttyAMA0\r\n",
        ];
        assert_eq!(edits.apply(bytes), want.concat());
        assert_eq!(concerns[0].id, "driver-blacklisted");
    }
}
