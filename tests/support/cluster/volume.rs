// SPDX-License-Identifier: Apache-2.0
//! Where a kubelet lays out the volumes of a pod, below its root directory.

use super::store::text;
use serde_json::Value;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One volume of a pod that is laid out.
#[derive(Debug)]
pub(super) struct Volume {
    /// Mounts of this kubelet, in the order they were made.
    mounts: Vec<PathBuf>,
    link: Option<PathBuf>,
    device: Option<String>,
}

impl Volume {
    /// Lays out what `source` holds, as persistent volume `pv` of the pod `pod`.
    pub(super) fn lay_out(
        root: &Path,
        pod: &str,
        pv: &Value,
        source: &Path,
    ) -> Result<Self, String> {
        let name = text(pv, "/metadata/name");
        let plugin = plugin(pv);
        if text(pv, "/spec/volumeMode") == "Block" {
            return Self::block(root, pod, name, plugin, &source.join("disk.img"));
        }
        let mut point = root.join("pods").join(pod).join("volumes");
        point.push(format!("kubernetes.io~{plugin}"));
        point.push(name);
        if plugin == "csi" {
            point.push("mount");
        }
        std::fs::create_dir_all(&point).map_err(|e| e.to_string())?;
        bind(source, &point)?;
        Ok(Self {
            mounts: vec![point],
            link: None,
            device: None,
        })
    }

    fn block(
        root: &Path,
        pod: &str,
        name: &str,
        plugin: &str,
        image: &Path,
    ) -> Result<Self, String> {
        let device = run(Command::new("losetup")
            .args(["--find", "--show"])
            .arg(image))?;
        let device = device.trim_end().to_owned();
        let dir = root.join("pods").join(pod).join("volumeDevices");
        let dir = dir.join(format!("kubernetes.io~{plugin}"));
        std::fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
        let link = dir.join(name);
        let mut volume = Self {
            mounts: Vec::new(),
            link: Some(link.clone()),
            device: Some(device.clone()),
        };
        if plugin != "csi" {
            // In-tree volumes are linked to as the node names them.
            symlink(&device, &link).map_err(|e| e.to_string())?;
            return Ok(volume);
        }
        let publish = root
            .join("plugins/kubernetes.io/csi/volumeDevices/publish")
            .join(name);
        std::fs::create_dir_all(&publish).map_err(|e| e.to_string())?;
        let node = publish.join(pod);
        std::fs::write(&node, "").map_err(|e| e.to_string())?;
        bind(Path::new(&device), &node)?;
        volume.mounts.push(node.clone());
        symlink(&node, &link).map_err(|e| e.to_string())?;
        Ok(volume)
    }

    /// Takes it back; an error when it is in use, as a kubelet finds it.
    pub(super) fn take_back(&mut self) -> Result<(), String> {
        while let Some(point) = self.mounts.last() {
            run(Command::new("umount").arg(point))?;
            let _ = std::fs::remove_dir(point);
            self.mounts.pop();
        }
        if let Some(link) = self.link.take() {
            let _ = std::fs::remove_file(link);
        }
        if let Some(device) = &self.device {
            run(Command::new("losetup").arg("--detach").arg(device))?;
            self.device = None;
        }
        Ok(())
    }
}

/// The plugin's name as directories spell it.
fn plugin(pv: &Value) -> &'static str {
    if pv["spec"]["local"].is_object() {
        "local-volume"
    } else if pv["spec"]["nfs"].is_object() {
        "nfs"
    } else {
        "csi"
    }
}

fn bind(from: &Path, to: &Path) -> Result<(), String> {
    run(Command::new("mount").arg("--bind").arg(from).arg(to)).map(drop)
}

fn run(command: &mut Command) -> Result<String, String> {
    let out = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).into_owned());
    }
    Err(format!(
        "{command:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    ))
}
