// SPDX-License-Identifier: Apache-2.0
//! Whole configurations as the distributions' installers leave them on VMware: what is read, what
//! is written, and that a second run writes nothing.

use super::*;
use crate::fs::MemoryFs;
use crate::linux::fixture;
use crate::plan::policy::NicChoice;
use crate::plan::{Policy, Proposal};
use crate::vm;

/// A guest of these files, its udev dated by the library beside it.
fn guest(udev: &str, files: &[(&str, &str)]) -> MemoryFs {
    let mut fs = MemoryFs::new()
        .file("/usr/lib/systemd/systemd-udevd", "")
        .file(&format!("/usr/lib/systemd/libsystemd-shared-{udev}.so"), "");
    for (path, text) in files {
        fs = fs.file(path, *text);
    }
    fs
}

fn policy(nics: &[(&str, &str)], vm: Option<&str>) -> Policy {
    let choice = |(name, mac): &(&str, &str)| NicChoice {
        name: (*name).to_owned(),
        mac: (*mac).to_owned(),
    };
    Policy {
        nics: nics.iter().map(choice).collect(),
        vm: vm.map(|text| vm::parse(text.as_bytes(), "vm.file").unwrap()),
        ..Policy::default()
    }
}

/// What is proposed; that the same again proposes nothing more.
fn run(fs: &MemoryFs, policy: &Policy) -> Proposal {
    let out = propose(&fixture::gathered(fs.clone()), &fixture::target(), policy);
    let after = fixture::gathered(fixture::applied(fs.clone(), &out.changes));
    let again = propose(&after, &fixture::target(), policy);
    assert!(
        again.changes.is_empty(),
        "a second run: {:?}",
        again.changes
    );
    out
}

fn paths(out: &Proposal) -> Vec<&str> {
    out.changes
        .iter()
        .map(|change| change.path.as_str())
        .collect()
}

fn ids(out: &Proposal) -> Vec<&str> {
    out.concerns
        .iter()
        .map(|concern| concern.id.as_str())
        .collect()
}

fn named(fs: &MemoryFs) -> Vec<String> {
    parse(&fixture::gathered(fs.clone()).sources).card_names()
}

fn link(out: &Proposal, name: &str) -> String {
    let path = format!("/etc/systemd/network/10-guestfix-{name}.link");
    fixture::written(&out.changes, &path).unwrap_or_default()
}

const RHEL7: &[(&str, &str)] = &[
    ("/etc/sysconfig/network", "# Created by anaconda\n"),
    (
        "/etc/sysconfig/network-scripts/ifcfg-lo",
        "DEVICE=lo\nIPADDR=127.0.0.1\n",
    ),
    (
        "/etc/sysconfig/network-scripts/ifcfg-ens192",
        "TYPE=\"Ethernet\"\nPROXY_METHOD=\"none\"\nBOOTPROTO=\"none\"\nDEFROUTE=\"yes\"\nNAME=\"ens192\"\nUUID=\"6f2a7f7e-0000-4000-8000-000000000001\"\nDEVICE=\"ens192\"\nONBOOT=\"yes\"\nMASTER=bond0\nSLAVE=yes\nHWADDR=00:50:56:9A:00:01\n",
    ),
    (
        "/etc/sysconfig/network-scripts/ifcfg-ens224",
        "TYPE=Ethernet\nDEVICE=ens224\nONBOOT=yes\nMASTER=bond0\nSLAVE=yes\nHWADDR=00:50:56:9A:00:02\n",
    ),
    (
        "/etc/sysconfig/network-scripts/ifcfg-bond0",
        "DEVICE=bond0\nTYPE=Bond\nBONDING_MASTER=yes\nBONDING_OPTS=\"mode=active-backup miimon=100\"\nBOOTPROTO=none\nONBOOT=yes\n",
    ),
    (
        "/etc/sysconfig/network-scripts/ifcfg-bond0.100",
        "DEVICE=bond0.100\nVLAN=yes\nBOOTPROTO=none\nIPADDR=192.0.2.10\nPREFIX=24\nGATEWAY=192.0.2.1\nONBOOT=yes\n",
    ),
];

