// SPDX-License-Identifier: Apache-2.0
//! Conversions that cannot or must not be: refused with a condition and a reason, nothing touched.

use super::conversion::{at_work, condition, finished, make_machine, only, small};
use super::machine;
use serde_json::{Value, json};
use std::os::unix::fs::symlink;
use tests::cluster::Cluster;
use tests::cluster::install::conversions;
use tests::digest::content_digest;

/// Waits for the end and gives the reason why it is not ready.
fn refused(cluster: &Cluster, space: &str) -> String {
    let done = only(cluster, space, finished);
    let (status, reason) = condition(&done, "Ready").expect("Ready is said");
    assert_eq!(status, "False", "{done:#}");
    assert!(done["status"]["commit"].is_null(), "{done:#}");
    has_event(cluster, space, "GuestConversion", reason);
    reason.to_owned()
}

/// An event about an object of this kind with this reason comes.
fn has_event(cluster: &Cluster, space: &str, kind: &str, reason: &str) {
    let path = format!("/apis/events.k8s.io/v1/namespaces/{space}/events");
    cluster
        .admin()
        .wait(&path, std::time::Duration::from_secs(120), |answer| {
            let events = answer.as_ref().ok()?["items"].as_array()?;
            let ours =
                |event: &&Value| event["regarding"]["kind"] == kind && event["reason"] == reason;
            events.iter().find(ours).map(|_| ())
        });
}

#[test]
fn a_missing_claim_and_an_unknown_profile_are_refused() {
    let cluster = at_work();
    let space = cluster.namespace("missing");
    cluster.conversion(&space, "run", &["nowhere"], json!({}));
    assert_eq!(refused(cluster, &space), "ClaimNotFound");

    let space = cluster.namespace("profile");
    let import = cluster.import(&space, "root", &json!({}));
    import.end();
    cluster.conversion(
        &space,
        "run",
        &["root"],
        json!({"profileRef": {"name": "mine"}}),
    );
    assert_eq!(refused(cluster, &space), "ProfileNotFound");
}

#[test]
fn a_machine_that_runs_and_a_machine_of_another_namespace_are_refused() {
    let cluster = at_work();
    let dir = tempfile::tempdir().unwrap();
    let image = small(dir.path());
    let space = cluster.namespace("running");
    make_machine(cluster, &space, "web", &["root"]);
    let import = cluster.import(&space, "root", &json!({}));
    import.succeed(&image);
    let volume = json!({"name": "d", "dataVolume": {"name": "root"}});
    let mut runs = machine("web", &[volume]);
    runs["status"] = json!({"phase": "Running"});
    cluster
        .admin()
        .create(&super::machines(&space), &runs)
        .unwrap();
    let by_name = json!({"virtualMachineRef": {"name": "web"}});
    cluster.conversion(&space, "run", &["root"], by_name.clone());
    assert_eq!(refused(cluster, &space), "VMRunning");
    assert_eq!(content_digest(&import.disk()), content_digest(&image));

    let other = cluster.namespace("stranger");
    let foreign = json!({"metadata": {"name": "run"}, "spec": by_name,
        "apiVersion": "guestfix.io/v1alpha1", "kind": "GuestConversion"});
    let path = conversions(&other);
    cluster.admin().create(&path, &foreign).unwrap();
    assert_eq!(refused(cluster, &other), "VirtualMachineNotFound");
}

#[test]
fn a_disk_that_is_a_symlink_or_a_directory_is_refused() {
    let cluster = at_work();
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("shadow");
    std::fs::write(&secret, vec![7_u8; 1 << 20]).unwrap();

    let space = cluster.namespace("symlink");
    let import = cluster.import(&space, "root", &json!({}));
    symlink(&secret, import.disk()).unwrap();
    import.end();
    cluster.conversion(&space, "run", &["root"], json!({}));
    refused(cluster, &space);
    assert_eq!(std::fs::read(&secret).unwrap(), vec![7_u8; 1 << 20]);

    let space = cluster.namespace("directory");
    let import = cluster.import(&space, "root", &json!({}));
    std::fs::create_dir(import.disk()).unwrap();
    import.end();
    cluster.conversion(&space, "run", &["root"], json!({}));
    refused(cluster, &space);
}

#[test]
fn hostile_annotations_are_told_and_make_no_conversion() {
    let cluster = at_work();
    for (key, value) in [
        ("guestfix.io/guest", "../../etc"),
        ("guestfix.io/disk-count", "99999999999999999999"),
        ("guestfix.io/disk-index", "-1; reboot"),
    ] {
        let space = cluster.namespace("hostile");
        let annotations = json!({"guestfix.io/convert": "true", key: value});
        let import = cluster.import(&space, "root", &annotations);
        import.end();
        has_event(cluster, &space, "DataVolume", "WrongAnnotation");
        let list = cluster.admin().get(&conversions(&space)).unwrap();
        assert_eq!(list["items"], json!([]), "{key}={value}");
    }
}

#[test]
fn a_machine_with_the_same_claim_twice_is_refused() {
    let cluster = at_work();
    let space = cluster.namespace("twice");
    make_machine(cluster, &space, "web", &["root", "root"]);
    let import = cluster.import(&space, "root", &json!({}));
    import.end();
    let run = json!({"metadata": {"name": "run"}, "spec": {"virtualMachineRef": {"name": "web"}},
        "apiVersion": "guestfix.io/v1alpha1", "kind": "GuestConversion"});
    cluster.admin().create(&conversions(&space), &run).unwrap();
    assert_eq!(refused(cluster, &space), "SameClaimTwice");
}
