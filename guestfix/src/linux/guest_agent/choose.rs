// SPDX-License-Identifier: Apache-2.0
//! Which of the operator's packages (`--guest-agent-packages`) is for this guest, by their names.

use std::cmp::Ordering;

use super::super::packages::Format;
use super::super::release::{Family, major};
use crate::inspect::facts::Guest;

/// What a file's name says.
#[derive(Debug, PartialEq, Eq)]
struct Named<'a> {
    format: Format,
    arch: &'a str,
    rest: &'a str,
}

/// How packages of the agent are called.
pub(super) const AGENT: &[&str] = &["qemu-guest-agent", "qemu-ga"];
/// How packages of the libraries are called that it needs and that a small guest may lack.
pub(super) const LIBRARIES: [&[&str]; 3] = [
    &["liburing2", "liburing1", "liburing"],
    &["libnuma1", "numactl-libs", "libnuma"],
    &[
        "libglib2.0-0t64",
        "libglib2.0-0",
        "libglib-2_0-0",
        "glib2",
        "glib",
    ],
];

/// The package for a guest of those whose names begin so; `None` where none is. Of several that
/// fit the newest.
pub(super) fn choose<'a>(
    (files, names): (&'a [String], &[&str]),
    format: Format,
    family: Family,
    guest: &Guest,
) -> Option<&'a str> {
    let tag = tag(family, guest);
    let mut best: Option<(bool, &str)> = None;
    for file in files {
        let Some(named) = named(file, names).filter(|named| named.format == format) else {
            continue;
        };
        let fits =
            named.arch == word(format, &guest.arch) || matches!(named.arch, "all" | "noarch");
        let own = tag.as_ref().is_some_and(|tag| has_tag(named.rest, tag));
        if !fits || (!own && is_anothers(named.rest)) {
            continue;
        }
        let better = best.is_none_or(|(have, name)| {
            own.cmp(&have).then_with(|| natural(file, name)) == Ordering::Greater
        });
        if better {
            best = Some((own, file));
        }
    }
    best.map(|(_, file)| file)
}

fn named<'a>(file: &'a str, names: &[&str]) -> Option<Named<'a>> {
    if file.contains('/') || file.starts_with('.') {
        return None;
    }
    let rest = names.iter().find_map(|name| file.strip_prefix(name))?;
    // A version follows, and no -debuginfo or -dbgsym.
    let version = rest.strip_prefix(['-', '_'])?;
    if !version.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let (format, rest, split) = if let Some(rest) = version.strip_suffix(".deb") {
        (Format::Dpkg, rest, '_')
    } else if let Some(rest) = version.strip_suffix(".rpm") {
        (Format::Rpm, rest, '.')
    } else if let Some(rest) = version.strip_suffix(".apk") {
        // Alpine's repositories leave the architecture to the directory.
        return Some(Named {
            format: Format::Apk,
            arch: "all",
            rest,
        });
    } else {
        let (rest, end) = version.split_once(".pkg.tar")?;
        if end.ends_with(".sig") {
            return None;
        }
        (Format::Pacman, rest, '-')
    };
    let (rest, arch) = rest.rsplit_once(split)?;
    Some(Named { format, arch, rest })
}

/// An architecture, as a format calls it.
fn word(format: Format, arch: &str) -> &str {
    match (format, arch) {
        (Format::Dpkg, "x86_64") => "amd64",
        (Format::Dpkg, "aarch64") => "arm64",
        (Format::Dpkg, "ppc64le") => "ppc64el",
        (Format::Rpm, "i386") => "i686",
        (_, arch) => arch,
    }
}

/// What packages for a release carry in their version.
fn tag(family: Family, guest: &Guest) -> Option<String> {
    let major = major(&guest.version)?;
    Some(match (family, guest.distro.as_deref()?) {
        (_, "fedora") => format!("fc{major}"),
        (_, "amzn") => format!("amzn{major}"),
        // Ubuntu's say whose they are, and not for which release.
        (_, "ubuntu") => "ubuntu".to_owned(),
        (_, "debian") => format!("deb{major}"),
        (Family::Photon, _) => format!("ph{major}"),
        (Family::RedHat, _) => format!("el{major}"),
        _ => return None,
    })
}

/// The tag as a whole: `el8` is in `.el8_10` and not in `.el80`.
fn has_tag(version: &str, tag: &str) -> bool {
    version.match_indices(tag).any(|(at, _)| {
        let end = at.saturating_add(tag.len());
        let digit = |c: char| c.is_ascii_digit();
        let goes_on = version
            .get(end..)
            .is_some_and(|rest| rest.starts_with(digit));
        !(goes_on && tag.ends_with(digit))
    })
}

