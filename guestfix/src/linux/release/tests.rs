// SPDX-License-Identifier: Apache-2.0
use super::super::fixture;
use super::*;
use crate::fs::MemoryFs;
use crate::inspect::facts::VolumeFacts;

const BOOKWORM: &str = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nID=debian\n";

fn elf(machine: u8) -> Vec<u8> {
    let mut head = b"\x7fELF\x02\x01\x01".to_vec();
    head.resize(18, 0);
    head.extend([machine, 0, 1, 0]);
    head
}

#[test]
fn debian_is_recognised() {
    let fs = MemoryFs::new()
        .symlink("/etc/os-release", "../usr/lib/os-release")
        .file("/usr/lib/os-release", BOOKWORM)
        .file("/etc/hostname", "# mine\nweb1\n")
        .symlink("/bin/sh", "dash")
        .file("/bin/dash", elf(62));
    let guest = fixture::gathered(fs).guest;
    assert_eq!(guest.distro.as_deref(), Some("debian"));
    assert_eq!(guest.pretty_name, "Debian GNU/Linux 12 (bookworm)");
    assert_eq!(
        (guest.version.as_str(), guest.arch.as_str()),
        ("12", "x86_64")
    );
    assert_eq!(guest.hostname.as_deref(), Some("web1"));
}

#[test]
fn an_unknown_distro_is_a_warning_and_no_error() {
    let fs = MemoryFs::new().file(
        "/etc/os-release",
        "ID='frob linux'\r\nBROKEN=\"\nVERSION_ID=7",
    );
    let facts = fixture::gathered(fs);
    assert_eq!(facts.guest.distro.as_deref(), Some("frob linux"));
    assert_eq!(facts.guest.version, "7");
    assert!(facts.concerns.iter().any(|c| c.id == "unknown-distro"));
}

#[test]
fn old_releases_without_os_release_are_named() {
    let fs = MemoryFs::new().file("/etc/redhat-release", "CentOS release 6.10 (Final)\n");
    let guest = fixture::gathered(fs).guest;
    assert_eq!(
        (guest.distro.as_deref(), guest.version.as_str()),
        (Some("centos"), "6.10")
    );
}

#[test]
fn a_short_or_foreign_binary_tells_nothing() {
    assert_eq!(elf_machine(b"\x7fELF\x02\x01"), None);
    assert_eq!(elf_machine(b"#!/bin/sh\nexit 0\n#####"), None);
    assert_eq!(elf_machine(&elf(183)), Some("aarch64"));
}

/// Release files as the distributions write them: what they hold, and what is to be understood.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    Family,
);

