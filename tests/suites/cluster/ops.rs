// SPDX-License-Identifier: Apache-2.0
//! What an operator has: health, metrics, logs, node labels, and `kubectl guestfix`.

use super::conversion::{at_work, ends_ready, small, working};
use serde_json::{Value, json};
use std::process::{Command, Output};
use std::time::Duration;
use tests::cluster::Cluster;
use tests::digest::content_digest;

#[test]
fn controller_and_agents_tell_their_health_and_metrics() {
    let (_, agents) = working();
    for agent in agents {
        agent.wait_until_ready();
        assert!(agent.get("/healthz").unwrap().contains(" 200 "));
        assert!(agent.get("/other").unwrap().contains(" 404 "));
        let metrics = agent.get("/metrics").unwrap();
        for name in [
            "guestfix_build_info",
            "guestfix_conversions_in_progress",
            "guestfix_bytes_written_total",
            "guestfix_reconcile_duration_seconds_bucket",
        ] {
            assert!(metrics.contains(name), "no {name} in {metrics}");
        }
    }
}

#[test]
fn nodes_are_labelled_with_what_they_can_mount() {
    let cluster = at_work();
    for node in ["node-a", "node-b"] {
        let path = format!("/api/v1/nodes/{node}");
        cluster
            .admin()
            .wait(&path, Duration::from_secs(120), |answer| {
                let labels = &answer.as_ref().ok()?["metadata"]["labels"];
                (labels["fs.guestfix.io/ext4"] == "true").then_some(())
            });
    }
}

/// Runs the plugin as the cluster's administrator.
fn plugin(cluster: &Cluster, space: &str, words: &[&str]) -> Output {
    // Built beside the agent; tests run on a copy of that.
    let program = tests::workspace().join("target/debug/kubectl-guestfix");
    Command::new(program)
        .env("KUBECONFIG", cluster.admin().kubeconfig())
        .args(["--namespace", space])
        .args(words)
        .output()
        .unwrap()
}

fn printed(out: &Output) -> String {
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(
        out.status.success(),
        "{errors}{}",
        String::from_utf8_lossy(&out.stdout)
    );
    String::from_utf8(out.stdout.clone()).unwrap()
}

#[test]
fn the_plugin_converts_shows_and_takes_back() {
    let cluster = at_work();
    let dir = tempfile::tempdir().unwrap();
    let image = small(dir.path());
    let space = cluster.namespace("plugin");
    let import = cluster.import(&space, "root", &json!({}));
    import.succeed(&image);
    printed(&plugin(
        cluster,
        &space,
        &["convert", "--disk", "root", "--wait"],
    ));
    let done = ends_ready(cluster, &space);
    let (name, uid) = (&done["metadata"]["name"], &done["metadata"]["uid"]);
    let name = name.as_str().unwrap();

    assert!(printed(&plugin(cluster, &space, &["status"])).contains("Succeeded"));
    assert!(printed(&plugin(cluster, &space, &["status", name])).contains("Verified"));
    let report = printed(&plugin(cluster, &space, &["report", name]));
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["schema"], "guestfix.io/report/v1");
    assert!(
        !plugin(cluster, &space, &["report", "another"])
            .status
            .success()
    );

    // Every line of a log is one of JSON, and says which conversion it is about.
    let logs = working().1.iter().map(|agent| agent.log());
    let about = logs.map(|log| {
        // The last one may be half written.
        let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let lines = whole
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["uid"] == *uid).count()
    });
    assert!(about.sum::<usize>() > 3);

    printed(&plugin(cluster, &space, &["undo", name, "--wait"]));
    assert_eq!(content_digest(&import.disk()), content_digest(&image));
}
