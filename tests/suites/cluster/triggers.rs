// SPDX-License-Identifier: Apache-2.0
//! What makes a conversion where nobody wrote one.

use super::conversion::{at_work, ends_ready, has_strategy, make_machine, small};
use serde_json::json;
use std::time::Duration;
use tests::cluster::Cluster;

const MINUTES: Duration = Duration::from_secs(300);

/// A namespace with an imported disk `root` that nobody asked to convert.
fn imported(cluster: &Cluster, begins: &str) -> String {
    let space = cluster.namespace(begins);
    let dir = tempfile::tempdir().unwrap();
    let import = cluster.import(&space, "root", &json!({}));
    import.succeed(&small(dir.path()));
    space
}

/// The machine carries the marks of a guest that is ready.
fn is_marked(cluster: &Cluster, vm: &str, conversion: &str) {
    cluster.admin().wait(vm, MINUTES, |answer| {
        let marks = &answer.as_ref().ok()?["metadata"];
        let label = marks["labels"]["guestConverted"] == "true";
        (label && marks["annotations"]["guestfix.io/conversion"] == conversion).then_some(())
    });
}

#[test]
fn an_annotation_on_a_halted_machine_converts_it_and_starts_it_when_ready() {
    let cluster = at_work();
    let space = imported(cluster, "annotated");
    let vm = make_machine(cluster, &space, "web", &["root"]);
    let asked = json!({"spec": {"runStrategy": "Halted"}, "metadata": {"annotations": {
        "guestfix.io/convert": "true", "guestfix.io/restore-run-strategy": "Always"}}});
    cluster.admin().merge(&vm, &asked).unwrap();
    let done = ends_ready(cluster, &space);
    assert_eq!(done["spec"]["virtualMachineRef"]["name"], "web");
    has_strategy(cluster, &vm, "Always");
    is_marked(cluster, &vm, done["metadata"]["name"].as_str().unwrap());
}

#[test]
fn a_profiles_selector_converts_the_machines_with_its_labels() {
    let cluster = at_work();
    let space = imported(cluster, "selected");
    let vm = make_machine(cluster, &space, "web", &["root"]);
    let profile = json!({"metadata": {"name": space}, "spec": {"vmSelector": {"matchLabels": {
        "guestConverted": "false", "of": space}}},
        "apiVersion": "guestfix.io/v1alpha1", "kind": "GuestConversionProfile"});
    let profiles = "/apis/guestfix.io/v1alpha1/guestconversionprofiles";
    cluster.admin().create(profiles, &profile).unwrap();
    // As Forklift labels it.
    let labels = json!({"metadata": {"labels": {"guestConverted": "false", "of": space}}});
    cluster.admin().merge(&vm, &labels).unwrap();
    let done = ends_ready(cluster, &space);
    assert_eq!(done["spec"]["profileRef"]["name"], space.as_str());
    has_strategy(cluster, &vm, "Always");
    is_marked(cluster, &vm, done["metadata"]["name"].as_str().unwrap());
}

#[test]
fn an_annotation_on_a_claim_without_a_machine_converts_its_disk() {
    let cluster = at_work();
    let space = imported(cluster, "claim");
    let claim = format!("/api/v1/namespaces/{space}/persistentvolumeclaims/root");
    let asked = json!({"metadata": {"annotations": {"guestfix.io/convert": "true"}}});
    cluster.admin().merge(&claim, &asked).unwrap();
    let done = ends_ready(cluster, &space);
    assert_eq!(done["spec"]["annotatedDisks"]["guest"], "root");
}
