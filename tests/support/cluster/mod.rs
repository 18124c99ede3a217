// SPDX-License-Identifier: Apache-2.0
//! A real Kubernetes control plane on loopback, and the one thing of it that is simulated: kubelets.

pub mod agent;
pub mod api;
mod config;
mod container;
mod http;
pub mod import;
pub mod install;
mod janitor;
pub mod kubelet;
mod plane;
pub mod program;
mod provisioner;
mod store;
mod volume;
pub mod wire;

use self::api::{Answer, Api};
use self::janitor::Janitor;
use self::kubelet::Kubelets;
use self::plane::Plane;
use self::wire::Wire;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// What CDI's own manifests give its account, as far as the tests need it.
const IMPORTER: &str = r#"
{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cdi"}}
---
{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "cdi-sa", "namespace": "cdi"}}
---
{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "cdi"},
 "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"},
 "subjects": [{"kind": "ServiceAccount", "name": "cdi-sa", "namespace": "cdi"}]}
"#;

/// A cluster: its control plane and its administrator.
#[derive(Debug)]
pub struct Cluster {
    dir: PathBuf,
    kubelets: Kubelets,
    admin: Api,
    plane: Mutex<Plane>,
    janitor: Janitor,
}

impl Cluster {
    /// The one that the tests of this process share. It ends with the process.
    pub fn shared() -> &'static Self {
        static ONE: OnceLock<Cluster> = OnceLock::new();
        ONE.get_or_init(Self::start)
    }

    /// Starts one (some ten seconds) in a directory of its own.
    pub fn start() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("guestfix-cluster.")
            .tempdir()
            .unwrap()
            .keep();
        let janitor = Janitor::new(&dir);
        let plane = Plane::start(&dir, &janitor);
        let admin = Api::new(&dir, dir.join("admin.json"));
        janitor.ends(admin.process());
        let kubelets = Api::new(&dir, plane.kubeconfig("kubelets", "admin"));
        janitor.ends(kubelets.process());
        let cluster = Self {
            kubelets: Kubelets::start(kubelets, dir.clone()),
            dir,
            admin,
            plane: Mutex::new(plane),
            janitor,
        };
        cluster.wait_for_namespace("default");
        for name in ["storage", "kubevirt", "cdi"] {
            let path = crate::workspace().join(format!("testdata/cluster/{name}.yaml"));
            cluster.apply(&std::fs::read_to_string(path).unwrap());
        }
        cluster
    }

    /// Its directory: logs, kubeconfigs, the kubelets' roots.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its nodes.
    pub fn kubelets(&self) -> &Kubelets {
        &self.kubelets
    }

    /// The API server as its administrator sees it.
    pub fn admin(&self) -> &Api {
        &self.admin
    }

    /// The API server as a service account sees it: with a token of TokenRequest, bound to a pod of
    /// the same namespace where one is named, and so to that pod's node.
    pub fn account(&self, namespace: &str, name: &str, pod: Option<&str>) -> Api {
        let port = self.plane.lock().unwrap().port();
        let api = Api::new(&self.dir, self.kubeconfig(namespace, name, pod, port));
        self.janitor.ends(api.process());
        api
    }

    /// A kubeconfig with such a token, for the API server at `port`.
    fn kubeconfig(&self, namespace: &str, name: &str, pod: Option<&str>, port: u16) -> PathBuf {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let token = self.token(namespace, name, pod);
        let file = format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        config::kubeconfig(&self.dir, port, &file, &token)
    }

    /// A way to the API server that can be cut.
    pub fn wire(&self) -> Wire {
        Wire::to(self.plane.lock().unwrap().port())
    }

    fn token(&self, namespace: &str, name: &str, pod: Option<&str>) -> String {
        let bound = pod.map(|pod| {
            let object = self
                .admin
                .get(&format!("/api/v1/namespaces/{namespace}/pods/{pod}"))
                .unwrap();
            json!({"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": object["metadata"]["uid"]})
        });
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": 7200, "boundObjectRef": bound},
        });
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
        let answer = self.admin.create(&path, &request).unwrap();
        answer["status"]["token"].as_str().unwrap().to_owned()
    }

    /// A fresh namespace whose name begins so; pods of ordinary users may not be privileged in it.
    pub fn namespace(&self, begins: &str) -> String {
        let object = json!({"metadata": {
            "generateName": format!("{begins}-"),
            "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
        }});
        let made = self.admin.create("/api/v1/namespaces", &object).unwrap();
        let name = made["metadata"]["name"].as_str().unwrap().to_owned();
        self.wait_for_namespace(&name);
        name
    }

    /// Pods are refused in a namespace until it has its account.
    fn wait_for_namespace(&self, name: &str) {
        let path = format!("/api/v1/namespaces/{name}/serviceaccounts/default");
        let present = |answer: &Answer| answer.is_ok().then_some(());
        self.admin.wait(&path, Duration::from_secs(60), |answer| {
            let ended = self.plane.lock().unwrap().ended();
            assert!(ended.is_none(), "{}", ended.unwrap_or_default());
            present(answer)
        });
    }

    /// Applies a manifest of one or more objects, as its administrator does.
    ///
    /// # Panics
    /// When one is refused.
    pub fn apply(&self, manifest: &str) {
        let file = tempfile::NamedTempFile::new_in(&self.dir).unwrap();
        std::fs::write(file.path(), manifest).unwrap();
        let path = file.path().to_str().unwrap();
        let ran = self
            .admin
            .kubectl(&["apply", "--server-side", "--force-conflicts", "-f", path]);
        assert!(
            ran.status.success(),
            "{}",
            String::from_utf8_lossy(&ran.stderr)
        );
    }

    /// Tries until it is allowed: what a policy reads reaches the API server's own cache a moment later.
    ///
    /// # Panics
    /// When it stays refused.
    pub fn soon(&self, attempt: impl Fn() -> Answer) -> Value {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            match attempt() {
                Ok(value) => return value,
                Err(refused) => assert!(Instant::now() < end, "{refused:?}"),
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Tries, without effect, until it is refused.
    ///
    /// # Panics
    /// When it stays allowed.
    pub fn soon_refused(&self, attempt: impl Fn() -> Answer) {
        let end = Instant::now() + Duration::from_secs(20);
        while attempt().is_ok() {
            assert!(Instant::now() < end, "it stays allowed");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The account that CDI makes its pods with.
    pub fn importer(&self) -> Api {
        self.apply(IMPORTER);
        self.wait_for_namespace("cdi");
        let importer = self.account("cdi", "cdi-sa", None);
        self.soon(|| importer.get("/api/v1/pods"));
        importer
    }

    /// Ends the API server for as long as `meanwhile` takes.
    pub fn without_server<T>(&self, meanwhile: impl FnOnce() -> T) -> T {
        let mut plane = self.plane.lock().unwrap();
        plane.stop_server();
        let result = meanwhile();
        plane.start_server_again(&self.janitor);
        result
    }

    /// The audit log: one event a request of an account that is not the control plane's own.
    pub fn audit(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.dir.join("audit.log")).unwrap_or_default();
        let events = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        events.collect()
    }
}
