// SPDX-License-Identifier: Apache-2.0
//! A whole INF, and anything at all.

use proptest::prelude::*;

use super::*;
use crate::package::{RegData, RegEntry};
use crate::release::{Arch, Release};
use crate::role::Role;

/// A driver for a disk, as small as one can be.
pub(crate) const DISK: &str = r#"; a driver
[Version]
Signature="$Windows NT$"
Class=SCSIAdapter
ClassGUID={4D36E97B-E325-11CE-BFC1-08002BE10318}
Provider=%Maker%
DriverVer=03/04/2024,100.95.104.26200 ; stamped
CatalogFile=disk.cat
PnpLockdown=1

[DestinationDirs]
Disk_Files = 13

[SourceDisksNames]
1 = %DiskName%,,,""
[SourceDisksFiles]
disk.sys = 1,,

[Manufacturer]
%Maker% = Disk,NTamd64.10.0...14393,NTamd64.6.1

[Disk.NTamd64.6.1]
%Disk.Desc% = disk_inst, PCI\VEN_1AF4&DEV_1001
[Disk.NTamd64.10.0...14393]
%Disk.Desc% = disk_inst, PCI\VEN_1AF4&DEV_1001&SUBSYS_00021AF4&REV_00, PCI\VEN_1AF4&DEV_1001
%Disk.Desc% = disk_inst, PCI\VEN_1AF4&DEV_1042&SUBSYS_11001AF4&REV_01, PCI\VEN_1AF4&DEV_1042

[disk_inst]
CopyFiles = Disk_Files
[Disk_Files]
disk.sys,,,2
[disk_inst.HW]
AddReg = msi
[disk_inst.Services]
AddService = disk, %Associated%, disk_service, disk_log

[disk_service]
DisplayName = %Disk.Service%
ServiceType = 1
StartType = 0
ErrorControl = 1
ServiceBinary = %13%\disk.sys
LoadOrderGroup = SCSI miniport
AddReg = bus

[bus]
HKR, "Parameters\PnpInterface", "5", 0x00010001, 1
HKR, "Parameters", "BusType", 0x00010001, 0x0A
[msi]
HKR, "Interrupt Management",, 0x00000010
HKR, "Interrupt Management\MessageSignaledInterruptProperties", MSISupported, 0x00010001, 1
[disk_log]
AddReg = log
[log]
HKR,,EventMessageFile,0x00020000,"%%SystemRoot%%\System32\IoLogMsg.dll"

[Strings]
Maker = "Acme"
DiskName = "Disk of Acme"
Disk.Desc = "A disk"
Disk.Service = "A service"
Associated = 0x2
"#;

fn value<'a>(entries: &'a [RegEntry], key: &str, name: &str) -> Option<&'a RegData> {
    let found = entries
        .iter()
        .find(|e| e.key == key && e.name.as_deref() == Some(name));
    found?.data.as_ref()
}

#[test]
fn a_whole_inf_says_what_windows_needs() {
    let inf = Inf::parse(DISK.as_bytes()).unwrap();
    let header = inf.header().unwrap();
    assert_eq!(header.provider.text, "Acme");
    assert_eq!(header.class_guid, "{4d36e97b-e325-11ce-bfc1-08002be10318}");
    assert_eq!(header.version.dotted(), "100.95.104.26200");
    assert!(header.pnp_lockdown);
    assert_eq!(inf.catalog(Arch::Amd64), Some("disk.cat"));
    let release: Release = "2k19/amd64".parse().unwrap();
    let models = inf.models(&release);
    assert_eq!(models.sections, "Disk.NTamd64.10.0...14393");
    assert_eq!(models.devices[1].role, Some(Role::Block));
    let installs = inf.installs(
        models.devices.iter().map(|d| d.install.as_str()),
        release.arch,
    );
    let [install] = &installs.sections[..] else {
        panic!("{installs:?}")
    };
    let service = install.function_service().unwrap();
    assert_eq!((service.start, service.binary.dirid), (0, 13));
    assert_eq!(service.load_order_group.as_deref(), Some("SCSI miniport"));
    let parameters = &service.registry;
    assert_eq!(
        value(parameters, "Parameters", "BusType"),
        Some(&RegData::Dword(10))
    );
    assert_eq!(
        value(parameters, "Parameters\\PnpInterface", "5"),
        Some(&RegData::Dword(1))
    );
    let interrupts = "Interrupt Management\\MessageSignaledInterruptProperties";
    assert_eq!(
        value(&install.hardware, interrupts, "MSISupported"),
        Some(&RegData::Dword(1))
    );
    let log = service.event_log.as_ref().unwrap();
    assert_eq!(
        value(&log.registry, "", "EventMessageFile"),
        Some(&RegData::ExpandSz(
            "%SystemRoot%\\System32\\IoLogMsg.dll".to_owned()
        ))
    );
    assert_eq!(installs.copies[0].source, "disk.sys");
    let name = service.display_name.as_ref().unwrap();
    assert_eq!(
        name.indirect("oem3.inf"),
        "@oem3.inf,%Disk.Service%;A service"
    );
}

#[test]
fn sections_keep_their_order_and_those_of_one_name_are_one() {
    let inf = Inf::parse(b"[B]\nx\n[a]\ny\n[b]\nz\n").unwrap();
    let names: Vec<&str> = inf.sections().iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["B", "a"]);
    assert_eq!(inf.section("b").unwrap().lines.len(), 2);
}

/// Everything that is asked of an INF.
fn exercise(bytes: &[u8]) {
    let Ok(inf) = Inf::parse(bytes) else { return };
    let _ = inf.header();
    inf.roles();
    for release in ["xp/x86", "w7/amd64", "w11/arm64", "2k22/amd64"] {
        let release: Release = release.parse().unwrap();
        inf.catalog(release.arch);
        let models = inf.models(&release);
        inf.installs(
            models.devices.iter().map(|d| d.install.as_str()),
            release.arch,
        );
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        exercise(&bytes);
    }

    #[test]
    fn any_text_of_an_infs_characters_is_read_or_refused(
        text in "([\\[\\]=,;\"%\\\\. \n]|HKR|NTamd64|Strings|Version|[a-z0-9])*"
    ) {
        exercise(text.as_bytes());
    }

    #[test]
    fn a_damaged_inf_is_read_or_refused(
        changes in proptest::collection::vec((0..DISK.len(), any::<u8>()), 1..40),
        len in 0..DISK.len(),
    ) {
        let mut bytes = DISK.as_bytes().to_vec();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        exercise(&bytes);
        bytes.truncate(len);
        exercise(&bytes);
    }
}
