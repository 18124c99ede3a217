// SPDX-License-Identifier: Apache-2.0
//! Agents that are killed, stopped, doubled or replaced.

use super::held::At;
use super::{Ground, MINUTE, NODE, condition, ground, says};
use nix::sys::signal::Signal;
use serde_json::json;
use tests::cluster::agent::Agent;
use tests::cluster::install::{NAMESPACE, conversions};
use tests::digest::content_digest;

#[test]
fn a_node_agent_killed_at_any_phase_is_followed_by_one_that_finishes() {
    let ground = ground();
    let _controller = ground.controller();
    for phase in ["Scheduled", "Running", "Committing"] {
        let space = ground.cluster.namespace("killed");
        let mut node = ground.node();
        let import = ground.reached(&space, phase);
        node.process().kill();
        let _again = ground.node();
        ground.ends_ready(&space, &import);
    }
}

#[test]
fn a_commit_cut_anywhere_is_finished_by_the_next_agent() {
    let ground = ground();
    let _controller = ground.controller();
    // Before the journal is whole the guest is as it was, and the conversion may say so; from then on it
    // is finished by whoever comes next.
    for (point, journaled) in [
        ("commit.undo-synced:0", false),
        ("commit.journaled:0", true),
        ("commit.apply:3", true),
    ] {
        let space = ground.cluster.namespace("cut");
        let import = ground.cut_and_killed(&space, NODE, point);
        let _again = ground.node();
        let done = ground.ends(&space, &import);
        if journaled {
            let ready = condition(&done, "Ready").map(|c| c.0);
            assert_eq!(ready, Some("True"), "{point}: {done:#}");
        }
    }
}

/// What an older release may not have written is not there, and its journal waits.
#[test]
fn what_an_older_agent_left_in_its_commit_is_finished_by_a_newer_one() {
    let ground = ground();
    let _controller = ground.controller();
    let space = ground.cluster.namespace("older");
    let import = ground.cut_and_killed(&space, NODE, "commit.journaled:0");
    let status = format!("{}/run/status", conversions(&space));
    let older = json!({"status": {"progress": null, "attempts": null, "startTime": null,
        "observedGeneration": null, "phase": null}});
    ground.cluster.admin().merge(&status, &older).unwrap();
    let _newer = ground.node();
    ground.ends_ready(&space, &import);
}

#[test]
fn a_controller_killed_is_followed_by_the_other() {
    let ground = ground();
    let _node = ground.node();
    let mut first = ground.controller();
    let space = ground.cluster.namespace("follow");
    let _second = ground.controller();
    let import = ground.reached(&space, "Running");
    first.process().kill();
    ground.ends_ready(&space, &import);
}

/// Two agents of the one node that are not the same process to anybody.
fn two(ground: &Ground, program: &std::path::Path) -> [Agent; 2] {
    ["one", "other"].map(|identity| {
        let program = program.to_str().unwrap();
        let options = ["--guestfix", program, "--identity", identity];
        ground.cluster.run_node(NODE, &options)
    })
}

#[test]
fn of_two_agents_with_one_node_name_one_works() {
    let ground = ground();
    let _controller = ground.controller();
    let agents = two(&ground, &tests::cli::binary());
    let space = ground.cluster.namespace("twins");
    let import = ground.begin(&space, json!({}));
    let done = ground.ends_ready(&space, &import);
    assert_eq!(done["status"]["attempts"], 1, "{done:#}");
    let started = |agent: &&Agent| agent.log().contains("Start {");
    assert_eq!(agents.iter().filter(started).count(), 1);
}

/// As a DaemonSet replaces its pods: the old one is told to end, the new one waits for the Lease.
#[test]
fn an_agent_replaced_in_a_commit_finishes_it_first() {
    let ground = ground();
    let mut it = ground.held("stopped", At::Write, json!({}));
    it.node.process().signal(Signal::SIGTERM);
    let options = ["--identity", "newer"];
    let newer = ground.cluster.run_node(NODE, &options);
    newer.wait_until_ready();
    assert!(it.node.process().runs(), "it ends when its commit has");
    it.held.let_go();
    let ended = it.node.process().wait(2 * MINUTE);
    assert!(ended.is_some(), "{}", it.node.log());
    let disk = content_digest(&it.import.disk());
    assert!(!ground.is_old(&it.import), "{}", it.node.log());
    let done = ground.ends_ready(&it.space, &it.import);
    assert_eq!(done["status"]["attempts"], 1, "{done:#}");
    assert_eq!(
        content_digest(&it.import.disk()),
        disk,
        "it was written again"
    );
    assert!(!newer.log().contains("Start {"), "{}", newer.log());
}

/// Another process has the node's Lease for a while.
fn take_lease(ground: &Ground) {
    let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases");
    let taken = json!({"spec": {"holderIdentity": "stranger", "leaseDurationSeconds": 10}});
    let path = format!("{leases}/guestfix-node-{NODE}");
    ground.cluster.admin().merge(&path, &taken).unwrap();
}

#[test]
fn an_agent_that_loses_its_lease_before_it_writes_stops_and_begins_again() {
    let ground = ground();
    let it = ground.held("lease", At::Ask, json!({}));
    take_lease(&ground);
    says(&it.node, "Stop(LeaseLost)");
    assert!(ground.is_old(&it.import));
    it.held.let_go();
    ground.ends_ready(&it.space, &it.import);
}

#[test]
fn an_agent_that_loses_its_lease_in_a_commit_writes_no_more_until_it_has_it_again() {
    let ground = ground();
    let it = ground.held("fenced", At::Write, json!({}));
    take_lease(&ground);
    says(&it.node, "Abort");
    assert!(ground.is_old(&it.import));
    it.held.let_go();
    ground.ends_ready(&it.space, &it.import);
}
