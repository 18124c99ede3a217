// SPDX-License-Identifier: Apache-2.0
//! A driver package as one release of Windows would install it: plain values, no file contents.

mod place;
mod registry;
mod version;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::release::Arch;
use crate::role::Role;

pub use place::Place;
pub use registry::{RegData, RegEntry, RegRoot};
pub use version::DriverVersion;

/// A file of the bundle; [`crate::Bundle::read`] gives its bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Member {
    /// Its path in the bundle, as spelled there, with `/`.
    pub path: String,
    /// Length in bytes.
    pub len: u64,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
}

impl Member {
    /// The last part of its path.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

/// A text of an INF that went through `%token%` substitution.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Text {
    /// As it stands in the INF, for example `%VENDOR%`.
    pub raw: String,
    /// As Windows shows it.
    pub text: String,
}

impl Text {
    /// The raw text as `DriverDatabase` spells it: lower case where it is one `%token%`.
    pub fn token(&self) -> String {
        let inner = self.raw.strip_prefix('%').and_then(|r| r.strip_suffix('%'));
        match inner {
            Some(inner) if !inner.is_empty() && !inner.contains('%') => self.raw.to_lowercase(),
            _ => self.raw.clone(),
        }
    }

    /// What a `DisplayName` of a service holds: `@oem2.inf,%token%;text` where it is a token, else
    /// the text. `published` is the INF's name in `Windows\INF`.
    pub fn indirect(&self, published: &str) -> String {
        if self.raw.starts_with('%') && self.raw.ends_with('%') && self.raw.len() > 2 {
            format!("@{published},{};{}", self.raw, self.text)
        } else {
            self.text.clone()
        }
    }
}

/// One driver package: an INF with all that it installs on one release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// The INF.
    pub inf: Member,
    /// The catalogue that the INF names, where the bundle has it.
    pub catalog: Option<Member>,
    /// The catalogue's name as the INF says it.
    pub catalog_name: Option<String>,
    /// Every file that the INF copies on this release, in its order, each once.
    pub files: Vec<DriverFile>,
    /// Which architecture it is picked for.
    pub arch: Arch,
    /// `Class`, for example `SCSIAdapter`.
    pub class: String,
    /// `ClassGuid` in lower case with braces.
    pub class_guid: String,
    /// `Provider`.
    pub provider: Text,
    /// `DriverVer`.
    pub version: DriverVersion,
    /// Whether `PnpLockdown=1`.
    pub pnp_lockdown: bool,
    /// Devices of the models section, in its order. Only those whose install section exists.
    pub devices: Vec<Device>,
    /// Install sections that `devices` name, each once, in order of first use.
    pub installs: Vec<Install>,
    /// Tokens of manufacturers and descriptions in lower case without `%`, with their texts: the
    /// key `Strings` of `DriverDatabase`.
    pub strings: BTreeMap<String, String>,
}

/// A device that the package drives.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Device {
    /// What it is for; `None` for a device that no role knows.
    pub role: Option<Role>,
    /// `%token%` and text of its description.
    pub description: Text,
    /// `%token%` and text of its maker.
    pub manufacturer: Text,
    /// The install section's name as the models section says it, without decoration.
    pub install: String,
    /// Hardware id first, compatible ids after it, spelled as in the INF.
    pub ids: Vec<DeviceId>,
}

/// One id of a device.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DeviceId {
    /// For example `PCI\VEN_1AF4&DEV_1042&SUBSYS_11001AF4&REV_01`.
    pub id: String,
    /// 1 for the hardware id, then 2, 3, ...: the first byte of the value in `DeviceIds`.
    pub rank: u8,
}

impl DeviceId {
    /// The four bytes of the value below `DriverDatabase\DeviceIds\<id>`.
    pub fn database_value(&self) -> [u8; 4] {
        [self.rank, 0xFF, 0, 0]
    }
}

/// An install section (`DDInstall`) with its sisters `.HW` and `.Services`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Install {
    /// The name in the models section.
    pub name: String,
    /// The name of the section that this release takes, with its decoration as spelled in the INF:
    /// `BALLOON_Device.NT`. The name of the key below `Configurations`.
    pub section: String,
    /// INFs that it includes (`Include=`), lower case; they are Windows' own.
    pub includes: Vec<String>,
    /// Values for the device's software key (`AddReg` of the section itself).
    pub software: Vec<RegEntry>,
    /// Values for the device's hardware key (`AddReg` of `.HW`): `Interrupt Management` and so on.
    pub hardware: Vec<RegEntry>,
    /// Services, in the INF's order.
    pub services: Vec<Service>,
    /// What the section asks for that is not followed here, for example `CoInstallers`.
    pub ignored: Vec<String>,
}

impl Install {
    /// The service that drives the device (`SPSVCINST_ASSOCSERVICE`).
    pub fn function_service(&self) -> Option<&Service> {
        self.services.iter().find(|service| service.associated)
    }
}

/// A service that `AddService` makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its key's name.
    pub name: String,
    /// Whether it drives the device: flag 2, `SPSVCINST_ASSOCSERVICE`.
    pub associated: bool,
    /// All flags of the line.
    pub flags: u32,
    /// `Type`: 1 for a kernel driver.
    pub service_type: u32,
    /// `Start`: 0 boot, 1 system, 2 auto, 3 demand, 4 disabled.
    pub start: u32,
    /// `ErrorControl`.
    pub error_control: u32,
    /// Where its image lies.
    pub binary: Place,
    /// Arguments after the image's path.
    pub arguments: String,
    /// `Group`.
    pub load_order_group: Option<String>,
    /// `DependOnService` and, with a leading `+`, groups.
    pub dependencies: Vec<String>,
    /// `DisplayName`.
    pub display_name: Option<Text>,
    /// `Description`.
    pub description: Option<Text>,
    /// `ObjectName`.
    pub start_name: Option<String>,
    /// `BootFlags`.
    pub boot_flags: Option<u32>,
    /// `SecurityDescriptor` in SDDL.
    pub security: Option<String>,
    /// `AddReg` of its section; `HKR` is the service's own key.
    pub registry: Vec<RegEntry>,
    /// What it asks of the event log.
    pub event_log: Option<EventLog>,
}

