// SPDX-License-Identifier: Apache-2.0
//! Netplan's YAML, as far as it is written in block style, which is what installers and cloud-init
//! write: names, addresses, and what stands on what (format: netplan(5)).

use super::Config;
use crate::inspect::facts::NicFacts;
use crate::linux::text::lines;

/// Where the files lie.
pub const DIR: &str = "/etc/netplan";

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

/// One definition below `ethernets:` or its like.
#[derive(Debug, Clone, Default)]
struct Definition {
    kind: String,
    id: String,
    values: Vec<(String, String)>,
}

/// Reads one file; `None` when it is written in a way that is not understood.
pub fn parse(bytes: &[u8], file: &str) -> Option<Config> {
    let mut config = Config::default();
    for definition in definitions(bytes)? {
        definition.note(file, &mut config);
    }
    Some(config)
}

/// The definitions with their settings as dotted keys.
fn definitions(bytes: &[u8]) -> Option<Vec<Definition>> {
    let mut out: Vec<Definition> = Vec::new();
    let mut path: Vec<(usize, String)> = Vec::new();
    for line in lines(bytes) {
        let text = line.text();
        let bare = text.split(" #").next().unwrap_or_default().trim_end();
        let body = bare.trim_start_matches(' ');
        if body.is_empty() || body.starts_with('#') || body == "---" {
            continue;
        }
        if body.starts_with('\t') {
            return None;
        }
        let indent = bare.len().saturating_sub(body.len());
        let (key, value) = match body.strip_prefix("- ") {
            // A list may stand at the indent of its key.
            Some(item) => {
                path.retain(|(at, _)| *at <= indent);
                (None, item)
            }
            None => {
                path.retain(|(at, _)| *at < indent);
                let (key, value) = body.split_once(':')?;
                (Some(unquoted(key)), value)
            }
        };
        let value = match value.trim() {
            "{}" => "",
            value => value,
        };
        if value.starts_with(['{', '&', '*', '|', '>']) {
            return None;
        }
        if let Some(key) = key {
            path.push((indent, key));
        }
        record(&path, value, &mut out);
    }
    Some(out)
}

fn record(path: &[(usize, String)], value: &str, out: &mut Vec<Definition>) {
    let keys: Vec<&str> = path.iter().map(|(_, key)| key.as_str()).collect();
    let ["network", kind, id, rest @ ..] = keys.as_slice() else {
        return;
    };
    let known = out
        .last()
        .is_some_and(|last| last.kind == *kind && last.id == *id);
    if !known {
        out.push(Definition {
            kind: (*kind).to_owned(),
            id: (*id).to_owned(),
            values: Vec::new(),
        });
    }
    let Some(last) = out
        .last_mut()
        .filter(|_| !value.is_empty() && !rest.is_empty())
    else {
        return;
    };
    let inner = value.strip_prefix('[').and_then(|v| v.strip_suffix(']'));
    for item in inner
        .unwrap_or(value)
        .split(',')
        .filter(|_| inner.is_some() || !value.is_empty())
    {
        last.values.push((rest.join("."), unquoted(item)));
    }
}

fn unquoted(text: &str) -> String {
    text.trim().trim_matches(['"', '\'']).to_owned()
}

impl Definition {
    fn get(&self, key: &str) -> Option<&str> {
        let found = self.values.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str())
    }

    fn all(&self, key: &str) -> Vec<String> {
        let of_key = self.values.iter().filter(|(name, _)| name == key);
        of_key.map(|(_, value)| value.clone()).collect()
    }

    fn note(&self, file: &str, config: &mut Config) {
        if SOFTWARE.contains(&self.kind.as_str()) {
            let mut lower = self.all("interfaces");
            lower.extend(self.all("link"));
            config.note_software(&self.id, true, lower);
        } else if self.kind != "ethernets" {
            return;
        }
        let matches = self.values.iter().any(|(key, _)| key.starts_with("match."));
        let name = match self.get("set-name").or_else(|| self.get("match.name")) {
            Some(name) => name,
            // Then the id is a name of netplan's own, and the address tells the card.
            None if matches => return,
            None => self.id.as_str(),
        };
        let mac = self.get("match.macaddress").and_then(super::mac);
        if let Some(mac) = &mac {
            config.macs.insert(name.to_owned(), mac.clone());
        }
        let addresses = self.all("addresses");
        let method = match self.get("dhcp4") {
            Some("true" | "yes" | "on") => "dhcp",
            _ if !addresses.is_empty() => "static",
            _ => "manual",
        };
        config.add(NicFacts {
            name: name.to_owned(),
            mac,
            method: method.to_owned(),
            addresses,
            file: file.to_owned(),
        });
    }
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
    fn other_styles_are_not_guessed_at() {
        for text in [
            "network: {version: 2}\n",
            "network:\n\tethernets:\n",
            "just words\n",
        ] {
            assert_eq!(parse(text.as_bytes(), "x"), None, "{text}");
        }
    }
}
