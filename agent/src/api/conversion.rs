// SPDX-License-Identifier: Apache-2.0
//! `GuestConversion`: one run on the disks of one guest. Each run is an object of its own.

// The schema derive repeats the struct inside a function, where `pub` reaches nobody.
// Columns of one type repeat the word for it.
#![allow(unreachable_pub, clippy::duplicated_attributes)]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::status::GuestConversionStatus;

/// What is to be done with one guest. Only cancel, gate and ttlSecondsAfterFinished can be changed
/// later: another run is another object.
#[derive(CustomResource, KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "guestfix.io",
    version = "v1alpha1",
    kind = "GuestConversion",
    namespaced,
    status = "GuestConversionStatus",
    shortname = "gconv",
    category = "guestfix",
    derive = "Default",
    derive = "PartialEq",
    doc = "One run of guestfix on the disks of one guest",
    selectable = ".status.nodeName",
    selectable = ".status.phase",
    selectable = ".spec.mode",
    printcolumn(
        name = "VM",
        type_ = "string",
        json_path = ".spec.virtualMachineRef.name"
    ),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "OS", type_ = "string", json_path = ".status.guest.name"),
    printcolumn(name = "Node", type_ = "string", json_path = ".status.nodeName"),
    printcolumn(
        name = "Progress",
        type_ = "string",
        json_path = ".status.progress.text"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        priority = 1,
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#
    ),
    printcolumn(
        name = "Disks",
        type_ = "string",
        priority = 1,
        json_path = ".status.claims[*].claimName"
    ),
    printcolumn(
        name = "Finished",
        type_ = "date",
        priority = 1,
        json_path = ".status.completionTime"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "self.mode == oldSelf.mode \
         && has(self.virtualMachineRef) == has(oldSelf.virtualMachineRef) \
         && (!has(self.virtualMachineRef) || self.virtualMachineRef == oldSelf.virtualMachineRef) \
         && has(self.disks) == has(oldSelf.disks) \
         && (!has(self.disks) || self.disks == oldSelf.disks) \
         && has(self.annotatedDisks) == has(oldSelf.annotatedDisks) \
         && (!has(self.annotatedDisks) || self.annotatedDisks == oldSelf.annotatedDisks) \
         && has(self.undoOf) == has(oldSelf.undoOf) \
         && (!has(self.undoOf) || self.undoOf == oldSelf.undoOf) \
         && self.profileRef == oldSelf.profileRef \
         && has(self.options) == has(oldSelf.options) \
         && (!has(self.options) || self.options == oldSelf.options) \
         && self.vmPatch == oldSelf.vmPatch \
         && has(self.timeoutSeconds) == has(oldSelf.timeoutSeconds) \
         && (!has(self.timeoutSeconds) || self.timeoutSeconds == oldSelf.timeoutSeconds)"
    ).message(
        "only cancel, gate and ttlSecondsAfterFinished can be changed: make a new GuestConversion"
    ),
    validation = Rule::new("!oldSelf.cancel || self.cancel").message("a cancellation stands"),
    validation = Rule::new(
        "self.mode == 'Undo' \
         ? has(self.undoOf) && !has(self.disks) && !has(self.virtualMachineRef) \
           && !has(self.annotatedDisks) \
         : !has(self.undoOf) && !(has(self.disks) && has(self.annotatedDisks)) \
           && (has(self.disks) || has(self.virtualMachineRef) || has(self.annotatedDisks))"
    ).message(
        "mode Undo names undoOf and nothing else; every other mode names virtualMachineRef, and \
         disks or annotatedDisks, or one of the three"
    )
)]
pub struct GuestConversionSpec {
    /// What to do.
    #[serde(default)]
    pub mode: Mode,
    /// The VirtualMachine (same namespace) whose disks these are; without disks, its volumes are
    /// taken in the order they stand in its template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_machine_ref: Option<ObjectName>,
    /// The claims (same namespace) of the guest, all of them, in the order of its disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["claimName"]
    ))]
    pub disks: Option<Vec<Disk>>,
    /// The claims (same namespace) that are annotated as one guest's, in the order of their
    /// guestfix.io/disk-index and then of their names. The controller makes such conversions when
    /// the first of them is annotated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotated_disks: Option<AnnotatedDisks>,
    /// Mode Undo: the GuestConversion (same namespace) to take back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub undo_of: Option<String>,
    /// The cluster's GuestConversionProfile with what a tenant does not choose.
    #[serde(default)]
    pub profile_ref: ProfileName,
    /// About the guest, in the words of the command line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<GuestOptions>,
    /// Whether the recommended target is only reported or also written to the VM.
    #[serde(default)]
    pub vm_patch: VmPatch,
    /// Enforce: the API server refuses VMs' and other pods' use of the claims until Finished.
    #[serde(default)]
    pub gate: Gate,
    /// True ends the run; a commit that has begun is finished first. It cannot be taken back.
    #[serde(default)]
    pub cancel: bool,
    /// Seconds of work on a node until the run counts as failed; the profile's if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 604800))]
    pub timeout_seconds: Option<u32>,
    /// Seconds after its end until this object is deleted; the profile's if left out, and kept
    /// for good where that says nothing either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub ttl_seconds_after_finished: Option<u32>,
}