/// A source of events that `AddService` makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventLog {
    /// `System` unless the INF says otherwise.
    pub log: String,
    /// The source's name; the service's own unless the INF says otherwise.
    pub source: String,
    /// `AddReg`; `HKR` is `Services\EventLog\<log>\<source>`.
    pub registry: Vec<RegEntry>,
}

/// A file that the package copies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriverFile {
    /// The file in the bundle.
    pub member: Member,
    /// Where it goes.
    pub place: Place,
    /// Who vouches for it.
    pub vouch: Vouch,
    /// What its PE header says; `None` for what is no PE image.
    pub image: Option<Image>,
}

/// What a PE image says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Image {
    /// `IMAGE_FILE_MACHINE_*`.
    pub machine: u16,
    /// Its architecture, where it is one of Windows'.
    pub arch: Option<Arch>,
    /// `IMAGE_SUBSYSTEM_*`: 1 native, 2 window, 3 console.
    pub subsystem: u16,
    /// `FileVersion` of its fixed version resource.
    pub version: Option<[u16; 4]>,
}

/// Who vouches for a file's contents. Microsoft's roots are not held here: a chain that is
/// consistent up to the root inside the signature is named, never trusted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum Vouch {
    /// A catalogue lists its hash.
    Catalog {
        /// The catalogue's path in the bundle.
        catalog: String,
        /// Which digests list it.
        digests: Vec<DigestKind>,
        /// Who signed the catalogue; `None` where nobody did.
        signature: Option<Signature>,
    },
    /// No catalogue does, but the image is signed itself and its digest is right.
    Embedded {
        /// The digest.
        digest: DigestKind,
        /// Who signed it.
        signature: Signature,
    },
    /// Nobody.
    Nobody {
        /// Why not.
        why: String,
    },
}

/// A digest that Windows' signatures use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DigestKind {
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// A signature over a catalogue or an image.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Signature {
    /// The signer's common name.
    pub signer: String,
    /// The common name of who issued the signer's certificate.
    pub issuer: String,
    /// The common name at the end of the embedded chain.
    pub root: String,
    /// The digest that was signed.
    pub digest: DigestKind,
    /// What could be checked of it.
    pub check: SignatureCheck,
}

/// What could be checked of a signature without holding Microsoft's roots.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum SignatureCheck {
    /// The signed digest is the content's, the signature is the signer's, and each certificate is
    /// signed by the next one in the file, up to `root`. Whether `root` deserves trust is not known.
    ChainConsistent,
    /// As before, but the chain in the file ends before a self-signed root.
    ChainOpen,
    /// The digest is right, the signature could not be checked.
    NotChecked {
        /// For example an algorithm that is not known here.
        why: String,
    },
    /// It is wrong: the content or a certificate was changed.
    Broken {
        /// What does not fit.
        why: String,
    },
}

impl Signature {
    /// Whether nothing speaks against it.
    pub fn holds(&self) -> bool {
        !matches!(self.check, SignatureCheck::Broken { .. })
    }
}

impl Vouch {
    /// Whether somebody vouches for the file: what Windows needs to load it, as far as it can be
    /// known here.
    pub fn is_vouched(&self) -> bool {
        match self {
            Self::Catalog { signature, .. } => signature.as_ref().is_some_and(Signature::holds),
            Self::Embedded { signature, .. } => signature.holds(),
            Self::Nobody { .. } => false,
        }
    }

    /// The signature, where there is one.
    pub fn signature(&self) -> Option<&Signature> {
        match self {
            Self::Catalog { signature, .. } => signature.as_ref(),
            Self::Embedded { signature, .. } => Some(signature),
            Self::Nobody { .. } => None,
        }
    }
}

impl Package {
    /// The INF's name in lower case, for example `viostor.inf`.
    pub fn inf_name(&self) -> String {
        self.inf.name().to_lowercase()
    }

    /// The install section of that name.
    pub fn install(&self, name: &str) -> Option<&Install> {
        let same = |install: &&Install| install.name.eq_ignore_ascii_case(name);
        self.installs.iter().find(same)
    }

    /// Devices of that role.
    pub fn devices_of(&self, role: Role) -> impl Iterator<Item = &Device> {
        self.devices.iter().filter(move |d| d.role == Some(role))
    }

    /// The service that drives devices of that role.
    pub fn service_of(&self, role: Role) -> Option<&Service> {
        let device = self.devices_of(role).next()?;
        self.install(&device.install)?.function_service()
    }

    /// A stable stand-in for the hash in names of folders of the `DriverStore`: the first 16
    /// hexadecimal digits of the SHA-256 over INF and files. Windows computes another one and takes
    /// any that is unique.
    pub fn store_name(&self) -> String {
        let hash = self.inf.sha256.get(..16).unwrap_or_default();
        format!("{}_{}_{hash}", self.inf_name(), self.arch)
    }

    /// The value `Version` below `DriverDatabase\DriverPackages`: see [`DriverVersion::blob`].
    pub fn version_blob(&self) -> [u8; 48] {
        self.version.blob(self.arch, &self.class_guid)
    }

    /// Files that nobody vouches for.
    pub fn unvouched(&self) -> impl Iterator<Item = &DriverFile> {
        self.files.iter().filter(|file| !file.vouch.is_vouched())
    }
}
