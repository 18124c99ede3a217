// SPDX-License-Identifier: Apache-2.0
//! Claims and pods that go, or do not come.

use super::held::At;
use super::{LONG, MINUTE, NODE, finished, gone, ground, holder, only};
use crate::conversion::{has_strategy, make_machine};
use crate::{forbidden, machine, machines, pods};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};
use tests::cluster::install::pod;
use tests::tool;

#[test]
fn a_claim_deleted_midway_ends_the_conversion_and_is_gone() {
    let ground = ground();
    let (_controller, _node) = (ground.controller(), ground.node());
    let space = ground.cluster.namespace("deleted");
    let _import = ground.reached(&space, "Scheduled");
    let claim = format!("/api/v1/namespaces/{space}/persistentvolumeclaims/root");
    let admin = ground.cluster.admin();
    admin.delete(&claim, None).unwrap();
    // The holder keeps it until the end, as any pod does.
    only(&ground.cluster, &space, finished);
    admin.wait(&claim, LONG, |answer| answer.is_err().then_some(()));
}

#[test]
fn a_quota_that_has_no_room_for_the_holder_is_said_and_waited_for() {
    let ground = ground();
    let (_controller, _node) = (ground.controller(), ground.node());
    let space = ground.cluster.namespace("quota");
    let quotas = format!("/api/v1/namespaces/{space}/resourcequotas");
    let admin = ground.cluster.admin();
    let quota = json!({"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}});
    admin.create(&quotas, &quota).unwrap();
    admin.wait(&format!("{quotas}/none"), MINUTE, |answer| {
        (answer.as_ref().ok()?["status"]["hard"]["pods"] == "0").then_some(())
    });
    let import = ground.begin(&space, json!({}));
    let said = |one: &Value| {
        one["status"]["conditions"]
            .to_string()
            .contains("exceeded quota")
    };
    let run = only(&ground.cluster, &space, said);
    assert!(!finished(&run), "{run:#}");
    admin.delete(&format!("{quotas}/none"), None).unwrap();
    ground.ends_ready(&space, &import);
}

#[test]
fn a_holder_force_deleted_leaves_the_disk_old_or_new() {
    let ground = ground();
    let (_controller, _node) = (ground.controller(), ground.node());
    let space = ground.cluster.namespace("forced");
    let import = ground.reached(&space, "Running");
    let admin = ground.cluster.admin();
    let _ = admin.merge(&holder(&space), &json!({"metadata": {"finalizers": null}}));
    let _ = admin.delete(&holder(&space), Some(0));
    ground.ends(&space, &import);
}

#[test]
fn a_machine_made_between_plan_and_commit_starts_when_the_guest_is_ready() {
    let ground = ground();
    let it = ground.held(
        "between",
        At::Ask,
        json!({"virtualMachineRef": {"name": "web"}}),
    );
    let volume = json!({"name": "d", "persistentVolumeClaim": {"claimName": "root"}});
    let admin = ground.cluster.admin();
    for name in ["web", "other"] {
        let instance = machine(name, std::slice::from_ref(&volume));
        forbidden(
            admin.create(&machines(&it.space), &instance),
            "GuestConversion",
        );
    }
    let vm = make_machine(&ground.cluster, &it.space, "web", &["root"]);
    has_strategy(&ground.cluster, &vm, "Halted");
    assert!(ground.is_old(&it.import));
    it.held.let_go();
    ground.ends_ready(&it.space, &it.import);
    has_strategy(&ground.cluster, &vm, "Always");
}

/// A filesystem on a device of its own, mounted where in-tree plugins of a kubelet mount theirs.
struct Own {
    dir: tempfile::TempDir,
    device: Option<tool::LoopDevice>,
    point: std::path::PathBuf,
}

impl Own {
    fn below(kubelet: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("own.img");
        let file = std::fs::File::create(&image).unwrap();
        file.set_len(16 << 20).unwrap();
        tool::run("mkfs.ext4", &["-q", image.to_str().unwrap()]);
        let device = tool::LoopDevice::part(&image, 0, 16 << 20);
        let point = kubelet.join("plugins/kubernetes.io/local-volume/mounts/own");
        std::fs::create_dir_all(&point).unwrap();
        let paths = [device.path().to_str().unwrap(), point.to_str().unwrap()];
        tool::run("mount", &paths);
        let device = Some(device);
        Self { dir, device, point }
    }

    /// Unmounts it and waits until nothing keeps the filesystem: whoever else made a mount namespace on
    /// this machine lets go of it in the end.
    fn let_go(&mut self) {
        tool::run("umount", &[self.point.to_str().unwrap()]);
        drop(self.device.take());
        let image = self.dir.path().join("own.img");
        let end = Instant::now() + LONG;
        while !tool::run("losetup", &["-j", image.to_str().unwrap()]).is_empty() {
            assert!(
                Instant::now() < end,
                "the guest's processes keep another's volume"
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

#[test]
fn another_pods_volume_goes_while_a_guest_is_worked_on() {
    let ground = ground();
    let space = ground.cluster.namespace("another");
    let admin = ground.cluster.admin();
    let mut own = Own::below(&ground.cluster.kubelets().root(NODE));
    let volume = json!({"metadata": {"name": format!("own-{space}")}, "spec": {
        "capacity": {"storage": "16Mi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "own",
        "local": {"path": own.point},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
            {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}]}]}},
    }});
    admin.create("/api/v1/persistentvolumes", &volume).unwrap();
    let claim = json!({"metadata": {"name": "own"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "storageClassName": "own",
        "resources": {"requests": {"storage": "16Mi"}},
    }});
    let claims = format!("/api/v1/namespaces/{space}/persistentvolumeclaims");
    admin.create(&claims, &claim).unwrap();
    admin
        .create(&pods(&space), &pod("another", &["own"]))
        .unwrap();
    let another = format!("{}/another", pods(&space));
    admin.wait(&another, LONG, |answer| {
        (answer.as_ref().ok()?["status"]["phase"] == "Running").then_some(())
    });

    let it = ground.held("other", At::Ask, json!({}));
    admin.delete(&another, None).unwrap();
    admin.wait(&another, LONG, gone);
    own.let_go();
    it.held.let_go();
    ground.ends_ready(&it.space, &it.import);
}
