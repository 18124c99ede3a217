// SPDX-License-Identifier: Apache-2.0
//! Smaller configurations, one or two keys each: ALT's etcnet (etcnet(8)), Arch's netctl
//! (netctl.profile(5)), dhcpcd's (dhcpcd.conf(5)), and the tables of ifrename and nameif (iftab(5),
//! nameif(8)).

use super::Config;
use super::system;
use crate::inspect::facts::NicFacts;
use crate::linux::shell;
use crate::linux::text::lines;

/// etcnet: one directory for each interface, `options` in it.
pub fn etcnet(bytes: &[u8], file: &str) -> Config {
    let mut config = Config::default();
    let inner = file.strip_prefix(system::ETCNET).unwrap_or_default();
    let Some(name) = inner.trim_start_matches('/').strip_suffix("/options") else {
        return config;
    };
    let all = shell::assignments(bytes);
    let get = |key: &str| shell::value(&all, key).unwrap_or_default();
    let software = !matches!(get("TYPE"), "" | "eth");
    let lower = format!("{} {}", get("HOST"), get("VIAIF"));
    let lower = lower.split_whitespace().map(str::to_owned).collect();
    config.note_software(name, software, lower);
    config.add(nic(name, get("BOOTPROTO"), Vec::new(), file));
    config
}

/// netctl: one profile for each connection.
pub fn netctl(bytes: &[u8], file: &str) -> Config {
    let mut config = Config::default();
    let all = shell::assignments(bytes);
    let get = |key: &str| shell::value(&all, key).unwrap_or_default();
    let words = |key: &str| -> Vec<String> {
        let value = get(key).trim_matches(['(', ')']);
        value
            .split_whitespace()
            .map(|word| word.trim_matches(['\'', '"']).to_owned())
            .collect()
    };
    let name = get("Interface");
    let software = !matches!(get("Connection"), "" | "ethernet");
    config.note_software(name, software, words("BindsToInterfaces"));
    config.add(nic(name, get("IP"), words("Address"), file));
    config
}

/// dhcpcd: blocks that begin with `interface NAME`; any card that no block names has DHCP.
pub fn dhcpcd(bytes: &[u8], file: &str) -> Config {
    let mut config = Config::default();
    let mut current: Option<NicFacts> = None;
    for line in lines(bytes) {
        let text = line.text();
        let text = text.trim();
        if let Some(name) = text.strip_prefix("interface ") {
            config.nics_of(current.take());
            current = Some(nic(name.trim(), "dhcp", Vec::new(), file));
        } else if let (Some(nic), Some(value)) =
            (&mut current, text.strip_prefix("static ip_address="))
        {
            "static".clone_into(&mut nic.method);
            nic.addresses.push(value.trim().to_owned());
        }
    }
    config.nics_of(current);
    config
}

/// `eth0 mac 00:0c:29:00:00:01` of ifrename, `eth0 00:0c:29:00:00:01` of nameif.
pub fn table(bytes: &[u8]) -> Config {
    let mut config = Config::default();
    for line in lines(bytes) {
        let text = line.text();
        let mut words = text.split_whitespace();
        let (Some(name), Some(mac)) = (words.next(), words.find_map(super::mac)) else {
            continue;
        };
        if !name.starts_with('#') {
            config.macs.insert(name.to_owned(), mac);
        }
    }
    config
}

fn nic(name: &str, method: &str, addresses: Vec<String>, file: &str) -> NicFacts {
    NicFacts {
        name: name.to_owned(),
        mac: None,
        method: match method {
            method @ ("dhcp" | "static") => method,
            _ => "manual",
        }
        .to_owned(),
        addresses,
        file: file.to_owned(),
    }
}

impl Config {
    fn nics_of(&mut self, nic: Option<NicFacts>) {
        if let Some(nic) = nic {
            self.add(nic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etcnet_s_directories_are_interfaces() {
        let of = |name: &str, text: &str| {
            etcnet(text.as_bytes(), &format!("/etc/net/ifaces/{name}/options"))
        };
        let card = of("ens192", "BOOTPROTO=static\nTYPE=eth\n");
        assert_eq!(
            (card.card_names(), card.nics[0].method.as_str()),
            (vec!["ens192".to_owned()], "static")
        );
        assert_eq!(
            of("bond0", "TYPE=bond\nHOST='ens192 ens224'\n").card_names(),
            ["ens192", "ens224"]
        );
        assert_eq!(
            etcnet(b"x", "/etc/net/ifaces/ens192/ipv4address"),
            Config::default()
        );
    }

    #[test]
    fn netctl_and_dhcpcd_name_their_interfaces() {
        let profile = netctl(
            b"Interface=ens192\nConnection=ethernet\nIP=static\nAddress=('192.0.2.5/24')\n",
            "x",
        );
        assert_eq!(profile.nics[0].addresses, ["192.0.2.5/24"]);
        let bond = netctl(
            b"Interface=bond0\nConnection=bond\nBindsToInterfaces=(ens224)\n",
            "x",
        );
        assert_eq!(bond.card_names(), ["ens224"]);
        let dhcpcd = dhcpcd(
            b"hostname\ninterface eth0\nstatic ip_address=192.0.2.5/24\ninterface eth1\n",
            "x",
        );
        assert_eq!(dhcpcd.card_names(), ["eth0", "eth1"]);
        assert_eq!(dhcpcd.nics[0].method, "static");
    }

    #[test]
    fn tables_give_addresses() {
        let config = table(b"# eth9 mac 00:0c:29:00:00:09\neth0 mac 00:0C:29:00:00:01\neth1 00:0c:29:00:00:02\nodd\n");
        assert_eq!(config.macs.len(), 2);
        assert_eq!(config.macs.get("eth0").unwrap(), "00:0c:29:00:00:01");
    }
}
