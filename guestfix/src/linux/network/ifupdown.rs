// SPDX-License-Identifier: Apache-2.0
//! `/etc/network/interfaces` and the files it sources (format: interfaces(5)).

use std::net::Ipv4Addr;

use super::Config;
use crate::error::Result;
use crate::inspect::facts::{NicFacts, Sources};
use crate::linux::gather::Gatherer;
use crate::linux::text::lines;

/// The main file.
pub const MAIN: &str = "/etc/network/interfaces";
/// Sources that are followed at most: a table may source itself.
const MAX_FILES: usize = 64;

/// An `iface` stanza.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Stanza {
    name: String,
    family: String,
    method: String,
    options: Vec<(String, String)>,
}

/// Reads one file into a configuration; `file` names it there.
pub fn parse(bytes: &[u8], file: &str) -> Config {
    let mut config = Config::default();
    for stanza in stanzas(bytes) {
        // A label like eth0:1 is another address of the same interface.
        let name = stanza.name.split(':').next().unwrap_or_default().to_owned();
        config.note_software(&name, stanza.software(), stanza.lower());
        config.add(NicFacts {
            mac: stanza.mac(),
            method: stanza.method(),
            addresses: stanza.address().into_iter().collect(),
            file: file.to_owned(),
            name,
        });
    }
    config
}

/// Reads the main file and what it sources.
///
/// # Errors
/// `Corrupt` when the filesystem is damaged.
pub fn gather(gather: &mut Gatherer<'_>) -> Result<()> {
    let mut todo = vec![MAIN.to_owned()];
    let mut seen = 0_usize;
    while let Some(path) = todo.pop() {
        seen = seen.saturating_add(1);
        if seen > MAX_FILES || gather.sources.files.contains_key(&path) || !gather.file(&path)? {
            continue;
        }
        let bytes = gather.sources.bytes(&path).unwrap_or_default().to_vec();
        for pattern in sourced(&bytes) {
            todo.extend(expand(gather, &pattern)?);
        }
    }
    Ok(())
}

/// The gathered files of ifupdown.
pub fn files(sources: &Sources) -> impl Iterator<Item = (&str, &[u8])> {
    sources
        .files
        .iter()
        .filter(|(path, _)| path.starts_with("/etc/network/"))
        .map(|(path, file)| (path.as_str(), file.content.as_slice()))
}

/// Patterns of `source` and `source-directory` lines.
fn sourced(bytes: &[u8]) -> Vec<String> {
    logical_lines(bytes)
        .iter()
        .filter_map(|line| {
            let (word, path) = line.split_once([' ', '\t'])?;
            let path = path.trim();
            let path = if path.starts_with('/') {
                path.to_owned()
            } else {
                format!("/etc/network/{path}")
            };
            match word {
                "source" => Some(path),
                "source-directory" => Some(format!("{}/*", path.trim_end_matches('/'))),
                _ => None,
            }
        })
        .collect()
}

/// The files that a pattern with `*` and `?` in its last component names, in their order; only
/// files below /etc/network are followed.
fn expand(gather: &mut Gatherer<'_>, pattern: &str) -> Result<Vec<String>> {
    let Some((dir, last)) = pattern
        .rsplit_once('/')
        .filter(|_| pattern.starts_with("/etc/network/"))
    else {
        return Ok(Vec::new());
    };
    if !last.contains(['*', '?']) {
        return Ok(vec![pattern.to_owned()]);
    }
    let names = gather.dir(dir)?;
    Ok(names
        .iter()
        .rev()
        .filter(|name| !name.starts_with('.') && super::glob(last.as_bytes(), name.as_bytes()))
        .map(|name| format!("{dir}/{name}"))
        .collect())
}

/// Lines with continuations joined, comments and blank lines gone.
fn logical_lines(bytes: &[u8]) -> Vec<String> {
    let mut out = Vec::new();
    let mut open = String::new();
    for line in lines(bytes) {
        let text = line.text();
        if open.is_empty() && text.trim_start().starts_with('#') {
            continue;
        }
        if let Some(head) = text.strip_suffix('\\') {
            open.push_str(head);
            open.push(' ');
            continue;
        }
        open.push_str(&text);
        let whole = std::mem::take(&mut open);
        if !whole.trim().is_empty() {
            out.push(whole.trim().to_owned());
        }
    }
    if !open.trim().is_empty() {
        out.push(open.trim().to_owned());
    }
    out
}

fn stanzas(bytes: &[u8]) -> Vec<Stanza> {
    let mut out: Vec<Stanza> = Vec::new();
    let mut inside = false;
    for line in logical_lines(bytes) {
        let (word, rest) = line.split_once([' ', '\t']).unwrap_or((&line, ""));
        let rest = rest.trim();
        match word {
            "iface" => {
                let mut words = rest.split_whitespace().map(str::to_owned);
                let mut next = || words.next().unwrap_or_default();
                out.push(Stanza {
                    name: next(),
                    family: next(),
                    method: next(),
                    options: Vec::new(),
                });
                inside = true;
            }
            "auto" | "mapping" | "source" | "source-directory" | "rename" | "template"
            | "no-auto-down" | "no-scripts" => inside = false,
            _ if word.starts_with("allow-") => inside = false,
            _ => {
                if let Some(stanza) = out.last_mut().filter(|_| inside) {
                    // Debian spells bridge_ports and bridge-ports alike.
                    stanza
                        .options
                        .push((word.replace('_', "-"), rest.to_owned()));
                }
            }
        }
    }
    out
}

