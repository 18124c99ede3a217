// SPDX-License-Identifier: Apache-2.0
//! Kubelets, simulated: Nodes that are ready, pods that run as soon as their volumes are laid out, and that are gone when
//! these are taken back. No container is started but those of images that were laid ready.

use super::api::Api;
use super::container;
use super::provisioner::Provisioner;
use super::store::{Store, text, uid};
use super::volume::Volume;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often a node says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(4);
/// How often everything is looked at.
const ROUND: Duration = Duration::from_millis(100);
/// So many pods are tended at a time.
const HANDS: usize = 4;

/// Every kubelet of a cluster, and the provisioner of its volumes.
#[derive(Debug)]
pub struct Kubelets {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    api: Api,
    root: PathBuf,
    pods: Store,
    provisioner: Provisioner,
    nodes: Mutex<BTreeSet<String>>,
    held: Mutex<BTreeMap<String, Vec<Volume>>>,
    images: Mutex<BTreeMap<String, PathBuf>>,
    complaints: Mutex<Vec<String>>,
    stopped: AtomicBool,
}

impl Kubelets {
    /// None yet; their roots will lie below `root`.
    pub(super) fn start(api: Api, root: PathBuf) -> Self {
        let shared = Arc::new(Shared {
            pods: Store::watch(api.socket(), "/api/v1/pods"),
            provisioner: Provisioner::new(api.socket(), root.join("storage")),
            api,
            root,
            nodes: Mutex::default(),
            held: Mutex::default(),
            images: Mutex::default(),
            complaints: Mutex::default(),
            stopped: AtomicBool::new(false),
        });
        // Each at its own pace: a node that has much to do still says that it lives.
        let threads = vec![
            every(HEARTBEAT, &shared, Shared::beat),
            every(ROUND, &shared, |shared| {
                shared.provisioner.round(&shared.api)
            }),
            every(ROUND, &shared, Shared::tend_all),
        ];
        Self { shared, threads }
    }

    /// Lays an image ready on every node: the root of its files.
    pub fn add_image(&self, image: &str, root: &Path) {
        let mut images = self.shared.images.lock().unwrap();
        images.insert(image.to_owned(), root.to_owned());
    }

    /// Adds a node and returns its kubelet's root directory.
    pub fn add(&self, node: &str) -> PathBuf {
        let root = self.root(node);
        std::fs::create_dir_all(root.join("pods")).unwrap();
        std::fs::create_dir_all(root.join("plugins")).unwrap();
        let object = json!({"metadata": {"name": node, "labels": {
            "kubernetes.io/os": "linux", "kubernetes.io/hostname": node,
        }}});
        let _ = self.shared.api.create("/api/v1/nodes", &object);
        self.shared.say_ready(node);
        self.shared.nodes.lock().unwrap().insert(node.to_owned());
        root
    }

    /// The node falls silent: no heartbeat, nothing mounted, nothing unmounted.
    pub fn silence(&self, node: &str) {
        self.shared.nodes.lock().unwrap().remove(node);
    }

    /// The root directory of a node's kubelet.
    pub fn root(&self, node: &str) -> PathBuf {
        self.shared.root.join("nodes").join(node)
    }

    /// Where the provisioner keeps the bytes of volume `name`.
    pub fn storage(&self, volume: &str) -> PathBuf {
        self.shared.root.join("storage").join(volume)
    }

    /// What could not be laid out or taken back so far.
    pub fn complaints(&self) -> Vec<String> {
        self.shared.complaints.lock().unwrap().clone()
    }
}

impl Drop for Kubelets {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        self.shared.pods.stop();
        self.shared.provisioner.stop();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Does something again and again until the kubelets are stopped.
fn every(pause: Duration, shared: &Arc<Shared>, what: fn(&Shared)) -> JoinHandle<()> {
    let shared = Arc::clone(shared);
    std::thread::spawn(move || {
        let mut last = Instant::now();
        while !shared.stopped.load(Ordering::Relaxed) {
            std::thread::sleep(ROUND);
            if last.elapsed() >= pause {
                last = Instant::now();
                what(&shared);
            }
        }
    })
}

impl Shared {
    fn beat(&self) {
        for node in self.nodes.lock().unwrap().clone() {
            self.renew(&node);
        }
    }

    fn tend_all(&self) {
        let nodes = self.nodes.lock().unwrap().clone();
        let pods = self.pods.some(|pod| {
            let waits = text(pod, "/status/phase") == "Pending";
            nodes.contains(text(pod, "/spec/nodeName")) && (waits || going(pod))
        });
        std::thread::scope(|scope| {
            for hand in 0..HANDS.min(pods.len()) {
                let own = pods.iter().skip(hand).step_by(HANDS);
                scope
                    .spawn(move || own.for_each(|pod| self.tend(text(pod, "/spec/nodeName"), pod)));
            }
        });
    }

