// SPDX-License-Identifier: Apache-2.0
//! What `--ip` promises, program by program.

use crate::fs::MemoryFs;
use crate::linux::fixture;
use crate::linux::network::propose;
use crate::plan::{Policy, Proposal};

const MAC: &str = "00:50:56:aa:00:01";

fn run(files: &[(&str, &str)], ips: &[&str]) -> Proposal {
    let mut fs = MemoryFs::new();
    for (path, text) in files {
        fs = fs.file(path, *text);
    }
    let policy = Policy {
        ips: ips
            .iter()
            .map(|ip| format!("{MAC}={ip}").parse().unwrap())
            .collect(),
        ..Policy::default()
    };
    propose(&fixture::gathered(fs), &fixture::target(), &policy)
}

fn one(path: &str, text: &str, ip: &str) -> String {
    let out = run(&[(path, text)], &[ip]);
    let ids: Vec<_> = out.concerns.iter().map(|c| (&c.id, &c.message)).collect();
    fixture::written(&out.changes, path).unwrap_or_else(|| panic!("{ids:?}"))
}

fn refused(files: &[(&str, &str)]) -> String {
    let out = run(files, &["192.0.2.9/24"]);
    let found = out.concerns.into_iter().find(|c| c.id == "ip-refused");
    found.map(|c| c.message).unwrap()
}

#[test]
fn networkd_keeps_what_is_of_the_other_family() {
    let path = "/etc/systemd/network/10-ens192.network";
    let old = "[Match]\nName=ens192\n\n[Network]\nDHCP=ipv4\nAddress=2001:db8::5/64\nDNS=192.0.2.2\n\n[Route]\nGateway=192.0.2.1\n[Route]\nDestination=198.51.100.0/24\nGateway=192.0.2.3\n";
    assert_eq!(
        one(path, old, "203.0.113.5/28,203.0.113.1,203.0.113.2"),
        "[Match]\nName=ens192\n\n[Network]\nDHCP=no\nAddress=203.0.113.5/28\nGateway=203.0.113.1\nDNS=203.0.113.2\nAddress=2001:db8::5/64\n\n[Route]\nDestination=198.51.100.0/24\nGateway=192.0.2.3\n"
    );
    let dhcp = one(
        path,
        "[Match]\nName=ens192\n[Address]\nAddress=192.0.2.5/24\n[Network]\nDNS=192.0.2.2\n",
        "dhcp",
    );
    assert_eq!(
        dhcp,
        "[Match]\nName=ens192\n[Network]\nDHCP=ipv4\nDNS=192.0.2.2\n"
    );
}

#[test]
fn a_keyfile_gets_its_address_and_name_servers() {
    let path = "/etc/NetworkManager/system-connections/ens192.nmconnection";
    let old = "[connection]\ntype=ethernet\ninterface-name=ens192\n\n[ipv4]\naddress1=192.0.2.5/24,192.0.2.1\ndns=192.0.2.2;\nmethod=manual\nroute1=198.51.100.0/24,192.0.2.3\n\n[ipv6]\nmethod=auto\n";
    assert_eq!(
        one(
            path,
            old,
            "203.0.113.5/28,203.0.113.1,203.0.113.2,2001:db8::2"
        ),
        "[connection]\ntype=ethernet\ninterface-name=ens192\n\n[ipv4]\nmethod=manual\naddress1=203.0.113.5/28,203.0.113.1\ndns=203.0.113.2;\nroute1=198.51.100.0/24,192.0.2.3\n\n[ipv6]\ndns=2001:db8::2;\nmethod=auto\n"
    );
    assert!(one(path, old, "dhcp").contains("[ipv4]\nmethod=auto\ndns=192.0.2.2;\nroute1"));
    let v6 = one(
        path,
        "[connection]\ninterface-name=ens192",
        "2001:db8::9/64,2001:db8::1",
    );
    assert!(
        v6.ends_with("ens192\n\n[ipv6]\nmethod=manual\naddress1=2001:db8::9/64,2001:db8::1\n"),
        "{v6}"
    );
}

