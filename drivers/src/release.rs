// SPDX-License-Identifier: Apache-2.0
//! Windows releases: product, version, build, edition kind and architecture.

mod choice;
mod product;
mod registry;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use product::Product;
pub use registry::RegistryStrings;

/// The processor that a Windows, an INF section or a PE image is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arch {
    /// 32-bit x86.
    X86,
    /// `x86_64`.
    Amd64,
    /// 64-bit ARM.
    Arm64,
}

impl Arch {
    /// The word that INF decorations, virtio-win folders and `DriverStore` names use: `x86`,
    /// `amd64`, `arm64`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::X86 => "x86",
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// Reads any spelling in use: of folders, of `PROCESSOR_ARCHITECTURE`, of other systems.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "x86" | "i386" | "i486" | "i586" | "i686" => Self::X86,
            "amd64" | "x64" | "x86_64" | "x86-64" => Self::Amd64,
            "arm64" | "aarch64" => Self::Arm64,
            _ => return None,
        })
    }

    /// `PROCESSOR_ARCHITECTURE_*`: 0, 9 and 12; also what a `DriverDatabase` version blob holds:
    /// <https://learn.microsoft.com/windows/win32/api/sysinfoapi/ns-sysinfoapi-system_info>.
    pub fn processor(self) -> u16 {
        match self {
            Self::X86 => 0,
            Self::Amd64 => 9,
            Self::Arm64 => 12,
        }
    }

    /// `IMAGE_FILE_MACHINE_*` of a PE image:
    /// <https://learn.microsoft.com/windows/win32/debug/pe-format#machine-types>.
    pub fn machine(self) -> u16 {
        match self {
            Self::X86 => 0x014C,
            Self::Amd64 => 0x8664,
            Self::Arm64 => 0xAA64,
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an installation is for, as `InstallationType` of `SOFTWARE\Microsoft\Windows
/// NT\CurrentVersion` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Installation {
    /// A workstation.
    Client,
    /// A server with a desktop.
    Server,
    /// A server without one.
    ServerCore,
    /// A server that is a domain controller.
    DomainController,
}

impl Installation {
    /// Whether it is any sort of server.
    pub fn is_server(self) -> bool {
        self != Self::Client
    }

    /// `ProductType` of an INF decoration: 1 workstation, 2 domain controller, 3 server:
    /// <https://learn.microsoft.com/windows-hardware/drivers/install/inf-manufacturer-section>.
    pub fn product_type(self) -> u8 {
        match self {
            Self::Client => 1,
            Self::DomainController => 2,
            Self::Server | Self::ServerCore => 3,
        }
    }
}

/// One Windows as a driver sees it. Make it with [`Release::from_registry`] or parse it from a
/// word such as `w10/amd64`, `2022/amd64` or `10.0.20348/amd64/server`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Release {
    /// The product, told from version, build and installation.
    pub product: Product,
    /// Major version of NT: 5, 6 or 10.
    pub major: u32,
    /// Minor version of NT.
    pub minor: u32,
    /// Build, for example 19045.
    pub build: u32,
    /// Client or server.
    pub installation: Installation,
    /// Its architecture.
    pub arch: Arch,
}

impl Release {
    /// Whether it has a `DriverDatabase` (8 and 2012 on) and no longer asks the
    /// `CriticalDeviceDatabase`.
    pub fn has_driver_database(&self) -> bool {
        (self.major, self.minor) >= (6, 2)
    }

    /// Whether it verifies the signatures of kernel drivers at boot: 64-bit from Vista on.
    /// <https://learn.microsoft.com/windows-hardware/drivers/install/kernel-mode-code-signing-policy--windows-vista-and-later->
    pub fn wants_signed_drivers(&self) -> bool {
        self.arch != Arch::X86 && self.major >= 6
    }

    /// Whether it reads SHA-256 signatures only with an update: Vista to 7 and 2008 to 2008 R2.
    /// <https://support.microsoft.com/help/4474419> names the updates
    /// (KB4474419); XP and 2003 know of no catalogue of theirs that needs it.
    pub fn needs_sha1(&self) -> bool {
        (self.major, self.minor) < (6, 2)
    }

    /// The name for people with architecture: `Windows Server 2022 (20348, amd64)`.
    pub fn title(&self) -> String {
        format!("{} ({}, {})", self.product.title(), self.build, self.arch)
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title())
    }
}
