// SPDX-License-Identifier: Apache-2.0
//! A bundle of drivers as virtio-win lays it out, with INF files of our own and programs that are
//! nothing but their heads. No catalogue vouches for them: convert takes them with
//! `--allow-unsigned-drivers` only. They drive nothing.
use crate::windows::{AMD64, I386, program};
use std::fs;
use std::path::{Path, PathBuf};

/// A driver of the bundle.
struct Driver {
    /// Its folder, as on the ISO.
    folder: &'static str,
    /// File names and service.
    name: &'static str,
    class: &'static str,
    guid: &'static str,
    /// Legacy and modern device, with their subsystems.
    devices: [(&'static str, &'static str); 2],
    /// Values of the service's key.
    registry: &'static str,
    start: u32,
}

const SCSI: (&str, &str) = ("SCSIAdapter", "{4D36E97B-E325-11CE-BFC1-08002BE10318}");
const NET: (&str, &str) = ("Net", "{4D36E972-E325-11CE-BFC1-08002BE10318}");

const DRIVERS: [Driver; 3] = [
    Driver {
        folder: "viostor",
        name: "viostor",
        class: SCSI.0,
        guid: SCSI.1,
        devices: [
            ("1001", "SUBSYS_00021AF4&REV_00"),
            ("1042", "SUBSYS_11001AF4&REV_01"),
        ],
        registry: "HKR, \"Parameters\\PnpInterface\", \"5\", 0x00010001, 1\r\n\
                   HKR, \"Parameters\", \"BusType\", 0x00010001, 1\r\n",
        start: 0,
    },
    Driver {
        folder: "vioscsi",
        name: "vioscsi",
        class: SCSI.0,
        guid: SCSI.1,
        devices: [
            ("1004", "SUBSYS_00081AF4&REV_00"),
            ("1048", "SUBSYS_11001AF4&REV_01"),
        ],
        registry: "HKR, \"Parameters\\PnpInterface\", \"5\", 0x00010001, 1\r\n\
                   HKR, \"Parameters\", \"BusType\", 0x00010001, 0x0000000A\r\n",
        start: 0,
    },
    Driver {
        folder: "NetKVM",
        name: "netkvm",
        class: NET.0,
        guid: NET.1,
        devices: [
            ("1000", "SUBSYS_00011AF4&REV_00"),
            ("1041", "SUBSYS_11001AF4&REV_01"),
        ],
        registry: "HKR, , \"BusType\", 0, \"5\"\r\n",
        start: 3,
    },
];

/// Folders of the releases that the suites convert, with the machine and its decoration.
const RELEASES: [(&str, &str, u16, &str); 3] = [
    ("2k19", "amd64", AMD64, "NTamd64"),
    ("w10", "amd64", AMD64, "NTamd64"),
    ("w7", "x86", I386, "NTx86"),
];

/// Makes one below `dir`.
pub fn make(dir: &Path) -> PathBuf {
    let top = dir.join("virtio-win");
    for driver in &DRIVERS {
        for (release, arch, machine, decoration) in RELEASES {
            let folder = top.join(driver.folder).join(release).join(arch);
            fs::create_dir_all(&folder).unwrap();
            let file = |end: &str| folder.join(format!("{}.{end}", driver.name));
            fs::write(file("inf"), inf(driver, decoration)).unwrap();
            fs::write(file("sys"), program(machine, 60_000)).unwrap();
        }
    }
    top
}

fn inf(driver: &Driver, decoration: &str) -> String {
    let Driver {
        name, class, guid, ..
    } = driver;
    let models: String = driver
        .devices
        .iter()
        .map(|(device, subsystem)| {
            let id = format!("PCI\\VEN_1AF4&DEV_{device}");
            format!("%Device% = Install, {id}&{subsystem}, {id}\r\n")
        })
        .collect();
    let (registry, start) = (driver.registry, driver.start);
    let group = match start {
        0 => "LoadOrderGroup = SCSI miniport\r\n",
        _ => "LoadOrderGroup = NDIS\r\n",
    };
    format!(
        "[Version]\r\nSignature = \"$WINDOWS NT$\"\r\nClass = {class}\r\nClassGUID = {guid}\r\n\
         Provider = %Vendor%\r\nDriverVer = 01/15/2024,100.94.104.1000\r\n\
         CatalogFile = {name}.cat\r\nPnpLockdown = 1\r\n\r\n\
         [SourceDisksNames]\r\n1 = %Disk%,,,\r\n\r\n\
         [SourceDisksFiles]\r\n{name}.sys = 1,,\r\n\r\n\
         [DestinationDirs]\r\nDefaultDestDir = 12\r\n\r\n\
         [Manufacturer]\r\n%Vendor% = Models,{decoration}\r\n\r\n\
         [Models.{decoration}]\r\n{models}\r\n\
         [Install]\r\nCopyFiles = Files\r\n\r\n\
         [Files]\r\n{name}.sys\r\n\r\n\
         [Install.Services]\r\nAddService = {name}, 0x00000002, Service\r\n\r\n\
         [Service]\r\nDisplayName = %Device%\r\nServiceType = 1\r\nStartType = {start}\r\n\
         ErrorControl = 1\r\nServiceBinary = %12%\\{name}.sys\r\n{group}AddReg = Values\r\n\r\n\
         [Values]\r\n{registry}\r\n\
         [Strings]\r\nVendor = \"Tests\"\r\nDisk = \"Disk\"\r\nDevice = \"Test {name}\"\r\n"
    )
}
