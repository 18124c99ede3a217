// SPDX-License-Identifier: Apache-2.0
//! Netplan's YAML: names, addresses, and what stands on what (format: netplan(5)).

use super::Config;
use crate::document::yaml::{self, Entry, Yaml};
use crate::inspect::facts::NicFacts;

/// Where the files lie.
pub const DIR: &str = super::system::NETPLAN;

/// Kinds of interfaces that software makes.
const SOFTWARE: [&str; 7] = [
    "bonds",
    "bridges",
    "vlans",
    "tunnels",
    "vrfs",
    "dummy-devices",
    "virtual-ethernets",
];

/// Reads one file; `None` when it is written in a way that is not understood.
pub fn parse(bytes: &[u8], file: &str) -> Option<Config> {
    let mut config = Config::default();
    for document in yaml::parse(bytes).ok()? {
        if document.entries().is_empty() && document != Yaml::Null {
            return None;
        }
        if let Some(network) = document.get("network") {
            config.merge(read(network, file));
        }
    }
    Some(config)
}

/// Reads what stands below `network:`.
pub(super) fn read(network: &Yaml, file: &str) -> Config {
    let mut config = Config::default();
    for kind in network.entries() {
        for definition in kind.value.entries() {
            note(&kind.key, definition, file, &mut config);
        }
    }
    config
}

fn note(kind: &str, definition: &Entry, file: &str, config: &mut Config) {
    let of = &definition.value;
    let list = |key: &str| of.get(key).map_or_else(Vec::new, Yaml::texts);
    if SOFTWARE.contains(&kind) {
        let mut lower = list("interfaces");
        lower.extend(list("link"));
        config.note_software(&definition.key, true, lower);
    } else if kind != "ethernets" {
        return;
    }
    let mac = of
        .at(&["match", "macaddress"])
        .and_then(Yaml::text)
        .and_then(super::mac);
    config.by_mac.extend(mac.clone());
    let set_name = of.get("set-name").and_then(Yaml::text);
    let matched = of.at(&["match", "name"]).and_then(Yaml::text);
    let name = match set_name.or(matched) {
        Some(name) => name,
        // Then the id is a name of netplan's own, and the address tells the card.
        None if of.get("match").is_some() => return,
        None => definition.key.as_str(),
    };
    if let Some(mac) = &mac {
        config.macs.insert(name.to_owned(), mac.clone());
    }
    let assigned = of
        .get("macaddress")
        .and_then(Yaml::text)
        .and_then(super::mac);
    let addresses = addresses(of);
    let method = match of.get("dhcp4") {
        Some(dhcp) if dhcp.is_true() => "dhcp",
        _ if !addresses.is_empty() => "static",
        _ => "manual",
    };
    config.add(NicFacts {
        name: name.to_owned(),
        mac: mac.or(assigned),
        method: method.to_owned(),
        addresses,
        file: file.to_owned(),
    });
}

/// An address may be a mapping with its options below it.
fn addresses(of: &Yaml) -> Vec<String> {
    let all = of.get("addresses").map_or(&[][..], Yaml::items);
    all.iter()
        .filter_map(|item| match item.entries().first() {
            Some(entry) => Some(entry.key.clone()),
            None => item.text().map(str::to_owned),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Config {
        parse(text.as_bytes(), "/etc/netplan/x.yaml").unwrap()
    }

    #[test]
    fn an_installer_s_file_names_its_card() {
        let config = read(
            "# by subiquity\nnetwork:\r\n  version: 2\n  ethernets:\n    ens192:\n      dhcp4: no # fixed\n      addresses:\n      - 192.0.2.10/24\n      - \"2001:db8::10/64\"\n      routes:\n        - to: default\n          via: 192.0.2.1\n      nameservers:\n        addresses: [192.0.2.53]\n    ens224: {}\n",
        );
        assert_eq!(config.card_names(), ["ens192", "ens224"]);
        assert_eq!(
            config.nics[0].addresses,
            ["192.0.2.10/24", "2001:db8::10/64"]
        );
        let methods: Vec<_> = config.nics.iter().map(|n| n.method.as_str()).collect();
        assert_eq!(methods, ["static", "manual"]);
    }

    #[test]
    fn matched_cards_are_known_by_set_name_and_address() {
        let config = read(
            "network:\n    ethernets:\n        lan:\n            match:\n                macaddress: \"00:50:56:AA:00:01\"\n            set-name: ens160\n        any:\n            match:\n                macaddress: 00:50:56:aa:00:02\n            dhcp4: true\n",
        );
        assert_eq!(config.card_names(), ["ens160"]);
        assert_eq!(config.macs.get("ens160").unwrap(), "00:50:56:aa:00:01");
    }

    #[test]
    fn bonds_and_vlans_lead_to_their_cards() {
        let config = read(
            "network:\n  bonds:\n    bond0:\n      interfaces: [ens192, ens224]\n  vlans:\n    mgmt:\n      id: 7\n      link: ens256\n",
        );
        assert_eq!(config.card_names(), ["ens192", "ens224", "ens256"]);
    }

    #[test]
    fn flow_style_and_addresses_with_options_are_read() {
        let config = read(
            "network: {version: 2, ethernets: {ens192: {addresses: [192.0.2.5/24], dhcp4: false}}}\n",
        );
        assert_eq!(config.nics[0].addresses, ["192.0.2.5/24"]);
        let config = read(
            "network:\n  ethernets:\n    ens192:\n      addresses:\n        - 192.0.2.5/24:\n            label: x\n",
        );
        assert_eq!(config.nics[0].addresses, ["192.0.2.5/24"]);
    }

    #[test]
    fn what_is_no_netplan_is_not_guessed_at() {
        for text in ["network: *x\n", "network:\n\tethernets:\n", "just words\n"] {
            assert_eq!(parse(text.as_bytes(), "x"), None, "{text}");
        }
        assert_eq!(parse(b"# empty\n", "x"), Some(Config::default()));
    }
}