#[test]
fn rhel_7_with_a_bond_keeps_its_ports_by_address() {
    let mut fs = MemoryFs::new().file("/usr/lib/systemd/systemd-udevd", "");
    for (path, text) in RHEL7 {
        fs = fs.file(path, *text);
    }
    assert_eq!(named(&fs), ["ens192", "ens224"]);
    let out = run(&fs, &policy(&[], None));
    assert!(
        link(&out, "ens224")
            .contains("MACAddress=00:50:56:9a:00:02\nDriver=virtio_net\nType=ether"),
        "{}",
        link(&out, "ens224")
    );
    assert_eq!(ids(&out), ["nic-address-kept"]);
}

#[test]
fn rhel_7_gets_its_new_addresses_written_where_it_asks_for_the_old() {
    let fs = guest("219", RHEL7);
    let new = [
        ("ens192", "52:54:00:00:00:01"),
        ("ens224", "52:54:00:00:00:02"),
    ];
    let out = run(&fs, &policy(&new, None));
    let text = fixture::written(&out.changes, "/etc/sysconfig/network-scripts/ifcfg-ens192");
    assert!(
        text.unwrap()
            .contains("SLAVE=yes\nHWADDR=52:54:00:00:00:01\n")
    );
    assert_eq!(out.changes.len(), 4);
    assert!(ids(&out).is_empty());
}

#[test]
fn rhel_9_keyfiles_and_a_vlan_are_read() {
    let dir = "/etc/NetworkManager/system-connections";
    let fs = guest(
        "252-46.el9",
        &[
            (
                &format!("{dir}/ens192.nmconnection"),
                "[connection]\nid=ens192\nuuid=1\ntype=ethernet\nautoconnect-priority=-999\ninterface-name=ens192\ntimestamp=1\n\n[ethernet]\n\n[ipv4]\naddress1=192.0.2.10/24,192.0.2.1\ndns=192.0.2.53;\nmethod=manual\n\n[ipv6]\naddr-gen-mode=eui64\nmethod=auto\n\n[proxy]\n",
            ),
            (
                &format!("{dir}/vlan.nmconnection"),
                "[connection]\nid=vlan\ntype=vlan\ninterface-name=ens192.7\n\n[vlan]\nid=7\nparent=ens192\n\n[ipv4]\nmethod=auto\n",
            ),
        ],
    );
    let out = run(&fs, &policy(&[], None));
    assert_eq!(
        paths(&out),
        ["/etc/systemd/network/10-guestfix-ens192.link"]
    );
    assert!(link(&out, "ens192").contains("[Match]\nDriver=virtio_net\n"));
    assert!(out.concerns.is_empty());
    let facts = fixture::gathered(fs);
    assert_eq!(facts.network[0].addresses, ["192.0.2.10/24"]);
}

#[test]
fn rhel_8_with_two_cards_is_told_apart_by_the_slots_of_the_vmx() {
    let dir = "/etc/sysconfig/network-scripts";
    let fs = guest(
        "239",
        &[
            (
                &format!("{dir}/ifcfg-ens192"),
                "TYPE=Ethernet\nBOOTPROTO=dhcp\nNAME=ens192\nDEVICE=ens192\nONBOOT=yes\n",
            ),
            (
                &format!("{dir}/ifcfg-ens224"),
                "TYPE=Ethernet\nBOOTPROTO=none\nIPADDR=198.51.100.4\nPREFIX=24\nNAME=ens224\nDEVICE=ens224\nONBOOT=yes\n",
            ),
        ],
    );
    let alone = run(&fs, &policy(&[], None));
    assert!(alone.changes.is_empty());
    assert_eq!(ids(&alone), ["nic-name-unknown"]);
    assert!(
        alone.concerns[0]
            .message
            .contains("--nic ens192=MAC --nic ens224=MAC")
    );
    let vmx = "ethernet0.present = \"TRUE\"\nethernet0.pciSlotNumber = \"224\"\nethernet0.generatedAddress = \"00:0c:29:00:00:01\"\nethernet1.present = \"TRUE\"\nethernet1.pciSlotNumber = \"192\"\nethernet1.generatedAddress = \"00:0c:29:00:00:0b\"\n";
    let out = run(&fs, &policy(&[], Some(vmx)));
    assert!(link(&out, "ens192").contains("MACAddress=00:0c:29:00:00:0b\n"));
    assert!(link(&out, "ens224").contains("MACAddress=00:0c:29:00:00:01\n"));
    assert!(out.concerns.is_empty());
}

