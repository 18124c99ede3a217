// SPDX-License-Identifier: Apache-2.0
//! `ifcfg-NAME` files of Red Hat (initscripts' sysconfig.txt, nm-settings-ifcfg-rh(5)) and of SUSE
//! (ifcfg(5), ifcfg-bonding(5), ifcfg-bridge(5), ifcfg-vlan(5)).

use std::net::Ipv4Addr;

use super::Config;
use super::system::System;
use crate::inspect::facts::NicFacts;
use crate::linux::shell::{self, Assignment};

/// Reads one file.
pub fn parse(bytes: &[u8], file: &str, system: System) -> Config {
    let all = shell::assignments(bytes);
    let mut config = Config::default();
    let suffix = file.rsplit_once("/ifcfg-").map_or("", |(_, name)| name);
    let get = |key: &str| shell::value(&all, key).filter(|value| !value.is_empty());
    let own = get("HWADDR")
        .and_then(super::mac)
        .or_else(|| mac_in_name(suffix));
    config.by_mac.extend(own.clone());
    let name = match system {
        System::RedHat => get("DEVICE").unwrap_or(suffix),
        _ => suffix,
    };
    if mac_in_name(name).is_some() {
        return config;
    }
    // eth0:1 is another address of eth0.
    let name = name.split(':').next().unwrap_or_default();
    if !super::is_valid_name(name) && !name.contains('.') {
        return config;
    }
    config.note_software(name, is_software(&all), lower(&all));
    if let Some(mac) = &own {
        config.macs.insert(name.to_owned(), mac.clone());
    }
    let assigned = get("MACADDR")
        .or_else(|| get("LLADDR"))
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

/// SUSE's old `ifcfg-eth-id-00:0c:29:00:00:01`.
fn mac_in_name(suffix: &str) -> Option<String> {
    super::mac(suffix.split_once("-id-")?.1)
}

fn get<'a>(all: &'a [Assignment], key: &str) -> &'a str {
    shell::value(all, key).unwrap_or_default()
}

fn is_yes(all: &[Assignment], key: &str) -> bool {
    let value = get(all, key).to_ascii_lowercase();
    matches!(value.as_str(), "yes" | "true" | "on" | "1")
}

fn is_software(all: &[Assignment]) -> bool {
    let kind = get(all, "TYPE").to_ascii_lowercase();
    let device = get(all, "DEVICETYPE").to_ascii_lowercase();
    let kinds = [
        "bond", "bridge", "vlan", "team", "tunnel", "gre", "ipip", "sit", "dummy",
    ];
    kinds.contains(&kind.as_str())
        || kind.starts_with("ovs")
        || kinds.contains(&device.as_str())
        || ["VLAN", "BONDING_MASTER", "BRIDGE"]
            .iter()
            .any(|key| is_yes(all, key))
        || [
            "BONDING_OPTS",
            "BONDING_MODULE_OPTS",
            "ETHERDEVICE",
            "TUNNEL",
            "TEAM_RUNNER",
        ]
        .iter()
        .any(|key| !get(all, key).is_empty())
}

/// The interfaces it stands on.
fn lower(all: &[Assignment]) -> Vec<String> {
    let keys = ["PHYSDEV", "ETHERDEVICE", "BRIDGE_PORTS"];
    let mine = |a: &&Assignment| {
        keys.contains(&a.name.as_str())
            || a.name.starts_with("BONDING_SLAVE")
            || a.name.starts_with("TEAM_PORT_DEVICE")
    };
    let names = all
        .iter()
        .filter(mine)
        .flat_map(|a| a.value.split_whitespace());
    names.map(str::to_owned).collect()
}

fn method(all: &[Assignment]) -> &'static str {
    let proto = get(all, "BOOTPROTO").to_ascii_lowercase();
    if proto.starts_with("dhcp") || proto == "bootp" {
        return "dhcp";
    }
    match addresses(all).is_empty() {
        true => "manual",
        false => "static",
    }
}

