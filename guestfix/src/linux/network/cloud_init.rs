// SPDX-License-Identifier: Apache-2.0
//! cloud-init's own network configuration (its documentation, "Networking config Version 1" and
//! "Version 2"): below `network:` in cloud.cfg.d, as curtin and Subiquity leave it.

use super::{Config, netplan};
use crate::document::yaml::{self, Yaml};
use crate::inspect::facts::NicFacts;
use crate::linux::text::lines;

/// Reads one file; `None` when its part about the network is not understood.
pub fn parse(bytes: &[u8], file: &str) -> Option<Config> {
    let mut config = Config::default();
    let Some(network) = network(bytes)? else {
        return Some(config);
    };
    match network.get("version").and_then(Yaml::text) {
        Some("1") => {
            for item in network.get("config").map_or(&[][..], Yaml::items) {
                version_1(item, file, &mut config);
            }
        }
        _ => config.merge(netplan::read(&network, file)),
    }
    Some(config)
}

/// True when the file tells cloud-init to leave the network alone.
pub fn is_disabled(bytes: &[u8]) -> bool {
    let network = network(bytes).flatten();
    let config = network.as_ref().and_then(|network| network.get("config"));
    config.and_then(Yaml::text) == Some("disabled")
}

/// True when the file holds a configuration of the network.
pub fn has_network(bytes: &[u8]) -> bool {
    lines(bytes)
        .iter()
        .any(|line| line.bytes.starts_with(b"network:"))
}

/// The value of `network:`. Only that part is read: the rest may be of any kind.
fn network(bytes: &[u8]) -> Option<Option<Yaml>> {
    let mut part = Vec::new();
    let mut inside = false;
    for line in lines(bytes) {
        let indented = line
            .bytes
            .first()
            .is_none_or(|b| matches!(b, b' ' | b'#' | b'-'));
        inside = line.bytes.starts_with(b"network:") || (inside && indented);
        if inside {
            part.extend_from_slice(line.bytes);
            part.push(b'\n');
        }
    }
    if part.is_empty() {
        return Some(None);
    }
    let documents = yaml::parse(&part).ok()?;
    let mut network = documents.first()?.get("network")?;
    // Some files wrap netplan's own top level once more.
    if let Some(inner) = network.get("network") {
        network = inner;
    }
    Some(Some(network.clone()))
}

fn version_1(item: &Yaml, file: &str, config: &mut Config) {
    let get = |key: &str| item.get(key).and_then(Yaml::text);
    let (Some(kind), Some(name)) = (get("type"), get("name")) else {
        return;
    };
    let list = |key: &str| item.get(key).map_or_else(Vec::new, Yaml::texts);
    match kind {
        "physical" => {}
        "bond" => config.note_software(name, true, list("bond_interfaces")),
        "bridge" => config.note_software(name, true, list("bridge_interfaces")),
        "vlan" => config.note_software(name, true, list("vlan_link")),
        _ => return,
    }
    let mac = get("mac_address")
        .and_then(super::mac)
        .filter(|_| kind == "physical");
    if let Some(mac) = &mac {
        config.macs.insert(name.to_owned(), mac.clone());
        config.by_mac.insert(mac.clone());
    }
    let subnets = item.get("subnets").map_or(&[][..], Yaml::items);
    let of = |key: &'static str| {
        let texts = subnets.iter().map(move |s| s.get(key).and_then(Yaml::text));
        texts.flatten()
    };
    let addresses: Vec<String> = of("address").map(str::to_owned).collect();
    let dhcp = of("type").any(|kind| kind.starts_with("dhcp"));
    config.add(NicFacts {
        name: name.to_owned(),
        mac,
        method: match (dhcp, addresses.is_empty()) {
            (true, _) => "dhcp",
            (_, false) => "static",
            _ => "manual",
        }
        .to_owned(),
        addresses,
        file: file.to_owned(),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_1_as_curtin_writes_it_is_read() {
        let text = b"#cloud-config\nruncmd: [!weird x]\nnetwork:\n  config:\n  - mac_address: 00:50:56:aa:00:01\n    name: ens192\n    subnets:\n    - address: 192.0.2.5/24\n      type: static\n    type: physical\n  - name: bond0\n    type: bond\n    bond_interfaces: [ens224]\n  version: 1\nother: {\n";
        let config = parse(text, "x").unwrap();
        assert_eq!(config.card_names(), ["ens192", "ens224"]);
        assert_eq!(config.macs.get("ens192").unwrap(), "00:50:56:aa:00:01");
        assert_eq!(config.nics[0].addresses, ["192.0.2.5/24"]);
    }

    #[test]
    fn version_2_is_netplan_s() {
        let text = b"network:\n  version: 2\n  ethernets:\n    ens160: {dhcp4: true}\n";
        let config = parse(text, "x").unwrap();
        assert_eq!(config.nics[0].method, "dhcp");
    }

    #[test]
    fn a_disabled_network_is_seen() {
        assert!(is_disabled(b"network: {config: disabled}\n"));
        assert!(!is_disabled(b"network:\n  version: 2\n"));
        assert!(has_network(b"a: b\nnetwork: x\n") && !has_network(b"  network:\n"));
        assert_eq!(parse(b"users: *x\n", "x").unwrap(), Config::default());
    }
}