#[test]
fn a_kubevirt_vm_tells_what_is_left_and_what_is_gone() {
    let dir = "/etc/sysconfig/network-scripts";
    let fs = guest(
        "252",
        &[
            (
                &format!("{dir}/ifcfg-ens192"),
                "DEVICE=ens192\nHWADDR=00:50:56:00:00:01\n",
            ),
            (
                &format!("{dir}/ifcfg-ens224"),
                "DEVICE=ens224\nBOOTPROTO=dhcp\n",
            ),
        ],
    );
    let vm = |first: &str| {
        format!(
            "kind: VirtualMachine\nspec:\n  template:\n    spec:\n      domain:\n        devices:\n          interfaces:\n          - name: a\n            macAddress: {first}\n          - name: b\n            macAddress: 02:00:00:00:00:02\n"
        )
    };
    let out = run(&fs, &policy(&[], Some(&vm("00:50:56:00:00:01"))));
    assert!(link(&out, "ens224").contains("PermanentMACAddress=02:00:00:00:00:02\n"));
    assert!(out.concerns.is_empty(), "{:?}", out.concerns);
    let gone = run(&fs, &policy(&[], Some(&vm("02:00:00:00:00:01"))));
    assert_eq!(ids(&gone), ["nic-name-unknown", "nic-address-gone"]);
    assert!(
        gone.concerns[0]
            .message
            .contains("the machine has 02:00:00:00:00:01, 02:00:00:00:00:02")
    );
}

#[test]
fn sles_12_with_wicked_keeps_eth0_whatever_address_it_gets() {
    let rule = "SUBSYSTEM==\"net\", ACTION==\"add\", DRIVERS==\"?*\", ATTR{address}==\"00:0c:29:aa:00:01\", ATTR{dev_id}==\"0x0\", ATTR{type}==\"1\", KERNEL==\"eth*\", NAME=\"eth0\"\n";
    let dir = "/etc/sysconfig/network";
    let fs = guest(
        "228",
        &[
            ("/etc/udev/rules.d/70-persistent-net.rules", rule),
            (
                &format!("{dir}/config"),
                "NETCONFIG_DNS_STATIC_SERVERS=\"192.0.2.53\"\n",
            ),
            (&format!("{dir}/ifcfg-lo"), "IPADDR=127.0.0.1/8\n"),
            (
                &format!("{dir}/ifcfg-eth0"),
                "BOOTPROTO='static'\nBROADCAST=''\nETHTOOL_OPTIONS=''\nIPADDR='192.0.2.10/24'\nMTU=''\nNAME='VMXNET3 Ethernet Controller'\nNETWORK=''\nREMOTE_IPADDR=''\nSTARTMODE='auto'\n",
            ),
            (&format!("{dir}/ifcfg-eth0.bak"), "BOOTPROTO='dhcp'\n"),
            (&format!("{dir}/ifroute-eth0"), "default 192.0.2.1 - eth0\n"),
            (&format!("{dir}/ifcfg.template"), "IPADDR=1.2.3.4\n"),
        ],
    );
    assert_eq!(named(&fs), ["eth0"]);
    assert_eq!(
        fixture::gathered(fs.clone()).network[0].addresses,
        ["192.0.2.10/24"]
    );
    let out = run(&fs, &policy(&[], None));
    assert!(link(&out, "eth0").contains("[Match]\nDriver=virtio_net\n"));
    assert!(out.concerns.is_empty(), "{:?}", out.concerns);
}

