// SPDX-License-Identifier: Apache-2.0
//! The purge on real guests' registries.

use super::super::world::{World, check};
use super::*;
use crate::hive::Hive;
use crate::hive::script::Edit;
use crate::plan::Bus;
use crate::verify::Outcome;

fn purged(world: World) -> World {
    let facts = world.facts();
    let policy = Policy::default();
    assert!(!facts.vmware.units.is_empty());
    let target = super::super::world::target(Bus::Virtio);
    let changes = propose(&facts, &target, &policy).changes;
    assert!(!changes.is_empty());
    let world = world.apply(&changes);
    let facts = world.facts();
    let again = propose(&facts, &target, &policy).changes;
    let again: Vec<_> = again
        .iter()
        .map(|change| (&change.path, &change.diff))
        .collect();
    assert!(again.is_empty(), "{again:#?}");
    for name in [
        "vmware-services-gone",
        "vmware-residue",
        "winsock-catalogue",
    ] {
        let (result, detail) = check(&facts, Bus::Virtio, name);
        assert_eq!(result, Outcome::Pass, "{name}: {detail}");
    }
    assert!(world.open("SYSTEM").check().is_ok());
    world
}

fn has(hive: &Hive, key: &str) -> bool {
    hive.key(key).unwrap().is_some()
}

#[test]
fn windows_10_of_a_real_guest_forgets_vmware_tools() {
    let Some(world) = World::win10() else { return };
    let world = world
        .file("/Program Files/VMware/VMware Tools/vmtoolsd.exe", b"")
        .file("/Program Files/VMware/VMware Tools/plugins/common/x.dll", b"")
        .file("/Windows/System32/drivers/vmci.sys", b"")
        .file("/Windows/System32/drivers/pvscsi.sys", b"")
        .file("/Windows/INF/oem7.inf", b"")
        .file("/Windows/System32/DriverStore/FileRepository/vmmouse.inf_amd64_916101d3748847e7/vmmouse.sys", b"");
    assert_eq!(
        check(&world.facts(), Bus::Virtio, "vmware-services-gone").0,
        Outcome::Fail
    );
    let world = purged(world);
    let system = world.open("SYSTEM");
    let services = "ControlSet001\\Services";
    for gone in [
        "VMTools",
        "VGAuthService",
        "vmci",
        "vsock",
        "vmmouse",
        "vm3dmp",
        "vmhgfs",
    ] {
        assert!(!has(&system, &format!("{services}\\{gone}")), "{gone}");
    }
    for kept in [
        "pvscsi",
        "vmxnet3ndis6",
        "vmbus",
        "vmicheartbeat",
        "WinHttpAutoProxySvc",
    ] {
        assert!(has(&system, &format!("{services}\\{kept}")), "{kept}");
    }
    let hive = &system;
    let winsock = format!("{services}\\WinSock2\\Parameters\\Protocol_Catalog9");
    for (list, count) in [
        ("Catalog_Entries", "Num_Catalog_Entries"),
        ("Catalog_Entries64", "Num_Catalog_Entries64"),
    ] {
        let key = hive.key(&format!("{winsock}\\{list}")).unwrap().unwrap();
        assert_eq!(key.subkey_count().unwrap(), 14);
        let value = hive.value(&winsock, count).unwrap().unwrap();
        assert_eq!(crate::hive::typed::dword(&value).unwrap(), 14);
    }
    let order = hive
        .value(
            "ControlSet001\\Control\\NetworkProvider\\Order",
            "ProviderOrder",
        )
        .unwrap()
        .unwrap();
    assert_eq!(
        crate::hive::typed::string(&order).unwrap(),
        "RDPNP,LanmanWorkstation,webclient"
    );
    let database = "DriverDatabase\\DriverPackages";
    assert!(!has(
        &system,
        &format!("{database}\\vmmouse.inf_amd64_916101d3748847e7")
    ));
    assert!(has(
        &system,
        &format!("{database}\\pvscsi.inf_amd64_9e7bfe6e33172952")
    ));
    assert!(!has(
        &system,
        "DriverDatabase\\DeviceIds\\PCI\\VEN_15AD&DEV_0740"
    ));
    let left: Vec<&String> = world
        .files
        .keys()
        .filter(|path| {
            path.contains("VMware")
                || path.contains("vmci")
                || path.contains("vmmouse")
                || path.contains("oem7")
        })
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(
        world
            .files
            .contains_key("/Windows/System32/drivers/pvscsi.sys")
    );
}

