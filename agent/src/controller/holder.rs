// SPDX-License-Identifier: Apache-2.0
//! The objects that a conversion needs beside its disks: holder pod, state claim, budget.

use serde_json::{Value, json};

use super::observe::state_name;
use crate::api::foreign::Machine;
use crate::api::profile::GuestConversionProfileSpec;
use crate::api::{GuestConversion, names};
use crate::brain::observed::Claim;
use crate::ops::lay;
use kube::ResourceExt;

/// The user that holds: nobody in particular, and not root.
const NOBODY: i64 = 65532;
/// The user whom KubeVirt's images of disks belong to, and who alone may read them in some.
const QEMU: i64 = 107;

/// The holder pod: every claim of the guest, the state claim, keys and drivers, and a process
/// that sleeps.
pub fn pod(
    conversion: &GuestConversion,
    image: &str,
    (claims, state): (&[Claim], Option<&Claim>),
    machine: Option<&Machine>,
    drivers: Option<&str>,
) -> Value {
    let mut volumes = Vec::new();
    let mut mounts = Vec::new();
    let mut devices = Vec::new();
    for (index, claim) in claims.iter().enumerate() {
        let name = format!("disk{index}");
        if claim.bound().is_some_and(|bound| bound.block) {
            devices.push(json!({"name": name, "devicePath": format!("/dev/guest{index}")}));
        } else {
            mounts.push(json!({"name": name, "mountPath": format!("/guest/{index}")}));
        }
        volumes.push(claim_volume(&name, &claim.name));
    }
    if let Some(state) = state {
        mounts.push(json!({"name": "state", "mountPath": "/state"}));
        volumes.push(claim_volume("state", &state.name));
    }
    for (index, key) in keys(conversion).enumerate() {
        let name = format!("key{index}");
        mounts.push(json!({"name": name, "mountPath": format!("/keys/{index}"), "readOnly": true}));
        volumes.push(json!({"name": name, "secret": {
            "secretName": key.secret_name,
            "items": [{"key": key.secret_key, "path": "key"}],
        }}));
    }
    let mut init = Vec::new();
    if let Some(drivers) = drivers {
        // The driver image holds nothing but /disk: our own program is laid beside it and copies.
        volumes.push(json!({"name": "tool", "emptyDir": {"sizeLimit": "256Mi"}}));
        volumes.push(json!({"name": "drivers", "emptyDir": {"sizeLimit": "4Gi"}}));
        let tool = json!({"name": "tool", "mountPath": "/tool"});
        let place = json!({"name": "drivers", "mountPath": "/drivers"});
        init.push(container(
            "tool",
            image,
            &["lay", "/tool"],
            std::slice::from_ref(&tool),
            &[],
        ));
        let mut copy = container("drivers", drivers, &[], &[tool, place], &[]);
        if let Some(copy) = copy.as_object_mut() {
            let mut command = lay::command("/tool");
            command.extend(["copy", "/disk", "/drivers"].map(str::to_owned));
            copy.insert("command".to_owned(), command.into());
            let context = copy
                .get_mut("securityContext")
                .and_then(Value::as_object_mut);
            if let Some(context) = context {
                context.insert("runAsUser".to_owned(), QEMU.into());
                context.insert("runAsGroup".to_owned(), QEMU.into());
            }
        }
        init.push(copy);
    }
    let mut spec = json!({
        "restartPolicy": "Always",
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": NOBODY, "runAsGroup": NOBODY,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": init,
        "containers": [container("hold", image, &["pause"], &mounts, &devices)],
        "volumes": volumes,
    });
    place(&mut spec, machine);
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": names::holder(&conversion.name_any()),
            "labels": labels(conversion, "holder", true),
            "annotations": {names::CONVERSION: conversion.name_any()},
            "finalizers": [names::HOLD],
            "ownerReferences": [owner(conversion)],
        },
        "spec": spec,
    })
}

