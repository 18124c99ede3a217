// SPDX-License-Identifier: Apache-2.0
//! Where a kubelet keeps disks: files and devices, of CSI drivers and of its own plugins.

use super::conversion::{at_work, ends_ready, small};
use serde_json::{Value, json};
use std::path::Path;
use tests::digest::content_digest;
use tests::guest::sparse_copy;

#[test]
fn a_disk_on_a_block_volume_is_converted() {
    let cluster = at_work();
    let dir = tempfile::tempdir().unwrap();
    let image = small(dir.path());
    let space = cluster.namespace("block");
    let import = cluster.import_to("Block", &space, "root", &json!({}));
    import.succeed(&image);
    cluster.conversion(&space, "run", &["root"], json!({}));
    let done = ends_ready(cluster, &space);
    assert_eq!(done["status"]["claims"][0]["volumeMode"], "Block");
    assert_ne!(content_digest(&import.disk()), content_digest(&image));
}

/// A volume of a plugin that is the kubelet's own: `dir` of node-a.
fn local(name: &str, mode: &str, dir: &Path) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
        "volumeMode": mode, "storageClassName": name, "local": {"path": dir},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
            {"key": "kubernetes.io/hostname", "operator": "In", "values": ["node-a"]}]}]}},
    }})
}

#[test]
fn disks_of_the_kubelets_own_plugins_are_converted() {
    let cluster = at_work();
    let admin = cluster.admin();
    let dir = tempfile::tempdir().unwrap();
    let image = small(dir.path());
    let profile = json!({"metadata": {"name": "in-tree"},
        "spec": {"stateStorageClass": "immediate"},
        "apiVersion": "guestfix.io/v1alpha1", "kind": "GuestConversionProfile"});
    let profiles = "/apis/guestfix.io/v1alpha1/guestconversionprofiles";
    admin.create(profiles, &profile).unwrap();
    for mode in ["Filesystem", "Block"] {
        let space = cluster.namespace("in-tree");
        let own = dir.path().join(&space);
        std::fs::create_dir(&own).unwrap();
        sparse_copy(&image, &own.join("disk.img"));
        let volume = local(&space, mode, &own);
        admin.create("/api/v1/persistentvolumes", &volume).unwrap();
        let claim = json!({"metadata": {"name": "root"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "volumeMode": mode, "storageClassName": space,
            "resources": {"requests": {"storage": "1Gi"}},
        }});
        let claims = format!("/api/v1/namespaces/{space}/persistentvolumeclaims");
        admin.create(&claims, &claim).unwrap();
        let more = json!({"profileRef": {"name": "in-tree"}});
        cluster.conversion(&space, "run", &["root"], more);
        let done = ends_ready(cluster, &space);
        assert_eq!(done["status"]["nodeName"], "node-a");
        assert_ne!(
            content_digest(&own.join("disk.img")),
            content_digest(&image)
        );
    }
}
