// SPDX-License-Identifier: Apache-2.0
//! The machine a guest is started in, wired as KubeVirt wires it.
//!
//! Also here, for the project's own positive controls only: the controllers and NICs of VMware.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::inspect::facts::Firmware;
use crate::plan::Bus;

/// A guest architecture that QEMU is started for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Arch {
    /// PC, 64 or 32 bit.
    #[default]
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64-bit Arm.
    Aarch64,
}

impl Arch {
    /// The machine for a guest architecture as facts name it.
    ///
    /// # Errors
    /// `Unsupported`/`boot-arch` for any other architecture.
    pub fn of_guest(arch: &str) -> Result<Self> {
        match arch {
            "x86_64" | "i386" | "i486" | "i586" | "i686" => Ok(Self::X86_64),
            "aarch64" => Ok(Self::Aarch64),
            other => Err(Error::unsupported(
                "boot-arch",
                format!("no machine to boot a guest of architecture {other:?} in"),
            )),
        }
    }
}

/// What the disks are attached to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Controller {
    /// KubeVirt's `virtio`.
    #[default]
    Virtio,
    /// KubeVirt's `scsi`: virtio-scsi.
    Scsi,
    /// KubeVirt's `sata`.
    Sata,
    /// VMware Paravirtual SCSI.
    Pvscsi,
    /// LSI Logic SAS, VMware's `lsisas1068`.
    LsiSas,
    /// NVMe, as on newer VMware machines.
    Nvme,
}

impl From<Bus> for Controller {
    fn from(bus: Bus) -> Self {
        match bus {
            Bus::Virtio => Self::Virtio,
            Bus::Scsi => Self::Scsi,
            Bus::Sata => Self::Sata,
        }
    }
}

/// A model of network interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NicModel {
    /// virtio-net, legacy off.
    #[default]
    Virtio,
    /// VMware's paravirtual NIC.
    Vmxnet3,
    /// Intel 82574L.
    E1000e,
}

/// What is behind the network interfaces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Nothing: the link is up, and nobody answers.
    #[default]
    None,
    /// QEMU's own DHCP server and nothing else (`restrict=on`), for guests that would wait
    /// minutes for a lease.
    Dhcp,
}

/// One network interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Nic {
    /// Its model.
    pub model: NicModel,
    /// Hardware address with colons; QEMU chooses one when absent.
    pub mac: Option<String>,
}

/// How a disk's bytes are stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// As the guest sees them: a file or a block device.
    #[default]
    Raw,
    /// QEMU's image format, without backing or data file.
    Qcow2,
}

/// One disk. It is never written to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Drive {
    /// File or block device.
    pub path: PathBuf,
    /// Its format.
    pub format: Format,
}

impl Drive {
    /// A raw file or a block device.
    pub fn raw(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            format: Format::Raw,
        }
    }
}

/// The machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Machine {
    /// Architecture.
    pub arch: Arch,
    /// BIOS, or UEFI with empty variables (as KubeVirt starts a VM without persistent EFI).
    pub firmware: Firmware,
    /// What the disks are attached to.
    pub controller: Controller,
    /// Memory, MiB.
    pub memory_mib: u32,
    /// Processors, where KVM runs them; emulation always has one.
    pub cpus: u32,
    /// Network interfaces in order.
    pub nics: Vec<Nic>,
    /// What is behind them.
    pub network: Network,
    /// The guest's disks in order; the first one is booted from.
    pub disks: Vec<Drive>,
    /// The hardware clock runs in local time (Windows) and not in UTC.
    pub localtime: bool,
    /// Where the overlay's temporary files go; absent: `$TMPDIR`, else `/tmp`. Must be a short
    /// path, because sockets are made in it.
    pub scratch: Option<PathBuf>,
}

impl Machine {
    /// A machine as KubeVirt makes it: 1 GiB, at most two processors, one virtio NIC.
    pub fn new(firmware: Firmware, controller: impl Into<Controller>, disks: Vec<Drive>) -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            arch: Arch::default(),
            firmware,
            controller: controller.into(),
            memory_mib: 1024,
            cpus: if cpus > 1 { 2 } else { 1 },
            nics: vec![Nic::default()],
            network: Network::None,
            disks,
            localtime: false,
            scratch: None,
        }
    }
}

/// Firmware files of a UEFI machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EfiFiles {
    /// The program, read-only.
    pub(super) code: PathBuf,
    /// Empty variables, to be copied.
    pub(super) vars: PathBuf,
}

/// Where distributions put them, code and variables: Debian and Ubuntu, Fedora and RHEL, Arch, SUSE.
const OVMF: &[(&str, &str)] = &[
    (
        "/usr/share/OVMF/OVMF_CODE_4M.fd",
        "/usr/share/OVMF/OVMF_VARS_4M.fd",
    ),
    (
        "/usr/share/OVMF/OVMF_CODE.fd",
        "/usr/share/OVMF/OVMF_VARS.fd",
    ),
    (
        "/usr/share/edk2/ovmf/OVMF_CODE.fd",
        "/usr/share/edk2/ovmf/OVMF_VARS.fd",
    ),
    (
        "/usr/share/edk2/x64/OVMF_CODE.4m.fd",
        "/usr/share/edk2/x64/OVMF_VARS.4m.fd",
    ),
    (
        "/usr/share/qemu/ovmf-x86_64-code.bin",
        "/usr/share/qemu/ovmf-x86_64-vars.bin",
    ),
];

/// The same for Arm.
const AAVMF: &[(&str, &str)] = &[
    (
        "/usr/share/AAVMF/AAVMF_CODE.fd",
        "/usr/share/AAVMF/AAVMF_VARS.fd",
    ),
    (
        "/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw",
        "/usr/share/edk2/aarch64/vars-template-pflash.raw",
    ),
];

/// The UEFI firmware installed on this host.
///
/// # Errors
/// `Host`/`efi-firmware-missing`.
pub(super) fn efi_files(arch: Arch) -> Result<EfiFiles> {
    let (places, package) = match arch {
        Arch::X86_64 => (OVMF, "ovmf"),
        Arch::Aarch64 => (AAVMF, "qemu-efi-aarch64"),
    };
    places
        .iter()
        .find(|(code, vars)| Path::new(code).exists() && Path::new(vars).exists())
        .map(|&(code, vars)| EfiFiles {
            code: code.into(),
            vars: vars.into(),
        })
        .ok_or_else(|| {
            Error::host(
                "efi-firmware-missing",
                "no UEFI firmware for QEMU is installed",
            )
            .hint(format!(
                "install the package {package} (Debian, Ubuntu) or edk2-ovmf"
            ))
        })
}
