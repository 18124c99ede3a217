// SPDX-License-Identifier: Apache-2.0
//! The full report's ConfigMap.

use kube::ResourceExt;
use serde_json::{Value, json};

use super::holder::{labels, owner};
use crate::api::{GuestConversion, names};

/// The ConfigMap with the gzipped report, which comes in base64 already. It goes with its
/// conversion.
pub fn config_map(conversion: &GuestConversion, handover: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": names::report(&conversion.name_any()),
            "labels": labels(conversion, "report", false),
            "annotations": {names::CONVERSION: conversion.name_any()},
            "ownerReferences": [owner(conversion)],
        },
        "immutable": true,
        "binaryData": {names::REPORT_KEY: handover},
    })
}
