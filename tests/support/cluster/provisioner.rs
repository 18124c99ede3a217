// SPDX-License-Identifier: Apache-2.0
//! The provisioner of `testdata/cluster/storage.yaml`: a directory for each volume.

use super::api::Api;
use super::store::{Store, text};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

const NAME: &str = "disks.test.guestfix.io";

/// Gives claims their volumes, and takes those back that nobody claims any more.
#[derive(Debug)]
pub(super) struct Provisioner {
    claims: Store,
    volumes: Store,
    storage: PathBuf,
}

impl Provisioner {
    /// One that keeps volumes in directories of `storage`.
    pub(super) fn new(socket: &Path, storage: PathBuf) -> Self {
        std::fs::create_dir_all(&storage).unwrap();
        Self {
            claims: Store::watch(socket, "/api/v1/persistentvolumeclaims"),
            volumes: Store::watch(socket, "/api/v1/persistentvolumes"),
            storage,
        }
    }

    /// One round.
    pub(super) fn round(&self, api: &Api) {
        for claim in self.claims.some(waits) {
            let name = volume_name(&claim);
            let made = |pv: &Value| text(pv, "/metadata/name") == name;
            if self.volumes.some(made).is_empty() {
                self.provision(api, &claim, &name);
            }
        }
        let released = |volume: &Value| {
            text(volume, "/status/phase") == "Released" && text(volume, "/spec/csi/driver") == NAME
        };
        for volume in self.volumes.some(released) {
            let name = text(&volume, "/metadata/name");
            let _ = std::fs::remove_dir_all(self.storage.join(name));
            let _ = api.delete(&format!("/api/v1/persistentvolumes/{name}"), None);
        }
    }

    /// Ends the watches.
    pub(super) fn stop(&self) {
        self.claims.stop();
        self.volumes.stop();
    }

    /// A Filesystem volume begins empty, a Block volume as zeros.
    fn provision(&self, api: &Api, claim: &Value, name: &str) {
        let dir = self.storage.join(name);
        std::fs::create_dir_all(&dir).unwrap();
        let block = text(claim, "/spec/volumeMode") == "Block";
        if block {
            let size = text(claim, "/spec/resources/requests/storage").trim_end_matches('i');
            let disk = dir.join("disk.img");
            let _ = Command::new("truncate")
                .arg("-s")
                .arg(size)
                .arg(disk)
                .status();
        }
        let volume = json!({
            "metadata": {"name": name},
            "spec": {
                "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
                "accessModes": claim["spec"]["accessModes"],
                "volumeMode": claim["spec"]["volumeMode"],
                "storageClassName": claim["spec"]["storageClassName"],
                "persistentVolumeReclaimPolicy": "Delete",
                "claimRef": {
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    "namespace": claim["metadata"]["namespace"],
                    "name": claim["metadata"]["name"],
                    "uid": claim["metadata"]["uid"],
                },
                "csi": {"driver": NAME, "volumeHandle": name},
            },
        });
        // A second try at the same name is refused; that is as good.
        let _ = api.create("/api/v1/persistentvolumes", &volume);
    }
}

/// Whether a claim is ours to provide for, now.
fn waits(claim: &Value) -> bool {
    let annotation = |key: &str| claim["metadata"]["annotations"][key].as_str();
    text(claim, "/status/phase") == "Pending"
        && text(claim, "/spec/volumeName").is_empty()
        && annotation("volume.kubernetes.io/storage-provisioner") == Some(NAME)
        && (text(claim, "/spec/storageClassName") == "immediate"
            || annotation("volume.kubernetes.io/selected-node").is_some())
}

/// The volume that a claim gets.
fn volume_name(claim: &Value) -> String {
    format!("pvc-{}", text(claim, "/metadata/uid"))
}
