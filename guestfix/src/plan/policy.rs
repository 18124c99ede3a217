// SPDX-License-Identifier: Apache-2.0
//! What the operator chose.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::addressing::IpChoice;

/// How an initramfs gets its virtio drivers.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum InitramfsMode {
    /// The first of keep, splice and rebuild that works.
    #[default]
    Auto,
    /// Leave it: it must already hold the drivers.
    Keep,
    /// Append the missing modules as one cpio archive; no guest program runs.
    Splice,
    /// Run the guest's own tool in the sandbox.
    Rebuild,
}

/// A network card of the new VM, as given by `--nic NAME=MAC`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NicChoice {
    /// Interface name in the guest.
    pub name: String,
    /// Hardware address, lower case with colons.
    pub mac: String,
}

/// A directory with packages of the QEMU guest agent, as given by `--guest-agent-packages DIR`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentPackages {
    /// The directory, on this machine.
    pub dir: PathBuf,
    /// Names of the files in it.
    pub files: Vec<String>,
}

/// A script to be run once in the guest, as given by `--firstboot SCRIPT`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstbootScript {
    /// The file's name, of letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// Its bytes.
    #[serde(with = "serde_bytes")]
    pub content: Vec<u8>,
}

/// What the operator chose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// `--initramfs`.
    pub initramfs: InitramfsMode,
    /// `--no-guest-code`: no program of the guest is run.
    pub no_guest_code: bool,
    /// `--root`: the volume to convert when several hold an operating system.
    pub root: Option<String>,
    /// `--nic`.
    pub nics: Vec<NicChoice>,
    /// `--ip`.
    #[serde(default)]
    pub ips: Vec<IpChoice>,
    /// `--vm`.
    #[serde(default)]
    pub vm: Option<crate::vm::Vm>,
    /// `--guest-agent-packages`.
    #[serde(default)]
    pub guest_agent_packages: Option<AgentPackages>,
    /// `--firstboot`, in the order given.
    #[serde(default)]
    pub firstboot: Vec<FirstbootScript>,
    /// What was picked from the bundle of `--drivers` for this guest; Windows only.
    #[serde(default)]
    pub drivers: Option<drivers::Picks>,
    /// `--allow-unsigned-drivers`.
    #[serde(default)]
    pub allow_unsigned_drivers: bool,
    /// `--drivers`: where the bundle is, on this machine.
    #[serde(default)]
    pub driver_bundle: Option<PathBuf>,
}