const MODERN: &[Row] = &[
    (
        "NAME=\"Red Hat Enterprise Linux\"\nVERSION=\"9.4 (Plow)\"\nID=\"rhel\"\nID_LIKE=\"fedora\"\nVERSION_ID=\"9.4\"\nPRETTY_NAME=\"Red Hat Enterprise Linux 9.4 (Plow)\"\n",
        "rhel",
        "9.4",
        "Red Hat Enterprise Linux 9.4 (Plow)",
        Family::RedHat,
    ),
    (
        "NAME=\"CentOS Linux\"\nID=\"centos\"\nID_LIKE=\"rhel fedora\"\nVERSION_ID=\"7\"\nPRETTY_NAME=\"CentOS Linux 7 (Core)\"\n",
        "centos",
        "7",
        "CentOS Linux 7 (Core)",
        Family::RedHat,
    ),
    (
        "NAME=\"AlmaLinux\"\nID=\"almalinux\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"8.10\"\nPRETTY_NAME=\"AlmaLinux 8.10 (Cerulean Leopard)\"\n",
        "almalinux",
        "8.10",
        "AlmaLinux 8.10 (Cerulean Leopard)",
        Family::RedHat,
    ),
    (
        "NAME=\"Rocky Linux\"\nID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"9.4\"\nPRETTY_NAME=\"Rocky Linux 9.4 (Blue Onyx)\"\n",
        "rocky",
        "9.4",
        "Rocky Linux 9.4 (Blue Onyx)",
        Family::RedHat,
    ),
    (
        "NAME=\"Oracle Linux Server\"\nID=\"ol\"\nID_LIKE=\"fedora\"\nVERSION_ID=\"8.9\"\nPRETTY_NAME=\"Oracle Linux Server 8.9\"\n",
        "ol",
        "8.9",
        "Oracle Linux Server 8.9",
        Family::RedHat,
    ),
    (
        "NAME=\"Scientific Linux\"\nID=\"scientific\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"7.9\"\nPRETTY_NAME=\"Scientific Linux 7.9 (Nitrogen)\"\n",
        "scientific",
        "7.9",
        "Scientific Linux 7.9 (Nitrogen)",
        Family::RedHat,
    ),
    (
        "NAME=\"Circle Linux\"\nID=\"circle\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"8.8\"\nPRETTY_NAME=\"Circle Linux 8.8\"\n",
        "circle",
        "8.8",
        "Circle Linux 8.8",
        Family::RedHat,
    ),
    (
        "NAME=\"Amazon Linux\"\nID=\"amzn\"\nID_LIKE=\"centos rhel fedora\"\nVERSION_ID=\"2\"\nPRETTY_NAME=\"Amazon Linux 2\"\n",
        "amzn",
        "2",
        "Amazon Linux 2",
        Family::RedHat,
    ),
    (
        "NAME=\"Amazon Linux\"\nID=\"amzn\"\nID_LIKE=\"fedora\"\nVERSION_ID=\"2023\"\nPRETTY_NAME=\"Amazon Linux 2023\"\n",
        "amzn",
        "2023",
        "Amazon Linux 2023",
        Family::RedHat,
    ),
    (
        "NAME=\"Fedora Linux\"\nID=fedora\nVERSION_ID=41\nPRETTY_NAME=\"Fedora Linux 41 (Server Edition)\"\n",
        "fedora",
        "41",
        "Fedora Linux 41 (Server Edition)",
        Family::RedHat,
    ),
    (
        "NAME=\"VMware Photon OS\"\nID=photon\nVERSION_ID=5.0\nPRETTY_NAME=\"VMware Photon OS/Linux\"\n",
        "photon",
        "5.0",
        "VMware Photon OS/Linux",
        Family::Photon,
    ),
    (
        "NAME=\"openSUSE Leap\"\nID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\nVERSION_ID=\"15.6\"\nPRETTY_NAME=\"openSUSE Leap 15.6\"\n",
        "opensuse-leap",
        "15.6",
        "openSUSE Leap 15.6",
        Family::Suse,
    ),
    (
        "NAME=\"openSUSE Tumbleweed\"\nID=\"opensuse-tumbleweed\"\nID_LIKE=\"opensuse suse\"\nVERSION_ID=\"20250101\"\nPRETTY_NAME=\"openSUSE Tumbleweed\"\n",
        "opensuse-tumbleweed",
        "20250101",
        "openSUSE Tumbleweed",
        Family::Suse,
    ),
    (
        "NAME=\"SLES\"\nVERSION_ID=\"12.5\"\nID=\"sles\"\nPRETTY_NAME=\"SUSE Linux Enterprise Server 12 SP5\"\n",
        "sles",
        "12.5",
        "SUSE Linux Enterprise Server 12 SP5",
        Family::Suse,
    ),
    (
        "NAME=\"SLES\"\nVERSION_ID=\"16.0\"\nID=\"sles\"\nID_LIKE=\"suse\"\nPRETTY_NAME=\"SUSE Linux Enterprise Server 16.0\"\n",
        "sles",
        "16.0",
        "SUSE Linux Enterprise Server 16.0",
        Family::Suse,
    ),
    (
        BOOKWORM,
        "debian",
        "12",
        "Debian GNU/Linux 12 (bookworm)",
        Family::Debian,
    ),
    (
        "NAME=\"Ubuntu\"\nID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"24.04\"\nPRETTY_NAME=\"Ubuntu 24.04.1 LTS\"\n",
        "ubuntu",
        "24.04",
        "Ubuntu 24.04.1 LTS",
        Family::Debian,
    ),
    (
        "NAME=\"Linux Mint\"\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\nVERSION_ID=\"21.3\"\nPRETTY_NAME=\"Linux Mint 21.3\"\n",
        "linuxmint",
        "21.3",
        "Linux Mint 21.3",
        Family::Debian,
    ),
    (
        "NAME=\"Kali GNU/Linux\"\nID=kali\nID_LIKE=debian\nVERSION_ID=\"2024.3\"\nPRETTY_NAME=\"Kali GNU/Linux Rolling\"\n",
        "kali",
        "2024.3",
        "Kali GNU/Linux Rolling",
        Family::Debian,
    ),
    (
        "NAME=\"Devuan GNU/Linux\"\nID=devuan\nID_LIKE=debian\nVERSION_ID=\"5\"\nPRETTY_NAME=\"Devuan GNU/Linux 5 (daedalus)\"\n",
        "devuan",
        "5",
        "Devuan GNU/Linux 5 (daedalus)",
        Family::Debian,
    ),
    (
        "NAME=\"Arch Linux\"\nPRETTY_NAME=\"Arch Linux\"\nID=arch\nBUILD_ID=rolling\n",
        "arch",
        "",
        "Arch Linux",
        Family::Arch,
    ),
    (
        "NAME=\"Alpine Linux\"\nID=alpine\nVERSION_ID=3.20.3\nPRETTY_NAME=\"Alpine Linux v3.20\"\n",
        "alpine",
        "3.20.3",
        "Alpine Linux v3.20",
        Family::Alpine,
    ),
    (
        "NAME=\"starter kit\"\nID=altlinux\nVERSION_ID=p10\nPRETTY_NAME=\"ALT Starterkit (Hypericum)\"\n",
        "altlinux",
        "p10",
        "ALT Starterkit (Hypericum)",
        Family::Alt,
    ),
    (
        "NAME=Gentoo\nID=gentoo\nPRETTY_NAME=\"Gentoo Linux\"\nVERSION_ID=\"2.15\"\n",
        "gentoo",
        "2.15",
        "Gentoo Linux",
        Family::Gentoo,
    ),
    (
        "NAME=\"Flatcar Container Linux by Kinvolk\"\nID=flatcar\nID_LIKE=coreos\nVERSION_ID=3975.2.0\nPRETTY_NAME=\"Flatcar Container Linux by Kinvolk 3975.2.0 (Oklo)\"\n",
        "flatcar",
        "3975.2.0",
        "Flatcar Container Linux by Kinvolk 3975.2.0 (Oklo)",
        Family::Flatcar,
    ),
    (
        "NAME=\"Frob\"\nID=frob\nID_LIKE=\"centos rhel\"\nVERSION_ID=1\n",
        "frob",
        "1",
        "Frob",
        Family::RedHat,
    ),
];

