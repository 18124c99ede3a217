// SPDX-License-Identifier: Apache-2.0
//! The API as the server itself guards it.

use super::{installed, invalid};
use serde_json::{Value, json};
use tests::cluster::install::{conversion, conversions, the_run};

#[test]
fn of_a_spec_only_cancel_gate_and_ttl_can_be_changed() {
    let cluster = installed();
    let space = cluster.namespace("immutable");
    cluster.conversion(&space, "run", &["root"], json!({}));
    let one = the_run(&space);
    let admin = cluster.admin();
    for change in [
        json!({"mode": "Plan"}),
        json!({"disks": [{"claimName": "other"}]}),
        json!({"disks": [{"claimName": "root"}, {"claimName": "other"}]}),
        json!({"profileRef": {"name": "other"}}),
        json!({"virtualMachineRef": {"name": "web"}}),
    ] {
        let patched = admin.merge(&one, &json!({"spec": change}));
        invalid(patched, "make a new GuestConversion");
    }
    for change in [
        json!({"gate": "Off"}),
        json!({"ttlSecondsAfterFinished": 60}),
        json!({"cancel": true}),
    ] {
        admin.merge(&one, &json!({"spec": change})).unwrap();
    }
    let taken_back = admin.merge(&one, &json!({"spec": {"cancel": false}}));
    invalid(taken_back, "cancellation stands");
}

#[test]
fn a_spec_that_makes_no_sense_is_refused() {
    let cluster = installed();
    let space = cluster.namespace("sense");
    let admin = cluster.admin();
    let make = |spec: Value| admin.create(&conversions(&space), &spec);
    invalid(
        make(conversion("twice", &["root", "root"], json!({}))),
        "Duplicate",
    );
    invalid(make(conversion("none", &[], json!({}))), "disks");
    invalid(
        make(conversion("word", &["root"], json!({"mode": "Rollback"}))),
        "mode",
    );
    invalid(
        make(conversion("undo", &["root"], json!({"mode": "Undo"}))),
        "undoOf",
    );
    invalid(
        make(conversion("what", &["root"], json!({"undoOf": "run"}))),
        "undoOf",
    );
    let nothing = json!({"metadata": {"name": "nothing"}, "spec": {"mode": "Convert"},
        "apiVersion": "guestfix.io/v1alpha1", "kind": "GuestConversion"});
    invalid(make(nothing), "every other mode names virtualMachineRef");
}

#[test]
fn conversions_are_found_by_node_and_mode() {
    let cluster = installed();
    let space = cluster.namespace("fields");
    cluster.conversion(&space, "here", &["a"], json!({}));
    cluster.conversion(&space, "there", &["b"], json!({"mode": "Plan"}));
    let admin = cluster.admin();
    let status = format!("{}/here/status", conversions(&space));
    admin
        .merge(&status, &json!({"status": {"nodeName": "node-a"}}))
        .unwrap();
    let found = |selector: &str| {
        let path = format!("{}?fieldSelector={selector}", conversions(&space));
        let list = admin.get(&path).unwrap();
        let items = list["items"].as_array().unwrap().clone();
        items
            .iter()
            .map(|one| one["metadata"]["name"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(found("status.nodeName=node-a"), ["here"]);
    assert_eq!(found("spec.mode=Plan"), ["there"]);
    let listed = admin.kubectl(&["get", "gconv", "-n", &space]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("node-a"));
}
