// SPDX-License-Identifier: Apache-2.0
//! The little that is read of other people's objects: KubeVirt's machines, CDI's DataVolumes,
//! pods. Whatever else they hold is not kept.

use kube::api::{ApiResource, GroupVersionKind, Object};
use serde::{Deserialize, Serialize};

/// A VirtualMachine of KubeVirt (`kubevirt.io/v1`).
pub type Machine = Object<MachineSpec, Nothing>;
/// A VirtualMachineInstance of KubeVirt (`kubevirt.io/v1`): a machine that runs.
pub type Instance = Object<InstanceSpec, InstanceStatus>;
/// A DataVolume of CDI (`cdi.kubevirt.io/v1beta1`).
pub type DataVolume = Object<Nothing, DataVolumeStatus>;
/// A pod.
pub type Pod = Object<PodSpec, PodStatus>;

/// What of an object is not read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nothing {}

/// Whether and how a machine runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MachineSpec {
    /// `Always`, `RerunOnFailure`, `Manual`, `Once`, `Halted`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_strategy: Option<String>,
    /// The older way to say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<bool>,
    /// What its instances are like.
    pub template: MachineTemplate,
}

/// What a machine's instances are like.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MachineTemplate {
    /// Their spec.
    pub spec: InstanceSpec,
}

/// A machine's volumes, and where it may run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InstanceSpec {
    /// In order.
    pub volumes: Vec<Volume>,
    /// As a pod's.
    pub tolerations: serde_json::Value,
    /// As a pod's.
    pub affinity: serde_json::Value,
    /// As a pod's.
    pub node_selector: serde_json::Value,
}

impl InstanceSpec {
    /// The claims behind its volumes, in order.
    pub fn claims(&self) -> impl Iterator<Item = &str> {
        self.volumes.iter().filter_map(Volume::claim)
    }
}

/// Where an instance stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceStatus {
    /// `Succeeded` and `Failed` are its ends.
    pub phase: String,
}

/// A volume of a machine or of a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Volume {
    /// A claim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<ClaimVolume>,
    /// A DataVolume: its claim has the same name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_volume: Option<DataVolumeName>,
    /// A container image with a disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_disk: Option<ContainerDisk>,
}

/// A container image with a disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerDisk {
    /// The Secret that it is pulled with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_pull_secret: Option<String>,
}

impl Volume {
    /// The claim behind it.
    pub fn claim(&self) -> Option<&str> {
        let claim = self
            .persistent_volume_claim
            .as_ref()
            .map(|v| v.claim_name.as_str());
        claim.or_else(|| self.data_volume.as_ref().map(|v| v.name.as_str()))
    }
}

/// A claim by its name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimVolume {
    /// The claim.
    pub claim_name: String,
}

/// A DataVolume by its name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DataVolumeName {
    /// The DataVolume.
    pub name: String,
}

/// How far an import is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DataVolumeStatus {
    /// `Succeeded` when the disk is whole.
    pub phase: String,
    /// `NN.NN%` or `N/A`.
    pub progress: String,
}

/// What a pod uses, and where it runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// Its volumes.
    pub volumes: Vec<Volume>,
    /// Its node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
}

/// How a pod stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// `Pending`, `Running`, `Succeeded`, `Failed`.
    pub phase: String,
    /// Among them why it is not scheduled.
    pub conditions: Vec<PodCondition>,
}

/// A pod's condition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodCondition {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False`, `Unknown`.
    pub status: String,
    /// In words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// VirtualMachines.
pub fn machines() -> ApiResource {
    resource("kubevirt.io", "v1", "VirtualMachine", "virtualmachines")
}

/// VirtualMachineInstances.
pub fn instances() -> ApiResource {
    resource(
        "kubevirt.io",
        "v1",
        "VirtualMachineInstance",
        "virtualmachineinstances",
    )
}

/// DataVolumes.
pub fn data_volumes() -> ApiResource {
    resource("cdi.kubevirt.io", "v1beta1", "DataVolume", "datavolumes")
}

/// Pods.
pub fn pods() -> ApiResource {
    resource("", "v1", "Pod", "pods")
}

fn resource(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}
