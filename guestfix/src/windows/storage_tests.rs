// SPDX-License-Identifier: Apache-2.0
//! The boot disk's drivers on real hives and on one made here.

use super::world::{World, check, policy};
use crate::hive::script::Edit;
use crate::hive::typed;
use crate::plan::{Bus, Policy};
use crate::verify::Outcome;

fn text(world: &World, key: &str, name: &str) -> Option<String> {
    let hive = world.open("SYSTEM");
    hive.value(key, name)
        .unwrap()
        .map(|value| typed::string(&value).unwrap())
}

fn number(world: &World, key: &str, name: &str) -> Option<u32> {
    let hive = world.open("SYSTEM");
    hive.value(key, name)
        .unwrap()
        .map(|value| typed::dword(&value).unwrap())
}

fn converted(world: World, policy: &Policy) -> World {
    let before = world.facts();
    assert_eq!(check(&before, Bus::Virtio, "boot-driver").0, Outcome::Fail);
    let proposal = world.propose(policy);
    assert!(
        proposal
            .concerns
            .iter()
            .all(|c| c.category != crate::inspect::Category::Critical),
        "{:?}",
        proposal.concerns
    );
    let world = world.apply(&proposal.changes);
    let after = world.facts();
    for bus in [Bus::Virtio, Bus::Scsi, Bus::Sata] {
        let (result, detail) = check(&after, bus, "boot-driver");
        assert_eq!(result, Outcome::Pass, "{bus:?}: {detail}");
    }
    let again = world.propose(policy);
    let again: Vec<_> = again
        .changes
        .iter()
        .map(|c| (&c.topic, &c.path, &c.diff))
        .collect();
    assert!(again.is_empty(), "{again:#?}");
    world
}

#[test]
fn windows_10_of_a_real_guest_starts_on_every_bus() {
    let Some(world) = World::win10() else { return };
    let world = converted(world, &policy("w10/amd64"));
    let services = "ControlSet001\\Services";
    let of = |service: &str, name: &str| number(&world, &format!("{services}\\{service}"), name);
    assert_eq!(of("vioscsi\\Parameters", "BusType"), Some(10));
    assert_eq!(of("viostor\\Parameters", "BusType"), Some(1));
    for service in ["viostor", "vioscsi"] {
        assert_eq!(of(service, "Start"), Some(0));
        assert_eq!(of(service, "Tag"), None);
        assert_eq!(
            of(&format!("{service}\\Parameters\\PnpInterface"), "5"),
            Some(1)
        );
    }
    assert_eq!(of("pciide\\StartOverride", "0"), None);
    let package = "DriverDatabase\\DriverPackages\\viostor.inf_amd64_";
    let store = text(&world, "DriverDatabase\\DriverInfFiles\\oem9.inf", "Active").unwrap();
    assert!(store.starts_with("viostor.inf_amd64_"), "{store} {package}");
    let hive = world.open("SYSTEM");
    let map = hive.value("DriverDatabase", "OemInfMap").unwrap().unwrap();
    assert_eq!(map.data().unwrap().as_ref(), [0xFF, 0xE0]);
    let key = format!("DriverDatabase\\DriverPackages\\{store}");
    let version = hive.value(&key, "Version").unwrap().unwrap();
    assert_eq!(version.data().unwrap()[..4], [0, 0xFF, 9, 0]);
    assert_eq!(version.data().unwrap().len(), 48);
    assert!(hive.check().is_ok());
    let placed = [
        "INF/oem9.inf",
        "INF/oem10.inf",
        "System32/drivers/vioscsi.sys",
        "Drivers/VirtIO/netkvm.inf",
    ];
    for path in placed {
        assert!(
            world.files.contains_key(&format!("/Windows/{path}")),
            "{path}"
        );
    }
}

