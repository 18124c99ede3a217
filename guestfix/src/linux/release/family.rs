// SPDX-License-Identifier: Apache-2.0
//! Families of distributions: whose habits a guest follows.

use super::Release;

/// Distributions that keep their files and tools in the same places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Red Hat's and what descends from them, Amazon Linux among them: rpm, yum or dnf.
    RedHat,
    /// SUSE's: rpm, zypper.
    Suse,
    /// Debian's and what descends from them: dpkg, apt.
    Debian,
    /// VMware's Photon and Microsoft's Azure Linux: rpm, tdnf.
    Photon,
    /// ALT: rpm, apt-rpm.
    Alt,
    /// Arch's: pacman.
    Arch,
    /// Alpine's: apk, OpenRC, busybox.
    Alpine,
    /// Gentoo's: portage.
    Gentoo,
    /// Flatcar and the Container Linux that it descends from: signed images, no packages.
    Flatcar,
    /// Any other: what is common to all Linux guests is converted.
    Unknown,
}

/// os-release `ID` words by family. `ID_LIKE` words are looked up here too.
const WORDS: [(Family, &[&str]); 9] = [
    (
        Family::RedHat,
        &[
            "rhel",
            "rhcos",
            "fedora",
            "centos",
            "almalinux",
            "rocky",
            "ol",
            "scientific",
            "circle",
            "amzn",
            "eurolinux",
            "cloudlinux",
            "virtuozzo",
            "redhat",
        ],
    ),
    (
        Family::Suse,
        &[
            "suse",
            "sles",
            "sled",
            "sles_sap",
            "sle-micro",
            "sle_hpc",
            "opensuse",
            "opensuse-leap",
            "opensuse-tumbleweed",
            "opensuse-microos",
        ],
    ),
    (
        Family::Debian,
        &[
            "debian",
            "ubuntu",
            "linuxmint",
            "kali",
            "devuan",
            "raspbian",
            "pop",
        ],
    ),
    (Family::Photon, &["photon", "mariner", "azurelinux"]),
    (Family::Alt, &["altlinux", "alt"]),
    (Family::Arch, &["arch", "archarm", "manjaro"]),
    (Family::Alpine, &["alpine"]),
    (Family::Gentoo, &["gentoo"]),
    (Family::Flatcar, &["flatcar", "coreos"]),
];

impl Family {
    /// The family of a release: by its own name, else by the first it says it is like.
    pub fn of(release: &Release) -> Self {
        std::iter::once(&release.id)
            .chain(&release.like)
            .find_map(|word| Self::by_word(word))
            .unwrap_or(Self::Unknown)
    }

    fn by_word(word: &str) -> Option<Self> {
        let has = |words: &&[&str]| words.contains(&word);
        let mut families = WORDS.iter();
        families.find_map(|(family, words)| has(words).then_some(*family))
    }

    /// What to type in the guest to install a package, networks and repositories permitting.
    pub fn install(self, package: &str, version: &str) -> String {
        let tool = match self {
            Self::RedHat => match major(version) {
                // Amazon Linux counts years from 2018 on, and has dnf from 2023 on.
                Some(2..8 | 2018..2023) => "yum install",
                _ => "dnf install",
            },
            Self::Suse => "zypper install",
            Self::Debian | Self::Alt => "apt-get install",
            Self::Photon => "tdnf install",
            Self::Arch => "pacman -S",
            Self::Alpine => "apk add",
            Self::Gentoo => "emerge",
            Self::Flatcar | Self::Unknown => {
                return format!("the guest's own way to install {package}");
            }
        };
        format!("{tool} {package}")
    }

    /// What to type in the guest to remove packages.
    pub fn remove(self, packages: &[String], version: &str) -> String {
        let names = packages.join(" ");
        let tool = match self {
            Self::RedHat | Self::Photon => {
                return self
                    .install(&names, version)
                    .replacen("install", "remove", 1);
            }
            Self::Suse => "zypper remove",
            Self::Debian => "apt-get purge",
            Self::Alt => "apt-get remove",
            Self::Arch => "pacman -Rns",
            Self::Alpine => "apk del",
            Self::Gentoo => "emerge --unmerge",
            Self::Flatcar | Self::Unknown => {
                return format!("the guest's own way to remove {names}");
            }
        };
        format!("{tool} {names}")
    }
}

/// The number before the first dot of a version.
pub fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}