#[test]
fn sles_15_with_a_bond_over_two_known_cards_is_pinned_by_rules_and_links() {
    let rules = "SUBSYSTEM==\"net\", ACTION==\"add\", DRIVERS==\"?*\", ATTR{address}==\"00:0c:29:aa:00:01\", ATTR{dev_id}==\"0x0\", ATTR{type}==\"1\", KERNEL==\"eth*\", NAME=\"eth0\"\nSUBSYSTEM==\"net\", ACTION==\"add\", DRIVERS==\"?*\", ATTR{address}==\"00:0c:29:aa:00:02\", ATTR{dev_id}==\"0x0\", ATTR{type}==\"1\", KERNEL==\"eth*\", NAME=\"eth1\"\n";
    let dir = "/etc/sysconfig/network";
    let fs = guest(
        "254",
        &[
            ("/etc/udev/rules.d/70-persistent-net.rules", rules),
            (
                &format!("{dir}/ifcfg-bond0"),
                "BONDING_MASTER='yes'\nBONDING_MODULE_OPTS='mode=active-backup'\nBONDING_SLAVE_0='eth0'\nBONDING_SLAVE_1='eth1'\nBOOTPROTO='static'\nIPADDR='192.0.2.10/24'\nSTARTMODE='auto'\n",
            ),
            (
                &format!("{dir}/ifcfg-eth0"),
                "BOOTPROTO='none'\nSTARTMODE='hotplug'\n",
            ),
            (
                &format!("{dir}/ifcfg-eth1"),
                "BOOTPROTO='none'\nSTARTMODE='hotplug'\n",
            ),
            (
                &format!("{dir}/ifcfg-vlan7"),
                "ETHERDEVICE='bond0'\nVLAN_ID='7'\nBOOTPROTO='dhcp'\n",
            ),
        ],
    );
    assert_eq!(named(&fs), ["eth0", "eth1"]);
    let out = run(&fs, &policy(&[], None));
    assert!(link(&out, "eth1").contains("PermanentMACAddress=00:0c:29:aa:00:02\n"));
    assert_eq!(ids(&out), ["nic-order"]);
    let swap = [("eth0", "00:0c:29:aa:00:02"), ("eth1", "00:0c:29:aa:00:01")];
    let swapped = run(&fs, &policy(&swap, None));
    let rules = fixture::written(
        &swapped.changes,
        "/etc/udev/rules.d/70-persistent-net.rules",
    );
    assert_eq!(rules.unwrap().matches("# guestfix: disabled").count(), 2);
}

const CLOUD_NETPLAN: &str = "# This file is generated from information provided by the datasource.  Changes\n# to it will not persist across an instance reboot.  To disable cloud-init's\n# network configuration capabilities, write a file\n# /etc/cloud/cloud.cfg.d/99-disable-network-config.cfg with the following:\n# network: {config: disabled}\nnetwork:\n    ethernets:\n        ens192:\n            addresses:\n            - 192.0.2.10/24\n            match:\n                macaddress: 00:50:56:aa:00:01\n            routes:\n            -   to: default\n                via: 192.0.2.1\n            set-name: ens192\n    version: 2\n";

#[test]
fn ubuntu_22_04_keeps_what_cloud_init_once_wrote() {
    let fs = guest(
        "249",
        &[
            (
                "/etc/cloud/cloud.cfg",
                "#cloud-config\nusers:\n  - default\n",
            ),
            ("/etc/netplan/50-cloud-init.yaml", CLOUD_NETPLAN),
        ],
    );
    let out = run(&fs, &policy(&[], None));
    assert_eq!(
        paths(&out),
        [
            "/etc/cloud/cloud.cfg.d/99-guestfix-network.cfg",
            "/etc/systemd/network/10-guestfix-ens192.link"
        ]
    );
    assert_eq!(ids(&out), ["nic-address-kept", "cloud-init-network"]);
    let moved = run(&fs, &policy(&[("ens192", "52:54:00:00:00:01")], None));
    let yaml = fixture::written(&moved.changes, "/etc/netplan/50-cloud-init.yaml").unwrap();
    assert_eq!(
        yaml,
        CLOUD_NETPLAN.replace("00:50:56:aa:00:01", "52:54:00:00:00:01")
    );
}

#[test]
fn ubuntu_20_04_by_the_installer_is_left_to_netplan() {
    let fs = guest(
        "245",
        &[
            ("/etc/cloud/cloud.cfg", "#cloud-config\n"),
            (
                "/etc/cloud/cloud.cfg.d/subiquity-disable-cloudinit-networking.cfg",
                "network: {config: disabled}\n",
            ),
            (
                "/etc/netplan/00-installer-config.yaml",
                "# This is the network config written by 'subiquity'\nnetwork:\n  ethernets:\n    ens160:\n      dhcp4: true\n    ens192:\n      match: {driver: vmxnet3}\n      addresses: [192.0.2.10/24]\n  version: 2\n",
            ),
        ],
    );
    let out = run(&fs, &policy(&[], None));
    let yaml = fixture::written(&out.changes, "/etc/netplan/00-installer-config.yaml");
    assert_eq!(yaml, None, "flow style is not taken apart");
    assert_eq!(ids(&out), ["nic-driver-gone"]);
    assert_eq!(named(&fs), ["ens160"]);
}

