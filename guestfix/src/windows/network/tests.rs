// SPDX-License-Identifier: Apache-2.0
//! Cards of a real guest, and what becomes of their addresses.

use super::super::world::{World, check, policy, target};
use super::*;
use crate::plan::policy::NicChoice;
use crate::plan::{Action, Bus};
use crate::verify::Outcome;

fn script_of(changes: &[Change]) -> Option<String> {
    changes.iter().find_map(|change| match &change.action {
        Some(Action::WriteFile { path, content, .. })
            if path.display().ends_with("network.cmd") =>
        {
            Some(String::from_utf8(content.clone()).unwrap())
        }
        _ => None,
    })
}

#[test]
fn windows_7_of_a_real_guest_keeps_both_fixed_addresses() {
    let Some(world) = World::win7() else { return };
    let facts = world.facts();
    let known: Vec<_> = facts
        .network
        .iter()
        .map(|nic| {
            (
                nic.name.as_str(),
                nic.mac.as_deref(),
                nic.addresses[0].as_str(),
            )
        })
        .collect();
    assert_eq!(
        known,
        [
            ("Local Area Connection", None, "192.168.1.123/24"),
            (
                "Local Area Connection 2",
                Some("00:50:56:a5:12:69"),
                "10.3.58.5/24"
            ),
        ]
    );
    let with = |nics| Policy {
        nics,
        ..policy("w7/x86")
    };
    let out = propose(&facts, &target(Bus::Virtio), &with(Vec::new()));
    assert_eq!(out.concerns[0].id, "nic-address-unknown");
    let text = script_of(&out.changes).unwrap();
    assert!(
        text.contains("address=10.3.58.5 mask=255.255.255.0 gateway=10.3.58.1"),
        "{text}"
    );
    assert!(!text.contains("192.168.1.123"));
    let nic = NicChoice {
        name: "Local Area Connection".into(),
        mac: "52:54:00:00:00:01".into(),
    };
    let both = with(vec![nic]);
    let out = propose(&facts, &target(Bus::Virtio), &both);
    assert!(out.concerns.is_empty(), "{:?}", out.concerns);
    assert!(
        script_of(&out.changes)
            .unwrap()
            .contains("\"52 54 00 00 00 01\"")
    );
    assert_eq!(check(&facts, Bus::Virtio, "network-kept").0, Outcome::Fail);
    let routes = |world: &World| {
        let hive = world.open("SYSTEM");
        let key = "ControlSet001\\Services\\Tcpip\\Parameters\\PersistentRoutes";
        let key = hive.key(key).unwrap().unwrap();
        let names = key
            .values()
            .unwrap()
            .map(|value| value.unwrap().name().unwrap());
        names.collect::<Vec<_>>()
    };
    let before = routes(&world);
    assert!(
        before.contains(&"0.0.0.0,0.0.0.0,10.3.58.1,-1".to_owned()),
        "{before:?}"
    );
    let world = world.apply(&out.changes);
    assert_eq!(routes(&world), before);
    let after = world.facts();
    assert_eq!(check(&after, Bus::Virtio, "network-kept").0, Outcome::Pass);
    let again = propose(&after, &target(Bus::Virtio), &both).changes;
    assert!(again.is_empty(), "{again:#?}");
}

#[test]
fn windows_10_of_a_real_guest_asks_dhcp_and_gets_what_ip_says() {
    let Some(world) = World::win10() else { return };
    let facts = world.facts();
    let known: Vec<_> = facts
        .network
        .iter()
        .map(|nic| (nic.name.as_str(), nic.mac.as_deref(), nic.method.as_str()))
        .collect();
    assert_eq!(known, [("Ethernet0", Some("00:0c:29:66:1a:a2"), "dhcp")]);
    // The card that will be gone, which the first boot removes.
    let card = "PCI\\VEN_8086&DEV_10D3&SUBSYS_07D015AD&REV_00\\000C29FFFF661AA200";
    assert_eq!(ghosts(&facts), [card]);
    assert!(
        propose(&facts, &target(Bus::Virtio), &policy("w10/amd64"))
            .changes
            .is_empty()
    );
    let policy = Policy {
        ips: vec![
            "00:0c:29:66:1a:a2=192.0.2.10/24,192.0.2.1,192.0.2.53"
                .parse()
                .unwrap(),
        ],
        ..policy("w10/amd64")
    };
    let out = propose(&facts, &target(Bus::Virtio), &policy);
    let text = script_of(&out.changes).unwrap();
    assert!(
        text.contains("address=192.0.2.10 mask=255.255.255.0 gateway=192.0.2.1"),
        "{text}"
    );
    assert!(text.contains("call :dns ipv4 set 1 192.0.2.53"), "{text}");
}

#[test]
fn fixed_addresses_of_both_families_go_to_the_new_card() {
    use super::super::fixture::release;
    let world = World::release(&release::named("2k22/amd64"));
    let facts = world.facts();
    assert_eq!(
        facts.network[0].addresses,
        ["192.0.2.10/24", "2001:db8::5/64"]
    );
    let policy = policy("2k22/amd64");
    let out = propose(&facts, &target(Bus::Virtio), &policy);
    assert!(out.concerns.is_empty(), "{:?}", out.concerns);
    let text = script_of(&out.changes).unwrap();
    for line in [
        "address=192.0.2.10 mask=255.255.255.0 gateway=192.0.2.1",
        "add address interface=%GF_IF% address=2001:db8::5/64 store=persistent",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let after = world.apply(&out.changes).facts();
    assert_eq!(after.network[0].addresses, [""; 0]);
    assert_eq!(check(&after, Bus::Virtio, "network-kept").0, Outcome::Pass);
    let again = propose(&after, &target(Bus::Virtio), &policy).changes;
    assert!(again.is_empty(), "{again:#?}");
}
