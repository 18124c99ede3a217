// SPDX-License-Identifier: Apache-2.0
//! What is known of a Windows guest beyond what every guest has.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A Windows installation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WindowsFacts {
    /// The system's directory on its volume, in the case in which it is stored: `/Windows`.
    pub system_root: String,
    /// The drive letter under which the guest sees its own volume, where its registry tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_drive: Option<String>,
    /// NT version, `6.1` or `10.0`.
    pub nt_version: String,
    /// Build, `7601` or `19045`.
    pub build: u32,
    /// Update build revision, 0 where there is none.
    pub revision: u32,
    /// `EditionID`, for example `ServerStandard`.
    pub edition: String,
    /// `InstallationType`: `Client`, `Server` or `Server Core`; empty before Windows 7.
    pub installation_type: String,
    /// `ProductType` of the registry: `WinNT`, `ServerNT` or `LanmanNT`.
    pub product_type: String,
    /// `CSDVersion`, for example `Service Pack 1`; empty where there is none.
    pub service_pack: String,
    /// The numbers of the control sets that may be booted, the current one first: Current, Default
    /// and LastKnownGood of `SYSTEM\\Select`, those only that exist.
    pub control_sets: Vec<u32>,
    /// Windows' own name of the time zone, `TimeZoneKeyName`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// The IANA name of that zone, where it has one: `Europe/Berlin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iana_zone: Option<String>,
    /// `RealTimeIsUniversal`: the hardware clock holds UTC.
    pub clock_is_utc: bool,
}

impl WindowsFacts {
    /// `ControlSet001` of each control set that may be booted, the current one first.
    pub fn control_set_keys(&self) -> impl Iterator<Item = String> + '_ {
        self.control_sets
            .iter()
            .map(|number| format!("ControlSet{number:03}"))
    }

    /// The registry holds a `DriverDatabase`: Windows 8, Server 2012 and later (NT 6.2).
    pub fn has_driver_database(&self) -> bool {
        self.build >= 9200
    }

    /// A path below the system's directory: `System32/drivers`.
    pub fn in_system_root(&self, below: &str) -> String {
        format!("{}/{below}", self.system_root)
    }
}
