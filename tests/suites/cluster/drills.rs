// SPDX-License-Identifier: Apache-2.0
//! What goes wrong on a cluster, and how it has to end: finished, the disk old or new.

use super::conversion::{condition, finished, only, small};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};
use tests::cluster::Cluster;
use tests::cluster::agent::Agent;
use tests::cluster::import::Import;
use tests::cluster::install::conversions;
use tests::digest::sha256_of_file;

const NODE: &str = "only";
const MINUTE: Duration = Duration::from_secs(60);

/// A cluster of one node for one drill at a time: drills stop what others need.
struct Ground {
    cluster: Cluster,
    image: PathBuf,
    old: String,
    _dir: tempfile::TempDir,
}

fn ground() -> MutexGuard<'static, Ground> {
    static ONE: OnceLock<Mutex<Ground>> = OnceLock::new();
    let ground = ONE.get_or_init(|| {
        let cluster = Cluster::start();
        cluster.kubelets().add(NODE);
        cluster.install();
        let dir = tempfile::tempdir().unwrap();
        let image = small(dir.path());
        Mutex::new(Ground {
            cluster,
            old: sha256_of_file(&image),
            image,
            _dir: dir,
        })
    });
    ground
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Ground {
    fn controller(&self) -> Agent {
        self.cluster.run_controller(&["--lease-seconds", "5"])
    }

    fn node(&self) -> Agent {
        self.cluster.run_node(NODE, &["--lease-seconds", "10"])
    }

    /// A conversion of an imported disk that has reached `phase`.
    fn reached(&self, space: &str, phase: &str) -> Import<'_> {
        let import = self.cluster.import(space, "root", &json!({}));
        import.succeed(&self.image);
        self.cluster.conversion(space, "run", &["root"], json!({}));
        let reached = |one: &Value| one["status"]["phase"] == phase || finished(one);
        only(&self.cluster, space, reached);
        import
    }

    /// It has ended: new where it is Ready, else old.
    fn ends(&self, space: &str, import: &Import<'_>) -> Value {
        let done = only(&self.cluster, space, finished);
        let ready = condition(&done, "Ready").map(|c| c.0) == Some("True");
        let same = sha256_of_file(&import.disk()) == self.old;
        assert_ne!(ready, same, "{done:#}");
        done
    }

    fn ends_ready(&self, space: &str, import: &Import<'_>) {
        let done = self.ends(space, import);
        assert_eq!(
            condition(&done, "Ready").map(|c| c.0),
            Some("True"),
            "{done:#}"
        );
    }
}

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

