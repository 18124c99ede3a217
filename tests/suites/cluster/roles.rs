// SPDX-License-Identifier: Apache-2.0
//! What each account may do, as the API server decides it.

use super::{forbidden, installed, pods};
use serde_json::{Value, json};
use tests::cluster::api::{Answer, Api};
use tests::cluster::install::{NAMESPACE, conversion, conversions, pod, the_run};

const NODE: &str = "guestfix-node";

/// Applies a status as the node agent does.
fn report(node: &Api, space: &str, name: &str, status: Value) -> Answer {
    let path = format!("{}/{name}/status", conversions(space));
    let object = json!({"apiVersion": "guestfix.io/v1alpha1", "kind": "GuestConversion",
        "metadata": {"name": name}, "status": status});
    node.apply(&path, NODE, &object)
}

fn assign(space: &str, name: &str, status: Value) {
    let path = format!("{}/{name}/status", conversions(space));
    let admin = installed().admin();
    admin.merge(&path, &json!({"status": status})).unwrap();
}

#[test]
fn a_node_agent_reads_and_reports_and_nothing_else() {
    let cluster = installed();
    let space = cluster.namespace("node");
    cluster.conversion(&space, "run", &["root"], json!({}));
    let node = cluster.node_account("node-a");
    let core = format!("/api/v1/namespaces/{space}");
    let machines = format!("/apis/kubevirt.io/v1/namespaces/{space}/virtualmachines");
    let one = the_run(&space);

    node.get(&conversions(&space)).unwrap();
    node.get("/apis/guestfix.io/v1alpha1/guestconversionprofiles")
        .unwrap();
    node.get("/api/v1/nodes/node-a").unwrap();
    node.get(&pods(&space)).unwrap();

    let label = json!({"metadata": {"labels": {"a": "b"}}});
    let no = "cannot";
    forbidden(node.create(&pods(&space), &pod("a", &[])), no);
    forbidden(node.delete(&format!("{core}/pods/a"), None), no);
    forbidden(node.get(&format!("{core}/secrets/key")), no);
    forbidden(node.get(&format!("{core}/secrets")), no);
    forbidden(node.get(&format!("{core}/configmaps")), no);
    forbidden(
        node.create(
            &format!("{core}/configmaps"),
            &json!({"metadata": {"name": "a"}}),
        ),
        no,
    );
    forbidden(node.get(&format!("{core}/persistentvolumeclaims")), no);
    forbidden(node.merge(&format!("{machines}/web"), &label), no);
    forbidden(node.merge(&one, &json!({"spec": {"gate": "Off"}})), no);
    forbidden(
        node.merge(&one, &json!({"metadata": {"finalizers": null}})),
        no,
    );
    forbidden(node.delete(&one, None), no);
    forbidden(
        node.create(&conversions(&space), &conversion("b", &["root"], json!({}))),
        no,
    );
    forbidden(node.merge("/api/v1/nodes/node-a", &label), no);
    forbidden(node.get("/api/v1/nodes"), no);
    forbidden(
        node.create(&format!("{core}/serviceaccounts/default/token"), &json!({})),
        no,
    );
}

#[test]
fn a_node_agent_reports_on_its_own_nodes_conversions_only() {
    let cluster = installed();
    let space = cluster.namespace("own");
    for name in ["mine", "theirs", "nobodys"] {
        cluster.conversion(&space, name, &[name], json!({}));
    }
    assign(&space, "mine", json!({"nodeName": "node-a"}));
    assign(&space, "theirs", json!({"nodeName": "node-b"}));

    let node = cluster.node_account("node-a");
    let progress = json!({"phase": "Running"});
    report(&node, &space, "mine", progress.clone()).unwrap();
    let merged = node.merge(
        &format!("{}/mine/status", conversions(&space)),
        &json!({"status": {"phase": "Committing"}}),
    );
    merged.unwrap();
    for name in ["theirs", "nobodys"] {
        forbidden(
            report(&node, &space, name, progress.clone()),
            "not assigned to node node-a",
        );
        let taken = json!({"nodeName": "node-a"});
        forbidden(
            report(&node, &space, name, taken),
            "not assigned to node node-a",
        );
    }
}

#[test]
fn a_node_agent_does_not_decide_where_and_on_what_a_conversion_runs() {
    let cluster = installed();
    let space = cluster.namespace("where");
    cluster.conversion(&space, "run", &["root"], json!({}));
    let status = json!({
        "nodeName": "node-a",
        "holder": {"name": "guestfix-hold-run", "uid": "1"},
        "claims": [{"claimName": "root", "uid": "2"}],
        "stateClaim": {"claimName": "state", "uid": "3"},
    });
    assign(&space, "run", status);
    let node = cluster.node_account("node-a");
    for change in [
        json!({"nodeName": "node-b"}),
        json!({"holder": {"name": "mine", "uid": "1"}}),
        json!({"claims": [{"claimName": "another", "uid": "2"}]}),
        json!({"stateClaim": {"claimName": "another", "uid": "3"}}),
    ] {
        let path = format!("{}/run/status", conversions(&space));
        let changed = node.merge(&path, &json!({"status": change}));
        forbidden(changed, "the controller's to say");
    }
}

