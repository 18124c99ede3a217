// SPDX-License-Identifier: Apache-2.0
//! The manifests: base and chart say the same, start, and can be taken away again.

use super::{installed, pods};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;
use tests::cluster::Cluster;
use tests::cluster::install::{NAMESPACE, helm, kustomize, manifests, pod, the_run};

/// The objects of a manifest by kind and name, each as kustomize writes it.
fn objects(manifest: &str) -> BTreeMap<String, String> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("all.yaml"), manifest).unwrap();
    std::fs::write(
        dir.path().join("kustomization.yaml"),
        "resources: [all.yaml]\n",
    )
    .unwrap();
    let text = kustomize(dir.path());
    let documents = text.split("\n---\n").map(|one| one.trim().to_owned());
    documents
        .map(|one| {
            let line = |begins: &str| {
                one.lines()
                    .find(|l| l.starts_with(begins))
                    .unwrap_or("")
                    .to_owned()
            };
            (format!("{} {}", line("kind:"), line("  name:")), one)
        })
        .collect()
}

#[test]
fn chart_and_base_are_the_same() {
    let mut base = objects(&kustomize(&manifests().join("base")));
    // The chart's namespace is helm's to make.
    base.retain(|name, _| !name.starts_with("kind: Namespace"));
    let chart = objects(&helm(&[]));
    assert_eq!(
        base.keys().collect::<Vec<_>>(),
        chart.keys().collect::<Vec<_>>()
    );
    for (name, object) in &base {
        assert_eq!(object, &chart[name], "{name}");
    }
    assert!(base.len() > 25, "{}", base.len());
}

#[test]
fn the_charts_values_reach_the_objects() {
    let chart = helm(&[
        "node.kubeletRoot=/var/lib/k0s/kubelet",
        "image.repository=mirror/guestfix",
        "image.tag=9",
        "cdiAccounts={system:serviceaccount:imports:cdi}",
        "podMonitor.enabled=true",
    ]);
    assert!(chart.contains("--kubelet-root=/var/lib/k0s/kubelet"));
    assert!(chart.contains("path: /var/lib/k0s/kubelet/pods"));
    assert!(!chart.contains("/var/lib/kubelet"));
    assert_eq!(chart.matches("mirror/guestfix:9").count(), 3);
    assert!(chart.contains("['system:serviceaccount:imports:cdi']"));
    assert!(chart.contains("kind: PodMonitor"));
    assert!(!helm(&[]).contains("kind: PodMonitor"));
}

#[test]
fn the_chart_with_other_values_is_accepted() {
    let chart = helm(&[
        "node.kubeletRoot=/var/lib/k0s/kubelet",
        "node.stateDir=/srv/guestfix",
        "node.terminationGracePeriodSeconds=60",
        "controller.replicas=3",
        "controller.nodeSelector.role=infra",
        "image.repository=mirror/guestfix",
        "image.pullPolicy=Always",
        "imagePullSecrets[0].name=mirror",
        "cdiAccounts={system:serviceaccount:imports:cdi}",
    ]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), chart).unwrap();
    let path = file.path().to_str().unwrap();
    let dry = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--dry-run=server",
        "-f",
    ];
    let ran = installed().admin().kubectl(&[&dry[..], &[path]].concat());
    assert!(ran.status.success(), "{ran:?}");
}

#[test]
fn controllers_and_a_node_agent_on_each_node_are_admitted_and_start() {
    let cluster = installed();
    let apps = format!("/apis/apps/v1/namespaces/{NAMESPACE}");
    let minute = Duration::from_secs(60);
    let admin = cluster.admin();
    admin.wait(
        &format!("{apps}/deployments/guestfix-controller"),
        minute,
        |answer| (answer.as_ref().ok()?["status"]["readyReplicas"] == 2).then_some(()),
    );
    admin.wait(
        &format!("{apps}/daemonsets/guestfix-node"),
        minute,
        |answer| (answer.as_ref().ok()?["status"]["numberReady"].as_u64()? >= 2).then_some(()),
    );
    let budget =
        format!("/apis/policy/v1/namespaces/{NAMESPACE}/poddisruptionbudgets/guestfix-controller");
    admin.get(&budget).unwrap();
}

#[test]
fn after_uninstalling_pods_are_made_as_before() {
    let cluster = Cluster::start();
    cluster.kubelets().add("node-a");
    cluster.install();
    let space = cluster.namespace("left");
    let _controller = cluster.run_controller(&["--lease-seconds", "30"]);
    // It stands as long as its import does not end.
    let _import = cluster.import(&space, "root", &json!({}));
    cluster.conversion(&space, "run", &["root"], json!({}));
    let admin = cluster.admin();
    let one = the_run(&space);
    admin.wait(&one, Duration::from_secs(120), |answer| {
        let held = &answer.as_ref().ok()?["metadata"]["finalizers"];
        held.is_array().then_some(())
    });
    let refused = admin.create(&pods(&space), &pod("a", &["root"]));
    assert_eq!(refused.unwrap_err().code, 403);

    // As docs/deploy.md says.
    let base = manifests().join("base");
    let steps: [&[&str]; 3] = [
        &["delete", "gconv", "--all", "--all-namespaces"],
        &[
            "delete",
            "validatingadmissionpolicybinding",
            "-l",
            "app.kubernetes.io/name=guestfix",
        ],
        &["delete", "--ignore-not-found", "-k", base.to_str().unwrap()],
    ];
    for step in steps {
        let ran = admin.kubectl(step);
        assert!(ran.status.success(), "{step:?}: {ran:?}");
    }
    cluster.soon(|| admin.create(&pods(&space), &pod("a", &["root"])));
    admin.create(&pods("default"), &pod("b", &["any"])).unwrap();
}