const OLDER: &[(&str, Row)] = &[
    (
        "/etc/redhat-release",
        (
            "Red Hat Enterprise Linux Server release 5.11 (Tikanga)\n",
            "rhel",
            "5.11",
            "Red Hat Enterprise Linux Server release 5.11 (Tikanga)",
            Family::RedHat,
        ),
    ),
    (
        "/etc/redhat-release",
        (
            "CentOS release 6.10 (Final)\r\n",
            "centos",
            "6.10",
            "CentOS release 6.10 (Final)",
            Family::RedHat,
        ),
    ),
    (
        "/etc/redhat-release",
        (
            "Scientific Linux release 6.10 (Carbon)\n",
            "scientific",
            "6.10",
            "Scientific Linux release 6.10 (Carbon)",
            Family::RedHat,
        ),
    ),
    (
        "/etc/oracle-release",
        (
            "Oracle Linux Server release 6.10\n",
            "ol",
            "6.10",
            "Oracle Linux Server release 6.10",
            Family::RedHat,
        ),
    ),
    (
        "/etc/enterprise-release",
        (
            "Enterprise Linux Enterprise Linux Server release 5.11 (Carthage)\n",
            "ol",
            "5.11",
            "Enterprise Linux Enterprise Linux Server release 5.11 (Carthage)",
            Family::RedHat,
        ),
    ),
    (
        "/etc/system-release",
        (
            "Amazon Linux AMI release 2018.03\n",
            "amzn",
            "2018.03",
            "Amazon Linux AMI release 2018.03",
            Family::RedHat,
        ),
    ),
    (
        "/etc/SuSE-release",
        (
            "SUSE Linux Enterprise Server 11 (x86_64)\nVERSION = 11\nPATCHLEVEL = 4\n",
            "sles",
            "11.4",
            "SUSE Linux Enterprise Server 11 (x86_64)",
            Family::Suse,
        ),
    ),
    (
        "/etc/SuSE-release",
        (
            "openSUSE 13.1 (x86_64)\nVERSION = 13.1\nCODENAME = Bottle\n",
            "opensuse",
            "13.1",
            "openSUSE 13.1 (x86_64)",
            Family::Suse,
        ),
    ),
    (
        "/etc/lsb-release",
        (
            "DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=10.04\nDISTRIB_CODENAME=lucid\nDISTRIB_DESCRIPTION=\"Ubuntu 10.04.4 LTS\"\n",
            "ubuntu",
            "10.04",
            "Ubuntu 10.04.4 LTS",
            Family::Debian,
        ),
    ),
    (
        "/etc/linuxmint/info",
        (
            "RELEASE=17\nCODENAME=qiana\n",
            "linuxmint",
            "17",
            "Linux Mint 17",
            Family::Debian,
        ),
    ),
    (
        "/etc/devuan_version",
        (
            "jessie\n",
            "devuan",
            "jessie",
            "Devuan GNU/Linux jessie",
            Family::Debian,
        ),
    ),
    (
        "/etc/debian_version",
        (
            "6.0.10\n",
            "debian",
            "6.0.10",
            "Debian GNU/Linux 6.0.10",
            Family::Debian,
        ),
    ),
    (
        "/etc/alpine-release",
        (
            "3.4.6\n",
            "alpine",
            "3.4.6",
            "Alpine Linux 3.4.6",
            Family::Alpine,
        ),
    ),
    (
        "/etc/gentoo-release",
        (
            "Gentoo Base System release 2.2\n",
            "gentoo",
            "2.2",
            "Gentoo Base System release 2.2",
            Family::Gentoo,
        ),
    ),
    (
        "/etc/arch-release",
        ("", "arch", "", "Arch Linux", Family::Arch),
    ),
    (
        "/etc/photon-release",
        (
            "VMware Photon Linux 1.0\nPHOTON_BUILD_NUMBER=62c543d\n",
            "photon",
            "1.0",
            "VMware Photon Linux 1.0",
            Family::Photon,
        ),
    ),
    (
        "/etc/altlinux-release",
        (
            "ALT Linux 6.0.1 Centaurus  (Cassia)\n",
            "altlinux",
            "6.0.1",
            "ALT Linux 6.0.1 Centaurus  (Cassia)",
            Family::Alt,
        ),
    ),
    (
        "/etc/redhat-release",
        ("\u{fffd}\u{0}\n", "", "", "Linux", Family::Unknown),
    ),
];

