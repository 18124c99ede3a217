// SPDX-License-Identifier: Apache-2.0
//! How the guest's udev names cards, and whether it leaves the kernel's names alone.

use super::NAMING_MASKS;
use super::UDEV_DIRS;
use crate::inspect::facts::Sources;
use crate::linux::{bootloader, packages};

/// How udev names cards in this guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// Rules only (before systemd 209).
    Rules,
    /// Link files that know `MACAddress=` and `Driver=`.
    Links,
    /// Link files that also know `PermanentMACAddress=` (systemd 245, NEWS).
    PermanentLinks,
}

pub(super) fn naming(sources: &Sources) -> Naming {
    match udev_version(sources) {
        Some(version) if version < 209 => Naming::Rules,
        Some(version) if version >= 245 => Naming::PermanentLinks,
        Some(_) => Naming::Links,
        None if has_systemd_udev(sources) => Naming::Links,
        None => Naming::Rules,
    }
}

fn has_systemd_udev(sources: &Sources) -> bool {
    let has = |dir: &&str| sources.dir(dir).iter().any(|name| name == "systemd-udevd");
    UDEV_DIRS.iter().any(has)
}

/// The version of udev: of its package, or of the library beside it.
fn udev_version(sources: &Sources) -> Option<u32> {
    let packages = packages::of(sources);
    let package = ["udev", "systemd"]
        .iter()
        .find_map(|name| packages::version(&packages, name))
        .and_then(|version| {
            let upstream = version
                .split_once(':')
                .map_or(version.as_str(), |(_, v)| v)
                .to_owned();
            leading_number(&upstream)
        });
    package.or_else(|| {
        let names = UDEV_DIRS.iter().flat_map(|dir| sources.dir(dir));
        let mut shared = names.filter_map(|name| name.strip_prefix("libsystemd-shared-"));
        shared.find_map(leading_number)
    })
}

fn leading_number(text: &str) -> Option<u32> {
    let digits = text
        .len()
        .checked_sub(text.trim_start_matches(|c: char| c.is_ascii_digit()).len())?;
    text.get(..digits)?.parse().ok()
}

/// True when cards keep the names that the kernel gives them (`eth0`).
pub(super) fn keeps_kernel_names(sources: &Sources) -> bool {
    let masked = NAMING_MASKS
        .iter()
        .any(|path| sources.links.get(*path).is_some_and(|to| to == "/dev/null"));
    masked || naming(sources) == Naming::Rules || is_off_at_boot(sources)
}

/// `net.ifnames=0`: in every entry of GRUB's menu, or wherever else the boot loader's files have
/// a command line.
fn is_off_at_boot(sources: &Sources) -> bool {
    let off = |arg: &str| arg == "net.ifnames=0";
    let menus = bootloader::parse(sources);
    let lines = menus.iter().flat_map(|(_, menu)| &menu.linux);
    let mut kernels = lines.filter(|line| line.is_kernel()).peekable();
    if kernels.peek().is_some() {
        return kernels.all(|line| line.args.iter().any(|arg| off(&arg.text)));
    }
    let mut files = sources
        .files
        .iter()
        .filter(|(path, _)| has_command_line(path));
    files.any(|(_, file)| {
        let text = String::from_utf8_lossy(&file.content);
        let mut lines = text
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'));
        lines.any(|line| words(line).any(off))
    })
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split([' ', '\t', '"', '\''])
}

fn has_command_line(path: &str) -> bool {
    let boot = path.starts_with("/boot/")
        && ["conf", ".lst", ".cfg", "grubenv"]
            .iter()
            .any(|end| path.ends_with(end));
    boot || matches!(path, "/etc/default/grub" | "/etc/kernel/cmdline")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn udev_is_dated_by_package_or_library() {
        let mut sources = Sources::default();
        assert_eq!(naming(&sources), Naming::Rules);
        sources
            .dirs
            .insert("/lib/systemd".into(), vec!["systemd-udevd".into()]);
        assert_eq!(naming(&sources), Naming::Links);
        sources.dirs.insert(
            "/usr/lib/systemd".into(),
            vec!["libsystemd-shared-252.so".into()],
        );
        assert_eq!(naming(&sources), Naming::PermanentLinks);
    }
}