/// `IPADDR`, `IPADDR0`, `IPADDR_x` with the prefix or mask of the same suffix; `IPV6ADDR`.
fn addresses(all: &[Assignment]) -> Vec<String> {
    let mut out = Vec::new();
    for a in all {
        if a.name == "IPV6ADDR" || a.name == "IPV6ADDR_SECONDARIES" {
            out.extend(a.value.split_whitespace().map(str::to_owned));
        }
        let Some(suffix) = a
            .name
            .strip_prefix("IPADDR")
            .filter(|_| !a.value.is_empty())
        else {
            continue;
        };
        if a.value.contains('/') {
            out.push(a.value.clone());
            continue;
        }
        let of = |key: &str| Some(get(all, &format!("{key}{suffix}"))).filter(|v| !v.is_empty());
        let prefix = of("PREFIX").or_else(|| of("PREFIXLEN")).map(str::to_owned);
        let prefix = prefix.or_else(|| of("NETMASK").and_then(prefix_of_mask));
        out.push(match prefix {
            Some(prefix) => format!("{}/{prefix}", a.value),
            None => a.value.clone(),
        });
    }
    out
}

fn prefix_of_mask(mask: &str) -> Option<String> {
    let mask: Ipv4Addr = mask.parse().ok()?;
    Some(u32::from(mask).count_ones().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn red_hat(name: &str, text: &str) -> Config {
        let file = format!("/etc/sysconfig/network-scripts/ifcfg-{name}");
        parse(text.as_bytes(), &file, System::RedHat)
    }

    fn suse(name: &str, text: &str) -> Config {
        let file = format!("/etc/sysconfig/network/ifcfg-{name}");
        parse(text.as_bytes(), &file, System::Suse)
    }

    #[test]
    fn red_hat_s_files_name_their_card_and_its_address() {
        let config = red_hat(
            "System_eth0",
            "DEVICE=\"ens192\"\nHWADDR=00:50:56:AA:00:01\nBOOTPROTO=none\nIPADDR=192.0.2.5\nNETMASK=255.255.255.0\nIPADDR1=192.0.2.6\nPREFIX1=25\nIPV6ADDR=2001:db8::5/64\n",
        );
        assert_eq!(config.macs.get("ens192").unwrap(), "00:50:56:aa:00:01");
        assert_eq!(
            config.nics[0].addresses,
            ["192.0.2.5/24", "192.0.2.6/25", "2001:db8::5/64"]
        );
        assert_eq!(config.nics[0].method, "static");
        assert_eq!(
            red_hat("ens192:1", "IPADDR=192.0.2.7\n").card_names(),
            ["ens192"]
        );
    }

    #[test]
    fn red_hat_s_bonds_vlans_and_bridges_are_software() {
        let bond = "DEVICE=bond0\nTYPE=Bond\nBONDING_MASTER=yes\nIPADDR=192.0.2.5\nPREFIX=24\n";
        assert!(red_hat("bond0", bond).card_names().is_empty());
        let port = "DEVICE=ens224\nMASTER=bond0\nSLAVE=yes\nHWADDR=00:50:56:aa:00:02\n";
        assert_eq!(red_hat("ens224", port).card_names(), ["ens224"]);
        assert_eq!(
            red_hat("ens224.7", "VLAN=yes\nDEVICE=ens224.7\n").card_names(),
            ["ens224"]
        );
        let vlan = "VLAN=yes\nDEVICE=mgmt\nPHYSDEV=ens256\nTYPE=Vlan\n";
        assert_eq!(red_hat("mgmt", vlan).card_names(), ["ens256"]);
    }

    #[test]
    fn suse_s_files_are_named_after_the_interface() {
        let config = suse(
            "eth0",
            "BOOTPROTO='static'\nIPADDR='192.0.2.5/24'\nIPADDR_1='192.0.2.6'\nNETMASK_1='255.255.255.128'\nSTARTMODE='auto'\nLLADDR='02:00:00:00:00:01'\n",
        );
        assert_eq!(config.nics[0].addresses, ["192.0.2.5/24", "192.0.2.6/25"]);
        assert!(
            config.macs.is_empty(),
            "an assigned address is not the card's own"
        );
        let bond = "BONDING_MASTER='yes'\nBONDING_SLAVE_0='eth0'\nBONDING_SLAVE_1='eth1'\n";
        assert_eq!(suse("bond0", bond).card_names(), ["eth0", "eth1"]);
        assert_eq!(
            suse("vlan7", "ETHERDEVICE='eth2'\nVLAN_ID='7'\n").card_names(),
            ["eth2"]
        );
        assert_eq!(
            suse("br0", "BRIDGE='yes'\nBRIDGE_PORTS='eth3'\n").card_names(),
            ["eth3"]
        );
    }

    #[test]
    fn a_file_named_by_address_knows_its_card() {
        let config = suse("eth-id-00:0C:29:00:00:01", "BOOTPROTO='dhcp'\n");
        assert!(config.card_names().is_empty());
        assert!(config.by_mac.contains("00:0c:29:00:00:01"));
    }
}