#[test]
fn ubuntu_20_04_by_curtin_asks_cloud_init_again() {
    let curtin = "network:\n  config:\n  - mac_address: 00:50:56:aa:00:01\n    name: ens192\n    subnets:\n    - {type: static, address: 192.0.2.10/24}\n    type: physical\n  version: 1\n";
    let path = "/etc/cloud/cloud.cfg.d/50-curtin-networking.cfg";
    let fs = guest(
        "245",
        &[
            ("/etc/cloud/cloud.cfg", "#cloud-config\n"),
            (path, curtin),
            ("/etc/netplan/50-cloud-init.yaml", CLOUD_NETPLAN),
        ],
    );
    let out = run(&fs, &policy(&[("ens192", "52:54:00:00:00:01")], None));
    assert_eq!(
        fixture::written(&out.changes, path).unwrap(),
        curtin.replace("00:50:56:aa:00:01", "52:54:00:00:00:01")
    );
    assert!(ids(&out).is_empty());
}

#[test]
fn debian_with_bond_vlan_and_bridge_leads_to_its_cards() {
    let fs = guest(
        "252",
        &[
            (
                "/etc/network/interfaces",
                "source /etc/network/interfaces.d/*\n\nauto lo\niface lo inet loopback\n\nauto bond0\niface bond0 inet manual\n\tbond-slaves ens192 ens224\n\tbond-mode 802.3ad\n\nauto bond0.100\niface bond0.100 inet manual\n\tvlan-raw-device bond0\n",
            ),
            (
                "/etc/network/interfaces.d/br0",
                "auto br0\niface br0 inet static\n\taddress 192.0.2.10/24\n\tgateway 192.0.2.1\n\tbridge_ports bond0.100\n\nauto ens256\niface ens256 inet dhcp\n\thwaddress ether 02:00:00:00:00:09\n",
            ),
        ],
    );
    assert_eq!(named(&fs), ["ens192", "ens224", "ens256"]);
    let all = [
        ("ens192", "00:50:56:00:00:01"),
        ("ens224", "00:50:56:00:00:02"),
        ("ens256", "00:50:56:00:00:03"),
    ];
    let out = run(&fs, &policy(&all, None));
    assert_eq!(out.changes.len(), 3);
    assert!(link(&out, "ens256").contains("PermanentMACAddress=00:50:56:00:00:03\n"));
    assert!(out.concerns.is_empty());
}

#[test]
fn photon_matches_its_card_by_driver_and_gets_the_new_one() {
    let path = "/etc/systemd/network/50-static-en.network";
    let fs = guest(
        "253",
        &[(
            path,
            "[Match]\nName=eth0\nDriver=vmxnet3\n\n[Network]\nAddress=192.0.2.10/24\nGateway=192.0.2.1\nDNS=192.0.2.53\n",
        )],
    );
    let out = run(&fs, &policy(&[], None));
    assert!(
        fixture::written(&out.changes, path)
            .unwrap()
            .contains("Driver=virtio_net\n")
    );
    assert!(link(&out, "eth0").contains("Name=eth0"));
}

#[test]
fn amazon_linux_2_keeps_the_kernel_s_names() {
    let grub = "menuentry 'Amazon Linux 2' {\n\tlinux /boot/vmlinuz-4.14 root=UUID=x ro console=tty0 net.ifnames=0 rd.emergency=poweroff\n}\n";
    let fs = guest(
        "219",
        &[
            ("/boot/grub2/grub.cfg", grub),
            (
                "/etc/sysconfig/network-scripts/ifcfg-eth0",
                "DEVICE=eth0\nBOOTPROTO=dhcp\nONBOOT=yes\nTYPE=Ethernet\n",
            ),
            (
                "/etc/sysconfig/network-scripts/ifcfg-ens192",
                "DEVICE=ens192\nONBOOT=no\n",
            ),
        ],
    );
    let out = run(&fs, &policy(&[], None));
    assert!(out.changes.is_empty(), "{:?}", paths(&out));
    assert!(out.concerns.is_empty());
}

#[test]
fn kernel_names_are_kept_by_other_boot_loaders_too() {
    for (path, text) in [
        (
            "/boot/loader/entries/a.conf",
            "title a\noptions root=UUID=x net.ifnames=0\n",
        ),
        (
            "/etc/default/grub",
            "GRUB_CMDLINE_LINUX=\"net.ifnames=0\"\n",
        ),
        ("/boot/extlinux.conf", "APPEND root=UUID=x net.ifnames=0\n"),
    ] {
        let mut facts = fixture::gathered(guest(
            "252",
            &[("/etc/network/interfaces", "iface eth0 inet dhcp\n")],
        ));
        assert!(!naming::keeps_kernel_names(&facts.sources), "{path}");
        let source = SourceFile {
            real: path.into(),
            meta: facts.sources.files["/etc/network/interfaces"].meta,
            world_readable: true,
            content: text.into(),
        };
        facts.sources.files.insert(path.to_owned(), source);
        assert!(naming::keeps_kernel_names(&facts.sources), "{path}");
    }
}