#[test]
fn netplan_keeps_other_keys_and_the_other_family() {
    let path = "/etc/netplan/00-installer-config.yaml";
    let old = "# subiquity\nnetwork:\n  ethernets:\n    ens192:\n      addresses:\n      - 192.0.2.5/24\n      - 2001:db8::5/64\n      mtu: 9000 # jumbo\n      gateway4: 192.0.2.1\n      nameservers:\n        addresses: [192.0.2.2]\n        search: [example.org]\n    ens224:\n      dhcp4: true\n  version: 2\n";
    let old = old.replace("    ens224:\n      dhcp4: true\n", "");
    assert_eq!(
        one(path, &old, "203.0.113.5/28,203.0.113.1,203.0.113.2"),
        "# subiquity\nnetwork:\n  ethernets:\n    ens192:\n      dhcp4: false\n      nameservers:\n        addresses:\n        - 203.0.113.2\n        search:\n        - example.org\n      addresses:\n      - 203.0.113.5/28\n      - \"2001:db8::5/64\"\n      routes:\n      - {to: 0.0.0.0/0, via: 203.0.113.1}\n      mtu: 9000 # jumbo\n  version: 2\n"
    );
    assert_eq!(
        one(path, "network:\n  ethernets:\n    ens192: {}\n", "dhcp"),
        "network:\n  ethernets:\n    ens192:\n      dhcp4: true\n"
    );
}

#[test]
fn ifupdown_s_stanza_is_rewritten_in_place() {
    let path = "/etc/network/interfaces";
    let old = "auto ens192\r\niface ens192 inet static\r\n\taddress 192.0.2.5\r\n\tnetmask 255.255.255.0\r\n\tmtu 9000\r\n\tgateway 192.0.2.1\r\niface ens192 inet6 auto\r\n";
    assert_eq!(
        one(path, old, "203.0.113.5/28,203.0.113.1"),
        "auto ens192\r\niface ens192 inet static\r\n\taddress 203.0.113.5/28\r\n\tgateway 203.0.113.1\r\n\tmtu 9000\r\niface ens192 inet6 auto\r\n"
    );
    let v6 = one(path, "iface ens192 inet dhcp", "2001:db8::9/64");
    assert_eq!(
        v6,
        "iface ens192 inet dhcp\n\niface ens192 inet6 static\n\taddress 2001:db8::9/64\n"
    );
}

#[test]
fn ifcfg_of_red_hat_is_rewritten() {
    let path = "/etc/sysconfig/network-scripts/ifcfg-ens192";
    let old = "DEVICE=ens192\nBOOTPROTO=none\nIPADDR0=192.0.2.5\nPREFIX0=24\nGATEWAY0=192.0.2.1\nDNS1=192.0.2.2\nONBOOT=yes\nIPV6ADDR=2001:db8::5/64\n";
    assert_eq!(
        one(path, old, "203.0.113.5/28,203.0.113.1,203.0.113.2"),
        "DEVICE=ens192\nONBOOT=yes\nIPV6ADDR=2001:db8::5/64\nBOOTPROTO=none\nIPADDR=203.0.113.5\nPREFIX=28\nGATEWAY=203.0.113.1\nDNS1=203.0.113.2\n"
    );
    assert!(one(path, old, "dhcp").ends_with("BOOTPROTO=dhcp\n"));
}

