// SPDX-License-Identifier: Apache-2.0
//! A small Windows for this room's unit tests, in memory.

use crate::fs::{MemoryFs, Tree};
use crate::hive::script::{self, Edit};
use crate::hive::{Hive, ValueType};
use crate::inspect::Facts;
use crate::inspect::Recognise;
use crate::inspect::facts::{Firmware, Guest, Sources, VmwareFacts};
pub(crate) use crate::inspect::program::sample as program;

/// The suites' synthetic registries.
#[allow(unreachable_pub, dead_code)]
#[path = "../../../tests/support/windows/release.rs"]
pub(crate) mod release;

/// A hive made of a script.
pub(crate) fn hive(edits: &[Edit]) -> Vec<u8> {
    let mut hive = Hive::create(5, 1).unwrap();
    let mut editor = hive.edit(2).unwrap();
    script::run(&mut editor, edits).unwrap();
    editor.finish().unwrap();
    hive.into_bytes()
}

/// A SYSTEM hive with two control sets, the first of them current.
pub(crate) fn system() -> Vec<Edit> {
    vec![
        Edit::dword("Select", "Current", 1),
        Edit::dword("Select", "Default", 1),
        Edit::dword("Select", "LastKnownGood", 2),
        Edit::text(
            "ControlSet001\\Control\\ProductOptions",
            "ProductType",
            "ServerNT",
        ),
        Edit::text(
            "ControlSet001\\Services\\Tcpip\\Parameters",
            "Hostname",
            "SRV1",
        ),
        Edit::text(
            "ControlSet001\\Control\\TimeZoneInformation",
            "TimeZoneKeyName",
            "UTC",
        ),
        Edit::create("ControlSet002\\Services"),
    ]
}

/// A SOFTWARE hive of Windows Server 2019.
pub(crate) fn software() -> Vec<Edit> {
    let key = "Microsoft\\Windows NT\\CurrentVersion";
    vec![
        Edit::text(key, "ProductName", "Windows Server 2019 Standard"),
        Edit::text(key, "CurrentVersion", "6.3"),
        Edit::dword(key, "CurrentMajorVersionNumber", 10),
        Edit::dword(key, "CurrentMinorVersionNumber", 0),
        Edit::text(key, "CurrentBuildNumber", "17763"),
        Edit::text(key, "EditionID", "ServerStandard"),
        Edit::text(key, "InstallationType", "Server"),
        Edit::text(key, "SystemRoot", "C:\\Windows"),
        Edit::dword(key, "UBR", 1339),
    ]
}

/// A volume with these hives, and the programs of a 64-bit Windows.
pub(crate) fn volume(system: &[Edit], software: &[Edit]) -> MemoryFs {
    MemoryFs::new()
        .file("/Windows/System32/config/SYSTEM", hive(system))
        .file("/Windows/System32/config/SOFTWARE", hive(software))
        .file("/Windows/System32/cmd.exe", program(0x8664))
        .ignoring_case()
}

/// Facts of the disks, before anything was read from the root.
pub(crate) fn bare() -> Facts {
    Facts {
        schema: "guestfix.io/facts/v1".to_owned(),
        guest: Guest {
            family: "windows".to_owned(),
            ..Guest::default()
        },
        firmware: Firmware::Bios,
        efi: None,
        windows: None,
        disks: Vec::new(),
        volumes: Vec::new(),
        root: "disk0p1".to_owned(),
        mounts: Vec::new(),
        kernels: Vec::new(),
        network: Vec::new(),
        vmware: VmwareFacts::default(),
        concerns: Vec::new(),
        sources: Sources::default(),
    }
}

/// What the whole room reads of a volume.
pub(crate) fn gathered(volume: MemoryFs) -> Facts {
    let tree = Tree::new(Box::new(volume));
    let mut facts = bare();
    super::Windows.gather(&tree, &mut facts).unwrap();
    facts
}
