// SPDX-License-Identifier: Apache-2.0
//! Gentoo's netifrc: `config_NAME=` and its like in `/etc/conf.d/net` (net.example).

use super::Config;
use crate::inspect::facts::NicFacts;
use crate::linux::text::lines;

/// Reads the file. Values may run on over lines; only the first is looked at.
pub fn parse(bytes: &[u8], file: &str) -> Config {
    let mut config = Config::default();
    for line in lines(bytes) {
        let text = line.text();
        let Some((key, value)) = text.trim().split_once('=') else {
            continue;
        };
        let Some((what, name)) = key.split_once('_') else {
            continue;
        };
        let value = value.trim_matches(['"', '\'', '(', ')', ' ']);
        let words = || {
            value
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        match what {
            "slaves" | "bridge" => config.note_software(name, true, words()),
            "vlans" => config.note_software(name, false, vec![name.to_owned()]),
            "config" => config.add(NicFacts {
                name: name.to_owned(),
                mac: None,
                method: method(value).to_owned(),
                addresses: words()
                    .into_iter()
                    .filter(|word| word.contains('/'))
                    .collect(),
                file: file.to_owned(),
            }),
            _ => {}
        }
    }
    config
}

fn method(value: &str) -> &'static str {
    match value {
        "dhcp" => "dhcp",
        "" | "null" => "manual",
        _ => "static",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_and_what_they_stand_on_are_read() {
        let config = parse(
            b"config_ens192=\"192.0.2.5/24\n2001:db8::5/64\"\nroutes_ens192=\"default via 192.0.2.1\"\nslaves_bond0=\"ens224 ens256\"\nconfig_bond0=\"dhcp\"\nvlans_ens161=\"7\"\n# config_x=\"dhcp\"\n",
            "/etc/conf.d/net",
        );
        assert_eq!(
            config.card_names(),
            ["ens161", "ens192", "ens224", "ens256"]
        );
        assert_eq!(config.nics[0].addresses, ["192.0.2.5/24"]);
    }
}
