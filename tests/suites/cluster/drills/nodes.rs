// SPDX-License-Identifier: Apache-2.0
//! Nodes that are lost, cut off, or emptied.

use super::held::{At, Held};
use super::{Ground, LONG, NODE, ground, holder, says};
use serde_json::json;
use std::time::{Duration, Instant};
use tests::cluster::api::Answer;

/// A second node, which holders go to until the first is opened again.
struct Second<'a> {
    ground: &'a Ground,
    name: &'static str,
}

impl<'a> Second<'a> {
    fn new(ground: &'a Ground, name: &'static str) -> Self {
        let second = Self { ground, name };
        second.close_first(true);
        ground.cluster.kubelets().add(name);
        second
    }

    fn close_first(&self, closed: bool) {
        let path = format!("/api/v1/nodes/{NODE}");
        let change = json!({"spec": {"unschedulable": closed}});
        self.ground.cluster.admin().merge(&path, &change).unwrap();
    }
}

impl Drop for Second<'_> {
    fn drop(&mut self) {
        self.close_first(false);
        self.ground.cluster.kubelets().silence(self.name);
        let path = format!("/api/v1/nodes/{}", self.name);
        let _ = self.ground.cluster.admin().delete(&path, None);
    }
}

/// The controller wants the holder away, and nobody can tell whether it is.
fn wanted_away(answer: &Answer) -> Option<()> {
    (!answer.as_ref().ok()?["metadata"]["deletionTimestamp"].is_null()).then_some(())
}

#[test]
fn a_node_lost_in_a_commit_is_followed_by_another_once_its_holder_is_gone() {
    let ground = ground();
    let _controller = ground.controller();
    let second = Second::new(&ground, "lost");
    let space = ground.cluster.namespace("lost");
    let import = ground.cut_and_killed(&space, "lost", "commit.apply:3");
    ground.cluster.kubelets().silence("lost");
    second.close_first(false);
    let _other = ground.node();
    let admin = ground.cluster.admin();
    admin.wait(&holder(&space), LONG, wanted_away);
    assert_eq!(ground.run(&space)["status"]["nodeName"], "lost");

    // As an operator does who has seen that it is off.
    let taint = "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute";
    let ran = admin.kubectl(&["taint", "nodes", "lost", taint]);
    assert!(ran.status.success(), "{ran:?}");
    let done = ground.ends_ready(&space, &import);
    assert_eq!(done["status"]["nodeName"], NODE, "{done:#}");
    assert_eq!(done["status"]["attempts"], 2, "{done:#}");
}

#[test]
fn a_node_cut_off_in_a_commit_writes_no_more_and_no_other_begins() {
    let ground = ground();
    let _controller = ground.controller();
    let second = Second::new(&ground, "cut");
    let space = ground.cluster.namespace("cutoff");
    let (held, wire) = (Held::at(At::Write), ground.cluster.wire());
    let program = held.program();
    let options = ["--lease-seconds", "10", "--guestfix"];
    let options = [&options[..], &[program.to_str().unwrap()]].concat();
    let node = ground.cluster.run_node_by("cut", Some(&wire), &options);
    let import = ground.begin(&space, json!({}));
    held.wait();
    wire.cut();
    ground.cluster.kubelets().silence("cut");
    second.close_first(false);
    let _other = ground.node();

    says(&node, "Abort");
    let admin = ground.cluster.admin();
    admin.wait(&holder(&space), LONG, wanted_away);
    let run = ground.run(&space);
    assert_eq!(run["status"]["nodeName"], "cut", "{run:#}");
    assert_eq!(run["status"]["commit"]["node"], "cut", "{run:#}");
    assert!(ground.is_old(&import));

    held.let_go();
    wire.mend();
    ground.cluster.kubelets().add("cut");
    ground.ends_ready(&space, &import);
}

#[test]
fn a_drain_waits_for_the_guests_of_its_node() {
    let ground = ground();
    let it = ground.held("drain", At::Begin, json!({}));
    let admin = ground.cluster.admin();
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"name": "guestfix-hold-run", "namespace": it.space}});
    // A holder that goes for another reason may be evicted: on a machine that is slow one may be made anew.
    let evict = format!("{}/eviction", holder(&it.space));
    let end = Instant::now() + LONG;
    while admin.create(&evict, &eviction).map_err(|no| no.code) != Err(429) {
        assert!(Instant::now() < end, "a holder can be evicted");
        std::thread::sleep(Duration::from_secs(1));
    }

    let drained = std::thread::scope(|scope| {
        let drain = scope.spawn(|| {
            let selector = "--pod-selector=guestfix.io/holder=true";
            admin.kubectl(&["drain", NODE, selector, "--force", "--timeout=280s"])
        });
        it.held.let_go();
        ground.ends_ready(&it.space, &it.import);
        drain.join().unwrap()
    });
    let _ = admin.kubectl(&["uncordon", NODE]);
    assert!(drained.status.success(), "{drained:?}");
}