    fn say_ready(&self, node: &str) {
        let amounts =
            json!({"cpu": "64", "memory": "256Gi", "pods": "500", "ephemeral-storage": "1Ti"});
        let now = text_now();
        let status = json!({"status": {
            "capacity": amounts, "allocatable": amounts,
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady",
                "message": "simulated", "lastHeartbeatTime": now, "lastTransitionTime": now}],
            "nodeInfo": {"architecture": "amd64", "operatingSystem": "linux"},
        }});
        let _ = self
            .api
            .merge(&format!("/api/v1/nodes/{node}/status"), &status);
        let lease = json!({"metadata": {"name": node}, "spec": {
            "holderIdentity": node, "leaseDurationSeconds": 40, "renewTime": micro_now(),
        }});
        let _ = self.api.create(LEASES, &lease);
    }

    fn renew(&self, node: &str) {
        let renewed = json!({"spec": {"renewTime": micro_now()}});
        let _ = self.api.merge(&format!("{LEASES}/{node}"), &renewed);
    }

    fn tend(&self, node: &str, pod: &Value) {
        let id = uid(pod);
        let held = self.held.lock().unwrap().contains_key(&id);
        let done = if going(pod) {
            self.end(pod, &id)
        } else if !held {
            self.begin(node, pod, &id)
        } else {
            Ok(())
        };
        if let Err(complaint) = done {
            let mut complaints = self.complaints.lock().unwrap();
            if complaints.last() != Some(&complaint) {
                complaints.push(complaint);
            }
        }
    }

    fn begin(&self, node: &str, pod: &Value, id: &str) -> Result<(), String> {
        let mut volumes = Vec::new();
        let laid = self.lay_out(node, pod, id, &mut volumes);
        let laid = laid.and_then(|()| self.run_first(node, pod, id));
        if laid.is_err() {
            for volume in &mut volumes {
                let _ = volume.take_back();
            }
            return laid;
        }
        self.held.lock().unwrap().insert(id.to_owned(), volumes);
        let now = text_now();
        let containers = pod["spec"]["containers"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let statuses: Vec<Value> = containers.iter().map(|one| json!({
            "name": one["name"], "image": one["image"], "imageID": "", "ready": true, "started": true,
            "restartCount": 0, "state": {"running": {"startedAt": now}},
        })).collect();
        let condition =
            |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": now});
        let status = json!({"status": {
            "phase": "Running", "startTime": now, "podIP": "127.0.0.1", "hostIP": "127.0.0.1",
            "containerStatuses": statuses,
            "conditions": [condition("Initialized"), condition("Ready"),
                condition("ContainersReady"), condition("PodScheduled")],
        }});
        let path = format!("{}/status", pod_path(pod));
        self.api
            .merge(&path, &status)
            .map(drop)
            .map_err(|e| e.message)
    }

    fn lay_out(
        &self,
        node: &str,
        pod: &Value,
        id: &str,
        out: &mut Vec<Volume>,
    ) -> Result<(), String> {
        let namespace = text(pod, "/metadata/namespace");
        let root = self.root.join("nodes").join(node);
        for volume in pod["spec"]["volumes"].as_array().into_iter().flatten() {
            if volume["emptyDir"].is_object() {
                container::empty_dir(&root, id, text(volume, "/name"))?;
            }
            let claim = text(volume, "/persistentVolumeClaim/claimName");
            if claim.is_empty() {
                continue;
            }
            let path = format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims/{claim}");
            let claim = self.api.get(&path).map_err(|e| e.message)?;
            if text(&claim, "/status/phase") != "Bound" {
                return Err(format!("{path} is not bound"));
            }
            let name = text(&claim, "/spec/volumeName");
            let pv = self.api.get(&format!("/api/v1/persistentvolumes/{name}"));
            let pv = pv.map_err(|e| e.message)?;
            let local = text(&pv, "/spec/local/path");
            let source = if local.is_empty() {
                self.root.join("storage").join(name)
            } else {
                Path::new(local).to_path_buf()
            };
            out.push(Volume::lay_out(&root, id, &pv, &source)?);
        }
        Ok(())
    }

    /// The containers that come before the others.
    fn run_first(&self, node: &str, pod: &Value, id: &str) -> Result<(), String> {
        let dir = self.root.join("nodes").join(node).join("pods").join(id);
        let images = self.images.lock().unwrap().clone();
        let first = pod["spec"]["initContainers"].as_array();
        let mut first = first.into_iter().flatten();
        first.try_for_each(|one| match images.get(text(one, "/image")) {
            Some(image) => container::run(pod, one, image, &dir),
            None => Ok(()),
        })
    }

    /// Volumes go first, then the object: finalizers may keep it, without its time to end.
    fn end(&self, pod: &Value, id: &str) -> Result<(), String> {
        let taken = self.held.lock().unwrap().remove(id);
        if let Some(mut volumes) = taken {
            let back = volumes.iter_mut().try_for_each(Volume::take_back);
            if back.is_err() {
                self.held.lock().unwrap().insert(id.to_owned(), volumes);
                return back;
            }
        }
        let node = text(pod, "/spec/nodeName");
        let _ = std::fs::remove_dir_all(self.root.join("nodes").join(node).join("pods").join(id));
        let finished = matches!(text(pod, "/status/phase"), "Succeeded" | "Failed");
        if !finished {
            let status = json!({"status": {"phase": "Succeeded", "conditions": []}});
            let _ = self
                .api
                .merge(&format!("{}/status", pod_path(pod)), &status);
        } else if pod["metadata"]["deletionGracePeriodSeconds"] != 0 {
            let _ = self.api.delete(&pod_path(pod), Some(0));
        }
        Ok(())
    }
}

fn going(pod: &Value) -> bool {
    !pod["metadata"]["deletionTimestamp"].is_null()
}

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";

fn pod_path(pod: &Value) -> String {
    let (namespace, name) = (
        text(pod, "/metadata/namespace"),
        text(pod, "/metadata/name"),
    );
    format!("/api/v1/namespaces/{namespace}/pods/{name}")
}

fn text_now() -> String {
    clock("+%Y-%m-%dT%H:%M:%SZ")
}

fn micro_now() -> String {
    clock("+%Y-%m-%dT%H:%M:%S.%6NZ")
}

/// The time in UTC, as date(1) writes it.
fn clock(format: &str) -> String {
    crate::tool::run("date", &["--utc", format])
        .trim_end()
        .to_owned()
}
