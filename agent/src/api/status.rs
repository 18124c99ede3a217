// SPDX-License-Identifier: Apache-2.0
//! What has become of a `GuestConversion`. At most 64 KiB.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What has become of a conversion.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GuestConversionStatus {
    /// The generation that the controller has seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where it stands, for people: conditions are for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// The node that works on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// The pod that makes the scheduler place and the kubelet mount the claims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
    /// The claims of the guest, in the order of its disks. They stand here before they exist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub claims: Vec<Claim>,
    /// The claim that holds journal and undo record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_claim: Option<Claim>,
    /// How many nodes have begun it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// When a node began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time")]
    pub start_time: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time")]
    pub completion_time: Option<Time>,
    /// What is being done now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// A commit stands: these disks are being written, and no other node may act. It is recorded
    /// before the first write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<Commit>,
    /// What the guest is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<Guest>,
    /// What an operator should know, the gravest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub concerns: Vec<Concern>,
    /// How many changes there were, and how many were made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
    /// What the VM must offer, in the words of `guestfix.io/report/v1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "anything")]
    pub target: Option<serde_json::Value>,
    /// Whether there is a way back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Undo>,
    /// The ConfigMap with the full report, gzipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report_ref: Option<ReportRef>,
    /// The gzipped report in base64 on its way from the node, which may not write ConfigMaps, to
    /// the controller, which puts it into one and takes it away here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 49152))]
    pub handover: Option<String>,
    /// DisksReady, NodeAssigned, Inspected, Planned, Converted, Verified, Finished, Ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
}

/// Where a conversion stands, for people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Disks or a node are waited for.
    #[default]
    Pending,
    /// A node has it and has not begun.
    Scheduled,
    /// A node works on it; progress says at what.
    Running,
    /// The disks are being written.
    Committing,
    /// It ended as wished.
    Succeeded,
    /// It ended otherwise; the Ready condition says why.
    Failed,
    /// It was cancelled.
    Cancelled,
}

/// The holder pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Holder {
    /// The pod's name.
    pub name: String,
    /// Its uid, which names its directory below the kubelet's.
    pub uid: String,
}

/// One claim.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// The PersistentVolumeClaim.
    pub claim_name: String,
    /// Its uid, once it exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Its PersistentVolume, once it is bound: the name of its directory below the holder's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_name: Option<String>,
    /// `Filesystem` or `Block`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_mode: Option<String>,
}

/// A commit that stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Commit {
    /// The node that writes.
    pub node: String,
    /// The uids of the claims that it writes to.
    pub claims: Vec<String>,
}

/// What is being done now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// `inspect`, `plan`, `apply`, `verify`, `commit`, `boot` or `recover`.
    pub stage: String,
    /// What, in words.
    pub detail: String,
    /// Steps done in this stage.
    pub done: u64,
    /// Steps in this stage; 0 when unknown.
    pub total: u64,
    /// One line for `kubectl get`.
    pub text: String,
}

/// What the guest is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Guest {
    /// What to call it, for example `Debian GNU/Linux 12 (bookworm)`.
    pub name: String,
    /// `linux` or `windows`, where that was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
}

/// What an operator should know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Concern {
    /// Stable identifier.
    pub id: String,
    /// `Critical`, `Warning` or `Information`.
    pub category: String,
    /// What, in words.
    pub message: String,
}

/// How many changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Changes {
    /// Proposed or made.
    pub total: u32,
    /// Made.
    pub changed: u32,
}

/// Whether there is a way back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Undo {
    /// A GuestConversion of mode Undo can give every byte back.
    pub available: bool,
    /// The newest undo record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// Where the full report is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportRef {
    /// A ConfigMap of the same namespace; its binary entry `report.json.gz` is the report.
    pub config_map: String,
}

fn time(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "string", "format": "date-time"})
}

fn anything(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

fn conditions(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "reason", "message", "lastTransitionTime"],
            "properties": {
                "type": {"type": "string", "maxLength": 316},
                "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                "reason": {
                    "type": "string", "minLength": 1, "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"
                },
                "message": {"type": "string", "maxLength": 32768},
                "lastTransitionTime": {"type": "string", "format": "date-time"},
                "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0}
            }
        }
    })
}