#[test]
fn alpine_keeps_the_kernel_s_names() {
    let text =
        "auto lo\niface lo inet loopback\n\nauto eth0\niface eth0 inet dhcp\n\thostname web\n";
    let fs = MemoryFs::new().file("/etc/network/interfaces", text);
    assert_eq!(named(&fs), ["eth0"]);
    let out = run(&fs, &policy(&[], None));
    assert!(out.changes.is_empty() && out.concerns.is_empty());
}

#[test]
fn gentoo_and_wicked_s_own_files_name_cards_too() {
    let fs = guest(
        "255",
        &[
            ("/etc/conf.d/net", "config_ens192=\"192.0.2.10/24\"\n"),
            (
                "/etc/wicked/ifconfig/a.xml",
                "<interface><name>ens192</name></interface>",
            ),
        ],
    );
    assert_eq!(named(&fs), ["ens192"]);
    assert_eq!(
        paths(&run(&fs, &policy(&[], None))),
        ["/etc/systemd/network/10-guestfix-ens192.link"]
    );
}

#[test]
fn a_file_that_is_not_understood_is_said_and_left_alone() {
    let fs = guest(
        "252",
        &[
            ("/etc/netplan/a.yaml", "network: *other\n"),
            ("/etc/wicked/ifconfig/a.xml", "<!DOCTYPE x><interface/>"),
        ],
    );
    let facts = fixture::gathered(fs);
    let unread = facts
        .concerns
        .iter()
        .filter(|c| c.id == "network-unread")
        .count();
    assert_eq!(unread, 2);
    assert!(
        propose(&facts, &fixture::target(), &Policy::default())
            .changes
            .is_empty()
    );
}

#[test]
fn windows_line_ends_odd_bytes_and_huge_files_lose_nothing() {
    let dir = "/etc/sysconfig/network-scripts";
    let mut odd = b"DEVICE=ens192\r\nNAME=caf\xe9\r\nHWADDR=00:0C:29:00:00:01\r\n".to_vec();
    let fs = guest("252", &[])
        .file(&format!("{dir}/ifcfg-ens192"), odd.clone())
        .file("/etc/netplan/big.yaml", vec![b'#'; 5 << 20])
        .file("/etc/netplan/odd.yaml", b"network: \xff\n".to_vec());
    let facts = fixture::gathered(fs);
    let said = |id: &str| facts.concerns.iter().filter(|c| c.id == id).count();
    assert_eq!((said("unreadable-file"), said("network-unread")), (1, 1));
    let out = propose(
        &facts,
        &fixture::target(),
        &policy(&[("ens192", "52:54:00:00:00:01")], None),
    );
    let at = odd
        .windows(17)
        .position(|w| w == b"00:0C:29:00:00:01")
        .unwrap();
    odd.splice(at..at + 17, b"52:54:00:00:00:01".iter().copied());
    let written = out.changes.iter().find_map(|change| match &change.action {
        Some(crate::plan::Action::WriteFile { content, path, .. })
            if path.display().ends_with("ifcfg-ens192") =>
        {
            Some(content.clone())
        }
        _ => None,
    });
    assert_eq!(written.unwrap(), odd);
}

#[test]
fn a_stale_rule_counts_less_than_what_the_configuration_asks_for() {
    let rule = "SUBSYSTEM==\"net\", ATTR{address}==\"00:0c:29:00:00:0f\", NAME=\"eth0\"\n";
    let fs = guest(
        "219",
        &[
            (
                "/etc/sysconfig/network-scripts/ifcfg-eth0",
                "DEVICE=eth0\nHWADDR=00:0c:29:00:00:01\n",
            ),
            ("/etc/udev/rules.d/70-persistent-net.rules", rule),
        ],
    );
    let out = run(&fs, &policy(&[], None));
    assert_eq!(
        fixture::written(&out.changes, "/etc/udev/rules.d/70-persistent-net.rules").unwrap(),
        format!("# guestfix: disabled, the card has another address now\n#{rule}")
    );
}