fn is_understood(fs: MemoryFs, (_, id, version, name, want): &Row) {
    let facts = fixture::gathered(fs);
    let guest = &facts.guest;
    assert_eq!(guest.distro.as_deref().unwrap_or_default(), *id, "{name}");
    assert_eq!(guest.version, *version, "{name}");
    assert_eq!(guest.pretty_name, *name);
    assert_eq!(family(&facts), *want, "{name}");
    let warned = facts.concerns.iter().any(|c| c.id == "unknown-distro");
    assert_eq!(warned, *want == Family::Unknown, "{name}");
}

#[test]
fn every_family_is_known_by_its_release_files() {
    for row in MODERN {
        is_understood(MemoryFs::new().file("/usr/lib/os-release", row.0), row);
    }
    for (path, row) in OLDER {
        is_understood(MemoryFs::new().file(path, row.0), row);
    }
}

#[test]
fn an_empty_os_release_gives_way_to_older_files() {
    let fs = MemoryFs::new()
        .file("/etc/os-release", "# nothing\n\0\u{ff}\n")
        .file("/etc/lsb-release", "LSB_VERSION=base-4.0-amd64\n")
        .file("/etc/redhat-release", "CentOS release 6.9 (Final)\n");
    assert_eq!(
        fixture::gathered(fs).guest.distro.as_deref(),
        Some("centos")
    );
}

