// SPDX-License-Identifier: Apache-2.0
//! A guest for this room's tests that can be converted and read again, and a bundle of drivers.

use std::collections::BTreeMap;

use drivers::{
    Arch, Device, DeviceId, DigestKind, DriverFile, DriverVersion, EventLog, Fit, Install, Member,
    Package, Pick, Picks, Place, RegData, RegEntry, RegRoot, Release, Role, Service, Signature,
    SignatureCheck, Text, Vouch,
};

use super::fixture::{self, release};
use crate::digest::sha256_hex;
use crate::fs::MemoryFs;
use crate::hive::script::{self, Edit};
use crate::hive::{Dirty, Hive};
use crate::inspect::Facts;
use crate::inspect::facts::Firmware;
use crate::plan::{Action, Bus, Change, Policy, Proposal, Propose, Target};
use crate::verify::Outcome;

/// Files by path.
#[derive(Debug, Clone, Default)]
pub(crate) struct World {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
}

const CONFIG: &str = "/Windows/System32/config";

/// A hive of the folder that `GUESTFIX_HIVES` names; `None`, said aloud, where it is not there.
fn real(name: &str) -> Option<Vec<u8>> {
    let folder = std::path::PathBuf::from(std::env::var_os("GUESTFIX_HIVES").unwrap_or_default());
    let Ok(raw) = std::fs::read(folder.join(format!("{name}.xz"))) else {
        println!("{name} is absent: this test did not run");
        return None;
    };
    let mut out = Vec::new();
    let mut reader = lzma_rust2::XzReader::new(&raw[..], true);
    std::io::Read::read_to_end(&mut reader, &mut out).unwrap();
    Some(out)
}

impl World {
    /// Windows 7 SP1 x86 on ESXi: both hives are a real guest's.
    pub(crate) fn win7() -> Option<Self> {
        let mut world = Self::default();
        world.hive("SYSTEM", real("win7-x86-vmware/SYSTEM")?);
        world.hive("SOFTWARE", real("win7-x86-vmware/SOFTWARE")?);
        world.program(0x14C);
        world.drivers_of(&["msahci", "atapi", "intelide", "pciide", "LSI_SAS"]);
        Some(world)
    }

    /// Windows 10 with UEFI: SYSTEM is a real guest's, SOFTWARE is made here.
    pub(crate) fn win10() -> Option<Self> {
        let mut world = Self::default();
        world.hive("SYSTEM", real("win10-uefi-vmware/SYSTEM")?);
        let software = release::named("w10/amd64").software();
        world.hive("SOFTWARE", fixture::hive(&software));
        world.program(0x8664);
        world.drivers_of(&["storahci", "stornvme", "atapi", "intelide", "pciide"]);
        Some(world)
    }

    /// A small installation: both hives are made here.
    pub(crate) fn made(system: &[Edit], software: &[Edit]) -> Self {
        let mut world = Self::default();
        world.hive("SYSTEM", fixture::hive(system));
        world.hive("SOFTWARE", fixture::hive(software));
        world.program(0x8664);
        world
    }

    /// A synthetic guest of a release.
    pub(crate) fn release(release: &release::Release) -> Self {
        let mut world = Self::default();
        world.hive("SYSTEM", fixture::hive(&release.system()));
        world.hive("SOFTWARE", fixture::hive(&release.software()));
        world.program(release.machine());
        world.drivers_of(release.disk_services());
        world
    }

    fn hive(&mut self, name: &str, bytes: Vec<u8>) {
        self.files.insert(format!("{CONFIG}/{name}"), bytes);
    }

    fn program(&mut self, machine: u16) {
        self.files.insert(
            "/Windows/System32/cmd.exe".into(),
            fixture::program(machine),
        );
    }

    fn drivers_of(&mut self, services: &[&str]) {
        for service in services {
            let path = format!("/Windows/System32/drivers/{service}.sys");
            self.files.insert(path, service.as_bytes().to_vec());
        }
    }

    pub(crate) fn file(mut self, path: &str, content: &[u8]) -> Self {
        self.files.insert(path.to_owned(), content.to_vec());
        self
    }

    /// A hive as it is now.
    pub(crate) fn open(&self, name: &str) -> Hive {
        let bytes = self.files.get(&format!("{CONFIG}/{name}")).unwrap().clone();
        Hive::open(bytes, &[], Dirty::Refuse).unwrap()
    }