#[test]
fn windows_7_of_a_real_guest_forgets_vmware_tools_in_both_hives_and_control_sets() {
    let Some(world) = World::win7() else { return };
    let world = purged(world);
    let (system, software) = (world.open("SYSTEM"), world.open("SOFTWARE"));
    for set in ["ControlSet001", "ControlSet002"] {
        assert!(!has(&system, &format!("{set}\\services\\VMTools")));
        assert!(has(&system, &format!("{set}\\services\\LSI_SAS")));
        let entries =
            format!("{set}\\services\\WinSock2\\Parameters\\Protocol_Catalog9\\Catalog_Entries");
        assert_eq!(
            world
                .open("SYSTEM")
                .key(&entries)
                .unwrap()
                .unwrap()
                .subkey_count()
                .unwrap(),
            22
        );
    }
    let packed = "C2A6F2EFE6910124C940B2B12CF170FE";
    for gone in [
        "VMware, Inc.",
        &format!("Classes\\Installer\\Products\\{packed}"),
        &format!("Classes\\Installer\\Features\\{packed}"),
        "Classes\\Installer\\UpgradeCodes\\0A5AE0AB474FF954BA5FB5CC22691599",
        "Classes\\CLSID\\{C73DA087-EDDB-4a7c-B216-8EF8A3B92C7B}",
        "Classes\\VMPerfProvider.VMStatsProvider",
        "Classes\\TypeLib\\{6B8C0665-86D9-4DC9-8D58-FABE31A495E3}",
        "Classes\\Interface\\{DD5FED61-EB79-4C05-8B97-32318FB77C39}",
        "Microsoft\\Windows\\CurrentVersion\\Uninstall\\{FE2F6A2C-196E-4210-9C04-2B1BC21F07EF}",
        "Microsoft\\Windows\\CurrentVersion\\App Paths\\VMip.exe",
    ] {
        assert!(!has(&software, gone), "{gone}");
    }
    // No component of Windows Installer names the product any more, and none of others is lost.
    let hive = &software;
    let components =
        "Microsoft\\Windows\\CurrentVersion\\Installer\\UserData\\S-1-5-18\\Components";
    let mut left = 0;
    for key in hive.key(components).unwrap().unwrap().subkeys().unwrap() {
        let key = key.unwrap();
        left += 1;
        assert!(key.value(packed).unwrap().is_none(), "{key:?}");
    }
    assert!(left > 1000, "{left}");
}

/// Names of the newer versions, which no registry at hand has: made here after the older ones.
#[test]
fn filters_time_provider_tasks_and_the_32_bit_copies_go_too() {
    let mut system = super::super::fixture::system();
    let set = "ControlSet001";
    let mouse = format!("{set}\\Control\\Class\\{{4d36e96f-e325-11ce-bfc1-08002be10318}}");
    system.extend([
        Edit::dword("Select", "LastKnownGood", 1),
        Edit::texts(&*mouse, "UpperFilters", &["vmmouse", "mouclass"]),
        Edit::texts(
            format!("{set}\\Enum\\ACPI\\PNP0F13\\4&1"),
            "UpperFilters",
            &["VMMouse"],
        ),
        Edit::expand(
            format!("{set}\\Services\\vmmouse"),
            "ImagePath",
            "system32\\DRIVERS\\vmmouse.sys",
        ),
        Edit::dword(format!("{set}\\Services\\vnetflt"), "Start", 1),
        Edit::text(
            format!("{set}\\Services\\W32Time\\TimeProviders\\vmwTimeProvider"),
            "DllName",
            "x",
        ),
        Edit::text(
            format!("{set}\\Services\\VSS\\Providers\\{{564d7761-7265-2056-5353-2050726f7669}}"),
            "",
            "VMware Snapshot Provider",
        ),
        Edit::text(
            format!("{set}\\Services\\gisvc"),
            "DisplayName",
            "Another GI service",
        ),
    ]);
    let mut software = super::super::fixture::software();
    let tasks = "Microsoft\\Windows NT\\CurrentVersion\\Schedule\\TaskCache";
    let actions: Vec<u8> = "\u{3}C:\\Program Files\\VMware\\VMware Tools\\x.exe"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let run = "Wow6432Node\\Microsoft\\Windows\\CurrentVersion\\Run";
    software.extend([
        Edit::raw(
            format!("{tasks}\\Tasks\\{{1}}"),
            "Actions",
            crate::hive::ValueType::BINARY,
            actions,
        ),
        Edit::text(format!("{tasks}\\Tasks\\{{1}}"), "Path", "\\VMware\\Update"),
        Edit::create(format!("{tasks}\\Boot\\{{1}}")),
        Edit::text(format!("{tasks}\\Tree\\VMware\\Update"), "Id", "{1}"),
        Edit::text(run, "VMware User Process", "x"),
        Edit::text(run, "Other", "y"),
        Edit::text(
            "Wow6432Node\\VMware, Inc.\\VMware Tools",
            "InstallPath",
            "x",
        ),
        Edit::text("VMware, Inc.\\VMware VDM", "InstallPath", "x"),
    ]);
    let world =
        purged(World::made(&system, &software).file("/Windows/System32/Tasks/VMware/Update", b""));
    let (system, software) = (world.open("SYSTEM"), world.open("SOFTWARE"));
    let hive = &system;
    let filters = hive.value(&mouse, "UpperFilters").unwrap().unwrap();
    assert_eq!(
        crate::hive::typed::multi_string(&filters).unwrap(),
        ["mouclass"]
    );
    let start = hive
        .value(&format!("{set}\\Services\\vnetflt"), "Start")
        .unwrap()
        .unwrap();
    assert_eq!(crate::hive::typed::dword(&start).unwrap(), 4);
    assert!(has(&system, &format!("{set}\\Services\\gisvc")));
    assert!(has(&software, "VMware, Inc.\\VMware VDM"));
    assert!(!has(&software, "Wow6432Node\\VMware, Inc."));
    assert!(!has(&software, &format!("{tasks}\\Tree\\VMware\\Update")));
    let run = software.key(run).unwrap().unwrap().value_count().unwrap();
    assert_eq!(run, 1);
    assert!(
        !world
            .files
            .contains_key("/Windows/System32/Tasks/VMware/Update")
    );
}
