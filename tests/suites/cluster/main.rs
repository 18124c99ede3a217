// SPDX-License-Identifier: Apache-2.0
//! guestfix on a real control plane. Only the kubelets are simulated.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod api;
mod bad_input;
mod conversion;
mod deploy;
mod drills;
mod exclusive_use;
mod holder;
mod image;
mod ops;
mod roles;
mod triggers;
mod volumes;
mod windows;

use serde_json::{Value, json};
use std::sync::OnceLock;
use tests::cluster::Cluster;
use tests::cluster::api::Answer;

/// The cluster that the tests of accounts and policies share. No controller works on it, which would release what a test
/// holds.
fn installed() -> &'static Cluster {
    static ONE: OnceLock<()> = OnceLock::new();
    let cluster = Cluster::shared();
    ONE.get_or_init(|| install(cluster));
    cluster
}

/// Gives a cluster two nodes and applies guestfix's manifests.
fn install(cluster: &Cluster) {
    cluster.kubelets().add("node-a");
    cluster.kubelets().add("node-b");
    cluster.install();
}

/// The collection of a namespace's pods.
fn pods(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods")
}

/// The collection of a namespace's VirtualMachineInstances.
fn machines(namespace: &str) -> String {
    format!("/apis/kubevirt.io/v1/namespaces/{namespace}/virtualmachineinstances")
}

/// A VirtualMachineInstance with these volumes.
fn machine(name: &str, volumes: &[Value]) -> Value {
    json!({
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": name},
        "spec": {"volumes": volumes},
    })
}

/// Checks that it was forbidden, with these words in the reason.
#[track_caller]
fn forbidden(answer: Answer, words: &str) {
    match answer {
        Err(refused) if refused.code == 403 && refused.message.contains(words) => {}
        other => panic!("not forbidden with {words:?}: {other:#?}"),
    }
}

/// Checks that it was found invalid, with these words in the reason.
#[track_caller]
fn invalid(answer: Answer, words: &str) {
    match answer {
        Err(refused) if refused.code == 422 && refused.message.contains(words) => {}
        other => panic!("not invalid with {words:?}: {other:#?}"),
    }
}
