// SPDX-License-Identifier: Apache-2.0
//! Configurations for all cards of a pattern. `ens*` held for every card of VMware's and holds for
//! none of KubeVirt's, which are called `enp1s0` (systemd.net-naming-scheme(7)).

use super::system::System;
use crate::document::yaml::{self, Yaml};
use crate::linux::text::{self, Edits};

/// A card on VMware, and one on KubeVirt.
const OLD: &str = "ens192";
const NEW: &str = "enp1s0";
/// What is put beside a pattern.
const BESIDE: &str = "enp*";

/// The file with patterns that the new cards answer to as well.
pub(super) fn widened(bytes: &[u8], system: System) -> Vec<u8> {
    match system {
        System::Networkd => beside(bytes, "[Match]", "Name", ' '),
        System::Keyfile => beside(bytes, "[match]", "interface-name", ';'),
        System::Netplan => netplan(bytes),
        _ => bytes.to_vec(),
    }
}

/// True for patterns that the old cards' names match and the new ones' do not.
fn misses<'a>(patterns: impl Iterator<Item = &'a str>) -> bool {
    let mut old = false;
    for pattern in patterns {
        let of = |name: &str| super::glob(pattern.as_bytes(), name.as_bytes());
        if pattern.starts_with('!') || of(NEW) {
            return false;
        }
        old |= pattern.contains(['*', '?']) && of(OLD);
    }
    old
}

/// Section files: one more pattern at the end of the value.
fn beside(bytes: &[u8], section: &str, key: &str, between: char) -> Vec<u8> {
    let mut inside = false;
    let mut edits = Edits::new();
    for line in text::lines(bytes) {
        let text = line.text();
        if text.trim_start().starts_with('[') {
            inside = text.trim() == section;
        }
        let Some((have, value)) = text.split_once('=').filter(|_| inside) else {
            continue;
        };
        let words = value
            .split([' ', '\t', between])
            .filter(|word| !word.is_empty());
        if have.trim() == key && misses(words) {
            let open = !text.trim_end().ends_with(between);
            let gap = if open || between == ' ' {
                between.to_string()
            } else {
                String::new()
            };
            let blank = line
                .bytes
                .len()
                .saturating_sub(line.bytes.trim_ascii_end().len());
            edits.insert(line.end.saturating_sub(blank), format!("{gap}{BESIDE}"));
        }
    }
    edits.apply(bytes)
}

/// Netplan takes one pattern only in older releases: a wider one.
fn netplan(bytes: &[u8]) -> Vec<u8> {
    let mut edits = Edits::new();
    let documents = yaml::parse(bytes).unwrap_or_default();
    let cards = documents
        .iter()
        .filter_map(|d| d.at(&["network", "ethernets"]));
    let names = cards
        .flat_map(Yaml::entries)
        .filter_map(|card| card.value.get("match")?.entry("name"));
    for name in names {
        let Some(pattern) = name
            .value
            .text()
            .filter(|pattern| misses(std::iter::once(*pattern)))
        else {
            continue;
        };
        let line = bytes.get(name.lines.clone()).unwrap_or_default();
        let at = line
            .windows(pattern.len())
            .position(|window| window == pattern.as_bytes());
        if let Some(at) = at.filter(|_| pattern == "ens*") {
            let start = name.lines.start.saturating_add(at);
            edits.replace(start..start.saturating_add(pattern.len()), "en*");
        }
    }
    edits.apply(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, system: System) -> String {
        String::from_utf8(widened(text.as_bytes(), system)).unwrap()
    }

    #[test]
    fn patterns_of_vmware_s_names_are_widened() {
        assert_eq!(
            of(
                "[Match]\r\nName=ens* \r\n[Network]\r\nName=ens*\r\n",
                System::Networkd
            ),
            "[Match]\r\nName=ens* enp* \r\n[Network]\r\nName=ens*\r\n"
        );
        assert_eq!(
            of("[match]\ninterface-name=ens*;\n", System::Keyfile),
            "[match]\ninterface-name=ens*;enp*\n"
        );
        assert_eq!(
            of(
                "network:\n  ethernets:\n    all:\n      match:\n        name: \"ens*\" # any\n      dhcp4: true\n",
                System::Netplan
            ),
            "network:\n  ethernets:\n    all:\n      match:\n        name: \"en*\" # any\n      dhcp4: true\n"
        );
    }

    #[test]
    fn patterns_that_hold_anywhere_stay() {
        for text in [
            "[Match]\nName=e*\n",
            "[Match]\nName=en* ens*\n",
            "[Match]\nName=!ens*\n",
            "[Match]\nName=ens192\n",
            "[Match]\nName=eth*\n",
        ] {
            assert_eq!(of(text, System::Networkd), text);
        }
        let text = "network:\n  ethernets:\n    a: {match: {name: ens*}}\n";
        assert_eq!(of(text, System::Netplan), text);
    }
}
