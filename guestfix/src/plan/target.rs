// SPDX-License-Identifier: Apache-2.0
//! What the KubeVirt VM must offer for this guest.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::inspect::Facts;
use crate::inspect::facts::Firmware;

/// A disk bus of KubeVirt (`spec.domain.devices.disks[].disk.bus`).
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Bus {
    /// virtio-blk.
    #[default]
    Virtio,
    /// virtio-scsi.
    Scsi,
    /// SATA (AHCI).
    Sata,
}

/// The recommended VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Target {
    /// How it must start.
    pub firmware: Firmware,
    /// Bus of the disks.
    pub disk_bus: Bus,
    /// NIC model, KubeVirt's word (`virtio`).
    pub nic_model: String,
    /// Machine type (`q35`, `virt`).
    pub machine: String,
    /// Secure Boot can stay on.
    pub secure_boot: bool,
    /// A TPM is needed.
    pub tpm: bool,
    /// What the guest takes its hardware clock for: `utc`, or `localtime` with the IANA name of its
    /// zone behind a blank where that is known, which is what KubeVirt's `clock.timezone` takes:
    /// `localtime Europe/Berlin`.
    pub clock: String,
}

impl Target {
    /// The VM recommended for a guest, with the bus asked for.
    pub fn recommend(facts: &Facts, bus: Bus) -> Self {
        Self {
            firmware: facts.firmware,
            disk_bus: bus,
            nic_model: "virtio".to_owned(),
            machine: if facts.guest.arch == "aarch64" {
                "virt"
            } else {
                "q35"
            }
            .to_owned(),
            secure_boot: facts.efi.as_ref().is_some_and(|efi| efi.signed),
            tpm: wants_tpm(facts),
            clock: clock(facts),
        }
    }
}

/// Windows keeps local time in the hardware clock unless it was told otherwise; in some zones that is
/// the same.
fn clock(facts: &Facts) -> String {
    let local = facts
        .windows
        .as_ref()
        .filter(|windows| !windows.clock_is_utc);
    let Some(windows) = local else {
        return "utc".to_owned();
    };
    match windows.iana_zone.as_deref() {
        Some("Etc/UTC") => "utc".to_owned(),
        Some(zone) => format!("localtime {zone}"),
        None => "localtime".to_owned(),
    }
}

/// The first Windows that demands a TPM is 11 (build 22000); its servers do not.
fn wants_tpm(facts: &Facts) -> bool {
    let windows = facts.windows.as_ref();
    windows.is_some_and(|windows| windows.build >= 22_000 && windows.product_type == "WinNT")
}
