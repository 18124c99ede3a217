// SPDX-License-Identifier: Apache-2.0
//! From an import to a guest that may start.

use super::{forbidden, install, machine, machines};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;
use tests::cli::Cli;
use tests::cluster::Cluster;
use tests::cluster::agent::Agent;
use tests::cluster::api::Answer;
use tests::cluster::install::conversions;
use tests::digest::content_digest;
use tests::guest::Guest;
use tests::small::{Filesystem, Small};

const MINUTES: Duration = Duration::from_secs(300);

/// A cluster with a controller and an agent on each of its nodes.
pub fn at_work() -> &'static Cluster {
    &working().0
}

/// The same, and its controller and its agents.
pub fn working() -> &'static (Cluster, Vec<Agent>) {
    static ONE: OnceLock<(Cluster, Vec<Agent>)> = OnceLock::new();
    ONE.get_or_init(|| {
        let cluster = Cluster::start();
        install(&cluster);
        let mut agents = vec![cluster.run_controller(&[])];
        agents.extend(["node-a", "node-b"].map(|node| cluster.run_node(node, &[])));
        (cluster, agents)
    })
}

/// A VirtualMachine that would start by itself.
pub fn make_machine(cluster: &Cluster, space: &str, name: &str, volumes: &[&str]) -> String {
    let path = format!("/apis/kubevirt.io/v1/namespaces/{space}/virtualmachines");
    let volumes: Vec<Value> = volumes
        .iter()
        .map(|volume| json!({"name": volume, "dataVolume": {"name": volume}}))
        .collect();
    let object = json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": {"name": name},
        "spec": {"runStrategy": "Always", "template": {"spec": {"volumes": volumes}}},
    });
    cluster.admin().create(&path, &object).unwrap();
    format!("{path}/{name}")
}

/// A condition's status and reason.
pub fn condition<'a>(conversion: &'a Value, kind: &str) -> Option<(&'a str, &'a str)> {
    let conditions = conversion["status"]["conditions"].as_array()?;
    let one = conditions.iter().find(|one| one["type"] == kind)?;
    Some((one["status"].as_str()?, one["reason"].as_str()?))
}

/// The only conversion of a namespace, once `until` holds of it.
pub fn only(cluster: &Cluster, space: &str, until: impl Fn(&Value) -> bool) -> Value {
    cluster
        .admin()
        .wait(&conversions(space), MINUTES, |answer: &Answer| {
            let items = answer.as_ref().ok()?["items"].as_array()?;
            assert!(items.len() < 2, "one guest, one conversion: {items:#?}");
            let one = items.first()?;
            until(one).then(|| one.clone())
        })
}

pub fn finished(conversion: &Value) -> bool {
    condition(conversion, "Finished").is_some_and(|(status, _)| status == "True")
}

/// The only conversion of a namespace, which must end so.
pub fn ends_ready(cluster: &Cluster, space: &str) -> Value {
    let done = only(cluster, space, finished);
    let ready = condition(&done, "Ready").map(|c| c.0);
    assert_eq!(ready, Some("True"), "{done:#}");
    done
}

/// Waits until a machine has this runStrategy.
pub fn has_strategy(cluster: &Cluster, vm: &str, word: &str) {
    cluster.admin().wait(vm, MINUTES, |answer: &Answer| {
        (answer.as_ref().ok()?["spec"]["runStrategy"] == word).then_some(())
    });
}

pub fn small(dir: &Path) -> std::path::PathBuf {
    Small::on(Filesystem::Ext4).build(dir, |_| ()).path
}

fn annotations(guest: &str, count: u32, index: u32) -> Value {
    json!({
        "guestfix.io/convert": "true",
        "guestfix.io/guest": guest,
        "guestfix.io/disk-count": count.to_string(),
        "guestfix.io/disk-index": index.to_string(),
    })
}

