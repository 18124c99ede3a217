// SPDX-License-Identifier: Apache-2.0
//! NetworkManager's keyfiles (nm-settings-keyfile(5)).

use super::Config;
use crate::inspect::facts::NicFacts;
use crate::linux::ini::{self, Setting};

/// Old and new name of the section of a card.
const ETHERNET: [&str; 2] = ["ethernet", "802-3-ethernet"];

/// Reads one connection.
pub fn parse(bytes: &[u8], file: &str) -> Config {
    let all = ini::settings(bytes);
    let mut config = Config::default();
    let kind = ini::value(&all, "connection", "type").unwrap_or_default();
    let own = mac(&all);
    if let Some(parent) = ini::value(&all, "vlan", "parent") {
        config.lower.insert(parent.to_owned());
    }
    let name = ini::value(&all, "connection", "interface-name").or_else(|| {
        // A pattern names no card; a single word does.
        ini::value(&all, "match", "interface-name").map(|v| v.trim_end_matches(';'))
    });
    let Some(name) = name else {
        config.by_mac.extend(own);
        return config;
    };
    // A port of a bond or bridge is a card too; what is made by software is not.
    if !matches!(kind, "ethernet" | "802-3-ethernet" | "") {
        config.software.insert(name.to_owned());
    }
    if let Some(mac) = &own {
        config.macs.insert(name.to_owned(), mac.clone());
        config.by_mac.insert(mac.clone());
    }
    let assigned = ETHERNET
        .iter()
        .find_map(|section| ini::value(&all, section, "cloned-mac-address"))
        .and_then(super::mac);
    config.add(NicFacts {
        name: name.to_owned(),
        mac: own.or(assigned),
        method: method(&all).to_owned(),
        addresses: addresses(&all),
        file: file.to_owned(),
    });
    config
}

/// The card's own address that the connection asks for.
fn mac(all: &[Setting]) -> Option<String> {
    let mut values = ETHERNET
        .iter()
        .filter_map(|section| ini::value(all, section, "mac-address"));
    values.find_map(super::mac)
}

fn method(all: &[Setting]) -> &'static str {
    match ini::value(all, "ipv4", "method") {
        Some("manual") => "static",
        Some("auto") => "dhcp",
        _ if ini::value(all, "ipv6", "method") == Some("manual") => "static",
        _ => "manual",
    }
}

/// "address1=192.0.2.1/24,192.0.2.254": the gateway stands behind the comma.
fn addresses(all: &[Setting]) -> Vec<String> {
    all.iter()
        .filter(|s| matches!(s.section.as_str(), "ipv4" | "ipv6"))
        .filter(|s| {
            let number = s.key.strip_prefix("address");
            number.is_some_and(|n| n.is_empty() || n.parse::<u8>().is_ok())
        })
        .filter_map(|s| s.value.split(',').next().map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "/etc/NetworkManager/system-connections/a.nmconnection";

    #[test]
    fn keyfiles_name_interfaces_and_their_macs() {
        let config = parse(
            b"[connection]\ntype=ethernet\ninterface-name=ens192\n[ethernet]\nmac-address=00:50:56:AA:00:01\n[ipv4]\nmethod=manual\naddress1=192.0.2.1/24,192.0.2.254\n[ipv6]\nmethod=manual\naddress1=2001:db8::1/64\n",
            FILE,
        );
        assert_eq!(config.nics[0].addresses, ["192.0.2.1/24", "2001:db8::1/64"]);
        assert_eq!(config.macs.get("ens192").unwrap(), "00:50:56:aa:00:01");
    }

    #[test]
    fn bonds_and_vlans_are_software_and_their_ports_are_cards() {
        let bond = parse(b"[connection]\ntype=bond\ninterface-name=b0\n", FILE);
        assert!(bond.card_names().is_empty());
        let port = parse(
            b"[connection]\ntype=ethernet\ninterface-name=ens224\nmaster=b0\nslave-type=bond\n",
            FILE,
        );
        assert_eq!(port.card_names(), ["ens224"]);
        let vlan = parse(
            b"[connection]\ntype=vlan\ninterface-name=mgmt\n[vlan]\nid=7\nparent=ens256\n",
            FILE,
        );
        assert_eq!(vlan.card_names(), ["ens256"]);
    }

    #[test]
    fn a_connection_without_a_name_still_knows_its_card() {
        let config = parse(b"[802-3-ethernet]\nmac-address=00:0C:29:00:00:01\n", FILE);
        assert!(config.nics.is_empty());
        assert!(config.by_mac.contains("00:0c:29:00:00:01"));
    }
}