/// What to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// Show what is on the disks. Writes nothing.
    Inspect,
    /// Show what Convert would change. Writes nothing.
    Plan,
    /// Make the guest boot on KubeVirt, all or nothing.
    #[default]
    Convert,
    /// Boot the guest in QEMU on a throw-away overlay. Writes nothing.
    Boot,
    /// Give every byte of a conversion back.
    Undo,
}

impl Mode {
    /// True when the disks may be written.
    pub fn writes(self) -> bool {
        matches!(self, Self::Convert | Self::Undo)
    }

    /// As it is written in the object.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inspect => "Inspect",
            Self::Plan => "Plan",
            Self::Convert => "Convert",
            Self::Boot => "Boot",
            Self::Undo => "Undo",
        }
    }
}

/// Another object's name, same namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectName {
    /// The name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// The name of a profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProfileName {
    /// The name.
    #[serde(default = "default_profile")]
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

fn default_profile() -> String {
    "default".to_owned()
}

impl Default for ProfileName {
    fn default() -> Self {
        Self {
            name: default_profile(),
        }
    }
}

/// One disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Disk {
    /// The PersistentVolumeClaim that holds it.
    #[schemars(length(min = 1, max = 253))]
    pub claim_name: String,
}

impl Disk {
    /// The one that this claim holds.
    pub fn of(claim: &str) -> Self {
        Self {
            claim_name: claim.to_owned(),
        }
    }
}

/// The disks that are annotated as one guest's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AnnotatedDisks {
    /// The word that their annotation guestfix.io/guest has, or the name of the one claim.
    #[schemars(length(min = 1, max = 253))]
    pub guest: String,
    /// How many there are: so many are waited for.
    #[schemars(range(min = 1, max = 64))]
    pub count: u32,
}

/// Whether the claims are shut while the conversion stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Gate {
    /// VMs' and other pods' use is refused until Finished; a VM is started again only when Ready.
    #[default]
    Enforce,
    /// Nothing is refused, the VM is left alone.
    Off,
}

/// What becomes of the recommended target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum VmPatch {
    /// It stands in status.target.
    #[default]
    Report,
    /// It is also written to the VM's template when Ready.
    Apply,
}

/// About the guest, in the words of the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GuestOptions {
    /// The disk bus that the VM will have.
    #[serde(default)]
    pub bus: Bus,
    /// How the initramfs gets its virtio drivers.
    #[serde(default)]
    pub initramfs: Initramfs,
    /// Run no program of the guest.
    #[serde(default)]
    pub no_guest_code: bool,
    /// Use arrays and mirrors that lack members.
    #[serde(default)]
    pub allow_degraded: bool,
    /// The volume to convert when several hold an operating system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub root: Option<String>,
    /// The claim that the guest starts from; detected where this is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub boot_disk: Option<String>,
    /// NAME=MAC: the hardware address that the interface NAME will have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 3, max = 64)))]
    pub nic: Vec<String>,
    /// MAC=ADDR/PREFIX,GW[,DNS...] or MAC=dhcp.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 3, max = 512)))]
    pub ip: Vec<String>,
    /// Keys of encrypted volumes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub key: Vec<VolumeKey>,
}

/// A disk bus of KubeVirt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

impl Bus {
    /// The command line's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Virtio => "virtio",
            Self::Scsi => "scsi",
            Self::Sata => "sata",
        }
    }
}

/// How the initramfs gets its drivers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Initramfs {
    /// The first that works.
    #[default]
    Auto,
    /// It has them.
    Keep,
    /// A member is appended.
    Splice,
    /// The guest's own tool makes it anew.
    Rebuild,
}

impl Initramfs {
    /// The command line's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Keep => "keep",
            Self::Splice => "splice",
            Self::Rebuild => "rebuild",
        }
    }
}

/// The key of an encrypted volume, in a Secret of the same namespace. The holder pod mounts it;
/// neither account of guestfix reads Secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VolumeKey {
    /// The volume's name, its LUKS UUID, or `all`.
    #[schemars(length(min = 1, max = 256))]
    pub volume: String,
    /// The Secret.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
    /// The Secret's entry whose bytes, all of them, are the key.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[-._a-zA-Z0-9]+$"))]
    pub secret_key: String,
}