#[test]
fn suse_has_routes_and_name_servers_elsewhere() {
    let ifcfg = "/etc/sysconfig/network/ifcfg-eth0";
    let config = "/etc/sysconfig/network/config";
    let routes = "/etc/sysconfig/network/ifroute-eth0";
    let out = run(
        &[
            (
                ifcfg,
                "BOOTPROTO='static'\nIPADDR='192.0.2.5'\nNETMASK='255.255.255.0'\nIPADDR_1='2001:db8::5/64'\nSTARTMODE='auto'\n",
            ),
            (config, "NETCONFIG_DNS_STATIC_SERVERS=\"192.0.2.2\"\n"),
            (
                routes,
                "default 192.0.2.1 - -\n198.51.100.0/24 192.0.2.3 - -\n",
            ),
        ],
        &["203.0.113.5/28,203.0.113.1,203.0.113.2"],
    );
    let of = |path| fixture::written(&out.changes, path).unwrap();
    assert_eq!(
        of(ifcfg),
        "IPADDR_1='2001:db8::5/64'\nSTARTMODE='auto'\nBOOTPROTO='static'\nIPADDR_guestfix='203.0.113.5/28'\n"
    );
    assert_eq!(of(config), "NETCONFIG_DNS_STATIC_SERVERS=\"203.0.113.2\"\n");
    assert_eq!(
        of(routes),
        "198.51.100.0/24 192.0.2.3 - -\ndefault 203.0.113.1 - -\n"
    );
}

#[test]
fn a_card_known_by_address_alone_may_move_and_change_at_once() {
    let path = "/etc/netplan/a.yaml";
    let text = "network:\n  ethernets:\n    lan:\n      match:\n        macaddress: 00:0c:29:00:00:01\n      dhcp4: true\n";
    let policy = Policy {
        ips: vec![format!("{MAC}=192.0.2.9/24").parse().unwrap()],
        nics: vec![crate::plan::policy::NicChoice {
            name: "lan".to_owned(),
            mac: MAC.to_owned(),
        }],
        ..Policy::default()
    };
    let facts = fixture::gathered(MemoryFs::new().file(path, text));
    let out = propose(&facts, &fixture::target(), &policy);
    assert_eq!(
        fixture::written(&out.changes, path).unwrap(),
        format!(
            "network:\n  ethernets:\n    lan:\n      dhcp4: false\n      addresses:\n      - 192.0.2.9/24\n      match:\n        macaddress: {MAC}\n"
        )
    );
}

#[test]
fn the_routes_of_all_of_suse_s_interfaces_lose_the_old_gateway() {
    let ifcfg = "/etc/sysconfig/network/ifcfg-eth0";
    let routes = "/etc/sysconfig/network/routes";
    let out = run(
        &[
            (ifcfg, "BOOTPROTO='static'\nIPADDR='192.0.2.5/24'\n"),
            (routes, "default 192.0.2.1 - -\n"),
        ],
        &["203.0.113.5/28,203.0.113.1"],
    );
    assert_eq!(fixture::written(&out.changes, routes).unwrap(), "");
}

#[test]
fn what_cannot_be_done_cleanly_is_refused() {
    let iface = "/etc/network/interfaces";
    for (files, want) in [
        (
            vec![(iface, "iface ens192 inet dhcp\niface ens224 inet dhcp\n")],
            "--nic NAME=",
        ),
        (
            vec![(
                iface,
                "iface ens192 inet dhcp\niface ens192 inet static\n address 192.0.2.1\n",
            )],
            "several stanzas",
        ),
        (
            vec![(iface, "iface br0 inet dhcp\n bridge_ports ens192\n")],
            "bridge",
        ),
        (
            vec![("/etc/conf.d/net", "config_ens192=\"dhcp\"\n")],
            "does not edit",
        ),
        (
            vec![(
                "/etc/netplan/a.yaml",
                "network: {ethernets: {ens192: {dhcp4: true}}}\n",
            )],
            "flow style",
        ),
        (
            vec![
                (iface, "iface ens192 inet dhcp\n"),
                (
                    "/etc/netplan/a.yaml",
                    "network:\n  ethernets:\n    ens192: {}\n",
                ),
            ],
            "several files",
        ),
        (vec![], "no card"),
        (
            vec![(
                "/etc/sysconfig/network-scripts/ifcfg-ens192",
                "DEVICE=ens192\nMASTER=bond0\nSLAVE=yes\n",
            )],
            "part of a bond",
        ),
    ] {
        let why = refused(&files);
        assert!(why.contains(want), "{want}: {why}");
    }
}
