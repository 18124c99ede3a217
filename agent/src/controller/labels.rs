// SPDX-License-Identifier: Apache-2.0
//! Node labels for the filesystems that a node can mount: its agent says so on its Lease, for it
//! may not write its Node.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use crate::api::names;

/// What was written on which node.
#[derive(Debug, Default)]
pub struct Labels(HashMap<String, String>);

impl Labels {
    /// Copies a Lease's word to its node, where it is news.
    pub async fn copy(&mut self, client: &Client, lease: &Lease) {
        let Some(node) = lease
            .name_any()
            .strip_prefix("guestfix-node-")
            .map(str::to_owned)
        else {
            return;
        };
        let Some(filesystems) = lease.annotations().get(names::FILESYSTEMS) else {
            return;
        };
        if self.0.get(&node) == Some(filesystems) {
            return;
        }
        let patch = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": node, "labels": labels(filesystems)},
        });
        let api: Api<Node> = Api::all(client.clone());
        let params = PatchParams::apply("guestfix-controller-labels").force();
        match api.patch(&node, &params, &Patch::Apply(&patch)).await {
            Ok(_) => {
                self.0.insert(node, filesystems.clone());
            }
            Err(error) => tracing::warn!(%error, node, "cannot label the node"),
        }
    }
}

fn labels(filesystems: &str) -> BTreeMap<String, &'static str> {
    filesystems
        .split(',')
        .filter(|fs| !fs.is_empty() && fs.len() <= 32)
        .filter(|fs| fs.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
        .take(16)
        .map(|fs| (format!("{}{fs}", names::NODE_FILESYSTEM), "true"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_words_become_labels() {
        let made = labels("ext4,xfs,,../x,a b");
        let keys: Vec<&str> = made.keys().map(String::as_str).collect();
        assert_eq!(keys, ["fs.guestfix.io/ext4", "fs.guestfix.io/xfs"]);
    }
}