    /// Edits a hive beforehand.
    pub(crate) fn edit(mut self, name: &str, edits: &[Edit]) -> Self {
        let mut hive = self.open(name);
        let mut editor = hive.edit(3).unwrap();
        script::run(&mut editor, edits).unwrap();
        editor.finish().unwrap();
        self.hive(name, hive.into_bytes());
        self
    }

    /// What the room reads of it.
    pub(crate) fn facts(&self) -> Facts {
        let files = self.files.iter();
        let fs = files.fold(MemoryFs::new(), |fs, (path, bytes)| {
            fs.file(path, bytes.clone())
        });
        fixture::gathered(fs.ignoring_case())
    }

    /// What is decided.
    pub(crate) fn propose(&self, policy: &Policy) -> Proposal {
        super::Windows.propose(&self.facts(), &target(Bus::Virtio), policy)
    }

    /// Does what was decided; the bundle's files are their own paths.
    pub(crate) fn apply(mut self, changes: &[Change]) -> Self {
        for change in changes {
            match change.action.clone().unwrap() {
                Action::EditHive { path, edits, .. } => {
                    let name = path.display().rsplit('/').next().unwrap().to_owned();
                    self = self.edit(&name, &edits);
                }
                Action::PlaceFile {
                    path,
                    member,
                    sha256,
                    ..
                } => {
                    assert_eq!(sha256, sha256_hex(member.as_bytes()));
                    self.files.insert(path.display(), member.into_bytes());
                }
                Action::WriteFile { path, content, .. } => {
                    self.files.insert(path.display(), content);
                }
                Action::RemoveFile { path } => self.remove(&path.display()),
                Action::RemoveFiles { files, .. } => {
                    for file in files {
                        self.remove(&file.display());
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        self
    }

    fn remove(&mut self, path: &str) {
        let path = path.to_lowercase();
        self.files.retain(|have, _| have.to_lowercase() != path);
    }
}

/// A KubeVirt VM.
pub(crate) fn target(bus: Bus) -> Target {
    Target {
        firmware: Firmware::Efi,
        disk_bus: bus,
        nic_model: "virtio".to_owned(),
        machine: "q35".to_owned(),
        secure_boot: false,
        tpm: false,
        clock: "utc".to_owned(),
    }
}

/// The result of one check.
pub(crate) fn check(facts: &Facts, bus: Bus, name: &str) -> (Outcome, String) {
    let check = super::checks()
        .into_iter()
        .find(|check| check.name == name)
        .unwrap();
    let finding = (check.run)(facts, &target(bus));
    (finding.result, finding.detail)
}

/// The operator gave a bundle.
pub(crate) fn policy(release: &str) -> Policy {
    Policy {
        drivers: Some(picks(release)),
        ..Policy::default()
    }
}

/// What a bundle has for a release (`w10/amd64`): viostor, vioscsi and `NetKVM` as the project
/// writes their INFs, with stubs for what is signed.
pub(crate) fn picks(release: &str) -> Picks {
    let release: Release = release.parse().unwrap();
    let arch = release.arch;
    let pick = |role, name: &str, ids: [&str; 2], bus| Pick {
        role,
        package: package(role, name, ids, bus, arch),
        fit: Fit {
            models: String::new(),
            folder: None,
            exact: true,
        },
        reason: "made for this test".to_owned(),
        flags: Vec::new(),
        rejected: Vec::new(),
    };
    Picks {
        picks: vec![
            pick(
                Role::Block,
                "viostor",
                ["1001&SUBSYS_00021AF4&REV_00", "1042&SUBSYS_11001AF4&REV_01"],
                1,
            ),
            pick(
                Role::Scsi,
                "vioscsi",
                ["1004&SUBSYS_00081AF4&REV_00", "1048&SUBSYS_11001AF4&REV_01"],
                10,
            ),
            pick(
                Role::Net,
                "netkvm",
                ["1000&SUBSYS_00011AF4&REV_00", "1041&SUBSYS_11001AF4&REV_01"],
                0,
            ),
        ],
        release,
        missing: Vec::new(),
        agent: Some(member("guest-agent/qemu-ga.msi")),
    }
}

pub(crate) fn member(path: &str) -> Member {
    Member {
        path: path.to_owned(),
        len: path.len() as u64,
        sha256: sha256_hex(path.as_bytes()),
    }
}

fn dword(key: &str, name: &str, number: u32) -> RegEntry {
    RegEntry {
        root: RegRoot::Relative,
        key: key.to_owned(),
        name: Some(name.to_owned()),
        data: Some(RegData::Dword(number)),
        flags: 0x1_0001,
    }
}

fn text(token: &str, text: &str) -> Text {
    Text {
        raw: format!("%{token}%"),
        text: text.to_owned(),
    }
}

fn package(role: Role, name: &str, ids: [&str; 2], bus: u32, arch: Arch) -> Package {
    let msi = "Interrupt Management\\MessageSignaledInterruptProperties";
    let install = Install {
        name: "scsi_inst".into(),
        section: "scsi_inst".into(),
        includes: Vec::new(),
        software: Vec::new(),
        hardware: vec![
            dword(msi, "MSISupported", 1),
            dword(msi, "MessageNumberLimit", 257),
        ],
        services: vec![service(name, bus)],
        ignored: Vec::new(),
    };
    let device = |id: &&str| {
        let generic: String = id.chars().take(4).collect();
        let ids = [
            format!("PCI\\VEN_1AF4&DEV_{id}"),
            format!("PCI\\VEN_1AF4&DEV_{generic}"),
        ];
        let ids = ids
            .into_iter()
            .zip(1..)
            .map(|(id, rank)| DeviceId { id, rank });
        Device {
            role: Some(role),
            description: text("VioStorScsi.DeviceDesc", "Red Hat VirtIO SCSI controller"),
            manufacturer: text("VENDOR", "Red Hat, Inc."),
            install: "scsi_inst".into(),
            ids: ids.collect(),
        }
    };
    let vouch = Vouch::Catalog {
        catalog: format!("{name}/{name}.cat"),
        digests: vec![DigestKind::Sha256],
        signature: Some(Signature {
            signer: "Microsoft Windows Hardware Compatibility Publisher".into(),
            issuer: "stub".into(),
            root: "stub".into(),
            digest: DigestKind::Sha256,
            check: SignatureCheck::ChainConsistent,
        }),
    };
    let strings = [
        ("vendor", "Red Hat, Inc."),
        ("viostorscsi.devicedesc", "Red Hat VirtIO SCSI controller"),
    ];
    Package {
        inf: member(&format!("{name}/{name}.inf")),
        catalog: Some(member(&format!("{name}/{name}.cat"))),
        catalog_name: Some(format!("{name}.cat")),
        files: vec![DriverFile {
            member: member(&format!("{name}/{name}.sys")),
            place: Place {
                dirid: 12,
                folder: String::new(),
                name: format!("{name}.sys"),
            },
            vouch,
            image: None,
        }],
        arch,
        class: "SCSIAdapter".into(),
        class_guid: "{4d36e97b-e325-11ce-bfc1-08002be10318}".into(),
        provider: text("VENDOR", "Red Hat, Inc."),
        version: DriverVersion {
            date: (2025, 2, 10),
            version: [100, 101, 104, 27100],
        },
        pnp_lockdown: true,
        devices: ids.iter().map(device).collect(),
        installs: vec![install],
        strings: strings
            .map(|(name, text)| (name.to_owned(), text.to_owned()))
            .into(),
    }
}

fn service(name: &str, bus: u32) -> Service {
    Service {
        name: name.to_owned(),
        associated: true,
        flags: 2,
        service_type: 1,
        start: 0,
        error_control: 1,
        binary: Place {
            dirid: 12,
            folder: String::new(),
            name: format!("{name}.sys"),
        },
        arguments: String::new(),
        load_order_group: Some("SCSI miniport".into()),
        dependencies: Vec::new(),
        display_name: None,
        description: None,
        start_name: None,
        boot_flags: None,
        security: None,
        registry: vec![
            dword("Parameters", "BusType", bus),
            dword("Parameters\\PnpInterface", "5", 1),
        ],
        event_log: Some(EventLog {
            log: "System".into(),
            source: name.to_owned(),
            registry: vec![dword("", "TypesSupported", 7)],
        }),
    }
}