/// A `guestfix` that dies at a point of its commit and leaves a mark where it did.
fn cut_at(point: &str, dir: &std::path::Path) -> (PathBuf, PathBuf) {
    let (program, mark) = (dir.join("guestfix"), dir.join("mark"));
    let script = format!(
        "#!/bin/sh\nGUESTFIX_FAULT={point} {} \"$@\"\ncode=$?\n[ $code -lt 128 ] || : >{}\nexit $code\n",
        tests::cli::binary().display(),
        mark.display()
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    (program, mark)
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
        let dir = tempfile::tempdir().unwrap();
        let (program, mark) = cut_at(point, dir.path());
        let options = [
            "--lease-seconds",
            "10",
            "--guestfix",
            program.to_str().unwrap(),
        ];
        let mut node = ground.cluster.run_node(NODE, &options);
        let import = ground.reached(&space, "Committing");
        let end = Instant::now() + 2 * MINUTE;
        while !mark.exists() {
            assert!(
                Instant::now() < end,
                "{point} was not reached: {}",
                node.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        node.process().kill();
        let _again = ground.node();
        let done = ground.ends(&space, &import);
        if journaled {
            assert_eq!(
                condition(&done, "Ready").map(|c| c.0),
                Some("True"),
                "{point}: {done:#}"
            );
        }
    }
}

#[test]
fn a_claim_deleted_midway_ends_the_conversion_and_is_gone() {
    let ground = ground();
    let (_controller, _node) = (ground.controller(), ground.node());
    let space = ground.cluster.namespace("deleted");
    let _import = ground.reached(&space, "Scheduled");
    let claim = format!("/api/v1/namespaces/{space}/persistentvolumeclaims/root");
    let admin = ground.cluster.admin();
    admin.delete(&claim, None).unwrap();
    // The holder keeps it until the end, as any pod does.
    only(&ground.cluster, &space, finished);
    admin.wait(&claim, 2 * MINUTE, |answer| answer.is_err().then_some(()));
}

#[test]
fn a_quota_that_has_no_room_for_the_holder_is_said_and_waited_for() {
    let ground = ground();
    let (_controller, _node) = (ground.controller(), ground.node());
    let space = ground.cluster.namespace("quota");
    let quotas = format!("/api/v1/namespaces/{space}/resourcequotas");
    let admin = ground.cluster.admin();
    let quota = json!({"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}});
    admin.create(&quotas, &quota).unwrap();
    admin.wait(&format!("{quotas}/none"), MINUTE, |answer| {
        (answer.as_ref().ok()?["status"]["hard"]["pods"] == "0").then_some(())
    });
    let import = ground.cluster.import(&space, "root", &json!({}));
    import.succeed(&ground.image);
    ground
        .cluster
        .conversion(&space, "run", &["root"], json!({}));
    let said = |one: &Value| {
        one["status"]["conditions"]
            .to_string()
            .contains("exceeded quota")
    };
    let run = only(&ground.cluster, &space, said);
    assert!(!finished(&run), "{run:#}");
    admin.delete(&format!("{quotas}/none"), None).unwrap();
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

#[test]
fn an_api_server_that_is_away_for_a_while_costs_time_only() {
    let ground = ground();
    let (_controller, _node) = (ground.controller(), ground.node());
    let space = ground.cluster.namespace("away");
    let import = ground.reached(&space, "Running");
    ground
        .cluster
        .without_server(|| std::thread::sleep(Duration::from_secs(25)));
    ground.ends_ready(&space, &import);
}

#[test]
fn of_two_agents_with_one_node_name_one_works() {
    let ground = ground();
    let _controller = ground.controller();
    let (_one, _other) = (ground.node(), ground.node());
    let space = ground.cluster.namespace("twins");
    let import = ground.reached(&space, "Running");
    ground.ends_ready(&space, &import);
    let one = format!("{}/run", conversions(&space));
    let run = ground.cluster.admin().get(&one).unwrap();
    assert!(
        run["status"]["attempts"].as_u64().unwrap_or(1) <= 1,
        "{run:#}"
    );
}

#[test]
fn a_stopped_agent_finishes_what_it_commits() {
    let ground = ground();
    let _controller = ground.controller();
    let mut node = ground.node();
    let space = ground.cluster.namespace("stopped");
    let import = ground.reached(&space, "Committing");
    node.process().signal(Signal::SIGTERM);
    assert!(node.process().wait(MINUTE).is_some(), "{}", node.log());
    let disk = sha256_of_file(&import.disk());
    let _again = ground.node();
    ground.ends_ready(&space, &import);
    assert_eq!(sha256_of_file(&import.disk()), disk, "it was written again");
}

#[test]
fn a_holder_force_deleted_leaves_the_disk_old_or_new() {
    let ground = ground();
    let (_controller, _node) = (ground.controller(), ground.node());
    let space = ground.cluster.namespace("forced");
    let import = ground.reached(&space, "Running");
    let holder = format!("/api/v1/namespaces/{space}/pods/guestfix-hold-run");
    let admin = ground.cluster.admin();
    let _ = admin.merge(&holder, &json!({"metadata": {"finalizers": null}}));
    let _ = admin.delete(&holder, Some(0));
    ground.ends(&space, &import);
}