impl Stanza {
    fn option(&self, name: &str) -> Option<&str> {
        let found = self.options.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    fn method(&self) -> String {
        match self.method.as_str() {
            method @ ("dhcp" | "static") => method,
            _ => "manual",
        }
        .to_owned()
    }

    /// `address` with its prefix length.
    fn address(&self) -> Option<String> {
        let address = self.option("address")?;
        let prefix = match self.option("netmask") {
            _ if address.contains('/') => return Some(address.to_owned()),
            Some(mask) if mask.contains('.') => {
                let bits = u32::from(mask.parse::<Ipv4Addr>().ok()?).count_ones();
                bits.to_string()
            }
            Some(mask) => mask.to_owned(),
            None => return Some(address.to_owned()),
        };
        Some(format!("{address}/{prefix}"))
    }

    /// `hwaddress ether 00:50:56:...`: the address the interface is given.
    fn mac(&self) -> Option<String> {
        let value = self.option("hwaddress")?;
        super::mac(value.split_whitespace().last()?)
    }

    /// True for an interface that software makes.
    fn software(&self) -> bool {
        self.family == "inet" && self.method == "tunnel"
            || self.options.iter().any(|(key, _)| {
                key.starts_with("bridge-")
                    || matches!(
                        key.as_str(),
                        "bond-slaves" | "slaves" | "bond-mode" | "vlan-raw-device"
                    )
            })
    }

    /// The interfaces it stands on.
    fn lower(&self) -> Vec<String> {
        ["bridge-ports", "bond-slaves", "slaves", "vlan-raw-device"]
            .iter()
            .filter_map(|key| self.option(key))
            .flat_map(str::split_whitespace)
            .filter(|name| !matches!(*name, "none" | "all" | "regex"))
            .map(str::to_owned)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture;
    use super::*;
    use crate::fs::MemoryFs;

    #[test]
    fn stanzas_become_interfaces() {
        let text = b"# c\r\nauto lo ens192\r\niface lo inet loopback\r\n\r\niface ens192 inet static\r\n\taddress 192.0.2.10\r\n\tnetmask 255.255.255.0\r\n\thwaddress ether 00:50:56:AA:BB:CC\r\niface ens192 inet6 auto\niface ens192:1 inet static\n address \\\n 192.0.2.11/24";
        let config = parse(text, MAIN);
        assert_eq!(config.nics.len(), 1);
        let nic = &config.nics[0];
        assert_eq!(
            (nic.name.as_str(), nic.method.as_str()),
            ("ens192", "static")
        );
        assert_eq!(nic.addresses, ["192.0.2.10/24", "192.0.2.11/24"]);
        assert_eq!(nic.mac.as_deref(), Some("00:50:56:aa:bb:cc"));
        assert!(
            config.macs.is_empty(),
            "an assigned address is not the card's own"
        );
    }

    #[test]
    fn bonds_bridges_and_vlans_lead_to_their_cards() {
        let text = b"iface bond0 inet manual\n bond_slaves ens192 ens224\niface br0 inet dhcp\n bridge_ports ens256\niface v9 inet dhcp\n vlan-raw-device ens161\niface ens33.7 inet dhcp\n";
        let config = parse(text, MAIN);
        assert_eq!(
            config.card_names(),
            ["ens161", "ens192", "ens224", "ens256", "ens33"]
        );
    }

    #[test]
    fn sourced_files_are_read_once() {
        let fs = MemoryFs::new()
            .file(
                MAIN,
                "source /etc/network/interfaces.d/*\nsource interfaces\nsource /etc/shadow\n",
            )
            .file(
                "/etc/network/interfaces.d/50-a",
                "iface ens192 inet dhcp\nsource-directory interfaces.d",
            )
            .file(
                "/etc/network/interfaces.d/.hidden",
                "iface ens9 inet dhcp\n",
            )
            .file("/etc/shadow", "iface ens8 inet dhcp\n");
        let facts = fixture::gathered(fs);
        let names: Vec<_> = facts
            .network
            .iter()
            .map(|n| (n.name.as_str(), n.file.as_str()))
            .collect();
        assert_eq!(names, [("ens192", "/etc/network/interfaces.d/50-a")]);
    }

    #[test]
    fn nonsense_is_skipped() {
        let config = parse(
            b"iface\n\xff\xfe\niface a\n address\nauto\n address 1\n\\",
            MAIN,
        );
        assert_eq!(config.nics.len(), 1);
    }
}
