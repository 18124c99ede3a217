// SPDX-License-Identifier: Apache-2.0
//! wicked's own XML (wicked-config(5), `wicked show-config`), as far as it names interfaces.

use super::Config;
use crate::document::xml::{self, Element};
use crate::inspect::facts::NicFacts;

/// Elements of an interface that software makes.
const SOFTWARE: [&str; 8] = [
    "bond", "bridge", "vlan", "team", "dummy", "macvlan", "gre", "sit",
];

/// Reads one file; `None` when it is no XML.
pub fn parse(bytes: &[u8], file: &str) -> Option<Config> {
    let mut config = Config::default();
    for top in xml::parse(bytes).ok()? {
        for interface in top.walk().into_iter().filter(|e| e.name == "interface") {
            note(interface, file, &mut config);
        }
    }
    Some(config)
}

fn note(interface: &Element, file: &str, config: &mut Config) {
    let name = interface.child("name");
    let by_mac = name
        .and_then(|name| name.text_of("permanent-address"))
        .and_then(super::mac);
    config.by_mac.extend(by_mac);
    let Some(name) = name
        .map(|e| e.text.as_str())
        .filter(|text| !text.is_empty())
    else {
        return;
    };
    let software = interface
        .children
        .iter()
        .find(|e| SOFTWARE.contains(&e.name.as_str()));
    let lower = software.map_or_else(Vec::new, |software| {
        let devices = software.walk().into_iter().filter(|e| e.name == "device");
        devices.map(|device| device.text.clone()).collect()
    });
    config.note_software(name, software.is_some(), lower);
    let all = interface.walk();
    let addresses: Vec<String> = all
        .iter()
        .filter(|e| e.name == "static")
        .flat_map(|e| e.all("address"))
        .filter_map(|address| address.text_of("local").map(str::to_owned))
        .collect();
    let dhcp = all.iter().any(|e| e.name == "dhcp");
    let method = match (dhcp, addresses.is_empty()) {
        (true, _) => "dhcp",
        (_, false) => "static",
        _ => "manual",
    };
    config.add(NicFacts {
        name: name.to_owned(),
        mac: None,
        method: method.to_owned(),
        addresses,
        file: file.to_owned(),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_and_what_they_stand_on_are_read() {
        let text = b"<interface origin=\"x\"><name>eth0</name><ipv4:static><address><local>192.0.2.5/24</local></address></ipv4:static></interface><interface><name>bond0</name><bond><slaves><slave><device>eth1</device></slave></slaves></bond><ipv4:dhcp><enabled>true</enabled></ipv4:dhcp></interface><interface><name namespace=\"ethernet\"><permanent-address>00:0c:29:00:00:01</permanent-address></name></interface>";
        let config = parse(text, "/etc/wicked/ifconfig/a.xml").unwrap();
        assert_eq!(config.card_names(), ["eth0", "eth1"]);
        assert_eq!(config.nics[0].addresses, ["192.0.2.5/24"]);
        assert_eq!(config.nics[1].method, "dhcp");
        assert!(config.by_mac.contains("00:0c:29:00:00:01"));
        assert_eq!(parse(b"<interface>", "x"), None);
    }
}
