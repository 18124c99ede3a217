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
    let world = world.apply(&out.changes);
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
