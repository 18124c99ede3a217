// SPDX-License-Identifier: Apache-2.0
//! `GuestConversionProfile`: what the cluster's operator chooses and a tenant must not.

// The schema derive repeats the struct inside a function, where `pub` reaches nobody.
// Columns of one type repeat the word for it.
#![allow(unreachable_pub, clippy::duplicated_attributes)]

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the cluster's operator chooses for conversions that name this profile.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "guestfix.io",
    version = "v1alpha1",
    kind = "GuestConversionProfile",
    shortname = "gconvprofile",
    category = "guestfix",
    derive = "PartialEq",
    doc = "What the operator of a cluster chooses for guest conversions",
    printcolumn(name = "Drivers", type_ = "string", json_path = ".spec.drivers.image"),
    printcolumn(
        name = "Per node",
        type_ = "integer",
        json_path = ".spec.concurrencyPerNode"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct GuestConversionProfileSpec {
    /// VMs with these labels are converted without anybody asking; left out, none are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.matchLabels.size() > 0")
        .message("a selector without labels would take every VM of the cluster"))]
    pub vm_selector: Option<VmSelector>,
    /// Where the drivers for Windows come from; left out, Windows guests end with NoDriverBundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drivers: Option<Drivers>,
    /// Take drivers whose catalogue does not list them.
    #[serde(default)]
    pub allow_unsigned_drivers: bool,
    /// Write to the disks even if a check fails.
    #[serde(default)]
    pub commit_anyway: bool,
    /// Scripts, absolute paths on the nodes, that run once after the first boot, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(regex(pattern = "^/[^\\x00]+$")))]
    pub firstboot: Vec<String>,
    /// A directory on the nodes with packages of the QEMU guest agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^/.+$"))]
    pub guest_agent_packages: Option<String>,
    /// How many guests one node works on at a time.
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = 64))]
    pub concurrency_per_node: u32,
    /// What one guest's process tree may use.
    #[serde(default)]
    pub limits: Limits,
    /// Size of the claim for journal and undo record.
    #[serde(default = "state_size")]
    #[schemars(regex(pattern = "^[1-9][0-9]*(Mi|Gi|Ti|M|G|T)$"))]
    pub state_claim_size: String,
    /// Its StorageClass; that of the first disk if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_storage_class: Option<String>,
    /// Seconds of work on a node until a run counts as failed.
    #[serde(default = "hour")]
    #[schemars(range(min = 10, max = 604800))]
    pub timeout_seconds: u32,
    /// Seconds after its end until a conversion is deleted; kept for good if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds_after_finished: Option<u32>,
}

impl GuestConversionProfileSpec {
    /// What a profile is that says nothing.
    pub fn plain() -> Self {
        Self {
            vm_selector: None,
            drivers: None,
            allow_unsigned_drivers: false,
            commit_anyway: false,
            firstboot: Vec::new(),
            guest_agent_packages: None,
            concurrency_per_node: two(),
            limits: Limits::default(),
            state_claim_size: state_size(),
            state_storage_class: None,
            timeout_seconds: hour(),
            ttl_seconds_after_finished: None,
        }
    }
}

fn two() -> u32 {
    2
}

fn hour() -> u32 {
    3600
}

fn state_size() -> String {
    "4Gi".to_owned()
}

/// Which VMs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VmSelector {
    /// All of these labels.
    #[serde(default)]
    pub match_labels: BTreeMap<String, String>,
}

/// Where drivers come from: one of the two.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.image) != has(self.hostPath)")
    .message("name an image or a hostPath"))]
pub struct Drivers {
    /// A container image with an ISO below /disk, as KubeVirt's virtio-container-disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// An ISO or directory on the nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^/.+$"))]
    pub host_path: Option<String>,
}

/// What one guest's process tree may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Memory, MiB.
    #[serde(default = "memory")]
    #[schemars(range(min = 256))]
    pub memory_mib: u64,
    /// CPU, thousandths of a core.
    #[serde(default = "cpu")]
    #[schemars(range(min = 100))]
    pub cpu_milli: u64,
}

fn memory() -> u64 {
    2048
}

fn cpu() -> u64 {
    2000
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_mib: memory(),
            cpu_milli: cpu(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_profile_is_the_plain_one() {
        let empty: GuestConversionProfileSpec = serde_json::from_str("{}").unwrap();
        assert_eq!(empty, GuestConversionProfileSpec::plain());
    }
}
