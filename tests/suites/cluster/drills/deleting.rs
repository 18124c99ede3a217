// SPDX-License-Identifier: Apache-2.0
//! Conversions that are deleted or cancelled while they stand.

use super::held::At;
use super::{LONG, NODE, condition, gone, ground, holder, says};
use serde_json::json;
use tests::cluster::install::the_run;

#[test]
fn a_conversion_deleted_before_it_writes_is_let_go_and_the_disk_is_old() {
    let ground = ground();
    let it = ground.held("before", At::Ask, json!({}));
    let admin = ground.cluster.admin();
    admin.delete(&it.path(), None).unwrap();
    says(&it.node, "Stop(");
    it.held.let_go();
    admin.wait(&it.path(), LONG, gone);
    admin.wait(&holder(&it.space), LONG, gone);
    assert!(ground.is_old(&it.import));
}

#[test]
fn a_conversion_deleted_in_its_commit_is_finished_first() {
    let ground = ground();
    let it = ground.held("during", At::Write, json!({}));
    let admin = ground.cluster.admin();
    admin.delete(&it.path(), None).unwrap();
    // Time for whoever would let go too early.
    std::thread::sleep(std::time::Duration::from_secs(3));
    let run = ground.run(&it.space);
    assert_eq!(run["status"]["commit"]["node"], NODE, "{run:#}");
    it.held.let_go();
    admin.wait(&it.path(), LONG, gone);
    assert!(!ground.is_old(&it.import), "it was let go too early");
}

#[test]
fn a_conversion_that_nobody_can_finish_is_let_go_by_force() {
    let ground = ground();
    let _controller = ground.controller();
    let space = ground.cluster.namespace("force");
    let _import = ground.cut_and_killed(&space, NODE, "commit.journaled:0");
    let admin = ground.cluster.admin();
    let one = the_run(&space);
    admin.delete(&one, None).unwrap();
    let force = json!({"metadata": {"annotations": {"guestfix.io/force-release": "true"}}});
    admin.merge(&one, &force).unwrap();
    admin.wait(&one, LONG, gone);
    admin.wait(&holder(&space), LONG, gone);
}

#[test]
fn a_conversion_cancelled_before_it_writes_ends_so() {
    let ground = ground();
    let it = ground.held("cancel", At::Ask, json!({}));
    let cancel = json!({"spec": {"cancel": true}});
    ground.cluster.admin().merge(&it.path(), &cancel).unwrap();
    says(&it.node, "Stop(Cancelled)");
    it.held.let_go();
    let done = ground.ends(&it.space, &it.import);
    assert_eq!(condition(&done, "Ready"), Some(("False", "Cancelled")));
}
