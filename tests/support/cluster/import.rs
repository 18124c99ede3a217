// SPDX-License-Identifier: Apache-2.0
//! Imports as CDI shows them: a DataVolume, its claim, and the disk that comes to lie in it.

use super::Cluster;
use super::api::Answer;
use super::store::text;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A DataVolume that is being filled.
#[derive(Debug)]
pub struct Import<'a> {
    cluster: &'a Cluster,
    namespace: String,
    name: String,
    volume: String,
}

impl Cluster {
    /// Begins to import `name` with these annotations on the DataVolume.
    pub fn import(&self, namespace: &str, name: &str, annotations: &Value) -> Import<'_> {
        self.import_to("Filesystem", namespace, name, annotations)
    }

    /// The same to a volume of this mode, `Filesystem` or `Block`.
    pub fn import_to(
        &self,
        mode: &str,
        namespace: &str,
        name: &str,
        annotations: &Value,
    ) -> Import<'_> {
        let volumes = format!("/apis/cdi.kubevirt.io/v1beta1/namespaces/{namespace}/datavolumes");
        let object = json!({
            "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume",
            "metadata": {"name": name, "annotations": annotations},
            "spec": {"source": {"blank": {}}},
            "status": {"phase": "ImportInProgress", "progress": "12.00%"},
        });
        let made = self.admin().create(&volumes, &object).unwrap();
        let claim = json!({
            "metadata": {
                "name": name,
                "annotations": {"cdi.kubevirt.io/storage.pod.phase": "Running"},
                "ownerReferences": [{"apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume",
                    "name": name, "uid": made["metadata"]["uid"], "controller": true}],
            },
            "spec": {
                "accessModes": ["ReadWriteOnce"], "volumeMode": mode,
                "storageClassName": "immediate", "resources": {"requests": {"storage": "4Gi"}},
            },
        });
        let claims = format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims");
        self.admin().create(&claims, &claim).unwrap();
        let bound = |answer: &Answer| {
            let claim = answer.as_ref().ok()?;
            let volume = text(claim, "/spec/volumeName").to_owned();
            (text(claim, "/status/phase") == "Bound").then_some(volume)
        };
        let path = format!("{claims}/{name}");
        Import {
            volume: self.admin().wait(&path, Duration::from_secs(60), bound),
            cluster: self,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

impl Import<'_> {
    /// Where the disk lies, or will lie.
    pub fn disk(&self) -> PathBuf {
        self.cluster
            .kubelets()
            .storage(&self.volume)
            .join("disk.img")
    }

    /// The disk is whole: a copy of `image`.
    pub fn succeed(&self, image: &Path) {
        crate::guest::sparse_copy(image, &self.disk());
        std::os::unix::fs::chown(self.disk(), Some(107), Some(107)).unwrap();
        self.end();
    }

    /// The import has ended with whatever lies there.
    pub fn end(&self) {
        let (namespace, name) = (&self.namespace, &self.name);
        let admin = self.cluster.admin();
        let claim = format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}");
        let phase = json!({"metadata": {"annotations": {"cdi.kubevirt.io/storage.pod.phase": "Succeeded"}}});
        admin.merge(&claim, &phase).unwrap();
        let volume =
            format!("/apis/cdi.kubevirt.io/v1beta1/namespaces/{namespace}/datavolumes/{name}");
        let status = json!({"status": {"phase": "Succeeded", "progress": "100.0%"}});
        admin.merge(&volume, &status).unwrap();
    }
}
