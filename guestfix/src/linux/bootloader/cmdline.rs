// SPDX-License-Identifier: Apache-2.0
//! Kernel arguments, wherever they stand: device names and consoles.

use super::super::devices::{self, Device};
use crate::inspect::Facts;
use crate::inspect::facts::Concern;

/// Arguments that name a block device.
const DEVICE_ARGS: [&str; 4] = ["root", "resume", "boot", "real_root"];

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
    let (name, device) = arg.split_once('=')?;
    DEVICE_ARGS.contains(&name).then_some(device)
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
}
