// SPDX-License-Identifier: Apache-2.0
//! guestfix on a cluster, from what `agent/deploy` renders, and the accounts that go with it.

use super::Cluster;
use super::api::{Answer, Api};
use super::program;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Where guestfix itself is installed.
pub const NAMESPACE: &str = "guestfix-system";
const MINUTE: Duration = Duration::from_secs(60);

/// The directory of the manifests.
pub fn manifests() -> PathBuf {
    crate::workspace().join("agent/deploy")
}

/// What `kubectl kustomize` makes of a directory.
pub fn kustomize(dir: &std::path::Path) -> String {
    stdout(
        Command::new(program::find("kubectl"))
            .arg("kustomize")
            .arg(dir),
    )
}

/// What `helm template` makes of the chart with these `--set` values.
pub fn helm(values: &[&str]) -> String {
    let chart = manifests().join("chart");
    let mut command = Command::new(program::find("helm"));
    command
        .args([
            "template",
            "guestfix",
            "--include-crds",
            "--namespace",
            NAMESPACE,
        ])
        .arg(chart);
    for value in values {
        command.args(["--set", value]);
    }
    stdout(&mut command)
}

fn stdout(command: &mut Command) -> String {
    let out = command.output().unwrap();
    assert!(
        out.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout).unwrap()
}

impl Cluster {
    /// Applies the base as its documentation says, and waits until the policies are in force.
    pub fn install(&self) {
        self.apply(&kustomize(&manifests().join("base")));
        let crd =
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/guestconversions.guestfix.io";
        self.admin()
            .wait(crd, MINUTE, |answer| has_condition(answer, "Established"));
        // A kind that was made a moment ago is not served at once.
        for kind in [
            "guestfix.io/v1alpha1/guestconversions",
            "guestfix.io/v1alpha1/guestconversionprofiles",
            "kubevirt.io/v1/virtualmachines",
            "kubevirt.io/v1/virtualmachineinstances",
            "cdi.kubevirt.io/v1beta1/datavolumes",
        ] {
            self.soon(|| self.admin().get(&format!("/apis/{kind}")));
        }
        self.wait_for_namespace(NAMESPACE);
        self.wait_for_policies();
    }

    /// A policy counts only once the API server has read it: it refuses a pod whose claim is shut.
    fn wait_for_policies(&self) {
        let namespace = self.namespace("policies");
        self.conversion(&namespace, "shut", &["shut"], json!({}));
        let path = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All");
        let end = std::time::Instant::now() + 2 * MINUTE;
        let pod = pod("probe", &["shut"]);
        let label = with_label(&self::pod("label", &[]), "guestfix.io/holder", "true");
        for object in [pod, label] {
            while self.admin().create(&path, &object).is_ok() {
                assert!(std::time::Instant::now() < end, "no policy is in force");
                std::thread::sleep(Duration::from_millis(200));
            }
        }
        let gone = self
            .admin()
            .delete(&format!("/api/v1/namespaces/{namespace}"), None);
        gone.unwrap();
    }

    /// Makes a GuestConversion of these claims, with more in its spec, and returns it.
    pub fn conversion(&self, namespace: &str, name: &str, claims: &[&str], more: Value) -> Value {
        self.admin()
            .create(&conversions(namespace), &conversion(name, claims, more))
            .unwrap()
    }

    /// The node agent's account on `node`, with the token of the DaemonSet's own pod there.
    pub fn node_account(&self, node: &str) -> Api {
        self.component_account("guestfix-node", "node", Some(node))
    }

    /// The controller's account, with the token of one of the Deployment's own pods.
    pub fn controller_account(&self) -> Api {
        self.component_account("guestfix-controller", "controller", None)
    }

    fn component_account(&self, account: &str, component: &str, node: Option<&str>) -> Api {
        let pod = self.component_pod(component, node);
        self.account(NAMESPACE, account, Some(&pod))
    }

    /// A running pod of a component, on `node` where that is said.
    pub(super) fn component_pod(&self, component: &str, node: Option<&str>) -> String {
        let pods = format!(
            "/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=app.kubernetes.io/component={component}"
        );
        self.admin().wait(&pods, MINUTE, |answer| {
            let list = answer.as_ref().ok()?["items"].as_array()?;
            let runs = |pod: &&Value| {
                pod["status"]["phase"] == "Running"
                    && node.is_none_or(|node| pod["spec"]["nodeName"] == node)
            };
            let pod = list.iter().find(runs)?;
            Some(pod["metadata"]["name"].as_str()?.to_owned())
        })
    }

    /// A service account of `namespace` that has this ClusterRole there.
    pub fn user(&self, namespace: &str, role: &str) -> Api {
        let admin = self.admin();
        let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        admin
            .create(&accounts, &json!({"metadata": {"name": role}}))
            .unwrap();
        let binding = json!({
            "metadata": {"name": role},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": role, "namespace": namespace}],
        });
        let path =
            format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings");
        admin.create(&path, &binding).unwrap();
        let user = self.account(namespace, role, None);
        // The API server and its controllers take a moment to see it.
        self.soon(|| user.get(&conversions(namespace)));
        user
    }
}

/// The collection of a namespace's conversions.
pub fn conversions(namespace: &str) -> String {
    format!("/apis/guestfix.io/v1alpha1/namespaces/{namespace}/guestconversions")
}

/// The conversion of a namespace that is called `run`, as most here are.
pub fn the_run(namespace: &str) -> String {
    format!("{}/run", conversions(namespace))
}

/// A GuestConversion of these claims, with more in its spec.
pub fn conversion(name: &str, claims: &[&str], more: Value) -> Value {
    let disks: Vec<Value> = claims.iter().map(|c| json!({"claimName": c})).collect();
    let mut object = json!({
        "apiVersion": "guestfix.io/v1alpha1",
        "kind": "GuestConversion",
        "metadata": {"name": name},
        "spec": {"mode": "Convert", "disks": disks},
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        object["spec"][key] = value.clone();
    }
    object
}

/// A pod that the strictest namespace admits, with these claims.
pub fn pod(name: &str, claims: &[&str]) -> Value {
    let volumes: Vec<Value> = claims
        .iter()
        .map(|claim| json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}}))
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "pause",
                "image": "guestfix-agent:test",
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
            "volumes": volumes,
        },
    })
}

/// The same object with one label more.
pub fn with_label(object: &Value, key: &str, value: &str) -> Value {
    let mut object = object.clone();
    object["metadata"]["labels"][key] = json!(value);
    object
}

/// Something when the object has this condition True.
pub fn has_condition(answer: &Answer, kind: &str) -> Option<()> {
    let conditions = answer.as_ref().ok()?["status"]["conditions"].as_array()?;
    let holds = |one: &Value| one["type"] == kind && one["status"] == "True";
    conditions.iter().any(holds).then_some(())
}