/// The keys that the conversion names.
pub fn keys(
    conversion: &GuestConversion,
) -> impl Iterator<Item = &crate::api::conversion::VolumeKey> {
    conversion
        .spec
        .options
        .iter()
        .flat_map(|options| &options.key)
}

fn claim_volume(name: &str, claim: &str) -> Value {
    json!({"name": name, "persistentVolumeClaim": {"claimName": claim}})
}

fn container(name: &str, image: &str, args: &[&str], mounts: &[Value], devices: &[Value]) -> Value {
    let mut command = vec!["guestfix-agent"];
    command.extend(args);
    let amounts = json!({"cpu": "10m", "memory": "32Mi"});
    json!({
        "name": name,
        "image": image,
        "command": command,
        "resources": {"requests": amounts, "limits": amounts},
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
        "volumeDevices": devices,
    })
}

/// Where the guest's machine may run the holder may, too: that is where its disks can be mounted.
fn place(spec: &mut Value, machine: Option<&Machine>) {
    let (Some(spec), Some(machine)) = (spec.as_object_mut(), machine) else {
        return;
    };
    let template = &machine.spec.template.spec;
    for (key, value) in [
        ("tolerations", &template.tolerations),
        ("affinity", &template.affinity),
        ("nodeSelector", &template.node_selector),
    ] {
        if !value.is_null() {
            spec.insert(key.to_owned(), value.clone());
        }
    }
    let disks = template
        .volumes
        .iter()
        .filter_map(|v| v.container_disk.as_ref());
    let secrets: Vec<Value> = disks
        .filter_map(|disk| disk.image_pull_secret.as_ref())
        .map(|name| json!({"name": name}))
        .collect();
    spec.insert("imagePullSecrets".to_owned(), secrets.into());
}

/// The claim for journal and undo record. It belongs to the guest's first disk, and goes with it:
/// not with the conversion, for the undo record outlives it.
pub fn state(
    conversion: &GuestConversion,
    claims: &[Claim],
    profile: &GuestConversionProfileSpec,
    class: Option<&str>,
) -> Option<Value> {
    let first = claims.first()?;
    let mut spec = json!({
        "accessModes": [if first.bound()?.shared { "ReadWriteMany" } else { "ReadWriteOnce" }],
        "volumeMode": "Filesystem",
        "resources": {"requests": {"storage": profile.state_claim_size}},
    });
    if let (Some(class), Some(spec)) = (class, spec.as_object_mut()) {
        spec.insert("storageClassName".to_owned(), class.into());
    }
    Some(json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": state_name(claims)?,
            "labels": labels(conversion, "state", false),
            "annotations": {names::CONVERSION: conversion.name_any()},
            "ownerReferences": [{
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "name": first.name, "uid": first.bound()?.uid,
            }],
        },
        "spec": spec,
    }))
}

/// Keeps a drain away from holder pods. One for all of a namespace: it counts only pods that are
/// there, and a pod of no controller is counted by a number.
pub fn budget() -> Value {
    json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": names::BUDGET, "labels": {"app.kubernetes.io/name": "guestfix"}},
        "spec": {
            "minAvailable": 1_000_000,
            "selector": {"matchLabels": {names::HOLDER: "true"}},
        },
    })
}

/// The labels of what belongs to a conversion.
pub fn labels(conversion: &GuestConversion, component: &str, holder: bool) -> Value {
    let mut labels = json!({
        "app.kubernetes.io/name": "guestfix",
        "app.kubernetes.io/component": component,
        names::CONVERSION_UID: conversion.uid().unwrap_or_default(),
    });
    if let Some(labels) = labels.as_object_mut().filter(|_| holder) {
        labels.insert(names::HOLDER.to_owned(), "true".into());
    }
    labels
}

/// The conversion as an owner: what it owns goes with it.
pub fn owner(conversion: &GuestConversion) -> Value {
    json!({
        "apiVersion": "guestfix.io/v1alpha1", "kind": "GuestConversion",
        "name": conversion.name_any(), "uid": conversion.uid().unwrap_or_default(),
        "controller": true, "blockOwnerDeletion": true,
    })
}
