// SPDX-License-Identifier: Apache-2.0
//! Release files from before os-release(5), each of which one vendor wrote in its own way.

use super::super::{shell, text};
use super::Release;
use crate::inspect::facts::Sources;

/// Every such file, in the order in which they are believed: a descendant keeps its parent's file
/// beside its own.
pub(super) const FILES: [&str; 15] = [
    "/etc/oracle-release",
    "/etc/enterprise-release",
    "/etc/photon-release",
    "/etc/altlinux-release",
    "/etc/system-release",
    "/etc/redhat-release",
    "/etc/SuSE-release",
    "/etc/lsb-release",
    "/etc/linuxmint/info",
    "/etc/devuan_version",
    "/etc/debian_version",
    "/etc/alpine-release",
    "/etc/gentoo-release",
    "/etc/arch-release",
    "/etc/coreos/update.conf",
];

/// How a line of such a file begins, and the `ID` that os-release has for it today.
const NAMES: [(&str, &str); 15] = [
    ("Red Hat Enterprise Linux", "rhel"),
    ("Red Hat Linux", "redhat"),
    ("CentOS", "centos"),
    ("AlmaLinux", "almalinux"),
    ("Rocky", "rocky"),
    ("Oracle", "ol"),
    ("Enterprise Linux", "ol"),
    ("Scientific", "scientific"),
    ("Circle", "circle"),
    ("Amazon", "amzn"),
    ("Fedora", "fedora"),
    ("VMware Photon", "photon"),
    ("ALT", "altlinux"),
    ("SUSE L", "sles"),
    ("openSUSE", "opensuse"),
];

/// The release by the first of [`FILES`] that says something.
pub(super) fn of(sources: &Sources) -> Option<Release> {
    FILES.iter().find_map(|path| {
        let bytes = sources.bytes(path)?;
        let line = first_line(bytes);
        match (*path, line) {
            ("/etc/SuSE-release", Some(line)) => Some(suse(bytes, &line)),
            ("/etc/lsb-release", _) => lsb(bytes),
            ("/etc/linuxmint/info", _) => mint(bytes),
            ("/etc/devuan_version", Some(line)) => Some(plain("devuan", "Devuan GNU/Linux", &line)),
            ("/etc/debian_version", Some(line)) => Some(plain("debian", "Debian GNU/Linux", &line)),
            ("/etc/alpine-release", Some(line)) => Some(plain("alpine", "Alpine Linux", &line)),
            ("/etc/gentoo-release", Some(line)) => Some(Release {
                version: line.rsplit(' ').next().unwrap_or_default().to_owned(),
                ..named("gentoo", &line)
            }),
            // Arch's is empty.
            ("/etc/arch-release", _) => Some(named("arch", "Arch Linux")),
            ("/etc/coreos/update.conf", _) => Some(named("coreos", "Container Linux")),
            (_, Some(line)) => vendor(&line),
            (_, None) => None,
        }
    })
}

/// The first line that is neither empty nor a comment.
pub(super) fn first_line(bytes: &[u8]) -> Option<String> {
    text::lines(bytes)
        .into_iter()
        .map(|line| line.text().trim().to_owned())
        .find(|line| !line.is_empty() && !line.starts_with('#'))
}

fn named(id: &str, name: &str) -> Release {
    Release {
        id: id.to_owned(),
        pretty_name: name.to_owned(),
        ..Release::default()
    }
}

fn plain(id: &str, name: &str, version: &str) -> Release {
    Release {
        version: first_word(version),
        ..named(id, &format!("{name} {version}"))
    }
}

fn first_word(text: &str) -> String {
    text.split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// `CentOS release 6.10 (Final)`, `VMware Photon Linux 1.0`, `ALT Linux 6.0.1 Centaurus`.
fn vendor(line: &str) -> Option<Release> {
    let (_, id) = NAMES.iter().find(|(name, _)| line.starts_with(name))?;
    let number = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit());
    let version = line.split_whitespace().find(number).unwrap_or_default();
    Some(Release {
        version: version.to_owned(),
        ..named(id, line)
    })
}

/// A line as above, then `VERSION = 11` and `PATCHLEVEL = 4`.
fn suse(bytes: &[u8], line: &str) -> Release {
    let lines = text::lines(bytes);
    let value = |key: &str| {
        lines.iter().find_map(|line| {
            let text = line.text();
            let (name, value) = text.split_once('=')?;
            (name.trim() == key).then(|| value.trim().to_owned())
        })
    };
    let mut release = vendor(line).unwrap_or_else(|| named("suse", line));
    if let Some(version) = value("VERSION") {
        release.version = match value("PATCHLEVEL") {
            Some(patch) if patch != "0" && !version.contains('.') => format!("{version}.{patch}"),
            _ => version,
        };
    }
    release
}

/// `DISTRIB_ID` and its companions; a file that only speaks of the standard's version says nothing.
fn lsb(bytes: &[u8]) -> Option<Release> {
    let all = shell::assignments(bytes);
    let get = |name| shell::value(&all, name).unwrap_or_default().to_owned();
    let name = get("DISTRIB_ID");
    let id = match name.as_str() {
        "" => return None,
        "LinuxMint" => "linuxmint".to_owned(),
        _ => name.to_ascii_lowercase().replace(' ', ""),
    };
    let pretty = Some(get("DISTRIB_DESCRIPTION")).filter(|text| !text.is_empty());
    Some(Release {
        version: get("DISTRIB_RELEASE"),
        ..named(&id, &pretty.unwrap_or(name))
    })
}

fn mint(bytes: &[u8]) -> Option<Release> {
    let all = shell::assignments(bytes);
    let version = shell::value(&all, "RELEASE")?;
    Some(plain("linuxmint", "Linux Mint", version))
}
