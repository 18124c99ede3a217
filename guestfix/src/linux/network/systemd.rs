// SPDX-License-Identifier: Apache-2.0
//! systemd-networkd's files (systemd.network(5), systemd.netdev(5)), systemd's link files
//! (systemd.link(5)) and NetworkManager's keyfiles, as far as they name interfaces.

use super::Config;
use crate::inspect::facts::NicFacts;
use crate::linux::ini::{self, Setting};

/// Where the guest's own network, netdev and link files lie.
pub const DIR: &str = "/etc/systemd/network";
/// Where NetworkManager keeps its connections.
pub const KEYFILES: &str = "/etc/NetworkManager/system-connections";

/// A link file's name for the interfaces it matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The name it gives.
    pub name: String,
    /// The hardware address it asks for.
    pub mac: Option<String>,
    /// It asks for something that only the old machine has: its slot or its driver.
    pub old_machine: bool,
}

/// Reads one file of any of these kinds, told apart by its name.
pub fn parse(bytes: &[u8], file: &str) -> Config {
    let all = ini::settings(bytes);
    let mut config = Config::default();
    match file.rsplit_once('.').map(|(_, end)| end) {
        Some("network") => network(&all, file, &mut config),
        Some("netdev") => {
            if let Some(name) = ini::value(&all, "NetDev", "Name") {
                config.software.insert(name.to_owned());
            }
        }
        Some("link") => {
            if let Some(Link {
                name,
                mac: Some(mac),
                ..
            }) = link(bytes)
            {
                config.macs.insert(name, mac);
            }
        }
        _ if file.starts_with(KEYFILES) => keyfile(&all, file, &mut config),
        _ => {}
    }
    config
}

/// Reads a link file; `None` when it names nothing.
pub fn link(bytes: &[u8]) -> Option<Link> {
    let all = ini::settings(bytes);
    let of = |key| ini::value(&all, "Match", key);
    let drivers = of("Driver").unwrap_or_default();
    Some(Link {
        name: ini::value(&all, "Link", "Name")?.to_owned(),
        mac: of("PermanentMACAddress")
            .or_else(|| of("MACAddress"))
            .and_then(super::mac),
        old_machine: of("Path").is_some()
            || drivers
                .split_whitespace()
                .any(|d| matches!(d, "vmxnet3" | "vmxnet" | "pcnet32")),
    })
}

fn network(all: &[Setting], file: &str, config: &mut Config) {
    let dhcp = ini::value(all, "Network", "DHCP").unwrap_or("no");
    let mut addresses = ini::values(all, "Network", "Address");
    addresses.extend(ini::values(all, "Address", "Address"));
    let method = match dhcp {
        "yes" | "true" | "ipv4" | "both" => "dhcp",
        _ if !addresses.is_empty() => "static",
        _ => "manual",
    };
    let mac = ini::value(all, "Match", "PermanentMACAddress")
        .or_else(|| ini::value(all, "Match", "MACAddress"))
        .and_then(super::mac);
    for name in ini::values(all, "Match", "Name")
        .iter()
        .flat_map(|v| v.split_whitespace())
    {
        if let Some(mac) = &mac {
            config.macs.insert(name.to_owned(), mac.clone());
        }
        config.add(NicFacts {
            name: name.to_owned(),
            mac: mac.clone(),
            method: method.to_owned(),
            addresses: addresses.iter().map(|a| (*a).to_owned()).collect(),
            file: file.to_owned(),
        });
    }
}

fn keyfile(all: &[Setting], file: &str, config: &mut Config) {
    let Some(name) = ini::value(all, "connection", "interface-name") else {
        return;
    };
    let kind = ini::value(all, "connection", "type").unwrap_or_default();
    if !matches!(kind, "ethernet" | "802-3-ethernet") {
        config.software.insert(name.to_owned());
    }
    if kind == "vlan"
        && let Some(parent) = ini::value(all, "vlan", "parent")
    {
        config.lower.insert(parent.to_owned());
    }
    let mac = ["ethernet", "802-3-ethernet"]
        .iter()
        .find_map(|section| ini::value(all, section, "mac-address"))
        .and_then(super::mac);
    if let Some(mac) = &mac {
        config.macs.insert(name.to_owned(), mac.clone());
    }
    let method = match ini::value(all, "ipv4", "method") {
        Some("manual") => "static",
        Some("auto") => "dhcp",
        _ => "manual",
    };
    // "address1=192.0.2.1/24,192.0.2.254": the gateway stands behind the comma.
    let addresses = all
        .iter()
        .filter(|s| matches!(s.section.as_str(), "ipv4" | "ipv6"))
        .filter(|s| {
            s.key
                .strip_prefix("address")
                .is_some_and(|n| n.parse::<u8>().is_ok())
        })
        .filter_map(|s| s.value.split(',').next().map(str::to_owned));
    config.add(NicFacts {
        name: name.to_owned(),
        mac,
        method: method.to_owned(),
        addresses: addresses.collect(),
        file: file.to_owned(),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networkd_files_name_interfaces_and_addresses() {
        let config = parse(
            b"[Match]\nName=ens192 en*\n[Network]\nAddress=192.0.2.5/24\n[Address]\nAddress=2001:db8::5/64\n",
            "/etc/systemd/network/a.network",
        );
        assert_eq!(config.nics[0].method, "static");
        assert_eq!(config.nics[0].addresses, ["192.0.2.5/24", "2001:db8::5/64"]);
        assert_eq!(config.card_names(), ["ens192"]);
    }

    #[test]
    fn keyfiles_name_interfaces_and_their_macs() {
        let file = "/etc/NetworkManager/system-connections/a.nmconnection";
        let config = parse(
            b"[connection]\ntype=ethernet\ninterface-name=ens192\n[ethernet]\nmac-address=00:50:56:AA:00:01\n[ipv4]\nmethod=manual\naddress1=192.0.2.1/24,192.0.2.254\n",
            file,
        );
        assert_eq!(config.nics[0].addresses, ["192.0.2.1/24"]);
        assert_eq!(config.macs.get("ens192").unwrap(), "00:50:56:aa:00:01");
        let bond = parse(b"[connection]\ntype=bond\ninterface-name=b0\n", file);
        assert!(bond.card_names().is_empty());
    }

    #[test]
    fn link_files_that_ask_for_the_old_machine_are_seen() {
        let of = |text: &str| link(text.as_bytes()).unwrap();
        assert!(of("[Match]\nDriver=vmxnet3\n[Link]\nName=lan\n").old_machine);
        assert!(of("[Match]\nPath=pci-0000:0b:00.0\n[Link]\nName=lan\n").old_machine);
        let by_mac = of("[Match]\nMACAddress=00:50:56:00:00:0A\n[Link]\nName=lan\n");
        assert_eq!(by_mac.mac.as_deref(), Some("00:50:56:00:00:0a"));
        assert!(!by_mac.old_machine);
        assert_eq!(link(b"[Link]\nMTUBytes=9000\n"), None);
    }
}
