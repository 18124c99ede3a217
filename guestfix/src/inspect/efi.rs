// SPDX-License-Identifier: Apache-2.0
//! What the EFI system partition holds, as facts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The EFI system partition of a guest that starts by UEFI.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EfiFacts {
    /// Its volume.
    pub volume: String,
    /// Where it is read in the guest's tree; `/boot/efi` also where the guest does not mount it.
    pub at: String,
    /// Every loader below `EFI/`.
    pub loaders: Vec<EfiLoader>,
    /// Shim, GRUB and the default kernel are all signed, so that Secure Boot may stay on. Whether
    /// the firmware trusts who signed them is not known here.
    pub signed: bool,
    /// Unified kernel images, wherever the loader finds them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unified_kernels: Vec<UnifiedKernel>,
}

/// A kernel with its initramfs and arguments in one program.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnifiedKernel {
    /// Its path in the guest's tree.
    pub path: String,
    /// It carries a signature.
    pub signed: bool,
    /// The kernel's release, where it says so.
    pub version: String,
    /// os-release `ID`, where it says so.
    pub os: String,
    /// The kernel's arguments.
    pub cmdline: String,
}

/// One program on the EFI system partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EfiLoader {
    /// Its path in the guest's tree.
    pub path: String,
    /// What it is.
    pub role: LoaderRole,
    /// The machine it is for, as `uname -m` names it; `unknown` for any other, or for a file that
    /// is no program.
    pub arch: String,
    /// It carries a signature.
    pub signed: bool,
    /// Bytes.
    pub size: u64,
}

/// What a loader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LoaderRole {
    /// Shim: starts the GRUB that lies beside it.
    Shim,
    /// GRUB.
    Grub,
    /// systemd-boot.
    SystemdBoot,
    /// Shim's manager of keys.
    MokManager,
    /// Shim's fallback program, which starts what the vendors' directories list.
    Fallback,
    /// A kernel with its initramfs and arguments in one program.
    UnifiedKernel,
    /// Windows Boot Manager.
    WindowsBootManager,
    /// Something else.
    Other,
}