#[test]
fn windows_7_of_a_real_guest_starts_on_every_bus_from_both_control_sets() {
    let Some(world) = World::win7() else { return };
    let world = converted(world, &policy("w7/x86"));
    for set in ["ControlSet001", "ControlSet002"] {
        let key = format!(
            "{set}\\Control\\CriticalDeviceDatabase\\PCI#VEN_1AF4&DEV_1042&SUBSYS_11001AF4&REV_01"
        );
        assert_eq!(text(&world, &key, "Service").as_deref(), Some("viostor"));
        assert_eq!(
            number(&world, &format!("{set}\\Services\\msahci"), "Start"),
            Some(0)
        );
        assert_eq!(
            number(&world, &format!("{set}\\Services\\LSI_SAS"), "Start"),
            Some(0)
        );
    }
    let hive = world.open("SYSTEM");
    assert!(hive.key("DriverDatabase").unwrap().is_none());
    assert!(hive.check().is_ok());
}

/// Windows Server 2019 with a driver that came by hand and was then demoted.
fn demoted() -> World {
    let mut system = super::fixture::system();
    let services = "ControlSet001\\Services\\viostor";
    let id = "DriverDatabase\\DeviceIds\\PCI\\VEN_1AF4&DEV_1042&SUBSYS_11001AF4&REV_01";
    let top = "DriverDatabase\\DriverPackages\\viostor.inf_amd64_77";
    system.extend([
        Edit::dword("Select", "LastKnownGood", 1),
        Edit::dword(services, "Type", 1),
        Edit::dword(services, "Start", 3),
        Edit::dword(format!("{services}\\StartOverride"), "0", 3),
        Edit::raw(
            id,
            "oem3.inf",
            crate::hive::ValueType::BINARY,
            vec![1, 0xFF, 0, 0],
        ),
        Edit::text(
            "DriverDatabase\\DriverInfFiles\\oem3.inf",
            "Active",
            "viostor.inf_amd64_77",
        ),
        Edit::raw(
            top,
            "Version",
            crate::hive::ValueType::BINARY,
            [vec![0, 0xFF, 9, 0], vec![0; 44]].concat(),
        ),
        Edit::text(
            format!("{top}\\Descriptors\\PCI\\VEN_1AF4&DEV_1042&SUBSYS_11001AF4&REV_01"),
            "Configuration",
            "x",
        ),
        Edit::text(format!("{top}\\Configurations\\x"), "Service", "viostor"),
    ]);
    World::made(&system, &super::fixture::software())
        .file("/Windows/System32/drivers/viostor.sys", b"own")
}

#[test]
fn a_driver_that_the_guest_brought_is_kept_and_armed() {
    let world = demoted();
    let proposal = world.propose(&Policy::default());
    let ids: Vec<&str> = proposal.concerns.iter().map(|c| c.id.as_str()).collect();
    assert!(
        ids.contains(&"no-driver-of-other-bus") && !ids.contains(&"no-driver-bundle"),
        "{ids:?}"
    );
    let world = world.apply(&proposal.changes);
    assert_eq!(
        check(&world.facts(), Bus::Virtio, "boot-driver").0,
        Outcome::Pass
    );
    assert_eq!(
        number(
            &world,
            "ControlSet001\\Services\\viostor\\StartOverride",
            "0"
        ),
        None
    );
    assert_eq!(world.files["/Windows/System32/drivers/viostor.sys"], b"own");
}

#[test]
fn a_driver_for_another_architecture_does_not_count() {
    let key = "DriverDatabase\\DriverPackages\\viostor.inf_amd64_77";
    let version = [vec![0, 0xFF, 0, 0], vec![0; 44]].concat();
    let wrong = [Edit::raw(
        key,
        "Version",
        crate::hive::ValueType::BINARY,
        version,
    )];
    let world = demoted().edit("SYSTEM", &wrong);
    let (result, why) = check(&world.facts(), Bus::Virtio, "boot-driver");
    assert_eq!(result, Outcome::Fail);
    assert!(why.contains("is not made for"), "{why}");
}

#[test]
fn without_a_bundle_the_guest_is_not_ready() {
    let world = World::made(&super::fixture::system(), &super::fixture::software());
    let proposal = world.propose(&Policy::default());
    let critical = proposal
        .concerns
        .iter()
        .find(|c| c.id == "no-driver-bundle")
        .unwrap();
    assert!(
        critical.message.contains("--drivers"),
        "{}",
        critical.message
    );
}
