// SPDX-License-Identifier: Apache-2.0
//! An API server that is away, or busy with others.

use super::{MINUTE, finished, ground, only};
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};
use tests::cluster::install::the_run;

#[test]
fn an_api_server_that_is_away_for_a_minute_costs_time_only() {
    let ground = ground();
    let (_controller, _node) = (ground.controller(), ground.node());
    let space = ground.cluster.namespace("away");
    let import = ground.reached(&space, "Running");
    ground.cluster.without_server(|| std::thread::sleep(MINUTE));
    ground.ends_ready(&space, &import);
}

/// Every version that was decided on is an old one when it is written.
#[test]
fn a_storm_of_conflicts_costs_time_only() {
    let ground = ground();
    let (_controller, _node) = (ground.controller(), ground.node());
    let space = ground.cluster.namespace("storm");
    let import = ground.begin(&space, json!({}));
    let calm = AtomicBool::new(false);
    let one = the_run(&space);
    let admin = ground.cluster.admin();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0_u64;
            while !calm.load(Ordering::Relaxed) {
                number += 1;
                let change = json!({"metadata": {"annotations": {"storm": number.to_string()}}});
                let _ = admin.merge(&one, &change);
            }
        });
        // Also where the wait fails the storm ends: the scope waits for it.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            only(&ground.cluster, &space, finished)
        }));
        calm.store(true, Ordering::Relaxed);
        ended.unwrap();
    });
    let done = ground.ends_ready(&space, &import);
    assert_eq!(done["status"]["attempts"], 1, "{done:#}");
}