#[test]
fn an_ostree_deployment_is_named_and_its_limits_are_told() {
    let deployed = "/ostree/deploy/rhcos/deploy/0123abcd.0";
    let fs = MemoryFs::new()
        .file(&format!("{deployed}.origin"), "[origin]\n")
        .file(&format!("{deployed}/usr/lib/os-release"), "ID=\"rhel\"\nID_LIKE=\"fedora\"\nVARIANT_ID=coreos\nVERSION_ID=\"9.4\"\nPRETTY_NAME=\"Red Hat Enterprise Linux CoreOS 417\"\n");
    let tree = Tree::new(Box::new(fs.clone()));
    use crate::inspect::Recognise as _;
    assert!(super::super::Linux.recognise(&tree).unwrap());
    assert_eq!(title(&tree).unwrap(), "Red Hat Enterprise Linux CoreOS 417");
    let facts = fixture::gathered(fs);
    assert_eq!(facts.guest.distro.as_deref(), Some("rhel"));
    let said = facts.concerns.iter().find(|c| c.id == "image-based-os");
    assert!(said.unwrap().message.contains("ostree"));
}

#[test]
fn flatcar_is_known_by_its_partitions_where_usr_is_not_mounted() {
    let mut facts = fixture::facts();
    let volume = |label: &str| VolumeFacts {
        part_label: Some(label.to_owned()),
        ..facts.volumes[0].clone()
    };
    facts.volumes = ["EFI-SYSTEM", "USR-A", "USR-B", "OEM", "ROOT"]
        .map(volume)
        .into();
    let fs = MemoryFs::new().symlink("/etc/os-release", "../usr/lib/os-release");
    super::super::gather_topics(&Tree::new(Box::new(fs)), &mut facts).unwrap();
    assert_eq!(family(&facts), Family::Flatcar);
    let ids: Vec<_> = facts.concerns.iter().map(|c| c.id.as_str()).collect();
    assert!(ids.contains(&"image-based-os") && !ids.contains(&"unknown-distro"));
}

#[test]
fn commands_are_those_of_the_family() {
    for (family, version, want) in [
        (Family::RedHat, "7.9", "yum install x"),
        (Family::RedHat, "2", "yum install x"),
        (Family::RedHat, "2023", "dnf install x"),
        (Family::RedHat, "41", "dnf install x"),
        (Family::Suse, "11.4", "zypper install x"),
        (Family::Photon, "4.0", "tdnf install x"),
        (Family::Alpine, "3.20", "apk add x"),
        (Family::Unknown, "", "the guest's own way to install x"),
    ] {
        assert_eq!(family.install("x", version), want);
    }
    assert_eq!(
        Family::RedHat.remove(&["a".into(), "b".into()], "9"),
        "dnf remove a b"
    );
}