#[test]
fn an_imported_debian_is_converted_before_its_machine_may_start() {
    let cluster = at_work();
    let space = cluster.namespace("debian");
    let vm = make_machine(cluster, &space, "web", &["web-root"]);
    let import = cluster.import(&space, "web-root", &annotations("web", 1, 0));

    let waits = |one: &Value| condition(one, "DisksReady").is_some_and(|(is, _)| is == "False");
    let waiting = only(cluster, &space, waits);
    assert_eq!(waiting["spec"]["mode"], "Convert");
    let instance = machine(
        "web",
        &[json!({"name": "d", "dataVolume": {"name": "web-root"}})],
    );
    forbidden(
        cluster.admin().create(&machines(&space), &instance),
        "GuestConversion",
    );

    import.succeed(Guest::get("bookworm-bios-ext4").path());
    let done = ends_ready(cluster, &space);
    assert_eq!(condition(&done, "Converted").map(|c| c.0), Some("True"));
    assert!(done["status"].to_string().len() < 64 << 10);
    cluster.soon(|| cluster.admin().create(&machines(&space), &instance));
    has_strategy(cluster, &vm, "Always");

    let state = tempfile::tempdir().unwrap();
    let boot = Cli::new("boot", &[import.disk()], state.path());
    boot.args(["--timeout", "600"])
        .timeout(Duration::from_secs(900))
        .run()
        .expect(0);
}

#[test]
fn a_guest_of_two_disks_waits_for_both_and_is_converted_once() {
    let cluster = at_work();
    let space = cluster.namespace("two");
    let dir = tempfile::tempdir().unwrap();
    let image = small(dir.path());
    let data = dir.path().join("data.img");
    std::fs::File::create(&data)
        .unwrap()
        .set_len(8 << 20)
        .unwrap();

    let root = cluster.import(&space, "root", &annotations("db", 2, 0));
    root.succeed(&image);
    let waits = |one: &Value| condition(one, "DisksReady").is_some_and(|(is, _)| is == "False");
    only(cluster, &space, waits);
    let more = cluster.import(&space, "data", &annotations("db", 2, 1));
    more.succeed(&data);
    ends_ready(cluster, &space);
    assert_ne!(content_digest(&root.disk()), content_digest(&image));
    assert_eq!(content_digest(&more.disk()), content_digest(&data));
}

#[test]
fn a_conversion_is_taken_back_to_the_last_byte() {
    let cluster = at_work();
    let space = cluster.namespace("undo");
    let dir = tempfile::tempdir().unwrap();
    let image = small(dir.path());
    let import = cluster.import(&space, "root", &json!({}));
    import.succeed(&image);
    cluster.conversion(&space, "run", &["root"], json!({}));
    ends_ready(cluster, &space);
    assert_ne!(content_digest(&import.disk()), content_digest(&image));

    let undo = json!({"metadata": {"name": "back"}, "spec": {"mode": "Undo", "undoOf": "run"},
        "apiVersion": "guestfix.io/v1alpha1", "kind": "GuestConversion"});
    cluster.admin().create(&conversions(&space), &undo).unwrap();
    let back = format!("{}/back", conversions(&space));
    cluster.admin().wait(&back, MINUTES, |answer| {
        finished(answer.as_ref().ok()?).then_some(())
    });
    assert_eq!(content_digest(&import.disk()), content_digest(&image));
}

#[test]
fn inspecting_and_planning_write_nothing() {
    let cluster = at_work();
    let dir = tempfile::tempdir().unwrap();
    let image = small(dir.path());
    for mode in ["Inspect", "Plan"] {
        let space = cluster.namespace("reads");
        let import = cluster.import(&space, "root", &json!({}));
        import.succeed(&image);
        cluster.conversion(&space, "run", &["root"], json!({"mode": mode}));
        let done = only(cluster, &space, finished);
        assert_ne!(
            condition(&done, "Ready").map(|c| c.0),
            Some("True"),
            "{done:#}"
        );
        assert_eq!(done["status"]["phase"], "Succeeded", "{done:#}");
        assert_eq!(content_digest(&import.disk()), content_digest(&image));
    }
}