/// It carries the tag of some release.
fn is_anothers(version: &str) -> bool {
    ["el", "fc", "amzn", "deb", "ph", "ubuntu"]
        .iter()
        .any(|tag| {
            version.match_indices(tag).any(|(at, _)| {
                let end = at.saturating_add(tag.len());
                let digit = |c: char| c.is_ascii_digit();
                let before = version.get(..at).unwrap_or_default();
                let own_word = !before.ends_with(|c: char| c.is_ascii_alphabetic());
                own_word
                    && version
                        .get(end..)
                        .is_some_and(|rest| rest.starts_with(digit))
            })
        })
}

/// Compares names so that runs of digits count as numbers.
fn natural(a: &str, b: &str) -> Ordering {
    let parts = |text: &str| -> Vec<(u64, String)> {
        let mut out: Vec<(u64, String)> = Vec::new();
        let mut digits = false;
        for c in text.chars() {
            if c.is_ascii_digit() != digits || out.is_empty() {
                out.push((0, String::new()));
                digits = c.is_ascii_digit();
            }
            if let Some((number, word)) = out.last_mut() {
                match c.to_digit(10).filter(|_| digits) {
                    Some(digit) => {
                        *number = number.saturating_mul(10).saturating_add(u64::from(digit));
                    }
                    None => word.push(c),
                }
            }
        }
        out
    };
    parts(a).cmp(&parts(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(distro: &str, version: &str, arch: &str) -> Guest {
        Guest {
            distro: Some(distro.to_owned()),
            version: version.to_owned(),
            arch: arch.to_owned(),
            ..Guest::default()
        }
    }

    #[test]
    fn the_package_of_the_guests_release_and_architecture_is_taken() {
        let files: Vec<String> = [
            "README",
            "qemu-guest-agent_7.2+dfsg-7+deb12u12_amd64.deb",
            "qemu-guest-agent_7.2+dfsg-7+deb12u9_amd64.deb",
            "qemu-guest-agent_7.2+dfsg-7+deb12u12_arm64.deb",
            "qemu-guest-agent-dbgsym_9.0_amd64.deb",
            "qemu-guest-agent_6.2+dfsg-2ubuntu6.22_amd64.deb",
            "qemu-guest-agent-8.2.0-11.el9.x86_64.rpm",
            "qemu-guest-agent-6.2.0-53.module+el8.10.0+1.x86_64.rpm",
            "qemu-guest-agent-9.2.0-1.fc41.x86_64.rpm",
            "qemu-guest-agent-8.2.0-150600.3.x86_64.rpm",
            "qemu-guest-agent-debuginfo-8.2.0-11.el9.x86_64.rpm",
            "qemu-ga-8.2.0-11.el9.aarch64.rpm",
            "qemu-guest-agent-9.0.2-r0.apk",
            "qemu-guest-agent-9.1.0-2-x86_64.pkg.tar.zst",
            "qemu-guest-agent-9.1.0-2-x86_64.pkg.tar.zst.sig",
        ]
        .map(str::to_owned)
        .to_vec();
        for (format, family, guest, want) in [
            (
                Format::Dpkg,
                Family::Debian,
                guest("debian", "12", "x86_64"),
                Some(1),
            ),
            (
                Format::Dpkg,
                Family::Debian,
                guest("debian", "12", "aarch64"),
                Some(3),
            ),
            (
                Format::Dpkg,
                Family::Debian,
                guest("debian", "11", "x86_64"),
                None,
            ),
            (
                Format::Rpm,
                Family::RedHat,
                guest("rocky", "9.4", "x86_64"),
                Some(6),
            ),
            (
                Format::Rpm,
                Family::RedHat,
                guest("rhel", "8.10", "x86_64"),
                Some(7),
            ),
            (
                Format::Rpm,
                Family::RedHat,
                guest("fedora", "41", "x86_64"),
                Some(8),
            ),
            (
                Format::Rpm,
                Family::RedHat,
                guest("ol", "9.1", "aarch64"),
                Some(11),
            ),
            (
                Format::Rpm,
                Family::Suse,
                guest("sles", "15.6", "x86_64"),
                Some(9),
            ),
            (
                Format::Rpm,
                Family::RedHat,
                guest("rhel", "9.4", "s390x"),
                None,
            ),
            (
                Format::Apk,
                Family::Alpine,
                guest("alpine", "3.20", "x86_64"),
                Some(12),
            ),
            (
                Format::Pacman,
                Family::Arch,
                guest("arch", "", "x86_64"),
                Some(13),
            ),
        ] {
            let got = choose((&files, AGENT), format, family, &guest);
            assert_eq!(got, want.map(|at: usize| files[at].as_str()), "{guest:?}");
        }
    }

    #[test]
    fn newer_is_by_number() {
        assert_eq!(natural("x-10.2", "x-9.10"), Ordering::Greater);
        assert_eq!(natural("x-1.a", "x-1.a"), Ordering::Equal);
    }
}
