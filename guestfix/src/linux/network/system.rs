// SPDX-License-Identifier: Apache-2.0
//! Which program reads which of the guest's network files.

/// A program that configures cards, or gives them names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum System {
    /// systemd-networkd: `.network` and `.netdev`.
    Networkd,
    /// systemd's link files.
    Link,
    /// NetworkManager's keyfiles.
    Keyfile,
    /// Netplan.
    Netplan,
    /// ifupdown, also Alpine's.
    Ifupdown,
    /// Red Hat's ifcfg files.
    RedHat,
    /// SUSE's ifcfg files, read by wicked or the scripts before it.
    Suse,
    /// wicked's own XML.
    Wicked,
    /// cloud-init.
    CloudInit,
    /// Gentoo's netifrc.
    Netifrc,
    /// ALT's etcnet.
    Etcnet,
    /// Arch's netctl.
    Netctl,
    /// dhcpcd.
    Dhcpcd,
    /// The tables of ifrename and nameif.
    Table,
    /// udev's rules.
    Rules,
}

/// Where networkd's and link files lie.
pub const SYSTEMD: &str = "/etc/systemd/network";
/// Where NetworkManager keeps its connections.
pub const KEYFILES: &str = "/etc/NetworkManager/system-connections";
/// Where the connections lie that a package brings.
pub const VENDOR_KEYFILES: &str = "/usr/lib/NetworkManager/system-connections";
/// Netplan's files.
pub const NETPLAN: &str = "/etc/netplan";
/// ifupdown's files.
pub const IFUPDOWN: &str = "/etc/network";
/// Red Hat's.
pub const RED_HAT: &str = "/etc/sysconfig/network-scripts";
/// SUSE's.
pub const SUSE: &str = "/etc/sysconfig/network";
/// wicked's own.
pub const WICKED: &str = "/etc/wicked/ifconfig";
/// cloud-init's configuration.
pub const CLOUD: &str = "/etc/cloud/cloud.cfg.d";
/// Its main file.
pub const CLOUD_MAIN: &str = "/etc/cloud/cloud.cfg";
/// netifrc's file.
pub const NETIFRC: &str = "/etc/conf.d/net";
/// etcnet's directories.
pub const ETCNET: &str = "/etc/net/ifaces";
/// netctl's profiles.
pub const NETCTL: &str = "/etc/netctl";
/// dhcpcd's file.
pub const DHCPCD: &str = "/etc/dhcpcd.conf";
/// The tables of ifrename and nameif.
pub const TABLES: [&str; 2] = ["/etc/iftab", "/etc/mactab"];
/// udev's rules.
pub const RULES: &str = "/etc/udev/rules.d";

/// The program that reads this file; `None` when it is of no interest here.
pub fn of(path: &str) -> Option<System> {
    let (dir, name) = path.rsplit_once('/')?;
    let ends = |all: &[&str]| all.iter().any(|end| name.ends_with(end));
    Some(match dir {
        SYSTEMD if ends(&[".network", ".netdev"]) => System::Networkd,
        SYSTEMD if ends(&[".link"]) => System::Link,
        KEYFILES | VENDOR_KEYFILES => System::Keyfile,
        NETPLAN if ends(&[".yaml"]) => System::Netplan,
        RED_HAT if is_ifcfg(name) => System::RedHat,
        SUSE if is_ifcfg(name) => System::Suse,
        WICKED if ends(&[".xml"]) => System::Wicked,
        CLOUD if ends(&[".cfg"]) => System::CloudInit,
        RULES if ends(&[".rules"]) => System::Rules,
        NETCTL => System::Netctl,
        _ if dir.starts_with(ETCNET) && name == "options" => System::Etcnet,
        _ if path == DHCPCD => System::Dhcpcd,
        _ if TABLES.contains(&path) => System::Table,
        _ if path == CLOUD_MAIN => System::CloudInit,
        _ if path == NETIFRC => System::Netifrc,
        _ if dir == IFUPDOWN || dir.starts_with("/etc/network/") => System::Ifupdown,
        _ => return None,
    })
}

/// Copies that editors and packages leave beside a file are not read (initscripts, `ifup`).
pub fn is_ifcfg(name: &str) -> bool {
    let copies = [
        "~",
        ".bak",
        ".old",
        ".orig",
        ".rpmnew",
        ".rpmorig",
        ".rpmsave",
        ".template",
        ".swp",
    ];
    name.strip_prefix("ifcfg-")
        .is_some_and(|rest| !rest.is_empty() && rest != "lo")
        && !copies.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_belong_to_their_program_and_copies_to_none() {
        for (path, want) in [
            ("/etc/systemd/network/10-a.network", Some(System::Networkd)),
            ("/etc/systemd/network/a.link", Some(System::Link)),
            (
                "/etc/NetworkManager/system-connections/eth0",
                Some(System::Keyfile),
            ),
            ("/etc/network/interfaces.d/a", Some(System::Ifupdown)),
            (
                "/etc/sysconfig/network-scripts/ifcfg-ens192",
                Some(System::RedHat),
            ),
            ("/etc/sysconfig/network-scripts/ifcfg-ens192.rpmsave", None),
            ("/etc/sysconfig/network/ifcfg-eth0", Some(System::Suse)),
            ("/etc/sysconfig/network/ifcfg.template", None),
            ("/etc/sysconfig/network/config", None),
            (
                "/etc/cloud/cloud.cfg.d/50-curtin-networking.cfg",
                Some(System::CloudInit),
            ),
            ("/etc/net/ifaces/ens192/options", Some(System::Etcnet)),
            ("/etc/net/ifaces/ens192/ipv4address", None),
            ("/etc/netctl/lan", Some(System::Netctl)),
            ("/etc/fstab", None),
        ] {
            assert_eq!(of(path), want, "{path}");
        }
    }
}
