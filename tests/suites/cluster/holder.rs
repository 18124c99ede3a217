// SPDX-License-Identifier: Apache-2.0
//! Holder pods: who makes them, who gets into them, and where their volumes lie.

use super::{forbidden, installed, pods};
use serde_json::{Value, json};
use std::time::Duration;
use tests::cluster::install::{pod, with_label};

#[test]
fn only_the_controller_makes_holder_pods() {
    let cluster = installed();
    let space = cluster.namespace("label");
    let tenant = cluster.user(&space, "admin");
    let holder = with_label(&pod("mine", &[]), "guestfix.io/holder", "true");
    forbidden(
        tenant.create(&pods(&space), &holder),
        "only guestfix's controller",
    );

    tenant.create(&pods(&space), &pod("plain", &[])).unwrap();
    let labelled = json!({"metadata": {"labels": {"guestfix.io/holder": "true"}}});
    let plain = format!("{}/plain", pods(&space));
    forbidden(
        tenant.merge(&plain, &labelled),
        "only guestfix's controller",
    );
    tenant
        .merge(&plain, &json!({"metadata": {"labels": {"app": "mine"}}}))
        .unwrap();
}

#[test]
fn nobody_gets_into_a_holder_pod() {
    let cluster = installed();
    let space = cluster.namespace("doors");
    let controller = cluster.controller_account();
    let holder = with_label(&pod("guestfix-hold-run", &[]), "guestfix.io/holder", "true");
    controller.create(&pods(&space), &holder).unwrap();

    let one = format!("{}/guestfix-hold-run", pods(&space));
    let tenant = cluster.user(&space, "admin");
    for door in ["exec?command=sh", "attach", "portforward?ports=80"] {
        let tried = tenant.request("POST", &format!("{one}/{door}"), None);
        forbidden(tried, "lets nobody in");
    }
    let unprivileged =
        json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    let debugger = json!({"spec": {"ephemeralContainers": [
        {"name": "debug", "image": "debug", "securityContext": unprivileged},
    ]}});
    // Also not the cluster's administrator, whom no role keeps from it.
    let tried = cluster.admin().request(
        "PATCH",
        &format!("{one}/ephemeralcontainers"),
        Some(("application/strategic-merge-patch+json", &debugger)),
    );
    forbidden(tried, "lets nobody in");
    let renamed = json!({"metadata": {"labels": {"guestfix.io/holder": null}}});
    forbidden(tenant.merge(&one, &renamed), "only guestfix's controller");
}

/// This is of the simulated kubelet as much as of the cluster.
#[test]
fn a_pods_claims_are_bound_laid_out_and_taken_back() {
    let cluster = installed();
    let space = cluster.namespace("layout");
    let admin = cluster.admin();
    let claims = format!("/api/v1/namespaces/{space}/persistentvolumeclaims");
    for (name, mode) in [("files", "Filesystem"), ("device", "Block")] {
        let claim = json!({"metadata": {"name": name}, "spec": {
            "storageClassName": "first-consumer", "accessModes": ["ReadWriteOnce"], "volumeMode": mode,
            "resources": {"requests": {"storage": "1Mi"}},
        }});
        admin.create(&claims, &claim).unwrap();
    }
    let mut user = pod("user", &["files", "device"]);
    user["spec"]["containers"][0]["volumeDevices"] =
        json!([{"name": "device", "devicePath": "/dev/device"}]);
    user["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "files", "mountPath": "/files"}]);
    admin.create(&pods(&space), &user).unwrap();
    let path = format!("{}/user", pods(&space));
    let running = admin.wait(&path, Duration::from_secs(60), |answer| {
        let pod = answer.as_ref().ok()?;
        (pod["status"]["phase"] == "Running").then(|| pod.clone())
    });

    let volume = |claim: &str| {
        let object = admin.get(&format!("{claims}/{claim}")).unwrap();
        object["spec"]["volumeName"].as_str().unwrap().to_owned()
    };
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let root = cluster.kubelets().root(&text(&running["spec"]["nodeName"]));
    let dir = root.join("pods").join(text(&running["metadata"]["uid"]));
    let (files, device) = (volume("files"), volume("device"));
    std::fs::write(cluster.kubelets().storage(&files).join("disk.img"), "there").unwrap();
    let seen = dir.join(format!("volumes/kubernetes.io~csi/{files}/mount/disk.img"));
    assert_eq!(std::fs::read_to_string(seen).unwrap(), "there");
    let block = dir.join(format!("volumeDevices/kubernetes.io~csi/{device}"));
    assert_eq!(std::fs::read(block).unwrap().len(), 1 << 20);

    admin.delete(&path, None).unwrap();
    admin.wait(&path, Duration::from_secs(60), |answer| {
        answer.is_err().then_some(())
    });
    assert!(!dir.exists());
}
