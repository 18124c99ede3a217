// SPDX-License-Identifier: Apache-2.0
//! systemd-networkd's files (systemd.network(5), systemd.netdev(5)) and systemd's link files
//! (systemd.link(5)), as far as they name interfaces.

use super::Config;
use crate::inspect::facts::NicFacts;
use crate::linux::ini::{self, Setting};

/// Where the guest's own network, netdev and link files lie.
pub const DIR: &str = super::system::SYSTEMD;
/// Drivers of the cards that VMware offers.
pub const OLD_DRIVERS: [&str; 5] = ["vmxnet3", "vmxnet", "pcnet32", "e1000", "e1000e"];

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
            || drivers.split_whitespace().any(|d| OLD_DRIVERS.contains(&d)),
    })
}

fn network(all: &[Setting], file: &str, config: &mut Config) {
    let dhcp = ini::value(all, "Network", "DHCP").unwrap_or("no");
    let mut addresses = ini::values(all, "Network", "Address");
    addresses.extend(ini::values(all, "Address", "Address"));
    addresses.retain(|address| !address.is_empty());
    let method = match dhcp {
        "yes" | "true" | "on" | "1" | "ipv4" | "v4" | "both" => "dhcp",
        _ if !addresses.is_empty() => "static",
        _ => "manual",
    };
    // Several addresses match several cards: then none is that of one name.
    let macs: Vec<String> = ["PermanentMACAddress", "MACAddress"]
        .iter()
        .flat_map(|key| ini::values(all, "Match", key))
        .flat_map(str::split_whitespace)
        .filter_map(super::mac)
        .collect();
    config.by_mac.extend(macs.iter().cloned());
    let own = match macs.as_slice() {
        [own] => Some(own.clone()),
        _ => None,
    };
    let assigned = ini::value(all, "Link", "MACAddress").and_then(super::mac);
    for name in ini::values(all, "Match", "Name")
        .iter()
        .flat_map(|v| v.split_whitespace())
        .filter(|name| !name.starts_with('!'))
    {
        if let Some(mac) = &own {
            config.macs.insert(name.to_owned(), mac.clone());
        }
        config.add(NicFacts {
            name: name.to_owned(),
            mac: own.clone().or_else(|| assigned.clone()),
            method: method.to_owned(),
            addresses: addresses.iter().map(|a| (*a).to_owned()).collect(),
            file: file.to_owned(),
        });
    }
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