#[test]
fn another_nodes_commit_cannot_be_made_or_ended_and_is_taken_only_where_it_was_given() {
    let cluster = installed();
    let space = cluster.namespace("commit");
    cluster.conversion(&space, "run", &["root"], json!({}));
    assign(&space, "run", json!({"nodeName": "node-a"}));
    let node = cluster.node_account("node-a");
    let theirs = json!({"commit": {"node": "node-b", "claims": ["2"]}});
    forbidden(
        report(&node, &space, "run", theirs.clone()),
        "another node's commit",
    );
    let mine = json!({"commit": {"node": "node-a", "claims": ["2"]}});
    report(&node, &space, "run", mine.clone()).unwrap();

    // The controller moved the conversion while the other node's commit stands.
    cluster.conversion(&space, "moved", &["data"], json!({}));
    let mut moved = theirs;
    moved["nodeName"] = json!("node-a");
    assign(&space, "moved", moved);
    let path = format!("{}/moved/status", conversions(&space));
    let ended = node.merge(&path, &json!({"status": {"commit": null}}));
    forbidden(ended, "another node's commit");
    // It was given the conversion, so it finishes the commit: as its own, and says so first.
    node.merge(&path, &json!({"status": mine})).unwrap();
    node.merge(&path, &json!({"status": {"commit": null}}))
        .unwrap();
}

#[test]
fn a_node_agents_token_that_says_no_node_is_good_for_nothing() {
    let cluster = installed();
    let space = cluster.namespace("token");
    cluster.conversion(&space, "run", &["root"], json!({}));
    assign(&space, "run", json!({"nodeName": "node-a"}));
    let loose = cluster.account(NAMESPACE, NODE, None);
    forbidden(
        report(&loose, &space, "run", json!({"phase": "Failed"})),
        "says no node",
    );
}

#[test]
fn a_node_agent_renews_its_own_lease_only() {
    let cluster = installed();
    let node = cluster.node_account("node-a");
    let path = format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases");
    let lease = |name: &str| {
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name},
            "spec": {"holderIdentity": "node-a", "leaseDurationSeconds": 40}})
    };
    let renew = |name: &str| node.apply(&format!("{path}/{name}"), NODE, &lease(name));
    renew("guestfix-node-node-a").unwrap();
    forbidden(renew("guestfix-node-node-b"), "its own node's Lease");
    forbidden(renew("guestfix-controller"), "its own node's Lease");
    let elsewhere = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node-a";
    forbidden(
        node.merge(elsewhere, &json!({"spec": {"holderIdentity": "me"}})),
        "cannot",
    );
}

#[test]
fn the_controller_has_no_secrets_and_gets_into_no_pod() {
    let cluster = installed();
    let space = cluster.namespace("controller");
    let controller = cluster.controller_account();
    let core = format!("/api/v1/namespaces/{space}");
    forbidden(controller.get(&format!("{core}/secrets")), "cannot");
    forbidden(
        controller.get("/api/v1/namespaces/guestfix-system/secrets"),
        "cannot",
    );
    forbidden(
        controller.request("POST", &format!("{core}/pods/a/exec?command=sh"), None),
        "cannot",
    );
    forbidden(
        controller.delete(&format!("{core}/persistentvolumeclaims/root"), None),
        "cannot",
    );
    let profile = json!({"metadata": {"name": "own"}, "spec": {},
        "apiVersion": "guestfix.io/v1alpha1", "kind": "GuestConversionProfile"});
    let profiles = "/apis/guestfix.io/v1alpha1/guestconversionprofiles";
    forbidden(controller.create(profiles, &profile), "cannot");
}

#[test]
fn tenants_make_conversions_and_read_profiles() {
    let cluster = installed();
    let space = cluster.namespace("tenant");
    let other = cluster.namespace("stranger");
    let profiles = "/apis/guestfix.io/v1alpha1/guestconversionprofiles";
    let profile = json!({"metadata": {"name": "own"}, "spec": {},
        "apiVersion": "guestfix.io/v1alpha1", "kind": "GuestConversionProfile"});
    let run = |name: &str| conversion(name, &["root"], json!({}));
    for role in ["edit", "admin"] {
        let user = cluster.user(&space, role);
        cluster.soon(|| user.create(&conversions(&space), &run(role)));
        forbidden(user.create(&conversions(&other), &run(role)), "cannot");
        let status = format!("{}/{role}/status", conversions(&space));
        let ready = json!({"status": {"phase": "Succeeded"}});
        forbidden(user.merge(&status, &ready), "cannot");
        forbidden(user.create(profiles, &profile), "cannot");
    }
    let viewer = cluster.user(&space, "view");
    viewer.get(&conversions(&space)).unwrap();
    forbidden(viewer.create(&conversions(&space), &run("view")), "cannot");
}
